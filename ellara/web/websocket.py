"""WebSockets of Socket.IO, on connections taken over from the HTTP server: bytes in, frames out.

wsproto speaks the protocol; what is here moves bytes and keeps time. A `Line` is one WebSocket, read by the task of its
connection. It is written by the `Flusher`: once a turn of the loop, for all lines that have something to send, with one system
call each; only a line whose peer does not keep up gets a task for a while. So an idle line is one waiting task, and frames that
wait together leave together. Absent: what the frames mean, HTTP.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from math import inf

import attrs
import trio
from wsproto.connection import Connection, ConnectionState
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage
from wsproto.frame_protocol import CloseReason

from ellara.actors.outbox import Outbox, bytes_of
from ellara.actors.session import Session
from ellara.actors.timers import Timer, Timers
from ellara.mailbox import Bell
from ellara.metrics import MESSAGES_REFUSED, SESSIONS_DROPPED
from ellara.protocol import engineio
from ellara.supervision import contained
from ellara.web.websocket_handshake import release

READ_BYTES = 16_384
"""At once."""

MESSAGES_PER_TURN = 10
"""Of one read, between two turns of the loop; and one that is longer than a read alone: others wait as long as these take."""

LATE_MAX_BYTES = 65_536
"""Behind our close frame. What a peer sends on and on is not worth looking at for its own."""

CLOSE_WAIT_S = 5.0
"""For the client's own close frame; closing TCP under its last frames could eat ours."""

PIECE_BYTES = 65_536
"""Of what a peer did not take at once: each has its own deadline, so that a slow peer is told from one that does not read."""

LINES_PER_TURN = 100
"""Written between two turns of the loop."""


class Flusher:
    """Writes what waits in the outboxes of all lines."""

    def __init__(self) -> None:
        self._filled: list[Line] = []
        self._bell = Bell()
        self._nursery: trio.Nursery | None = None

    def mark(self, line: Line) -> None:
        """It has something to send."""
        self._filled.append(line)
        self._bell.ring()

    async def run(self) -> None:
        """Until it is cancelled."""
        async with trio.open_nursery() as self._nursery:
            while True:
                await self._bell.heard()
                await self._flush()

    async def _flush(self) -> None:
        filled, self._filled = self._filled, []
        for number, line in enumerate(filled, start=1):
            with contained("socket", line.cut):
                line.flush()
            if number % LINES_PER_TURN == 0:
                await trio.lowlevel.checkpoint()

    def spawn(self, write: Callable[[], Awaitable[None]]) -> None:
        assert self._nursery is not None
        self._nursery.start_soon(write)


@attrs.frozen
class Shared:
    """What all lines share. A peer that takes nothing for `write_timeout_s` is dropped."""

    timers: Timers
    message_max_bytes: int
    write_timeout_s: float
    flusher: Flusher = attrs.field(factory=Flusher)


class Line:
    """One WebSocket of `session`. Out goes `greeting`, then what is put into `outbox`; once that is closed and empty, it ends."""

    __slots__ = (
        "_control",
        "_is_deaf",
        "_is_writing",
        "_late_bytes",
        "_outbox",
        "_parts",
        "_parts_bytes",
        "_session",
        "_shared",
        "_stream",
        "_ws",
        "timer",
    )

    def __init__(
        self, shared: Shared, stream: trio.SocketStream, ws: Connection, session: Session, outbox: Outbox, greeting: bytes
    ) -> None:
        self.timer = Timer()
        self._shared = shared
        self._stream = stream
        self._ws = ws
        self._session = session
        self._outbox = outbox
        self._control = greeting
        """Goes out before the next frame."""
        self._is_deaf = False
        """What comes in is no longer looked at."""
        self._is_writing = False
        """A task writes what the peer did not take at once."""
        self._parts: list[str | bytes] = []
        """Of a message that is still coming in."""
        self._parts_bytes = 0
        self._late_bytes = 0
        outbox.when_abandoned(self.cut)

    async def converse(self, early: bytes) -> None:
        """Until either side ends it. `early`: what came in with the request."""
        try:
            self.flush()
            for begin in range(0, len(early), READ_BYTES):
                await self._receive(early[begin : begin + READ_BYTES])
            while not self._is_cut and (data := await self._stream.receive_some(READ_BYTES)):
                await self._receive(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self._outbox.when_abandoned(None)
            release(self._ws)
            self.cut()
            self._session.socket_went(self._outbox)

    def flush(self) -> None:
        """Sends what waits, as far as the peer takes it at once."""
        if self._is_writing or self._is_cut:
            return
        data = self._waiting()
        try:
            taken = os.write(self._stream.socket.fileno(), data) if data else 0  # trio's own send may wait, here nothing may
        except BlockingIOError:
            taken = 0
        except OSError:
            self.cut()
            return
        if taken < len(data):
            self._is_writing = True
            self._shared.flusher.spawn(partial(self._write, memoryview(data)[taken:]))
        elif self._is_deaf:
            self._say_it_is_all()
        elif self._outbox.closed:
            self._close()
        else:
            self._outbox.when_filled(self._fill)

    def tick(self) -> None:
        """The peer did not answer our close frame."""
        self.cut()

    def _fill(self) -> None:
        self._shared.flusher.mark(self)

    def _waiting(self) -> bytes:
        control, self._control = self._control, b""
        packets = self._outbox.take()
        if self._ws.state is not ConnectionState.OPEN:  # the peer's close frame came
            return control
        return control + b"".join(self._ws.send(_message(packet)) for packet in packets)

    async def _write(self, data: memoryview) -> None:
        with contained("socket", self.cut):
            await self._write_all(data)

    async def _write_all(self, data: memoryview) -> None:
        try:
            while data and not self._is_cut:
                with trio.move_on_after(self._shared.write_timeout_s) as timeout:
                    await self._stream.send_all(data[:PIECE_BYTES])
                if timeout.cancelled_caught:
                    SESSIONS_DROPPED.labels(reason="slow reader").inc()
                    self.cut()
                data = data[PIECE_BYTES:] or memoryview(self._waiting())
            self._is_writing = False
            self.flush()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.cut()
        finally:
            if self._is_writing:  # cancelled amid a frame
                self.cut()

    async def _receive(self, data: bytes) -> None:
        if self._is_past_hearing(len(data)):
            return
        self._ws.receive_data(data)
        for number, event in enumerate(self._ws.events(), start=1):
            self._hear(event)
            if number % MESSAGES_PER_TURN == 0 or _is_long(event):
                await trio.lowlevel.checkpoint()
            if self._is_deaf or self._is_cut:
                break

    def _is_past_hearing(self, more_bytes: int) -> bool:
        if self._ws.state is ConnectionState.LOCAL_CLOSING:
            self._late_bytes += more_bytes
            if self._late_bytes > LATE_MAX_BYTES:
                self.cut()
        return self._is_deaf or self._is_cut

    def _hear(self, event: Event) -> None:
        match event:
            case TextMessage() | BytesMessage() if self._ws.state is ConnectionState.OPEN:  # else we have closed: it is late
                self._hear_message(event)
            case Ping() if self._ws.state is ConnectionState.OPEN:
                self._session.noise()
                self._control = self._ws.send(event.response())  # the last one counts, RFC 6455 section 5.5.3
                self.flush()
            case Pong():
                self._session.noise()
            case CloseConnection():
                self._hear_close(event)

    def _hear_message(self, event: TextMessage | BytesMessage) -> None:
        data = event.data if isinstance(event.data, str) else bytes(event.data)
        self._parts_bytes += bytes_of(data)
        if self._parts_bytes > self._shared.message_max_bytes:
            MESSAGES_REFUSED.labels(transport="websocket").inc()
            self._end(CloseConnection(code=CloseReason.MESSAGE_TOO_BIG))
            return
        if data or not self._parts:  # an empty message is one, an empty fragment is nothing
            self._parts.append(data)
        else:
            self._session.noise()
        if event.message_finished:
            parts, self._parts, self._parts_bytes = self._parts, [], 0
            self._session.frame(self._outbox, parts[0] if len(parts) == 1 else _whole(parts))

    def _hear_close(self, event: CloseConnection) -> None:
        match self._ws.state:
            case ConnectionState.OPEN:  # not the peer's: wsproto's own, for what breaks the protocol
                self._end(CloseConnection(code=event.code))
            case ConnectionState.REMOTE_CLOSING:
                self._end(event.response())
            case _:  # the answer to ours
                self.cut()

    def _close(self) -> None:
        """Says close, now that all that was queued is out."""
        if self._ws.state is ConnectionState.OPEN:
            self._control = self._ws.send(CloseConnection(code=CloseReason.NO_STATUS_RCVD))  # an empty frame, as the reference
            self._cut_later()
            self.flush()

    def _end(self, last: CloseConnection) -> None:
        """Says `last`, then only reads off what comes: no reset may overtake it."""
        self._control += self._ws.send(last)
        self._is_deaf = True
        self._cut_later()
        self.flush()
        self._session.socket_went(self._outbox)

    def _say_it_is_all(self) -> None:
        with suppress(OSError):  # the peer is gone already
            self._stream.socket.shutdown(trio.socket.SHUT_WR)

    def _cut_later(self) -> None:
        self._shared.timers.set(self, trio.current_time() + CLOSE_WAIT_S)

    def cut(self) -> None:
        self._shared.timers.set(self, inf)
        self._stream.socket.close()

    @property
    def _is_cut(self) -> bool:
        return self._stream.socket.fileno() == -1


def _is_long(event: Event) -> bool:
    return isinstance(event, TextMessage | BytesMessage) and len(event.data) > READ_BYTES


def _whole(parts: Sequence[str | bytes]) -> str | bytes:
    """A message in several frames or reads: of one kind, wsproto sees to that."""
    texts = [part for part in parts if isinstance(part, str)]
    return "".join(texts) if texts else b"".join(part for part in parts if isinstance(part, bytes))


def _message(packet: engineio.Packet) -> TextMessage | BytesMessage:
    frame = engineio.encode_frame(packet)
    return TextMessage(data=frame) if isinstance(frame, str) else BytesMessage(data=frame)
