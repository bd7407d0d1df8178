"""Sends a stream's frames at their pace, in chunks that are cut at odd places. Called by assistant/server.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import assert_never

import trio

from ellara.sandbox.assistant.events import Act, Frame
from ellara.sandbox.assistant.faults import CUT_CHUNK
from ellara.sandbox.assistant.memory import Stats
from ellara.sandbox.http import Response

FRAMES_PER_WRITE = 16
CUT_EVERY, COMMENT_EVERY = 5, 16
"""Writes between two that are cut in the middle of an event, and between two keep-alive comments."""
COMMENT = b": keep-alive\n\n"
ODD_CHUNK_BYTES = 7


class Stream:
    """One answer being streamed. The head goes out before; afterwards the body is finished, unless a fault forbids."""

    def __init__(self, response: Response, stats: Stats, on_told: Callable[[], None], *, odd: bool) -> None:
        self._response, self._stats, self._on_told, self._odd = response, stats, on_told, odd
        self._waiting: list[bytes] = []
        self._writes = 0
        self.told = False
        """Whether the terminal event is on its way; `on_told` is called just before, as its reader may ask on at once."""

    async def send(self, frames: Iterator[Frame], ttft_s: float, delay_s: float) -> None:
        """Each delta at its time by the clock: what is late is caught up in one write."""
        due = trio.current_time() + ttft_s
        for frame in frames:
            if frame.paced:
                if due > trio.current_time():
                    await self._flush()
                    await trio.sleep_until(due)
                due += delay_s
                self._stats.chunks += 1
            self._waiting.append(frame.data)
            if frame.last:
                self.told = True
                self._on_told()
            if len(self._waiting) >= FRAMES_PER_WRITE:
                await self._flush()
            if frame.act is not Act.SEND:
                await self._strike(frame.act)
                return
        await self._flush()
        await self._response.finish()

    async def _flush(self) -> None:
        data = b"".join(self._waiting)
        self._waiting.clear()
        if data:
            self._writes += 1
            await self._response.chunk(*self._parts(COMMENT + data if self._writes % COMMENT_EVERY == 2 else data))

    def _parts(self, data: bytes) -> list[bytes]:
        if self._odd:
            return [data[start : start + ODD_CHUNK_BYTES] for start in range(0, len(data), ODD_CHUNK_BYTES)]
        if self._writes % CUT_EVERY:
            return [data]
        middle = len(data) // 2 | 1
        return [part for part in (data[:middle], data[middle:]) if part]

    async def _strike(self, act: Act) -> None:
        await self._flush()
        match act:
            case Act.STALL:
                await trio.sleep_forever()
            case Act.RESET:
                self._response.abort()
            case Act.CUT:
                await self._response.raw(CUT_CHUNK)
            case Act.SEND:
                pass
            case _:
                assert_never(act)
