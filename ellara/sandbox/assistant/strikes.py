"""Faults that strike a request as a whole, in place of its answer; listed in assistant/faults.py. Called by server.py."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import trio

from ellara.sandbox.assistant.answers import Fault
from ellara.sandbox.assistant.faults import BEFORE, HTML, PAGES, REFUSALS, SLOW_HEADERS_MS, refusal
from ellara.sandbox.http import Response

QUESTIONS_MAX = 1_000


class Strikes:
    """Remembers which questions were struck how often: of a fault with a count only so many requests suffer."""

    def __init__(self) -> None:
        self._struck: dict[str, int] = {}

    def due(self, question: str, fault: Fault) -> bool:
        if fault.kind not in BEFORE or fault.count is None or fault.kind == "slow-headers":
            return fault.kind in BEFORE
        struck = self._struck.pop(question, 0)
        if struck >= fault.count:
            return False
        self._struck[question] = struck + 1
        if len(self._struck) > QUESTIONS_MAX:
            del self._struck[next(iter(self._struck))]
        return True


async def strike(fault: Fault, response: Response, headers: Callable[[int], Sequence[tuple[str, str]]]) -> bool:
    """Whether the request has had its answer now. Raises `Refusal`. `headers`: of a status."""
    match fault.kind:
        case "slow-headers":
            await trio.sleep((fault.count or SLOW_HEADERS_MS) / 1000)
            return False
        case "hang":
            await trio.sleep_forever()
        case "reset":
            response.abort()
        case kind if kind in PAGES:
            await response.send(PAGES[kind], HTML, "text/html", headers(PAGES[kind]))
        case kind:
            raise refusal(kind, time.time())
    return True


async def strike_title(fault: Fault) -> None:
    """`slow` (count: ms), `hang`, or a refusal; the title then comes, if it still can. Raises `Refusal`."""
    match fault.kind:
        case "slow":
            await trio.sleep((fault.count or SLOW_HEADERS_MS) / 1000)
        case "hang":
            await trio.sleep_forever()
        case kind if kind in REFUSALS:
            raise refusal(kind, time.time())
