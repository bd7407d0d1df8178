"""One connection, whichever transport carries it: Engine.IO's state, its outboxes, its deadlines and its end.

The shell (web/socketio.py, web/websocket.py) calls it with what came in and takes from its outboxes what is to go out; the rest
of Ellara sees a `Client` for each namespace socket. Each call is one turn: it runs to its end without waiting, so turns never
mix, and a session needs no task of its own: ten thousand of them are idle nearly all the time. Its deadlines are kept by
`Timers`. A malformed packet, a crash or a full outbox ends this connection and no other. Absent: what its messages mean
(joined.py), bytes, HTTP, sockets.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from typing import assert_never

import attrs
import trio

from ellara.actors.application import Application
from ellara.actors.client import Client
from ellara.actors.clients import Clients
from ellara.actors.joined import Joined
from ellara.actors.outbox import Item, Outbox
from ellara.actors.timers import Timer, Timers
from ellara.errors import Conflict, ProtocolError
from ellara.log import get_logger
from ellara.metrics import SESSIONS, SESSIONS_DROPPED
from ellara.protocol import engineio
from ellara.protocol.engineio import Packet
from ellara.protocol.transport import Closed, Do, Event, Limits, Message, Signal, State, Transport
from ellara.rates import Bucket
from ellara.settings import Socket
from ellara.supervision import contained

log = get_logger(__name__)

PACKETS_PER_TURN = 10
"""Of one POST, between two turns of the loop: others are served while a body of many thousand packets is worked through."""


@attrs.frozen
class Hub:
    """What all sessions share. `on_end` is told once of each whose connection is over."""

    settings: Socket
    application: Application
    clients: Clients
    timers: Timers
    on_end: Callable[[Session], None]
    limits: Limits = attrs.field(init=False)

    @limits.default
    def _limits(self) -> Limits:
        return Limits(
            ping_interval_s=self.settings.ping_interval_s,
            ping_timeout_s=self.settings.ping_timeout_s,
            upgrade_timeout_s=self.settings.upgrade_timeout_s,
            payload_max_bytes=self.settings.payload_max_bytes,
        )


class Session:
    """`outbox` is what its transport takes from. `stop` tells the client, `drop` does not; both let go of all, once."""

    __slots__ = (
        "_hub",
        "_join_by",
        "_joined",
        "_over",
        "_probe",
        "_rate",
        "_recoverable",
        "_transport",
        "address",
        "outbox",
        "sid",
        "timer",
    )

    def __init__(self, hub: Hub, address: str, *, websocket: bool) -> None:
        now = trio.current_time()
        self.sid = secrets.token_urlsafe(15)
        self.address = address
        """Whom it counts for: the client's network address."""
        self.outbox = Outbox(hub.settings.outbox_max_bytes)
        self.timer = Timer()
        self._hub = hub
        self._transport = Transport(hub.limits, now, websocket=websocket)
        self._joined = Joined(hub.settings, hub.application, hub.clients, self)
        self._probe: Outbox | None = None
        self._join_by = now + hub.settings.connect_timeout_s
        self._rate = Bucket(hub.settings.events_per_s, now)
        self._over = False
        self._recoverable = True
        """False once it said what is no Engine.IO: as in the reference its clients are not waited for."""
        SESSIONS.inc()
        with self._turn():
            self.queue(self._transport.open_packet(self.sid))

    # What the shell calls.

    def poll(self) -> Outbox:
        """A GET came. What to take from. Raises `Conflict` on a WebSocket session, `ProtocolError` beside another GET."""
        self._admit(Signal.POLL)
        return self.outbox

    def polled(self, outbox: Outbox) -> list[Packet]:
        """What that GET is answered with. Raises `ProtocolError`: nothing, the session was cut."""
        packets: list[Packet] = []
        with self._turn():
            packets = outbox.take()
        packets = packets or outbox.take()  # where that failed: the end
        if not packets:
            raise ProtocolError("The session was cut")
        return packets

    def post(self) -> None:
        """A POST came, its body is still to be read. Raises as `poll`."""
        self._admit(Signal.POST)

    async def posted(self, body: str) -> None:
        """The body of the admitted POST: its packets are dispatched."""
        for number, packet in enumerate(engineio.split_payload(body), start=1):
            with self._turn():
                self._hear_packet(packet)
            if self._over or self._transport.state is State.CLOSING:
                break
            if number % PACKETS_PER_TURN == 0:
                await trio.lowlevel.checkpoint()
        self.happened(Signal.POST_READ)

    def happened(self, signal: Signal) -> None:
        """POLL_ANSWERED, POLL_CUT, POST_READ, POST_CUT or GARBAGE."""
        with self._turn():
            self._signal(signal)

    def socket_came(self, line: Outbox) -> None:
        """A WebSocket for a session that polls; `line` is what will go out on it."""
        with self._turn():
            if Do.REFUSE_SOCKET in self._transport.signal(Signal.SOCKET, trio.current_time()):
                line.close()
            else:
                self._probe = line

    def frame(self, line: Outbox, data: str | bytes) -> None:
        """One WebSocket message, from the other end of `line`."""
        with self._turn():
            if line is self.outbox:
                self._hear_packet(data)
            elif line is self._probe:
                self._hear_probe(data)

    def noise(self) -> None:
        """Its WebSocket brought what says nothing to anybody: that counts as a message does."""
        with self._turn():
            self._count()

    def socket_went(self, line: Outbox) -> None:
        with self._turn():
            if line in (self.outbox, self._probe):
                self._signal(Signal.SOCKET_CUT)

    def stop(self, reason: str) -> None:
        """Ends the connection at its transport; the client comes back by itself."""
        with self._turn():
            self._close(reason)

    def drop(self, reason: str) -> None:
        """Ends it here and now, and says nothing to a client that does not read."""
        SESSIONS_DROPPED.labels(reason=reason).inc()
        self.outbox.abandon()
        self._let_go_of_all()

    def tick(self) -> None:
        with self._turn():
            now = trio.current_time()
            self._carry_out(self._transport.tick(now))
            if self._join_by <= now:
                self._close("connect timeout")
                self._let_go_of_all()  # who never joined is not waited for

    # What its clients call.

    def queue(self, item: Item) -> None:
        if not self.outbox.put(item):
            self.drop("outbox full")

    def grew(self, by_bytes: int) -> None:
        if not self.outbox.grow(by_bytes):
            self.drop("outbox full")

    def let_go(self, client: Client) -> None:
        """It came back on another connection: this one was dead, and nobody had noticed yet."""
        self._joined.let_go(client)
        self.stop("replaced")

    # One turn.

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """The loop of all sessions: whatever goes wrong in a turn ends its own session."""
        try:
            with contained("session", lambda: self._close("crash")):
                try:
                    yield
                except ProtocolError as error:
                    log.debug("malformed packet", error=error.message)
                    self._close("parse error")
        finally:
            if self._transport.state is State.CLOSED:
                self._let_go_of_all()
            else:
                self._hub.timers.set(self, min(self._transport.deadline, self._join_by))

    def _admit(self, signal: Signal) -> None:
        events: list[Event] = []
        with self._turn():
            events = self._transport.signal(signal, trio.current_time())
            self._carry_out(events)
        if Do.REFUSE in events:
            raise Conflict("Bad request")
        if Do.REFUSE_OVERLAP in events:
            raise ProtocolError("One GET and one POST at a time")

    def _signal(self, signal: Signal) -> None:
        self._carry_out(self._transport.signal(signal, trio.current_time()))

    def _count(self) -> None:
        """Whoever never pauses is sent away, whatever it says."""
        self._rate.take(trio.current_time())
        if self._rate.in_debt:
            self._close("too many events")

    def _hear_packet(self, data: str | bytes) -> None:
        self._count()
        try:
            packet = engineio.decode_frame(data)
        except ProtocolError as error:
            log.debug("malformed packet", error=error.message)
            self._recoverable = False
            self._signal(Signal.GARBAGE)
        else:
            self._carry_out(self._transport.receive(packet, trio.current_time()))

    def _hear_probe(self, data: str | bytes) -> None:
        try:
            self._carry_out(self._transport.on_probe(engineio.decode_frame(data), trio.current_time()))
        except ProtocolError:
            self._signal(Signal.ODD_FRAME)

    def _carry_out(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case Message():
                    self._joined.hear(event.data, in_time=not self._rate.is_overdrawn)
                    if self._joined.anybody_ever:
                        self._join_by = inf
                case Closed():
                    self._say_the_end(event)
                case Do.PING:
                    self._joined.pinged()
                    self.queue(engineio.PING)
                case Do.CONFIRM:
                    self._joined.ponged()
                case Do.RELEASE_POLL:
                    self.queue(engineio.NOOP)
                case Do.ANSWER_PROBE | Do.END_PROBE | Do.SWITCH:
                    self._go_on_with_probe(event)
                case Do.REFUSE | Do.REFUSE_OVERLAP | Do.REFUSE_SOCKET:
                    pass  # the request that it came with is refused: whoever brought it looks for that
                case _:
                    assert_never(event)

    def _go_on_with_probe(self, event: Do) -> None:
        line = self._probe
        if line is None:
            return
        if event is Do.ANSWER_PROBE:
            line.put(engineio.PROBE_ANSWER)
            return
        self._probe = None
        if event is Do.END_PROBE:
            line.close()
        else:
            self.outbox.move_to(line)
            self.outbox = line

    def _close(self, reason: str) -> None:
        self._carry_out(self._transport.close(reason, trio.current_time()))

    def _say_the_end(self, closed: Closed) -> None:
        """The protocol is over; CLOSING still waits for a poll to be told."""
        if closed.reason not in ("transport close", "transport error"):
            SESSIONS_DROPPED.labels(reason=closed.reason).inc()
        self._join_by = inf
        if closed.by_client or (self._transport.state is State.CLOSING and not len(self.outbox)):
            self.outbox.put(engineio.NOOP)  # as the reference, which first lets go of whatever poll there is
        if self._transport.state is State.CLOSING or (self._transport.poll_waits and not closed.by_client):
            self.outbox.put(engineio.CLOSE)
        self._hang_up()

    def _hang_up(self) -> None:
        self._joined.end(recoverable=self._recoverable)
        for line in (self.outbox, self._probe):
            if line is not None:
                line.close()

    def _let_go_of_all(self) -> None:
        """The connection is over, however it ended."""
        if not self._over:
            self._over = True
            self._transport.end()
            self._hang_up()
            self._hub.timers.set(self, inf)
            SESSIONS.dec()
            self._hub.on_end(self)
