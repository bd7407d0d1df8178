"""The ledger while its database is killed, unreachable or silent, and when it crashes itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Self

import attrs
import pytest
import trio

from ellara.actors import ledger
from ellara.actors.ledger import Book, Entry, Ledger, Request, SignIn
from ellara.errors import Crashed, Unavailable
from ellara.mailbox import Mailbox
from ellara.model import Page, TransactionType
from ellara.storage import transactions
from ellara.storage.pool import Pool
from ellara.supervision import RestartLimit, supervise
from tests.line import Line

KEY = "0xAbCdEf0123456789aBcDeF0123456789ABCDEF01"
ALL = Page(take=100, page=1, sort_by="createdAt", descending=True, search=None)


@attrs.define(eq=False, kw_only=True)
class Poisoned(Entry[None]):
    """An entry whose writing runs into a bug."""

    @classmethod
    async def write(cls, book: Book, run: Sequence[Self]) -> Sequence[None]:
        raise ZeroDivisionError


@pytest.fixture
async def mailbox(far_pool: Pool, nursery: trio.Nursery) -> AsyncIterator[Mailbox[Request]]:
    """Of a supervised ledger whose database is at the end of a line."""
    box = Mailbox[Request]("ledger", ledger.MAILBOX_SIZE)
    run = Ledger(box, far_pool).run
    await nursery.start(supervise, run, "ledger", RestartLimit(intensity=5, period_s=30.0))
    yield box
    box.close()


async def recorded(pool: Pool, user_id: str) -> int:
    async with pool.connection() as connection:
        return (await transactions.list_transactions(connection, user_id, ALL)).total


async def test_a_line_cut_before_the_commit_arrives_costs_nobody_anything(
    mailbox: Mailbox[Request], line: Line, far_pool: Pool
) -> None:
    user = await ledger.sign_in(mailbox, KEY)
    line.cut_at = b"COMMIT"
    async with trio.open_nursery() as asking:
        for amount in range(5):
            asking.start_soon(ledger.record_transaction, mailbox, user.id, amount, TransactionType.USDT)
    assert await recorded(far_pool, user.id) == 5
    assert line.cut_at is None


async def test_a_commit_whose_answer_is_lost_is_not_done_twice(mailbox: Mailbox[Request], line: Line, far_pool: Pool) -> None:
    user = await ledger.sign_in(mailbox, KEY)
    line.lose_answer_to = b"COMMIT"
    made = await ledger.record_transaction(mailbox, user.id, 1, TransactionType.USDT)
    line.lose_answer_to = None
    async with far_pool.connection() as connection:
        assert (await transactions.list_transactions(connection, user.id, ALL)).rows == [made]


async def test_while_the_database_is_away_callers_are_told_within_a_bound(
    mailbox: Mailbox[Request], line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "RETRY_S", 0.3)
    line.refusing = True
    with trio.fail_after(2.0):
        for _ in range(2):
            with pytest.raises(Unavailable):
                await ledger.sign_in(mailbox, KEY)
    line.refusing = False
    assert (await ledger.sign_in(mailbox, KEY)).public_key == KEY


async def test_what_queued_during_an_outage_does_not_wait_for_every_batch_before_it(
    line: Line, far_pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "RETRY_S", 0.3)
    line.refusing = True
    box = Mailbox[Request]("ledger", 1_000)
    entries = [SignIn(public_key=KEY) for _ in range(1_000)]
    for entry in entries:
        box.post(entry)
    box.close()
    with trio.fail_after(2.0):
        await Ledger(box, far_pool).run()
    assert all(entry.answered for entry in entries)


async def test_a_crash_answers_the_batch_and_the_next_incarnation_reads_on(mailbox: Mailbox[Request]) -> None:
    poisoned, neighbour = Poisoned(), SignIn(public_key=KEY)
    mailbox.post(poisoned)
    mailbox.post(neighbour)
    for entry in (poisoned, neighbour):
        with pytest.raises(Crashed):
            await entry.reply()
    assert (await ledger.sign_in(mailbox, KEY)).public_key == KEY
