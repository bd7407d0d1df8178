"""hypercorn under our own nursery: accept, converse, and stop in order.

Called by the daemon. The connections' own code, with its remedies, is in `hypercorn_guard`; which path does what is in `app`.
A connection that asks for a WebSocket is taken over from hypercorn: whoever serves those gets the bare stream.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Awaitable, Callable
from functools import partial

import attrs
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework

from ellara.errors import CannotStart
from ellara.log import get_logger
from ellara.mailbox import Bell
from ellara.metrics import CONNECTION_FAULTS, CONNECTIONS, CONNECTIONS_REFUSED
from ellara.settings import Server
from ellara.supervision import innermost
from ellara.web.addresses import UNKNOWN, Proxies, normal
from ellara.web.admission import Places, Refusal
from ellara.web.hypercorn_guard import GuardedConnection, Log, check_version
from ellara.web.hypercorn_http1 import Terms, refusal
from ellara.web.last_words import refuse
from ellara.web.upgrade import Upgrade

log = get_logger(__name__)

BACKLOG = 2_048  # a whole town reconnecting after a restart; the kernel caps it at somaxconn
REQUESTS_PER_CONNECTION = 1_000_000  # upstream's 1000 loses requests pipelined behind the last
REFUSED_MAX = 100  # of them at once; descriptors are kept for so many, and the next one is closed without a word


@attrs.frozen
class WebSockets:
    path: bytes
    """What the targets of their requests begin with."""
    serve: Callable[[trio.SocketStream, Upgrade], Awaitable[None]]
    """Answers the request and converses to the end; the stream is closed behind it."""


async def serve_http(
    app: ASGIFramework,
    settings: Server,
    stop: trio.Event,
    *,
    websockets: WebSockets | None = None,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serves until `stop` is set: then accepts no more, lets open requests end within `settings.stop_s`, and cuts what is left.

    Starts with the URL bound (port 0 takes a free one); raises `CannotStart`. To end WebSockets in order is the work of who
    serves them: at the deadline they see the stream closed.
    """
    check_version()
    listeners = await _listen(settings)
    context = WorkerContext(None)
    terms = Terms(settings, Proxies.parse(settings.trusted_proxies), websockets.path if websockets else None)
    connections = _Connections(partial(GuardedConnection, ASGIWrapper(app), _config(), context, terms), terms, websockets)
    async with trio.open_nursery() as nursery:
        try:
            async with trio.open_nursery() as accepting:
                accepting.start_soon(partial(trio.serve_listeners, connections.take, listeners, handler_nursery=nursery))
                task_status.started(_url(listeners[0]))
                await stop.wait()
                accepting.cancel_scope.cancel()
            await context.terminated.set()
            connections.stop()
            with trio.move_on_after(settings.stop_s):
                await connections.none_left()
        finally:
            connections.cut()
            nursery.cancel_scope.cancel()


Connect = Callable[[trio.SocketStream, tuple[str, int]], GuardedConnection]


class _Connections:
    """The open ones: counted, so that there are no more than may be, and to be waited for and cut at the end."""

    def __init__(self, connect: Connect, terms: Terms, websockets: WebSockets | None) -> None:
        self._connect = connect
        self._terms = terms
        self._websockets = websockets
        self._places = Places(terms.settings.connections_max, terms.settings.connections_per_address_max, "connections")
        self._open: dict[trio.SocketStream, GuardedConnection | None] = {}
        """None: a WebSocket, of which hypercorn knows no longer."""
        self._refused = 0
        self._left = Bell()

    async def take(self, stream: trio.SocketStream) -> None:
        """One connection to its end; trio closes the stream behind it. Whatever goes wrong on it ends it alone."""
        try:
            await self._admit(stream)
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the peer left
        except Exception as error:  # noqa: BLE001 - the HTTP edge; one line, not a trace that anybody outside could fill the log with
            CONNECTION_FAULTS.inc()
            log.warning("connection ended by a fault", fault=repr(innermost(error)))

    async def _admit(self, stream: trio.SocketStream) -> None:
        host, port = stream.socket.getpeername()[:2]
        peer = normal(host)
        counted = UNKNOWN if self._terms.proxies.include(peer) else peer
        if refused := self._places.take(counted):
            await self._refuse(stream, refused)
            return
        CONNECTIONS.inc()
        try:
            await self._serve(stream, (peer, port))
        finally:
            CONNECTIONS.dec()
            self._places.release(counted)
            del self._open[stream]
            self._left.ring()

    async def _serve(self, stream: trio.SocketStream, peer: tuple[str, int]) -> None:
        self._open[stream] = connection = self._connect(stream, peer)
        upgrade = await connection.run()
        self._open[stream] = None
        del connection
        if upgrade is not None and self._websockets is not None:
            websocket = self._websockets.serve(stream, upgrade)
            del upgrade  # a WebSocket lives for days, and needs its request for an instant
            await websocket

    async def _refuse(self, stream: trio.SocketStream, refused: Refusal) -> None:
        """Its request is not looked at, so that a page of a named origin is not told why."""
        CONNECTIONS_REFUSED.labels(reason=refused.reason).inc()
        if self._refused >= REFUSED_MAX:
            return
        self._refused += 1
        headers, body = refusal(refused.message, self._terms.settings.cors_origins, "")
        try:
            await refuse(stream, refused.status, body, [*headers, refused.retry_after])
        finally:
            self._refused -= 1

    def stop(self) -> None:
        for connection in self._open.values():
            if connection is not None:
                connection.stop()

    async def none_left(self) -> None:
        while self._open:
            await self._left.heard()

    def cut(self) -> None:
        """A write is shielded: only closing its socket ends it at once."""
        for stream in self._open:
            stream.socket.close()


async def _listen(settings: Server) -> list[trio.SocketListener]:
    where = f"port {settings.port} of {settings.host}"
    try:
        return await trio.open_tcp_listeners(settings.port, host=settings.host, backlog=BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CannotStart(f"{where} is in use: stop the program that listens there, or choose another server.port") from None
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise CannotStart(f"cannot listen on {where}: {reason}") from None


def _url(listener: trio.SocketListener) -> str:
    host, port = listener.socket.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _config() -> Config:
    """Of hypercorn's settings, those that its connections read. Its access log copies the environment into each line: off."""
    config = Config()
    config.accesslog, config.errorlog, config.logger_class = None, None, Log
    config.include_server_header = False
    config.keep_alive_max_requests = REQUESTS_PER_CONNECTION
    return config
