"""One namespace socket, as the rest of Ellara sees it. It outlives its connection for as long as it may be recovered.

What is emitted goes to the session that carries it, if one does, and into its backlog: what the client may not have received yet.
That is cut back by what the client says it has (its offset), and by its pongs: who answers a ping has all that came before the
ping before it.
Source: the 4.8 reference's connection state recovery; offsets are numbers here, as text, and each client's begin at random: the
JavaScript client goes on showing the last one of a session before, which must not pass for one of the session it has now.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeAlias

from ellara.actors.backlog import Backlog, Sent, Total
from ellara.actors.outbox import Delta, Item, Payload, bytes_of, messages
from ellara.protocol import socketio

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


class Client:
    """`user_id` None: it showed no token. `backlog` None: it cannot be recovered, and hears no offsets."""

    __slots__ = (
        "_asks",
        "_backlog",
        "_carrier",
        "_confirmed",
        "_delta",
        "_first",
        "_next_ask",
        "_offset",
        "_pinged",
        "gone",
        "id",
        "namespace",
        "pid",
        "user_id",
    )

    def __init__(self, namespace: str, user_id: str | None, carrier: Carrier, backlog: Backlog | None = None) -> None:
        self.id = secrets.token_urlsafe(15)
        self.pid = None if backlog is None else secrets.token_urlsafe(15)
        self.namespace = namespace
        self.user_id = user_id
        self.gone = False
        """It has left and will not be back: nobody hears what is emitted."""
        self._carrier: Carrier | None = carrier
        self._backlog = backlog
        self._first = self._offset = self._pinged = self._confirmed = secrets.randbelow(OFFSETS_BEGIN_BELOW)
        self._delta: Delta | None = None
        self._asks: dict[int, OnAck] = {}
        self._next_ask = 0

    def emit(self, event: str, *args: object) -> None:
        """Queues; never waits. Does nothing once the client is gone. Raises `ProtocolError` for what JSON cannot say."""
        if self.gone:
            return
        offset = [] if self._backlog is None else [str(self._offset + 1)]
        packets = messages(socketio.Event(self.namespace, [event, *args, *offset]))
        self._offset += 1
        self._delta = None
        if self._backlog is not None:
            self._backlog.add(Sent(self._offset, packets))
        self._queue(packets)

    def ask(self, on_ack: OnAck, event: str, *args: object) -> None:
        """As `emit`, with an acknowledgement asked for. `on_ack` is called at most once: never, if this connection ends before.

        As in the reference it has no offset and is not sent again; nor is it sent at all while no connection is there.
        """
        if self._carrier is None:
            return
        packets = messages(socketio.Event(self.namespace, [event, *args], self._next_ask))
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
        delta = self._delta = Delta(self.namespace, event, payload, text, None if self._backlog is None else self._offset)
        if self._backlog is not None:
            self._backlog.add(delta)
        self._queue([delta])

    def _join(self, delta: Delta, text: str) -> None:
        delta.text += text
        if self._backlog is not None and self._backlog.last is delta:
            self._backlog.grow(bytes_of(text))
        if self._carrier is not None:
            self._carrier.grew(bytes_of(text))

    def acknowledge(self, ack_id: int, args: tuple[object, ...]) -> None:
        """An acknowledgement. Not in the backlog: the client's callback does not outlive its connection."""
        if self._carrier is not None:
            self._queue(messages(socketio.Ack(self.namespace, list(args), ack_id)))

    @property
    def connected(self) -> bool:
        return self._carrier is not None

    @property
    def missed_bytes(self) -> int:
        """What is kept for it."""
        return 0 if self._backlog is None else self._backlog.bytes

    def pinged(self) -> None:
        """A ping leaves now."""
        self._pinged = self._offset

    def ponged(self) -> None:
        """Its pong is here. Cut back to the ping before: a page that answers this one may not have worked off all it received."""
        if self._backlog is not None:
            self._backlog.cut_back(self._confirmed)
            self._confirmed = self._pinged

    def missed(self, offset: int | None) -> Sequence[Item] | None:
        """What came after `offset`, to be sent again; None: it cannot be recovered from there."""
        if self._backlog is None:
            return None
        if offset is None or not self._first <= offset <= self._offset:
            offset = self._first  # it has heard nothing of this session
        missed = self._backlog.after(offset)
        self._confirmed = self._pinged = offset
        self._delta = None
        return missed

    def carried_by(self, carrier: Carrier) -> None:
        """A connection is there (again); whichever was before lets go of it."""
        before, self._carrier = self._carrier, carrier
        self._asks.clear()
        if self._backlog is not None:
            self._backlog.count_in(None)
        if before is not None:
            before.let_go(self)

    def lost(self, total: Total) -> None:
        """Its connection is over; what it misses counts in `total`."""
        self._carrier = None
        self._asks.clear()
        if self._backlog is not None:
            self._backlog.count_in(total)

    def leave(self) -> None:
        self._carrier, self.gone = None, True
        self._asks.clear()
        if self._backlog is not None:
            self._backlog.clear()

    def _queue(self, items: Iterable[Item]) -> None:
        for item in items:
            if self._carrier is not None:
                self._carrier.queue(item)
