"""Follows the chain: polls its newest block, quickly while something is expected of it, and wakes the settler.

Only the newest head counts: one that nobody read yet is replaced by the next. While the node is away it asks less and less often.
"""

from __future__ import annotations

import random

import trio

from ellara.chain.rpc import Head, Rpc
from ellara.errors import Unavailable
from ellara.log import get_logger
from ellara.mailbox import Bell
from ellara.settings import Chain

log = get_logger(__name__)

SOONEST_S = 0.02
"""Between two polls, however much anyone hurries."""
SHARE = 16
"""A hurried poller asks about so often in the time that a block usually takes to come."""
SLOWER = 1.3
AWAY_MAX_S = 10.0


class Heads:
    """Owns what is known of the newest block; `changed` is its reader's mailbox of size one."""

    def __init__(self, rpc: Rpc, settings: Chain) -> None:
        self._rpc = rpc
        self._interval_s = settings.poll_interval_s
        self.head: Head | None = None
        self._unread, self._hurried = Bell(), Bell()
        self._hurried_at_s: float | None = None
        self._usual_s = 0.0
        """From being hurried to the next block: milliseconds on a chain that mines on demand, seconds on a public one."""
        self._stopping = trio.Event()

    @property
    def number(self) -> int:
        """Of the newest block seen; 0 before there was one."""
        return self.head.number if self.head else 0

    async def changed(self) -> None:
        """Waits until `head` is one that was not waited for yet. For one reader."""
        await self._unread.heard()

    def hurry(self) -> None:
        """A new block is expected soon: polls quickly, then slower and slower up to the interval."""
        if self._hurried_at_s is None:
            self._hurried_at_s = trio.current_time()
        self._hurried.ring()

    def stop(self) -> None:
        """Lets `run` return, also while a node is away or does not answer: there is nothing to finish."""
        self._stopping.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow)
            await self._stopping.wait()
            nursery.cancel_scope.cancel()

    async def _follow(self) -> None:
        pause_s, failures = 0.0, 0
        while True:
            failures = 0 if await self._poll(failures) else failures + 1
            if failures:
                longest_s = min(self._interval_s * 2.0**failures, AWAY_MAX_S)
                await trio.sleep(longest_s * random.uniform(0.5, 1.0))
                continue
            await trio.sleep(SOONEST_S)
            with trio.move_on_after(pause_s):
                await self._hurried.heard()
                pause_s = self._usual_s / SHARE
            pause_s = min(max(pause_s * SLOWER, SOONEST_S), self._interval_s)

    async def _poll(self, failures: int) -> bool:
        try:
            head = await self._rpc.latest()
        except Unavailable as error:
            if not failures:
                log.warning("the blockchain node is away", error=error.message)
            return False
        if failures:
            log.info("the blockchain node is back", head=head.number)
        if head != self.head:
            self.head = head
            self._learn()
            self._unread.ring()
        return True

    def _learn(self) -> None:
        if self._hurried_at_s is not None:
            self._usual_s += (trio.current_time() - self._hurried_at_s - self._usual_s) / 4
            self._hurried_at_s = None
