"""hypercorn 0.18.0 made fit for hostile peers: each remedy stands beside the fact about upstream that makes it necessary.

Called by `serve` alone, which takes connections itself and hands each to `GuardedConnection`; so nothing of hypercorn is patched
in place, some of its classes are refined, here and in `hypercorn_http1` and `hypercorn_streams`. They reach into its private
names: `check_version` refuses any other release. Deliberately absent: WebSockets (`run` gives their connections back), TLS (a
proxy's work), HTTP/2 and h2c, lifespan, access log.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib.metadata import version
from math import inf
from typing import Any

import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.logging import Logger
from hypercorn.trio.tcp_server import MAX_RECV, TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ConnectionState
from hypercorn.utils import parse_socket_addr

from ellara.errors import CannotStart
from ellara.log import get_logger
from ellara.supervision import innermost
from ellara.web.hypercorn_http1 import GuardedHttp1, Terms
from ellara.web.hypercorn_streams import GuardedTasks
from ellara.web.upgrade import Upgrade

log = get_logger(__name__)

KNOWN_VERSION = "0.18.0"
PIECE_BYTES = 65_536  # of an answer: each has its own deadline, so that a slow peer is told from one that does not read
LINGER_S = 2.0  # as nginx's lingering_timeout is 5; a client that sends a refused body for longer sees a reset


def check_version() -> None:
    """Raises `CannotStart` unless hypercorn is the one these classes were written against."""
    if (found := version("hypercorn")) != KNOWN_VERSION:
        raise CannotStart(f"hypercorn {found} is installed, {KNOWN_VERSION} is needed: install from requirements.lock")


class GuardedConnection(TCPServer):
    """One connection, from accept to close; `peer`: its address and port."""

    stream: trio.SocketStream  # type: ignore[assignment]  # declared for TLS upstream
    protocol: GuardedHttp1  # type: ignore[assignment]  # upstream wraps HTTP/1 and 2 in one class

    def __init__(
        self,
        app: AppWrapper,
        config: Config,
        context: WorkerContext,
        terms: Terms,
        stream: trio.SocketStream,
        peer: tuple[str, int],
    ) -> None:
        super().__init__(app, config, context, ConnectionState({}), stream)  # type: ignore[arg-type]  # as above
        self._write_timeout_s = terms.settings.write_timeout_s
        server = parse_socket_addr(stream.socket.family, stream.socket.getsockname())
        self._task_group = GuardedTasks()
        self.protocol = GuardedHttp1(app, config, context, self._task_group, terms, peer, server, self.protocol_send)
        self._life = trio.CancelScope()
        self._reading = trio.CancelScope()
        self._linger_until = inf

    async def run(self) -> Upgrade | None:  # type: ignore[override]  # None upstream
        """Converses until the connection is closed, or until a WebSocket is asked for: then the stream is open, and unread.

        Raises whatever upstream lets through: its own server would end with this one connection.
        """
        try:
            async with self._task_group:
                with self._life:
                    await self._read_data()
            if self.protocol.upgrade is None:
                await self._close()
            return self.protocol.upgrade
        finally:
            del self.protocol, self._task_group  # each knows the other: they would wait for the next full garbage collection

    def stop(self) -> None:
        """No more requests are taken: an idle connection ends now; upstream closes another one behind its answer."""
        self._reading.deadline = self._read_until

    @property
    def _read_until(self) -> float:
        return min(self.protocol.read_until, self._linger_until)

    async def _read_data(self) -> None:
        """Upstream has no limit for a body, the same for a slow head as for an idle connection, and a task to keep it.

        Here the reader itself has the deadline of whatever it reads.
        """
        while True:
            with trio.CancelScope(deadline=self._read_until) as self._reading:
                try:
                    data = await self.stream.receive_some(MAX_RECV)
                except (trio.ClosedResourceError, trio.BrokenResourceError):
                    break
            if self._reading.cancelled_caught:
                await self.protocol.refuse_slow()
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
                await self._close()
                await self._end()
            case Updated():
                self._reading.deadline = self._read_until

    async def _end(self) -> None:
        """Upstream lets the reader wait for ever when the connection ends with another request already in its hands."""
        await self.protocol.handle(Closed())
        self._life.cancel()

    async def _linger(self) -> None:
        """Upstream closes while a refused body still comes in; the reset that follows can eat the answer. Reads it off first."""
        if self._linger_until == inf:
            self._linger_until = self._reading.deadline = trio.current_time() + LINGER_S
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
                await self.stream.send_eof()
            await self.protocol.handle(Closed())

    async def _write(self, data: bytes) -> None:
        """Upstream shields a write for ever: a peer that stops reading would hold its handler, and a shutdown, for as long.

        Past the limit the connection is cut, as half an answer cannot be taken back.
        """
        async with self.send_lock:
            with trio.CancelScope(shield=True) as writing:
                try:
                    for begin in range(0, len(data), PIECE_BYTES):
                        writing.deadline = trio.current_time() + self._write_timeout_s
                        await self.stream.send_all(data[begin : begin + PIECE_BYTES])
                except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
                    pass  # the last: another task is just closing the connection
                else:
                    return
            await trio.aclose_forcefully(self.stream)
            self.protocol.lost = True
            await self._end()


class Log(Logger):
    """What hypercorn has to say goes to our log: it says only that the application raised."""

    async def exception(self, message: str, *_args: Any, **_kwargs: Any) -> None:
        error = sys.exc_info()[1]
        if error is not None and not isinstance(innermost(error), trio.BrokenResourceError):  # that one was ours
            log.exception("application crashed", said=message)
