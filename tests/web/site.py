"""An application behind the real server, and the bytes that a peer sends it: for the tests of the server itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable

from ellara.settings import Server
from ellara.web.serve import WebSockets, serve_http
from ellara.web.upgrade import Upgrade
from tests.web.hostile import request

SETTINGS = Server(port=0, stop_s=2.0, write_timeout_s=0.3, body_timeout_s=0.3, head_timeout_s=0.3, keep_alive_s=1)
SOON_S = 5.0
LONG = ("/flood", "/large")


@attrs.define
class Application:
    """/slow and /deaf wait for `go` and read no body; /flood writes without end, /large once. WebSockets: `websocket`."""

    go: trio.Event = attrs.field(factory=trio.Event)
    arrived: trio.Event = attrs.field(factory=trio.Event)
    ended: trio.Event = attrs.field(factory=trio.Event)
    broken: trio.Event = attrs.field(factory=trio.Event)
    """It heard that what it said did not arrive."""
    upgrades: list[Upgrade] = attrs.field(factory=list)
    clients: list[object] = attrs.field(factory=list)

    async def __call__(self, scope: Any, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        assert scope["type"] == "http"
        self.clients.append(scope["client"])
        try:
            await self.http(scope["path"], receive, send)
        except trio.BrokenResourceError:
            self.broken.set()
            raise
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
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")] * (path not in LONG)})
        while path == "/flood":
            await send({"type": "http.response.body", "body": bytes(1_000_000), "more_body": True})
        await send({"type": "http.response.body", "body": bytes(20_000_000) if path == "/large" else b"ok"})

    async def hasty(self, receive: Any, send: Any) -> None:
        """As quart: what reads cancels what answers once it hears of the end."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.http, "/slow", receive, send)
            while (await receive())["type"] != "http.disconnect":
                pass
            nursery.cancel_scope.cancel()

    async def websocket(self, stream: trio.SocketStream, upgrade: Upgrade) -> None:
        """Says 101, then the bytes that it hears, those of the request's segment first; /socket.io/crash is a bug of ours."""
        self.arrived.set()
        if upgrade.target.endswith(b"crash"):
            raise RuntimeError("our own bug")
        await stream.send_all(b"HTTP/1.1 101 \r\n\r\n" + upgrade.early)
        self.upgrades.append(upgrade)
        async for data in stream:
            await stream.send_all(data)
        self.ended.set()


@attrs.define
class Site:
    port: int
    app: Application
    stop: trio.Event
    stopped: trio.Event

    async def connect(self, source: str = "127.0.0.1") -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.port, local_address=source)

    async def say(self, data: bytes) -> bytes:
        """Sends, then reads to the end of the stream."""
        async with await self.connect() as stream:
            with trio.fail_after(SOON_S):
                await stream.send_all(data)
                return b"".join([part async for part in stream])


@asynccontextmanager
async def serving(settings: Server = SETTINGS) -> AsyncIterator[Site]:
    site = Site(0, Application(), trio.Event(), trio.Event())
    async with trio.open_nursery() as nursery:
        url = await nursery.start(_serve, site, settings)
        site.port = int(url.rpartition(":")[2])
        yield site
        nursery.cancel_scope.cancel()


async def _serve(site: Site, settings: Server, *, task_status: trio.TaskStatus[str]) -> None:
    websockets = WebSockets(b"/socket.io/", site.app.websocket)
    await serve_http(site.app, settings, site.stop, websockets=websockets, task_status=task_status)
    site.stopped.set()


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
