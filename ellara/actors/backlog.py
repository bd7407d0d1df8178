"""What was emitted to one client and has perhaps not arrived: sent again when it is back. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TypeAlias

import attrs

from ellara.actors.outbox import Delta, Item, size_of
from ellara.protocol.engineio import Packet


@attrs.frozen
class Sent:
    """An event as it went out: its text and its attachments."""

    offset: int
    packets: Sequence[Packet]


Entry: TypeAlias = Sent | Delta


@attrs.define
class Total:
    """What the backlogs of all lost clients hold together."""

    bytes: int = 0


class Backlog:
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

    @property
    def bytes(self) -> int:
        return self._bytes

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

    def after(self, offset: int) -> Sequence[Item] | None:
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
        return [item for entry in joined for item in _items(entry)]

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


def _offset(entry: Entry) -> int:
    assert entry.offset is not None, "a client with a backlog numbers what it is told"
    return entry.offset


def _size(entry: Entry) -> int:
    return sum(map(size_of, _items(entry)))


def _items(entry: Entry) -> Sequence[Item]:
    return [entry] if isinstance(entry, Delta) else entry.packets
