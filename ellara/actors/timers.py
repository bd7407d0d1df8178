"""Timers: one task keeps the time of all sessions, instead of a sleeping task in each of ten thousand.

A `Timed` is told once its time has come; what it asks for next replaces what it asked for before. Later is free: an entry that
comes up too early is put back, so a heartbeat that keeps moving its deadline costs one entry an interval.
"""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import Protocol, TypeAlias

import attrs
import trio

from ellara.mailbox import Bell

TOLD_PER_TURN = 50
"""Or put back, between two turns of the loop: five thousand that connected together are due together."""


class Timed(Protocol):
    timer: Timer

    def tick(self) -> None:
        """Its time has come. Must not raise."""


Entry: TypeAlias = tuple[float, int, list[Timed]]
"""When, a number that makes it unlike all others, and who; nobody once it was taken back."""


@attrs.define(eq=False)
class Timer:
    """What a `Timed` holds to be found by."""

    due: float = inf
    entry: Entry | None = None
    """Its place in the heap, at `due` or before."""


class Timers:
    def __init__(self) -> None:
        self._heap: list[Entry] = []
        self._numbers = count()
        self._bell = Bell()

    def set(self, timed: Timed, due: float) -> None:
        """Tell it at `due`; `inf`: not at all, and let go of it."""
        timer = timed.timer
        timer.due = due
        if timer.entry is not None and (due == inf or due < timer.entry[0]):
            timer.entry[2].clear()  # stays in the heap, empty, until its time
            timer.entry = None
        if timer.entry is None and due < inf:
            self._push(timed)

    def _push(self, timed: Timed) -> None:
        timed.timer.entry = entry = timed.timer.due, next(self._numbers), [timed]
        heappush(self._heap, entry)
        if self._heap[0] is entry:
            self._bell.ring()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            with trio.move_on_at(self._heap[0][0] if self._heap else inf):
                await self._bell.heard()
            await self._tell()

    async def _tell(self) -> None:
        for number in count(1):
            if not self._heap or self._heap[0][0] > trio.current_time():
                return
            for timed in heappop(self._heap)[2]:
                timed.timer.entry = None
                if timed.timer.due > trio.current_time():
                    self._push(timed)
                else:
                    timed.tick()
            if number % TOLD_PER_TURN == 0:
                await trio.lowlevel.checkpoint()
