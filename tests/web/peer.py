"""A served SocketIO and a client made of raw requests, for the tests of Socket.IO over real sockets."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial

import attrs
import h11
import trio
from trio_websocket import WebSocketConnection, open_websocket_url

from ellara.actors.application import Ack, Application
from ellara.actors.client import Client
from ellara.settings import Server, Socket
from ellara.web.serve import WebSockets, serve_http
from ellara.web.socketio import SocketIO
from tests.counted import counted
from tests.web.hostile import frame, upgrade

POLLING, WEBSOCKET = "EIO=4&transport=polling", "EIO=4&transport=websocket"
SOON_S = 5.0
SETTINGS = Socket(recovery_s=0)  # events without offsets: what comes back is what was said


@attrs.frozen
class Response:
    status: int
    headers: Mapping[str, str]
    body: str

    @property
    def code(self) -> object:
        return json.loads(self.body)["code"]


class Bare:
    """A WebSocket by hand, for what no client says."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._data = b""

    async def says(self, *frames: bytes) -> None:
        await self.stream.send_all(b"".join(frames))

    async def hears(self) -> tuple[int, bytes] | None:
        """Opcode and payload of the next frame; None: the connection is closed."""
        head = await self._take(2)
        if not head:
            return None
        assert head[0] & 0xF0 == 0x80, "final, without extensions"
        size = head[1]
        if size > 125:
            size = int.from_bytes(await self._take(2 if size == 126 else 8), "big")
        return head[0] & 0xF, await self._take(size)

    async def text(self) -> str:
        heard = await self.hears()
        assert heard is not None
        assert heard[0] == 1, heard
        return heard[1].decode()

    async def head(self) -> str:
        """The answer to the request."""
        while b"\r\n\r\n" not in self._data:
            part = await self.stream.receive_some()
            assert part, f"closed after {self._data!r}"
            self._data += part
        head, _, self._data = self._data.partition(b"\r\n\r\n")
        return head.decode("latin-1").lower()

    async def rest(self) -> bytes:
        """Whatever comes, to the end of the stream."""
        return await self._take(sys.maxsize)

    async def _take(self, size: int) -> bytes:
        """Less at the end."""
        while len(self._data) < size:
            try:
                part = await self.stream.receive_some()
            except trio.BrokenResourceError:  # reset: what was dropped had bytes of ours to read
                part = b""
            if not part:
                break
            self._data += part
        taken, self._data = self._data[:size], self._data[size:]
        return taken


@attrs.define
class Peer:
    """A served SocketIO, and what a client does to it, each request on a connection of its own."""

    port: int
    socketio: SocketIO
    clients: list[Client] = attrs.field(factory=list)
    left: list[Client] = attrs.field(factory=list)
    somebody_left: trio.Event = attrs.field(factory=trio.Event)

    def on_leave(self, client: Client) -> None:
        self.left.append(client)
        self.somebody_left.set()

    def on_event(self, client: Client, event: str, args: list[object], ack: Ack | None) -> None:
        self.clients.append(client)
        if event == "crash":
            raise RuntimeError("our own bug")
        if event == "crash later":
            client.emit_text("x", "a text", payload=_crash)
        client.emit(event, *args)

    async def ask(self, query: str, method: str = "GET", body: bytes = b"", **headers: str) -> Response:
        with trio.fail_after(SOON_S):
            async with await trio.open_tcp_stream("127.0.0.1", self.port) as stream:
                connection = h11.Connection(h11.CLIENT)
                named = {"host": "x", "content-length": str(len(body))} | {k.replace("_", "-"): v for k, v in headers.items()}
                request = h11.Request(method=method, target=f"/socket.io/?{query}", headers=list(named.items()))
                events: tuple[h11.Event, ...] = (request, h11.Data(data=body), h11.EndOfMessage())
                await stream.send_all(b"".join(connection.send(event) or b"" for event in events))
                return await self._response(stream, connection)

    async def _response(self, stream: trio.SocketStream, connection: h11.Connection) -> Response:
        head, body = None, b""
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await stream.receive_some())
            elif isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                assert head is not None
                headers = {name.decode(): value.decode() for name, value in head.headers}
                text = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
                return Response(head.status_code, headers, text.decode())

    async def handshake(self, *more: str) -> str:
        """The query that goes on with a new polling session, in which `/` is joined. `more`: in the three requests' queries."""
        first, second, third = more or ("", "", "")
        opened = await self.ask(POLLING + first)
        query = f"{POLLING}&sid={json.loads(opened.body[1:])['sid']}"
        await self.ask(query + second, "POST", b"40")
        assert (await self.ask(query + third)).body.startswith('40{"sid":')
        return query

    async def raw(self, request: str) -> trio.SocketStream:
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        await stream.send_all(f"{request}\r\n".encode())
        return stream

    @asynccontextmanager
    async def bare(self, request: bytes = upgrade(), *, joined: bool = True) -> AsyncIterator[Bare]:
        """`joined`: the 101 was read, and `/` is joined."""
        with trio.fail_after(2 * SOON_S):
            async with await trio.open_tcp_stream("127.0.0.1", self.port) as stream:
                ws = Bare(stream)
                await ws.says(request)
                if joined:
                    assert (await ws.head()).startswith("http/1.1 101 ")
                    assert (await ws.text()).startswith("0{")
                    await ws.says(frame(b"40"))
                    assert (await ws.text()).startswith('40{"sid":')
                yield ws

    async def client(self, ws: Bare) -> Client:
        """The one that is joined over it."""
        await ws.says(frame(b'42["x"]'))
        assert (await ws.text()).startswith('42["x"')
        return self.clients[-1]

    @asynccontextmanager
    async def websocket(self, query: str = WEBSOCKET) -> AsyncIterator[WebSocketConnection]:
        with trio.fail_after(2 * SOON_S):
            async with open_websocket_url(f"ws://127.0.0.1:{self.port}/socket.io/?{query}") as ws:
                yield ws

    async def join(self, ws: WebSocketConnection) -> None:
        assert str(await ws.get_message()).startswith("0{")
        await ws.send_message("40")
        assert str(await ws.get_message()).startswith('40{"sid":')


def _crash(_text: str) -> object:
    raise RuntimeError("our own bug, where it is written")


@asynccontextmanager
async def serving(
    settings: Socket = SETTINGS,
    origins: tuple[str, ...] = ("*",),
    write_timeout_s: float = 1.0,
    trusted_proxies: tuple[str, ...] = (),
) -> AsyncIterator[Peer]:
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        peer: Peer
        server = Server(port=0, stop_s=0.5, write_timeout_s=write_timeout_s, trusted_proxies=trusted_proxies)
        socketio = SocketIO(
            settings,
            origins,
            server.write_timeout_s,
            Application(
                authenticate=lambda auth: None,
                on_event=lambda *args: peer.on_event(*args),
                on_excess=lambda client, ack: client.emit("too fast"),
                on_leave=lambda client: peer.on_leave(client),
            ),
        )
        await nursery.start(socketio.run)
        websockets = WebSockets(b"/socket.io/", socketio.websocket)
        url = await nursery.start(partial(serve_http, socketio, server, stop, websockets=websockets))
        peer = Peer(int(url.rpartition(":")[2]), socketio)
        yield peer
        await socketio.close(within_s=0.01)
        stop.set()
        nursery.cancel_scope.cancel()


def crashes() -> float:
    return sum(counted("actor_crashes_total", actor=actor) for actor in ("session", "socket"))
