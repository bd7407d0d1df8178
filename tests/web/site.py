"""An application behind the real server, and the bytes that a peer sends it: for the tests of the server itself."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import attrs
import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable

from ellara.settings import Server
from ellara.web.serve import serve_http

SETTINGS = Server(port=0, stop_s=0.3, write_timeout_s=0.3, body_timeout_s=0.3, keep_alive_s=1)
SOON_S = 5.0


@attrs.define
class Application:
    """/slow and /deaf wait for `go` and read no body; /flood writes without end; a WebSocket echoes, at /sends it only sends."""

    go: trio.Event = attrs.field(factory=trio.Event)
    arrived: trio.Event = attrs.field(factory=trio.Event)
    ended: trio.Event = attrs.field(factory=trio.Event)
    turns: int = 0

    async def __call__(self, scope: Any, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        answers: dict[str, Callable[..., Any]] = {"http": self.http, "websocket": self.websocket}
        try:
            await answers[scope["type"]](scope["path"], receive, send)
        finally:
            self.ended.set()

    async def http(self, path: str, receive: Any, send: Any) -> None:
        self.arrived.set()
        if path == "/hasty":
            self.go.set()
            await self.hasty(receive, send)
            return
        if path in ("/slow", "/deaf"):
            await self.go.wait()
        while path not in ("/slow", "/deaf") and (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")] * (path != "/flood")})
        while path == "/flood":
            await send({"type": "http.response.body", "body": bytes(1_000_000), "more_body": True})
        await send({"type": "http.response.body", "body": b"ok"})

    async def hasty(self, receive: Any, send: Any) -> None:
        """As quart: what reads cancels what answers once it hears of the end."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.http, "/slow", receive, send)
            while (await receive())["type"] != "http.disconnect":
                pass
            nursery.cancel_scope.cancel()

    async def websocket(self, path: str, receive: Any, send: Any) -> None:
        self.arrived.set()
        await receive()
        if path == "/slow":
            await self.go.wait()
        await send({"type": "websocket.accept"})
        while path == "/sends":
            self.turns += 1
            await send({"type": "websocket.send", "text": "x" * 10_000})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})


@attrs.define
class Site:
    port: int
    app: Application
    stop: trio.Event
    stopped: trio.Event

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.port)

    async def say(self, data: bytes) -> bytes:
        """Sends, then reads to the end of the stream."""
        async with await self.connect() as stream:
            with trio.fail_after(SOON_S):
                await stream.send_all(data)
                return b"".join([part async for part in stream])


async def serve(site: Site, *, task_status: trio.TaskStatus[str]) -> None:
    await serve_http(site.app, SETTINGS, site.stop, message_max_bytes=1_000, task_status=task_status)
    site.stopped.set()


def request(path: str = "/", *more: bytes) -> bytes:
    return b"".join([b"GET %s HTTP/1.1\r\nhost: a\r\n" % path.encode(), *(line + b"\r\n" for line in more), b"\r\n"])


def upgrade(path: str = "/", *more: bytes) -> bytes:
    head = (b"upgrade: websocket", b"connection: Upgrade", b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==")
    return request(path, *head, b"sec-websocket-version: 13", *more)


def frame(payload: bytes, opcode: int = 1) -> bytes:
    """Final, masked with zeros."""
    size = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + struct.pack("!H", len(payload))
    return bytes([0x80 | opcode]) + size + bytes(4) + payload


async def read_until(stream: trio.SocketStream, end: bytes) -> bytes:
    data = b""
    with trio.fail_after(SOON_S):
        while not data.endswith(end):
            part = await stream.receive_some()
            assert part, f"the stream ended after {data!r}"
            data += part
    return data


async def answers(site: Site) -> bool:
    return (await site.say(request("/", b"connection: close"))).endswith(b"ok")
