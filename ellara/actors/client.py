"""One namespace socket, as the rest of Ellara sees it. It outlives its connection for as long as it may be recovered.

What is emitted goes to the session that carries it, if one does, and into its log: what the client may not have received yet.
The log is cut back by what the client says it has (its offset), and by its pongs: who answers a ping has all that came before the
ping before it.
Source: the 4.8 reference's connection state recovery; offsets are numbers here, as text, and each client's begin at random: the
JavaScript client goes on showing the last one of a session before, which must not pass for one of the session it has now.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeAlias

import attrs

from ellara.actors.outbox import Delta, Item, Payload, bytes_of, size_of
from ellara.protocol import engineio, socketio
from ellara.protocol.engineio import Packet

OFFSETS_BEGIN_BELOW = 10**9

ASKED_MAX = 100
"""Acknowledgements that one client owes us; past that the oldest is no longer waited for."""

OnAck: TypeAlias = Callable[..., None]
"""Called in the session's turn with what the client answers; must not block."""


class Carrier(Protocol):
    """The session that a client is connected by."""

    def queue(self, item: Item) -> None: ...
    def grew(self, by_bytes: int) -> None: ...
    def let_go(self, client: Client) -> None: ...


@attrs.frozen
class Sent:
    """An event as it went out: its text and its attachments."""

    offset: int
    packets: Sequence[Packet]


Entry: TypeAlias = Sent | Delta


@attrs.define
class Total:
    """What the logs of all lost clients hold together."""

    bytes: int = 0


class Log:
    """Emitted and perhaps not received, oldest first, at most `max_bytes`.

    What is too old for that is let go, and with it the hope of recovering a client that has not got it.
    """

    __slots__ = ("_bytes", "_entries", "_floor", "_max_bytes", "_total")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._total: Total | None = None
        self._entries: deque[Entry] = deque()
        self._bytes = 0
        self._floor = 0
        """The newest offset that is no longer in here."""

    def add(self, entry: Entry) -> None:
        self._entries.append(entry)
        self.grow(_size(entry))

    def count_in(self, total: Total | None) -> None:
        """From here on its bytes are part of `total`, no longer of the one before."""
        if self._total is not None:
            self._total.bytes -= self._bytes
        if total is not None:
            total.bytes += self._bytes
        self._total = total

    def grow(self, by_bytes: int) -> None:
        self._weigh(by_bytes)
        while self._bytes > self._max_bytes and self._entries:
            self._drop_oldest()

    def cut_back(self, offset: int) -> None:
        """The client has all up to it."""
        while self._entries and _offset(self._entries[0]) <= offset:
            self._drop_oldest()

    def after(self, offset: int) -> Iterable[Entry] | None:
        """What a client that has all up to `offset` missed, texts of one answer in one piece. None: not known any more."""
        if offset < self._floor:
            return None
        self.cut_back(offset)
        joined: deque[Entry] = deque()
        for entry in self._entries:
            last = joined[-1] if joined else None
            if isinstance(entry, Delta) and isinstance(last, Delta) and last.is_of(entry.event, entry.payload):
                joined[-1] = attrs.evolve(last, text=last.text + entry.text, offset=entry.offset)
            else:
                joined.append(entry)
        self._entries = joined
        self.grow(sum(map(_size, joined)) - self._bytes)
        return tuple(joined)  # it is sent while the log may change: the outbox may be full

    @property
    def last(self) -> Entry | None:
        return self._entries[-1] if self._entries else None

    def clear(self) -> None:
        self._entries.clear()
        self.grow(-self._bytes)

    def _drop_oldest(self) -> None:
        entry = self._entries.popleft()
        self._floor = _offset(entry)
        self._weigh(-_size(entry))

    def _weigh(self, by_bytes: int) -> None:
        self._bytes += by_bytes
        if self._total is not None:
            self._total.bytes += by_bytes


class Client:
    """`user_id` None: it showed no token. `log` None: it cannot be recovered, and hears no offsets."""

    __slots__ = (
        "_asks",
        "_carrier",
        "_confirmed",
        "_delta",
        "_first",
        "_log",
        "_next_ask",
        "_offset",
        "_pinged",
        "gone",
        "id",
        "namespace",
        "pid",
        "user_id",
    )

    def __init__(self, namespace: str, user_id: str | None, carrier: Carrier, log: Log | None = None) -> None:
        self.id = secrets.token_urlsafe(15)
        self.pid = None if log is None else secrets.token_urlsafe(15)
        self.namespace = namespace
        self.user_id = user_id
        self.gone = False
        """It has left and will not be back: nobody hears what is emitted."""
        self._carrier: Carrier | None = carrier
        self._log = log
        self._first = self._offset = self._pinged = self._confirmed = secrets.randbelow(OFFSETS_BEGIN_BELOW)
        self._delta: Delta | None = None
        self._asks: dict[int, OnAck] = {}
        self._next_ask = 0

    def emit(self, event: str, *args: object) -> None:
        """Queues; never waits. Does nothing once the client is gone. Raises `ProtocolError` for what JSON cannot say."""
        if self.gone:
            return
        offset = [] if self._log is None else [str(self._offset + 1)]
        packets = _packets(socketio.Event(self.namespace, [event, *args, *offset]))
        self._offset += 1
        self._delta = None
        if self._log is not None:
            self._log.add(Sent(self._offset, packets))
        self._queue(packets)

    def ask(self, on_ack: OnAck, event: str, *args: object) -> None:
        """As `emit`, with an acknowledgement asked for. `on_ack` is called at most once: never, if this connection ends before.

        As in the reference it has no offset and is not sent again; nor is it sent at all while no connection is there.
        """
        if self._carrier is None:
            return
        packets = _packets(socketio.Event(self.namespace, [event, *args], self._next_ask))
        self._asks[self._next_ask] = on_ack
        self._next_ask += 1
        if len(self._asks) > ASKED_MAX:
            del self._asks[next(iter(self._asks))]
        self._delta = None
        self._queue(packets)

    def acknowledged(self, ask_id: int, args: Sequence[object]) -> None:
        """The client's answer. One to what was not asked is nobody's."""
        on_ack = self._asks.pop(ask_id, None)
        if on_ack is not None:
            on_ack(*args)

    def emit_text(self, event: str, text: str, payload: Payload) -> None:
        """As `emit(event, payload(text))`; joined to what has not left yet of the same text: emitted by an equal `payload`, and
        nothing else after it."""
        if self.gone:
            return
        if self._delta is not None and self._delta.is_open_to(event, payload):
            self._join(self._delta, text)
            return
        self._offset += 1
        delta = self._delta = Delta(self.namespace, event, payload, text, None if self._log is None else self._offset)
        if self._log is not None:
            self._log.add(delta)
        self._queue([delta])

    def _join(self, delta: Delta, text: str) -> None:
        delta.text += text
        if self._log is not None and self._log.last is delta:
            self._log.grow(bytes_of(text))
        if self._carrier is not None:
            self._carrier.grew(bytes_of(text))

    def acknowledge(self, ack_id: int, args: tuple[object, ...]) -> None:
        """An acknowledgement. Not in the log: the client's callback does not outlive its connection."""
        if self._carrier is not None:
            self._queue(_packets(socketio.Ack(self.namespace, list(args), ack_id)))

    @property
    def connected(self) -> bool:
        return self._carrier is not None

    def pinged(self) -> None:
        """A ping leaves now."""
        self._pinged = self._offset

    def ponged(self) -> None:
        """Its pong is here. Cut back to the ping before: a page that answers this one may not have worked off all it received."""
        if self._log is not None:
            self._log.cut_back(self._confirmed)
            self._confirmed = self._pinged

    def missed(self, offset: int | None) -> Iterable[Entry] | None:
        """What came after `offset`, to be sent again; None: it cannot be recovered from there."""
        if self._log is None:
            return None
        if offset is None or not self._first <= offset <= self._offset:
            offset = self._first  # it has heard nothing of this session
        missed = self._log.after(offset)
        self._confirmed = self._pinged = offset
        self._delta = None
        return missed

    def carried_by(self, carrier: Carrier) -> None:
        """A connection is there (again); whichever was before lets go of it."""
        before, self._carrier = self._carrier, carrier
        self._asks.clear()
        if self._log is not None:
            self._log.count_in(None)
        if before is not None:
            before.let_go(self)

    def lost(self, total: Total) -> None:
        """Its connection is over; what it misses counts in `total`."""
        self._carrier = None
        self._asks.clear()
        if self._log is not None:
            self._log.count_in(total)

    def leave(self) -> None:
        self._carrier, self.gone = None, True
        self._asks.clear()
        if self._log is not None:
            self._log.clear()

    def _queue(self, items: Iterable[Item]) -> None:
        for item in items:
            if self._carrier is not None:
                self._carrier.queue(item)


def _packets(packet: socketio.Packet) -> list[Packet]:
    return [Packet(engineio.Type.MESSAGE, data) for data in socketio.encode(packet)]


def _offset(entry: Entry) -> int:
    return entry.offset or 0


def _size(entry: Entry) -> int:
    return size_of(entry) if isinstance(entry, Delta) else sum(map(size_of, entry.packets))
