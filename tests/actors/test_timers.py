"""One task that keeps the time of all: each is told at its time, once."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from math import inf

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ellara.actors.timers import TOLD_PER_TURN, Timer, Timers


class Sleeper:
    """`then` is what it does when it is told."""

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        self.timer = Timer()
        self.then = then
        self.told: list[float] = []

    def tick(self) -> None:
        self.told.append(trio.current_time())
        self.then()


@pytest.fixture
async def timers(nursery: trio.Nursery) -> Timers:
    timers = Timers()
    nursery.start_soon(timers.run)
    await wait_all_tasks_blocked()
    return timers


async def test_each_is_told_once_in_the_order_of_their_times(timers: Timers, autojump_clock: MockClock) -> None:
    start, order = trio.current_time(), list[float]()
    for due in (3.0, 1.0, 2.0, 5.0, 4.0):
        timers.set(Sleeper(lambda due=due: order.append(due)), start + due)  # type: ignore[misc]
    await trio.sleep(10.0)
    assert order == [1.0, 2.0, 3.0, 4.0, 5.0]


async def test_it_is_told_at_its_time(timers: Timers, autojump_clock: MockClock) -> None:
    sleeper, due = Sleeper(), trio.current_time() + 2.5
    timers.set(sleeper, due)
    await trio.sleep(100.0)
    assert sleeper.told == [pytest.approx(due)]


async def test_what_is_due_already_is_told_at_once(timers: Timers, autojump_clock: MockClock) -> None:
    sleeper, now = Sleeper(), trio.current_time()
    timers.set(sleeper, now - 1.0)
    await wait_all_tasks_blocked()
    assert sleeper.told == [now]


async def test_later_replaces_sooner_and_takes_no_second_place(timers: Timers, autojump_clock: MockClock) -> None:
    sleeper, start = Sleeper(), trio.current_time()
    for step in range(1_000):
        timers.set(sleeper, start + 1.0 + step / 100)
    assert len(timers._heap) == 1
    await trio.sleep(100.0)
    assert sleeper.told == [pytest.approx(start + 10.99)]


async def test_sooner_replaces_later_and_wakes_it(timers: Timers, autojump_clock: MockClock) -> None:
    sleeper, start = Sleeper(), trio.current_time()
    timers.set(sleeper, start + 50.0)
    await trio.sleep(1.0)
    timers.set(sleeper, start + 2.0)
    await trio.sleep(100.0)
    assert sleeper.told == [pytest.approx(start + 2.0)]


async def test_sooner_and_later_again_is_told_once(timers: Timers, autojump_clock: MockClock) -> None:
    sleeper, start = Sleeper(), trio.current_time()
    for due in (50.0, 2.0, 40.0, 1.0, 30.0):
        timers.set(sleeper, start + due)
    await trio.sleep(100.0)
    assert sleeper.told == [pytest.approx(start + 30.0)]


async def test_who_asks_for_no_time_is_not_told_and_let_go_of(timers: Timers, autojump_clock: MockClock) -> None:
    sleeper = Sleeper()
    seen = weakref.ref(sleeper)
    timers.set(sleeper, trio.current_time() + 5.0)
    timers.set(sleeper, inf)
    del sleeper
    gc.collect()
    assert seen() is None
    await trio.sleep(10.0)


async def test_who_was_told_is_let_go_of(timers: Timers, autojump_clock: MockClock) -> None:
    sleeper = Sleeper()
    seen = weakref.ref(sleeper)
    timers.set(sleeper, trio.current_time() + 5.0)
    del sleeper
    await trio.sleep(10.0)
    gc.collect()
    assert seen() is None


async def test_who_is_told_may_ask_for_its_next_time(timers: Timers, autojump_clock: MockClock) -> None:
    sleeper, start = Sleeper(), trio.current_time()
    sleeper.then = lambda: timers.set(sleeper, trio.current_time() + 25.0)
    timers.set(sleeper, start + 25.0)
    await trio.sleep(101.0)
    assert sleeper.told == [pytest.approx(start + beat) for beat in (25.0, 50.0, 75.0, 100.0)]


async def test_who_is_told_may_call_off_another_that_is_due_with_it(timers: Timers, autojump_clock: MockClock) -> None:
    other, due = Sleeper(), trio.current_time() + 1.0
    timers.set(Sleeper(lambda: timers.set(other, inf)), due)
    timers.set(other, due)
    await trio.sleep(2.0)
    assert other.told == []


async def other_turns_until(done: Callable[[], bool]) -> int:
    turns = 0
    while not done():
        turns += 1
        await trio.lowlevel.checkpoint()
    return turns


async def test_thousands_that_are_due_together_leave_turns_to_others(timers: Timers, autojump_clock: MockClock) -> None:
    sleepers = [Sleeper() for _ in range(5_000)]
    for sleeper in sleepers:
        timers.set(sleeper, trio.current_time())
    assert await other_turns_until(lambda: bool(sleepers[-1].told)) >= 5_000 // TOLD_PER_TURN - 1


async def test_so_do_thousands_that_are_due_later_than_they_were(timers: Timers, autojump_clock: MockClock) -> None:
    sleepers, start = [Sleeper() for _ in range(5_000)], trio.current_time()
    for sleeper in sleepers:
        timers.set(sleeper, start)
        timers.set(sleeper, start + 5.0)
    last = sleepers[-1].timer
    assert await other_turns_until(lambda: last.entry is not None and last.entry[0] > start) >= 5_000 // TOLD_PER_TURN - 1


async def test_who_always_asks_for_now_leaves_turns_to_others(timers: Timers, autojump_clock: MockClock) -> None:
    sleeper = Sleeper()
    sleeper.then = lambda: timers.set(sleeper, trio.current_time())
    timers.set(sleeper, trio.current_time())
    await other_turns_until(lambda: len(sleeper.told) > 3 * TOLD_PER_TURN)
    timers.set(sleeper, inf)
