"""Mailboxes: bounded, outliving their reader, and every accepted call answered once."""

from __future__ import annotations

import attrs
import pytest
import trio

from ellara.errors import Busy, Crashed, Invalid, Stopping
from ellara.mailbox import Bell, Call, Mailbox


@attrs.define(eq=False, kw_only=True)
class Double(Call[int]):
    number: int


async def test_an_answer_reaches_the_caller() -> None:
    call = Double(number=21)
    call.answer(call.number * 2)
    assert await call.reply() == 42


async def test_a_refusal_is_raised_at_the_caller() -> None:
    call = Double(number=1)
    with call:
        raise Invalid("odd")
    with pytest.raises(Invalid, match="odd"):
        await call.reply()


async def test_a_crash_answers_the_caller_and_goes_on_to_the_supervisor() -> None:
    call = Double(number=1)
    with pytest.raises(ZeroDivisionError), call:
        call.answer(1 // 0)
    with pytest.raises(Crashed):
        await call.reply()


async def test_the_first_answer_counts() -> None:
    call = Double(number=1)
    call.answer(1)
    call.answer(2)
    call.refuse(Invalid("late"))
    assert await call.reply() == 1


async def test_a_full_mailbox_refuses_with_busy() -> None:
    mailbox = Mailbox[Double]("doubler", 1)
    mailbox.post(Double(number=1))
    with pytest.raises(Busy):
        mailbox.post(Double(number=2))


async def test_a_closed_mailbox_refuses_with_stopping_and_is_drained() -> None:
    mailbox = Mailbox[Double]("doubler", 5)
    for number in range(3):
        mailbox.post(Double(number=number))
    mailbox.close()
    with pytest.raises(Stopping):
        mailbox.post(Double(number=9))
    assert [call.number async for call in mailbox] == [0, 1, 2]
    assert mailbox.take() is None


async def test_many_are_read_at_a_time_up_to_a_limit_and_in_order() -> None:
    mailbox = Mailbox[int]("numbers", 5)
    for number in range(5):
        mailbox.post(number)
    mailbox.close()
    assert [mailbox.with_more(first, 2) async for first in mailbox] == [[0, 1], [2, 3], [4]]


async def test_one_alone_is_read_without_waiting_for_more() -> None:
    mailbox = Mailbox[int]("numbers", 5)
    assert mailbox.with_more(0, 2) == [0]


async def test_a_caller_that_goes_away_does_not_cancel_the_work(nursery: trio.Nursery) -> None:
    mailbox = Mailbox[Double]("doubler", 1)
    call = Double(number=2)

    async def impatient() -> None:
        mailbox.post(call)
        with trio.CancelScope() as scope:
            scope.cancel()
            await call.reply()

    nursery.start_soon(impatient)
    async for taken in mailbox:
        taken.answer(taken.number * 2)
        break
    assert await call.reply() == 4


async def test_a_bell_rung_often_is_heard_once_and_not_forgotten() -> None:
    bell = Bell()
    bell.ring()
    bell.ring()
    await bell.heard()
    with trio.move_on_after(0) as again:
        await bell.heard()
    assert again.cancelled_caught
