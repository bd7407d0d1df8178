"""A daemon as a process of its own, as an operator runs it: for the contract, the wire and the fault tests."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

ROOT = Path(__file__).parent.parent
START_S, STOP_S = 60.0, 20.0
SEED_VARIABLES = re.compile(
    r"PORT|DATABASE_URL|DIRECT_URL|JWT_SECRET|OPENAI_|RPC_URL|CONTRACT_OWNER_PRIVATE_KEY|QR_PAYMENT_ADDRESS|CHAIN_ID"
)


def without_seed_variables() -> dict[str, str]:
    return {name: text for name, text in os.environ.items() if not SEED_VARIABLES.match(name)}


def ellara(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """The command line, run to its end."""
    command = [sys.executable, "-m", "ellara", *arguments]
    environ = without_seed_variables() | environ
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60, check=False)


@contextmanager
def open_folder() -> Iterator[Path]:
    """A new folder that PostgreSQL's account may enter: pytest's own are for this user alone."""
    with TemporaryDirectory(prefix="ellara-tests-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


class RunningDaemon:
    """Started with a free port and a state folder of its own; a context manager stops it with SIGTERM.

    `toml`: settings beside those two. `environ`: variables beside the tests' own, from which the seed's are taken off.
    Raises `RuntimeError` with the daemon's output when it ends before it listens.
    """

    def __init__(self, folder: Path, toml: str = "", **environ: str) -> None:
        self.folder = folder
        self.config = folder / "ellara.toml"
        self.config.write_text(
            f'{toml}\n[sandbox]\nstate_dir = "state"\nword_delay_ms = 1\n' if "[sandbox]" not in toml else toml
        )
        self.environ = without_seed_variables() | {"PORT": "0"} | environ
        self.output: list[str] = []
        self.start()

    def start(self) -> None:
        """Starts it (again) and waits until it says where it listens."""
        command = [sys.executable, "-m", "ellara", "serve", "--config", str(self.config)]
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=self.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert self.process.stdout is not None
        watchdog = threading.Timer(START_S, self.process.kill)
        watchdog.start()
        try:
            for line in self.process.stdout:
                self.output.append(line)
                if listening := re.search(r"listens on (http://\S+)", line):
                    self.url = listening[1].rstrip("/")
                    break
            else:
                raise RuntimeError(f"the daemon ended with {self.process.wait()}:\n{''.join(self.output)}")
        finally:
            watchdog.cancel()
        self._reader = threading.Thread(target=self.output.extend, args=(self.process.stdout,), daemon=True)
        self._reader.start()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Sends the signal, waits for the end, answers the exit code; a daemon that does not end in time fails the test."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(STOP_S)
        self._reader.join(STOP_S)
        return code

    @property
    def text(self) -> str:
        return "".join(self.output)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.stop()
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
