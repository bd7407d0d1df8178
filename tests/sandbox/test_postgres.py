"""The sandbox's own PostgreSQL: started, killed, started again; as root and not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest
import trio

from ellara.errors import CannotStart, Crashed
from ellara.sandbox import account as account_module
from ellara.sandbox.account import Account, find_place
from ellara.sandbox.postgres import hold_state_folder, run_postgres

AS_ROOT = os.geteuid() == 0
DAEMON = """
import sys, trio
from pathlib import Path
from ellara.sandbox.postgres import hold_state_folder, run_postgres

async def main():
    hold_state_folder(Path(sys.argv[1]))
    async with trio.open_nursery() as nursery:
        print(await nursery.start(run_postgres, Path(sys.argv[1])), flush=True)

trio.run(main)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A state folder with data in it, where every account can reach it."""
    folder = Path("/tmp") / f"ellara-test-{os.getpid()}"
    folder.mkdir(mode=0o755)
    trio.run(start_and_stop, folder)
    yield folder
    subprocess.run(["rm", "-rf", str(folder)], check=True)


async def start_and_stop(folder: Path) -> str:
    async with trio.open_nursery() as nursery:
        url: str = await nursery.start(run_postgres, folder)
        nursery.cancel_scope.cancel()
    return url


def ask(url: str, statement: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(statement.encode()).fetchone()
    return row[0] if row else None


def server_pid(folder: Path) -> int:
    return int((folder / "postgres" / "postmaster.pid").read_text().partition("\n")[0])


def gone(pid: int) -> bool:
    """Waits until a process that is no child of ours has ended."""
    with subprocess.Popen(["tail", f"--pid={pid}", "-s", "0.01", "-f", "/dev/null"]) as tail:
        return tail.wait(10) == 0


async def test_a_warm_start_is_fast_and_serves_utf8_sorted_by_code_point(made: Path, nursery: trio.Nursery) -> None:
    with trio.fail_after(3.0):  # 0.03 s on a quiet machine
        url = await nursery.start(run_postgres, made)
    assert ask(url, "SELECT current_setting('server_encoding')") == "UTF8"
    assert ask(url, "SELECT 'Z' < 'a' AND lower('É') = 'é'") is True
    nursery.cancel_scope.cancel()


async def test_nothing_is_left_running_after_a_stop(made: Path) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(run_postgres, made)
        pid = server_pid(made)
        nursery.cancel_scope.cancel()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.skipif(not AS_ROOT, reason="only root has an account to drop")
async def test_started_by_root_it_runs_as_nobody_of_importance(made: Path, nursery: trio.Nursery) -> None:
    await nursery.start(run_postgres, made)
    status = Path(f"/proc/{server_pid(made)}/status").read_text()
    words = {line.partition(":")[0]: line.split()[1:] for line in status.splitlines()}
    assert set(words["Uid"]).isdisjoint({"0"})
    assert set(words["Gid"]).isdisjoint({"0"})
    assert "0" not in words["Groups"]
    nursery.cancel_scope.cancel()


async def test_a_server_that_dies_by_itself_ends_the_run(made: Path) -> None:
    with pytest.RaisesGroup(Crashed):
        async with trio.open_nursery() as nursery:
            await nursery.start(run_postgres, made)
            os.kill(server_pid(made), signal.SIGKILL)
    await start_and_stop(made)  # its last children may still be leaving: the next start waits for them


@contextmanager
def daemon(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that runs the server, and the server's URL; killed at the latest at the end."""
    environment = {"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-c", DAEMON, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, next(line.strip() for line in process.stdout if line.startswith("postgresql://"))
        finally:
            process.kill()


def test_killed_together_they_start_again_and_nothing_committed_is_lost(made: Path) -> None:
    with daemon(made) as (process, url):
        assert ask(url, "SELECT count(*) FROM pg_class WHERE relname = 'kept'") == 0
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS n")
        os.kill(server_pid(made), signal.SIGKILL)
        process.kill()
    with daemon(made) as (_, url):
        assert ask(url, "SELECT n FROM kept") == 7


def test_the_server_does_not_outlive_a_killed_daemon(made: Path) -> None:
    with daemon(made):
        server = server_pid(made)
    assert gone(server)


def test_a_second_daemon_on_the_same_folder_is_refused_with_the_first_ones_number(made: Path) -> None:
    lock = hold_state_folder(made)
    with pytest.raises(CannotStart, match=f"process {os.getpid()}"):
        hold_state_folder(made)
    os.close(lock)
    os.close(hold_state_folder(made))


async def test_a_pid_file_whose_number_is_another_programs_now_does_not_matter(made: Path) -> None:
    owner = find_place(made).account
    file = made / "postgres" / "postmaster.pid"
    with subprocess.Popen(["sleep", "60"], user=owner.uid if AS_ROOT else None) as other:
        try:
            file.write_text(f"{other.pid}\n{made / 'postgres'}\n1700000000\n5432\n/tmp\n\n")
            os.chown(file, owner.uid, owner.gid)
            await start_and_stop(made)
            assert other.poll() is None
        finally:
            other.kill()


async def test_data_of_another_major_version_is_refused(made: Path) -> None:
    file = made / "postgres" / "PG_VERSION"
    file.write_text("15\n")
    try:
        with pytest.raises(CannotStart, match="was written by PostgreSQL 15"):
            await run_postgres(made)
    finally:
        file.write_text("18\n")


async def test_a_half_made_data_folder_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account_module, "ELSEWHERE", Path(f"/tmp/ellara-half-{os.getpid()}"))
    place = find_place(tmp_path)
    half = place.data.with_name(place.data.name + ".new")
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    await start_and_stop(tmp_path)
    assert (place.data / "global").is_dir()
    subprocess.run(["rm", "-rf", str(account_module.ELSEWHERE)], check=True)


async def test_what_a_killed_daemon_was_about_to_make_is_made_at_once() -> None:
    with TemporaryDirectory(prefix="ellara-tests-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with subprocess.Popen([sys.executable, "-c", DAEMON, name]) as process:
            while not any(folder.glob("postgres.new*/global/pg_control")):
                assert process.poll() is None
            process.kill()
        await start_and_stop(folder)  # while the killed one's initdb still clears away behind it


@pytest.mark.skipif(not AS_ROOT, reason="only root's server lives elsewhere")
async def test_a_state_folder_that_the_account_may_not_enter_gets_its_data_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = Path(f"/tmp/ellara-elsewhere-{os.getpid()}")
    monkeypatch.setattr(account_module, "ELSEWHERE", elsewhere)
    tmp_path.chmod(0o700)
    url = await start_and_stop(tmp_path)
    assert await start_and_stop(tmp_path) == url
    assert (tmp_path / "postgres").readlink().parent == elsewhere
    subprocess.run(["rm", "-rf", str(elsewhere)], check=True)


@pytest.mark.skipif(not AS_ROOT, reason="only root's server reads a copy")
async def test_programs_that_the_account_cannot_read_are_copied_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = Path(f"/tmp/ellara-copy-{os.getpid()}")
    monkeypatch.setattr(account_module, "ELSEWHERE", elsewhere)
    monkeypatch.setattr(Account, "reaches", lambda self, path: elsewhere in path.parents)
    await start_and_stop(tmp_path)
    (copy,) = elsewhere.glob("embedded-postgres-*")
    before = copy.stat().st_mtime_ns
    await start_and_stop(tmp_path)
    assert copy.stat().st_mtime_ns == before
    subprocess.run(["rm", "-rf", str(elsewhere)], check=True)


@pytest.mark.skipif(not AS_ROOT, reason="needs two accounts")
def test_it_runs_for_an_ordinary_user_too() -> None:
    folder = Path(f"/tmp/ellara-user-{os.getpid()}")
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    code = DAEMON.replace("trio.run(main)", "").replace("async def main", "async def unused") + (
        "\nasync def once():\n async with trio.open_nursery() as n:\n"
        "  print(await n.start(run_postgres, Path(sys.argv[1])))\n  n.cancel_scope.cancel()\ntrio.run(once)"
    )
    environment = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path]), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        ["/usr/bin/env", "python3", "-c", code, str(folder)],
        user=65534,
        group=65534,
        extra_groups=[65534],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    subprocess.run(["rm", "-rf", str(folder)], check=True)
    assert "postgresql://" in done.stdout, done.stderr
