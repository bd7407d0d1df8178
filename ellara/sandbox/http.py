"""The HTTP/1.1 shell under the sandbox's servers: loopback only, requests read whole, answers sent whole or in chunks.

Called by assistant/server.py and evm/server.py. h11 knows the protocol; this moves its bytes and keeps time. A handler's crash
is a 500, never the server's end. A peer that leaves (a half-close counts too) cancels its handler where it stands. On purpose it
can also misbehave, for faults: `raw`, `abort`, a handler that never returns, or one that returns with its body unfinished.
Absent: TLS, compression, routing, WebSocket.
"""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from socket import SO_LINGER, SOL_SOCKET
from urllib.parse import parse_qsl, unquote, urlsplit

import attrs
import h11
import msgspec
import trio

from ellara.supervision import contained

HOST = "127.0.0.1"
BACKLOG = 4096
HEAD_MAX_BYTES = 64 * 1024
BODY_MAX_BYTES = 16 * 1024 * 1024
READ_BYTES = 64 * 1024
AHEAD_MAX_BYTES = 64 * 1024
"""Read of the next requests while one is being answered; past it nobody notices a peer that leaves."""
IDLE_S = 75.0
"""For a whole request to arrive, the wait before it included; longer than clients keep an idle connection."""
LINGER_S = 1.0

Headers = Sequence[tuple[str, str]]


@attrs.frozen
class Request:
    method: str
    path: str
    """Percent-decoded, without the query."""
    query: Mapping[str, str]
    """The first value of each name."""
    headers: Mapping[str, str]
    """Lower-case names; of a repeated one the last value."""
    body: bytes


class Response:
    """One answer: either `send`, or `start`, `chunk`…, `finish`. Once the peer has left, every method raises `Cancelled`."""

    def __init__(
        self, stream: trio.SocketStream, wire: h11.Connection, scope: trio.CancelScope, *, bodiless: bool = False
    ) -> None:
        self._stream, self._wire, self._scope = stream, wire, scope
        self._bodiless = bodiless
        self.begun = False

    async def send(self, status: int, body: bytes, content_type: str = "application/json", headers: Headers = ()) -> None:
        """The whole answer, in one write."""
        head = self._head(status, [*headers, ("content-type", content_type), ("content-length", str(len(body)))])
        await self._write(head + self._bytes(h11.Data(data=b"" if self._bodiless else body)) + self._bytes(h11.EndOfMessage()))

    async def start(self, status: int, headers: Headers) -> None:
        """The head of a chunked answer."""
        await self._write(self._head(status, [*headers, ("transfer-encoding", "chunked")]))

    async def chunk(self, *parts: bytes) -> None:
        """Each part as a chunk of its own, all in one write."""
        await self._write(b"".join(self._bytes(h11.Data(data=part)) for part in parts))

    async def finish(self) -> None:
        await self._write(self._bytes(h11.EndOfMessage()))

    async def raw(self, data: bytes) -> None:
        """Bytes as they are, past all framing; the connection takes no other request."""
        self.begun = True
        await self._write(data)

    def abort(self) -> None:
        """Resets the connection (RST) and cancels the handler."""
        self.begun = True
        self._stream.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        self._scope.cancel()

    def _head(self, status: int, headers: Headers) -> bytes:
        self.begun = True
        return self._bytes(h11.Response(status_code=status, headers=[(name.encode(), value.encode()) for name, value in headers]))

    def _bytes(self, event: h11.Event) -> bytes:
        return self._wire.send(event) or b""

    async def _write(self, data: bytes) -> None:
        try:
            await self._stream.send_all(data)
        except trio.BrokenResourceError:
            self._scope.cancel()
            await trio.lowlevel.checkpoint()


Handler = Callable[[Request, Response], Awaitable[None]]


async def serve(handler: Handler, port: int = 0, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
    """Serves until cancelled, which also ends every connection. Started with the bound port. Raises `OSError` if it is in use."""

    async def converse(stream: trio.SocketStream) -> None:
        with contained("sandbox connection"):
            await _Connection(stream, handler).run()

    listeners = await trio.open_tcp_listeners(port, host=HOST, backlog=BACKLOG)
    task_status.started(listeners[0].socket.getsockname()[1])
    await trio.serve_listeners(converse, listeners)


class _Connection:
    """One peer; its requests are answered one after another, in order."""

    def __init__(self, stream: trio.SocketStream, handler: Handler) -> None:
        self._stream = stream  # trio has set TCP_NODELAY on it
        self._handler = handler
        self._wire = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_MAX_BYTES)

    async def run(self) -> None:
        async with self._stream:
            with suppress(trio.BrokenResourceError):
                while await self._one_request():
                    self._wire.start_next_cycle()

    async def _one_request(self) -> bool:
        """Whether the connection can be used for another."""
        request = None
        try:
            with trio.move_on_after(IDLE_S):
                request = await self._read_request()
        except h11.RemoteProtocolError as error:
            await self._refuse(error)
        if request is not None:
            await self._answer(request)
        return self._wire.our_state is h11.DONE and self._wire.their_state is h11.DONE

    async def _read_request(self) -> Request | None:
        """None when the peer leaves instead."""
        head, body = None, bytearray()
        while True:
            event = self._wire.next_event()
            if event is h11.NEED_DATA:
                await self._read_more()
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > BODY_MAX_BYTES:
                    raise h11.RemoteProtocolError(f"The body exceeds {BODY_MAX_BYTES} bytes", error_status_hint=413)
            else:
                return _parsed(head, bytes(body)) if head is not None and isinstance(event, h11.EndOfMessage) else None

    async def _read_more(self) -> None:
        if self._wire.they_are_waiting_for_100_continue:
            await self._stream.send_all(self._wire.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
        self._wire.receive_data(await self._stream.receive_some(READ_BYTES))

    async def _answer(self, request: Request) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, nursery.cancel_scope)
            response = Response(self._stream, self._wire, nursery.cancel_scope, bodiless=request.method == "HEAD")
            with contained("sandbox server"):
                await self._handler(request, response)
            if not response.begun:
                await response.send(500, _sentence("The sandbox server failed to answer; its log says why"))
            nursery.cancel_scope.cancel()

    async def _watch(self, answering: trio.CancelScope) -> None:
        """Cancels the handler when the peer leaves; what it sends meanwhile belongs to its next requests."""
        with suppress(trio.BrokenResourceError):
            while len(self._wire.trailing_data[0]) < AHEAD_MAX_BYTES:
                data = await self._stream.receive_some(READ_BYTES)
                if not data:
                    break
                self._wire.receive_data(data)
            else:
                await trio.sleep_forever()
        answering.cancel()

    async def _refuse(self, error: h11.RemoteProtocolError) -> None:
        """Answers a bad request, then reads on for a moment: closing with bytes unread would reset it and lose the answer."""
        with trio.CancelScope() as scope:
            response = Response(self._stream, self._wire, scope)
            await response.send(error.error_status_hint, _sentence(str(error)), headers=[("connection", "close")])
            await self._stream.send_eof()
            with trio.move_on_after(LINGER_S):
                while await self._stream.receive_some(READ_BYTES):
                    pass


def _parsed(head: h11.Request, body: bytes) -> Request:
    try:
        target = urlsplit(head.target.decode("ascii"))
    except ValueError as error:
        raise h11.RemoteProtocolError(f"Bad request target: {error}") from None
    query = dict(reversed(parse_qsl(target.query, keep_blank_values=True)))
    headers = {name.decode("ascii"): value.decode("latin-1") for name, value in head.headers}
    return Request(head.method.decode("ascii"), unquote(target.path), query, headers, body)


def _sentence(message: str) -> bytes:
    return msgspec.json.encode({"error": {"message": message}})
