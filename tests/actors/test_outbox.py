"""What waits for a slow reader: in order, bounded, and nothing after the end."""

from __future__ import annotations

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ellara.actors.outbox import Outbox
from ellara.protocol.engineio import Packet, Type


def text(data: str) -> Packet:
    return Packet(Type.MESSAGE, data)


async def test_a_taker_gets_all_there_is_in_order() -> None:
    outbox = Outbox(1_000)
    outbox.put(text("a"))
    outbox.put(text("b"))
    assert await outbox.take() == [text("a"), text("b")]


async def test_a_waiting_taker_is_woken_and_gets_what_came_in_the_same_turn(autojump_clock: MockClock) -> None:
    outbox, taken = Outbox(1_000), []
    async with trio.open_nursery() as nursery:

        async def take() -> None:
            taken.extend(await outbox.take())

        nursery.start_soon(take)
        await wait_all_tasks_blocked()
        outbox.put(text("a"))
        outbox.put(text("b"))
    assert taken == [text("a"), text("b")]


async def test_a_cancelled_taker_loses_nothing(autojump_clock: MockClock) -> None:
    outbox = Outbox(1_000)
    with trio.move_on_after(1.0):
        await outbox.take()
    outbox.put(text("a"))
    assert await outbox.take() == [text("a")]


def test_full_is_said_once_the_bound_is_reached() -> None:
    outbox = Outbox(1_000)
    assert outbox.put(text("x" * 5_000))
    assert not outbox.put(text("x"))


async def test_what_was_taken_no_longer_counts() -> None:
    outbox = Outbox(1_000)
    outbox.put(text("x" * 5_000))
    await outbox.take()
    assert outbox.put(text("x"))


def test_many_small_packets_fill_it_too() -> None:
    outbox = Outbox(10_000)
    assert sum(outbox.put(text("")) for _ in range(1_000)) < 200


async def test_closed_it_gives_what_is_left_and_then_nothing_for_ever() -> None:
    outbox = Outbox(1_000)
    outbox.put(text("a"))
    outbox.close()
    outbox.put(text("b"))
    assert await outbox.take() == [text("a")]
    assert await outbox.take() == []


async def test_at_the_switch_the_queue_moves_and_the_old_taker_ends() -> None:
    old, new = Outbox(1_000), Outbox(1_000)
    old.put(text("a"))
    old.move_to(new)
    new.put(text("b"))
    assert await new.take() == [text("a"), text("b")]
    assert await old.take() == []
