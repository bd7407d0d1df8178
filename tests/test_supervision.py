"""Supervision: restarts within intensity and period, then the end; the mailbox outlives the crash."""

from __future__ import annotations

from collections import deque

import pytest
import trio
from trio.testing import MockClock

from ellara.errors import GaveUp
from ellara.mailbox import Mailbox
from ellara.supervision import RestartLimit, contained, innermost, supervise

LIMIT = RestartLimit(intensity=2, period_s=10.0)


class Fragile:
    """Crashes on the numbers in `poison`; counts its starts."""

    def __init__(self, mailbox: Mailbox[int], *poison: int) -> None:
        self.mailbox, self.poison = mailbox, poison
        self.starts, self.seen = 0, list[int]()

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        self.starts += 1
        task_status.started()
        async for number in self.mailbox:
            self.seen.append(number)
            if number in self.poison:
                raise ValueError(number)


def filled(*numbers: int) -> Mailbox[int]:
    mailbox = Mailbox[int]("numbers", 10)
    for number in numbers:
        mailbox.post(number)
    mailbox.close()
    return mailbox


async def test_a_crashed_actor_is_restarted_and_reads_on(autojump_clock: MockClock) -> None:
    actor = Fragile(filled(1, 2, 3, 4), 2, 3)
    await supervise(actor.run, "fragile", LIMIT)
    assert (actor.starts, actor.seen) == (3, [1, 2, 3, 4])


async def test_one_crash_too_many_within_the_period_gives_up(autojump_clock: MockClock) -> None:
    actor = Fragile(filled(1, 2, 3, 4), 1, 2, 3)
    with pytest.raises(GaveUp, match=r"fragile crashed 3 times within 10 s: ValueError\(3\)"):
        await supervise(actor.run, "fragile", LIMIT)


async def test_crashes_spread_over_more_than_the_period_are_forgiven(autojump_clock: MockClock) -> None:
    starts = 0

    async def run(*, task_status: trio.TaskStatus[None]) -> None:
        nonlocal starts
        starts += 1
        task_status.started()
        await trio.sleep(6)
        if starts < 8:
            raise ValueError(starts)

    await supervise(run, "slow", LIMIT)
    assert starts == 8


async def test_a_crash_before_started_ends_the_boot(nursery: trio.Nursery) -> None:
    async def run(*, task_status: trio.TaskStatus[None]) -> None:
        raise ValueError("no database")

    with pytest.raises(ValueError, match="no database"):
        await nursery.start(supervise, run, "boot", LIMIT)


async def test_started_is_told_once_over_all_incarnations(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    actor = Fragile(filled(1, 2), 1)
    await nursery.start(supervise, actor.run, "fragile", LIMIT)


async def test_what_an_actor_is_started_with_reaches_its_starter(nursery: trio.Nursery) -> None:
    async def run(*, task_status: trio.TaskStatus[str]) -> None:
        task_status.started("postgresql://here")

    assert await nursery.start(supervise, run, "server", LIMIT) == "postgresql://here"


async def test_cancelling_is_no_crash(autojump_clock: MockClock) -> None:
    actor = Fragile(Mailbox[int]("numbers", 1))
    with trio.move_on_after(1) as scope:
        await supervise(actor.run, "fragile", LIMIT)
    assert scope.cancelled_caught
    assert actor.starts == 1


async def test_a_contained_task_takes_nobody_along() -> None:
    crashed = list[str]()

    async def run() -> None:
        with contained("task", lambda: crashed.append("told")):
            raise ValueError

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
    assert crashed == ["told"]


def test_the_pause_doubles_up_to_its_ceiling() -> None:
    limit = RestartLimit(intensity=100, period_s=100.0)
    crashes = deque[float]()
    pauses = []
    for second in range(8):
        limit.allows(crashes, float(second))
        pauses.append(limit.pause_s(crashes))
    assert pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]


def test_innermost_finds_the_real_error() -> None:
    error = OSError("port in use")
    assert innermost(ExceptionGroup("a", [ExceptionGroup("b", [error])])) is error
