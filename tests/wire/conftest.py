"""An echo server as a process of its own, and the JavaScript client."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.wire.node import JsClient

ROOT = Path(__file__).parent.parent.parent


class EchoServer:
    """tests/wire/echo_server.py; started again, it takes the same port."""

    def __init__(self, ping_interval_s: float = 25.0) -> None:
        self._port, self._ping_interval_s = 0, ping_interval_s
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.wire.echo_server", str(self._port), str(self._ping_interval_s)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        self.url = self.line()
        self._port = int(self.url.rpartition(":")[2])

    def line(self) -> str:
        """The next line that it prints."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def stop(self) -> None:
        self._process.terminate()
        assert self._process.wait(timeout=10.0) == 0


@pytest.fixture
def echo() -> Iterator[EchoServer]:
    server = EchoServer()
    yield server
    server.stop()


@pytest.fixture
def js() -> Iterator[JsClient]:
    with JsClient() as client:
        yield client
