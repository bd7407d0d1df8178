"""A page of the frontend as the server sees it: an HTTP client and one Socket.IO socket, of either client library."""

from __future__ import annotations

import queue
import secrets
from functools import cache
from types import TracebackType
from typing import Any, Protocol, Self

import httpx2
import socketio

from tests.wire.node import JsClient

HEAR_S = 20.0
ENDS = ("bot_end", "bot_error")
CONNECTION = ("connect", "upgrade", "disconnect", "connect_error")
"""What the JavaScript client tells of its connection; the rest are the server's events."""

Heard = tuple[str, list[Any]]


def without_offset(event: str, args: list[Any]) -> Heard:
    """As a page takes it: every event carries one more argument for connection state recovery, which no handler reads."""
    *read, offset = args
    assert isinstance(offset, str)
    assert offset.isdigit()
    return event, read


class Socket(Protocol):
    """Hears the events of the contract, in order."""

    def emit(self, event: str, *args: object) -> None: ...
    def ask(self, event: str, *args: object) -> list[Any]: ...
    def hear(self) -> Heard: ...
    def close(self) -> None: ...


@cache
def node() -> JsClient:
    """One for all pages, since starting it takes longer than most tests; it ends with this process, which holds its input."""
    return JsClient()


class JsSocket:
    """The unmodified socket.io-client 4.8 under Node."""

    def __init__(self, url: str, **options: Any) -> None:
        self._name = secrets.token_hex(4)
        node().open(url, self._name, **options)
        node().hears("connect", self._name)

    def emit(self, event: str, *args: object) -> None:
        node().emit(event, *args, socket=self._name)

    def ask(self, event: str, *args: object) -> list[Any]:
        return node().ask(event, *args, socket=self._name)

    def hear(self) -> Heard:
        while (heard := node().hears_any(self._name))[0] in CONNECTION:
            pass
        return without_offset(*heard)

    def close(self) -> None:
        node().disconnect(self._name)


class PythonSocket:
    """python-socketio's client."""

    def __init__(self, url: str, **options: Any) -> None:
        base, namespace = (url.removesuffix("/ws"), "/ws") if url.endswith("/ws") else (url, "/")
        self._heard: queue.SimpleQueue[Heard] = queue.SimpleQueue()
        self._namespace = namespace
        self._client = socketio.Client(reconnection=False, handle_sigint=False)
        self._client.on("*", lambda event, *args: self._heard.put(without_offset(event, list(args))), namespace=namespace)
        self._client.connect(base, namespaces=[namespace], wait_timeout=10, **options)

    def emit(self, event: str, *args: object) -> None:
        self._client.emit(event, args, namespace=self._namespace)

    def ask(self, event: str, *args: object) -> list[Any]:
        return [self._client.call(event, args, namespace=self._namespace, timeout=HEAR_S)]

    def hear(self) -> Heard:
        return self._heard.get(timeout=HEAR_S)

    def close(self) -> None:
        self._client.disconnect()


class Page:
    """Signed in as a new user; `library` is the socket's."""

    def __init__(
        self, url: str, library: type[JsSocket | PythonSocket] = PythonSocket, *, path: str = "", **options: Any
    ) -> None:
        self.http = httpx2.Client(base_url=url + "/api/v1", trust_env=False, timeout=HEAR_S)
        self.user = self.http.post("/auth/me", json={"publicKey": "0x" + secrets.token_hex(20)}).json()
        self.http.headers["authorization"] = f"Bearer {self.user['token']}"
        self.socket: Socket = library(url + path, **options)

    def say(self, question: str, chat_id: str | None = None) -> None:
        self.socket.emit("message", {"question": question, "userId": self.user["id"]} | ({"chatId": chat_id} if chat_id else {}))

    def hear_answer(self) -> list[Heard]:
        """Every event up to the one that ends the answer."""
        heard = [self.socket.hear()]
        while heard[-1][0] not in ENDS:
            heard.append(self.socket.hear())
        return heard

    def ask(self, question: str, chat_id: str | None = None) -> list[Heard]:
        self.say(question, chat_id)
        return self.hear_answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.socket.close()
        self.http.close()


def names(heard: list[Heard]) -> list[str]:
    """The events' names, a run of chunks as one."""
    return [event for number, (event, _) in enumerate(heard) if event != "bot_chunk" or heard[number - 1][0] != "bot_chunk"]


def text(heard: list[Heard]) -> str:
    """What the page shows: the chunks joined."""
    return "".join(args[0]["content"][0]["text"]["value"] for event, args in heard if event == "bot_chunk")


def first(heard: list[Heard], event: str) -> Any:
    """The first argument of the first such event."""
    return next(args[0] for name, args in heard if name == event)
