"""hypercorn 0.18.0 made fit for hostile peers: each remedy stands beside the fact about upstream that makes it necessary.

Called by `serve` alone, which takes connections itself and hands each to `GuardedConnection`; so nothing of hypercorn is patched
in place, some of its classes are refined, here and in `hypercorn_streams`. They reach into its private names: `check_version`
refuses any other release. Deliberately absent: WebSockets (`run` gives their connections back), TLS (a proxy's work), HTTP/2 and
h2c, lifespan, access log.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus
from importlib.metadata import version
from math import inf
from typing import Any

import attrs
import h11
import msgspec
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.logging import Logger
from hypercorn.protocol.events import Body, Request, Response
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol
from hypercorn.trio.tcp_server import MAX_RECV, TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ConnectionState
from hypercorn.utils import parse_socket_addr

from ellara.errors import CannotStart
from ellara.log import get_logger
from ellara.supervision import innermost
from ellara.web.cors import allow_origin
from ellara.web.hypercorn_streams import GuardedRequest, GuardedTasks
from ellara.web.upgrade import Upgrade

log = get_logger(__name__)

KNOWN_VERSION = "0.18.0"
LINGER_S = 2.0  # as nginx's lingering_timeout is 5; a client that sends a refused body for longer sees a reset


def check_version() -> None:
    """Raises `CannotStart` unless hypercorn is the one these classes were written against."""
    if (found := version("hypercorn")) != KNOWN_VERSION:
        raise CannotStart(f"hypercorn {found} is installed, {KNOWN_VERSION} is needed: install from requirements.lock")


@attrs.frozen
class Limits:
    write_s: float
    """How long one write may wait for a peer that does not read."""
    body_s: float
    """How long a request body may take to arrive, from the end of its head."""


class GuardedConnection(TCPServer):
    """One connection, from accept to close. Whatever goes wrong on it ends it alone."""

    stream: trio.SocketStream  # type: ignore[assignment]  # declared for TLS upstream
    protocol: GuardedHttp1  # type: ignore[assignment]  # upstream wraps HTTP/1 and 2 in one class

    def __init__(
        self,
        app: AppWrapper,
        config: Config,
        context: WorkerContext,
        limits: Limits,
        cors_origins: tuple[str, ...],
        websocket_path: bytes | None,
        stream: trio.SocketStream,
    ) -> None:
        super().__init__(app, config, context, ConnectionState({}), stream)  # type: ignore[arg-type]  # as above
        self._limits = limits
        self._cors_origins = cors_origins
        self._websocket_path = websocket_path
        self._reader = trio.CancelScope()
        self._reading = trio.CancelScope()
        self._linger_until = inf

    async def run(self) -> Upgrade | None:  # type: ignore[override]  # None upstream
        """Converses until the connection is closed, or until a WebSocket is asked for: then the stream is open, and unread.

        Raises whatever upstream lets through: its own server would end with this one connection.
        """
        upgrade = None
        try:
            upgrade = await self._converse()
            return upgrade
        finally:
            if upgrade is None:
                await self._close()

    async def _converse(self) -> Upgrade | None:
        sock = self.stream.socket
        client = parse_socket_addr(sock.family, sock.getpeername())
        server = parse_socket_addr(sock.family, sock.getsockname())
        async with GuardedTasks() as tasks:
            self._task_group = tasks
            self.protocol = GuardedHttp1(
                self.app, self.config, self.context, tasks, ConnectionState({}), False, client, server, self.protocol_send
            )
            self.protocol.body_timeout_s = self._limits.body_s
            self.protocol.cors_origins = self._cors_origins
            self.protocol.websocket_path = self._websocket_path
            await self.idle_task.restart(tasks, self._idle_timeout)
            with self._reader:
                await self._read_data()
            # upstream leaves the idle timer running, so a connection that the peer closed held its descriptor for keep_alive_s
            await self.idle_task.stop()
        upgrade = self.protocol.upgrade
        del self.protocol, self._task_group  # each knows the other: a WebSocket would keep them until the next full collection
        return upgrade

    async def _read_data(self) -> None:
        """As upstream, but a body must arrive in time: upstream's idle limit does not count while a request is open."""
        while True:
            with trio.CancelScope(deadline=min(self.protocol.read_until, self._linger_until)) as self._reading:
                try:
                    data = await self.stream.receive_some(MAX_RECV)
                except (trio.ClosedResourceError, trio.BrokenResourceError):
                    break
            if self._reading.cancelled_caught:
                await self.protocol.refuse_slow_body()
                break
            if self._linger_until == inf:
                await self.protocol.handle(RawData(bytes(data)))
            if self.protocol.upgrade:
                return
            if not data:
                break
        await self.protocol.handle(Closed())

    async def protocol_send(self, event: Event) -> None:
        match event:
            case RawData():
                await self._write(event.data)
            case Closed() if self.protocol.body_unread:
                await self._linger()
            case Closed():
                await super().protocol_send(event)
                self._end_reader()
            case _:
                await super().protocol_send(event)

    def _end_reader(self) -> None:
        """Upstream has it wait for ever when the connection ends with another request already in its hands."""
        self._reader.cancel()

    async def _linger(self) -> None:
        """Upstream closes while a refused body still comes in; the reset that follows can eat the answer. Reads it off first."""
        if self._linger_until == inf:
            self._linger_until = self._reading.deadline = trio.current_time() + LINGER_S
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
                await self.stream.send_eof()
            await self.protocol.handle(Closed())

    async def _write(self, data: bytes) -> None:
        """Upstream shields a write for ever: a peer that stops reading would hold its handler, and a shutdown, for as long.

        Past the limit the connection is cut, as half a frame cannot be taken back.
        """
        async with self.send_lock:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + self._limits.write_s):
                try:
                    await self.stream.send_all(data)
                except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
                    pass  # the last: another task is just closing the connection
                else:
                    return
            await trio.aclose_forcefully(self.stream)
            self.protocol.lost = True
            await self.protocol.handle(Closed())
            self._end_reader()


class GuardedHttp1(H11Protocol):
    """HTTP/1.1 on one connection. Its own refusals are `{message}` too."""

    body_timeout_s = inf
    cors_origins: tuple[str, ...] = ()
    websocket_path: bytes | None = None
    upgrade: Upgrade | None = None
    """What was asked for: nothing more is read."""
    lost = False
    """A write failed."""
    _body_until = inf
    _origin = ""

    @property
    def body_unread(self) -> bool:
        return self.connection.their_state in (h11.SEND_BODY, h11.ERROR)

    @property
    def read_until(self) -> float:
        """When the next bytes must be here, by trio's clock."""
        return self._body_until if self.connection.their_state is h11.SEND_BODY else inf

    async def stream_send(self, event: StreamEvent) -> None:
        """Upstream closes after an answer that did not wait for its body, and does not say so: the next request is lost.

        Nor does it tell the application that what it said did not go out.
        """
        if isinstance(event, Response) and self.body_unread:
            event = replace(event, headers=[*event.headers, (b"connection", b"close")])
        await super().stream_send(event)
        if isinstance(event, Body) and self.lost:
            raise trio.BrokenResourceError("the peer is gone")

    async def refuse_slow_body(self) -> None:
        await self._close_stream()  # the application hears of it, and can no longer answer in the middle of ours
        if self.connection.our_state is h11.SEND_RESPONSE:
            await self._send_error_response(HTTPStatus.REQUEST_TIMEOUT)
        await self.send(Closed())

    async def _maybe_recycle(self) -> None:
        """Upstream closes, or waits for the next request, in the application's task, which quart cancels once it has answered.

        Then the connection stayed open for ever, without its idle limit. Nothing in here waits for the peer.
        """
        with trio.CancelScope(shield=True):
            await super()._maybe_recycle()

    async def _check_protocol(self, event: h11.Request) -> None:
        """Upstream changes to HTTP/2 here; an odd HTTP2-Settings header then ends the process."""

    async def _create_stream(self, request: h11.Request) -> None:
        self._body_until = trio.current_time() + self.body_timeout_s
        self._origin = next((value.decode("latin-1") for name, value in request.headers if name == b"origin"), "")
        for_websocket = self._asks_for_our_websocket(request)
        if status := _fault(request) or (_upgrade_fault(request) if for_websocket else None):
            await self._send_error_response(status, head=request.method == b"HEAD")
            await self.send(Closed())
            return
        if for_websocket:
            early, _ended = self.connection.trailing_data
            client = self.client[0] if self.client else ""
            self.upgrade = Upgrade(request.target, list(request.headers), early, client)
            return
        self.stream = GuardedRequest(
            self.app, self.config, self.context, self.task_group, self.ssl, self.client, self.server, self.stream_send, STREAM_ID
        )
        await self.stream.handle(
            Request(
                stream_id=STREAM_ID,
                headers=list(request.headers),
                http_version=request.http_version.decode(),
                method=request.method.decode("ascii").upper(),
                raw_path=request.target,
                state=self.connection_state,
            )
        )
        self.keep_alive_requests += 1

    def _asks_for_our_websocket(self, request: h11.Request) -> bool:
        """On another path the wish for a WebSocket is ignored, as RFC 9110, 7.8 allows: the application answers as it likes."""
        if self.websocket_path is None or request.method != b"GET" or not request.target.startswith(self.websocket_path):
            return False
        return b"upgrade" in _tokens(request, b"connection") and b"websocket" in _tokens(request, b"upgrade")

    async def _send_error_response(self, status_code: int, *, head: bool = False) -> None:
        body = msgspec.json.encode({"message": HTTPStatus(status_code).phrase})
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
            *allow_origin(self.cors_origins, self._origin),
            *self.config.response_headers("h11"),
        ]
        await self._send_h11_event(h11.Response(status_code=status_code, headers=headers))
        if not head:
            await self._send_h11_event(h11.Data(data=body))
        await self._send_h11_event(h11.EndOfMessage())


def _fault(request: h11.Request) -> HTTPStatus | None:
    """What upstream lets through and we do not."""
    names = {name for name, _ in request.headers}
    if request.http_version not in (b"1.0", b"1.1"):
        return HTTPStatus.HTTP_VERSION_NOT_SUPPORTED  # HTTP/2 with prior knowledge among them
    if not request.target.startswith((b"/", b"http://", b"https://")) and request.target != b"*":
        return HTTPStatus.BAD_REQUEST  # none of RFC 9112's forms; quart fails on an empty path
    if {b"content-length", b"transfer-encoding"} <= names:
        return HTTPStatus.BAD_REQUEST  # two lengths: behind a proxy that believes the other one, a smuggled request
    return None


def _upgrade_fault(request: h11.Request) -> HTTPStatus | None:
    if request.http_version != b"1.1":
        return HTTPStatus.BAD_REQUEST  # RFC 6455, 4.2.1
    if {b"content-length", b"transfer-encoding"} & {name for name, _ in request.headers}:
        return HTTPStatus.BAD_REQUEST  # a body would be read as frames
    return None


def _tokens(request: h11.Request, header: bytes) -> list[bytes]:
    return [token.strip().lower() for name, value in request.headers if name == header for token in value.split(b",")]


class Log(Logger):
    """What hypercorn has to say goes to our log: it says only that the application raised."""

    async def exception(self, message: str, *_args: Any, **_kwargs: Any) -> None:
        error = sys.exc_info()[1]
        if error is not None and not isinstance(innermost(error), trio.BrokenResourceError):  # that one was ours
            log.exception("application crashed", said=message)
