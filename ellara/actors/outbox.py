"""Outbox: what one transport of a session has yet to send. Filled by the session, emptied by the shell's poll or WebSocket."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import attrs
import trio

from ellara.protocol import engineio, socketio
from ellara.protocol.engineio import Packet

PACKET_OVERHEAD_BYTES = 64
"""What a queued packet counts for beside its data."""

Payload = Callable[[str], object]
"""A text → the argument of the event that carries it. Equal ones: texts of one answer, in order."""


@attrs.define(eq=False)
class Delta:
    """A piece of a text that is still being written. Until it is taken, what comes next of the same text is joined to it."""

    namespace: str
    event: str
    payload: Payload
    text: str
    offset: int | None
    """Goes out as the last argument, for recovery; None: the client is given none."""
    taken: bool = False

    def is_of(self, event: str, payload: Payload) -> bool:
        return self.event == event and self.payload == payload

    def is_open_to(self, event: str, payload: Payload) -> bool:
        return not self.taken and self.is_of(event, payload)

    def take(self) -> Packet:
        self.taken = True
        offset = [] if self.offset is None else [str(self.offset)]
        (packet,) = messages(socketio.Event(self.namespace, [self.event, self.payload(self.text), *offset]))
        return packet


Item: TypeAlias = Packet | Delta


def messages(packet: socketio.Packet) -> list[Packet]:
    """Its text, then its attachments."""
    return [Packet(engineio.Type.MESSAGE, data) for data in socketio.encode(packet)]


def size_of(item: Item) -> int:
    """What it counts for, in bytes."""
    return PACKET_OVERHEAD_BYTES + bytes_of(item.text if isinstance(item, Delta) else item.data)


def bytes_of(data: str | bytes) -> int:
    return len(data) if isinstance(data, bytes) or data.isascii() else len(data.encode("utf-8", "surrogatepass"))


class Outbox:
    """For one transport, in order. One taker at a time: the waiting poll, or the WebSocket.

    Full once `max_bytes` wait; what a taker holds no longer counts. It means that the reader is too slow: the owner drops it.
    """

    __slots__ = ("_bytes", "_closed", "_cut", "_items", "_max_bytes", "_wake")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._items: list[Item] = []
        self._bytes = 0
        self._closed = False
        self._wake: Callable[[], None] | None = None
        self._cut: Callable[[], None] | None = None

    def put(self, item: Item) -> bool:
        """False when full; below the bound one of any size fits. Once closed, it lets go of what comes."""
        if self._closed:
            return True
        if self._bytes >= self._max_bytes:
            return False
        self._bytes += size_of(item)
        self._items.append(item)
        self._call()
        return True

    def grow(self, by_bytes: int) -> bool:
        """Something was joined to a delta in here. False when it is full."""
        self._bytes += by_bytes
        return self._bytes < self._max_bytes

    def take(self) -> list[Packet]:
        """All there is."""
        self._bytes = 0
        items, self._items = self._items, []
        return [item.take() if isinstance(item, Delta) else item for item in items]

    async def filled(self) -> None:
        """Waits until there is something to take, or it is closed."""
        waiting = trio.Event()
        self.when_filled(waiting.set)
        await waiting.wait()

    def when_filled(self, wake: Callable[[], None]) -> None:
        """Calls `wake` once, as soon as there is something to take or it is closed; it must not block. Replaces any before."""
        self._wake = wake
        if self._items or self._closed:
            self._call()

    @property
    def closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        self._closed = True
        self._call()

    def when_abandoned(self, cut: Callable[[], None] | None) -> None:
        """Calls `cut` when the reader is to be told nothing more, not even that it is over; it must not block. None: nobody."""
        self._cut = cut

    def abandon(self) -> None:
        """Closes, and lets go of what is queued and of its taker: nobody will read it."""
        self._items = []
        if self._cut is not None:
            self._cut()
        self.close()

    def move_to(self, other: Outbox) -> None:
        """At the switch of transports: what was queued leaves over the new one, all of it, and this one is closed."""
        other._items += self._items
        other._bytes += self._bytes
        if self._items:
            other._call()
        self._items = []
        self.close()

    def __len__(self) -> int:
        return len(self._items)

    def _call(self) -> None:
        wake, self._wake = self._wake, None
        if wake is not None:
            wake()
