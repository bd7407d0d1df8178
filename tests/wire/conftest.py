"""An echo server as a process of its own, and the JavaScript client."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.wire.node import JsClient

ROOT = Path(__file__).parent.parent.parent


class EchoServer:
    """tests/wire/echo_server.py with these settings of [socket]; started again, it takes the same port."""

    def __init__(self, **settings: float) -> None:
        self.port, self._settings = 0, settings
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.wire.echo_server", str(self.port), json.dumps(self._settings)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        self.url = self._line()
        self.port = int(self.url.rpartition(":")[2])

    def sees_leave(self, sid: object) -> None:
        """Waits until that client has left."""
        while self._line() != f"left {sid}":
            pass

    def stop(self) -> None:
        self._process.terminate()
        assert self._process.wait(timeout=10.0) == 0

    def kill(self) -> None:
        """For a test that leaves sessions behind, which a stop would wait for."""
        self._process.kill()
        self._process.communicate()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the echo server ended"
        return line.strip()


@pytest.fixture(scope="session")
def echo() -> Iterator[EchoServer]:
    """For all tests that leave it as it is. Without recovery, so that what comes back is what was said."""
    server = EchoServer(recovery_s=0)
    yield server
    server.stop()


@pytest.fixture
def own_echo() -> Iterator[EchoServer]:
    """For a test that stops it; its clients are kept by a quick heartbeat."""
    server = EchoServer(ping_interval_s=0.1, recovery_s=0)
    yield server
    server.kill()


@pytest.fixture(scope="session")
def node() -> Iterator[JsClient]:
    with JsClient() as client:
        yield client


@pytest.fixture
def js(node: JsClient) -> Iterator[JsClient]:
    """The one Node process of the session, without sockets."""
    yield node
    node.forget()
