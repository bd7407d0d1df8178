"""The ledger on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

import pytest
import trio

from ellara.actors import ledger
from ellara.actors.ledger import Append, DeleteChat, Ledger, Request, Retitle, SignIn, runs
from ellara.errors import Conflict, Invalid, NotFound, Stopping
from ellara.mailbox import Mailbox
from ellara.model import Page, Speaker, Transaction, TransactionStatus, TransactionType, User
from ellara.storage import chats, messages, transactions, users
from ellara.storage.pool import Pool

KEY = "0xAbCdEf0123456789aBcDeF0123456789ABCDEF01"
NEWEST = Page(take=10, page=1, sort_by="createdAt", descending=True, search=None)


@pytest.fixture
async def mailbox(pool: Pool, nursery: trio.Nursery) -> AsyncIterator[Mailbox[Request]]:
    """Of a running ledger."""
    box = Mailbox[Request]("ledger", ledger.MAILBOX_SIZE)
    await nursery.start(Ledger(box, pool).run)
    yield box
    box.close()


async def at_once(count: int, ask: Callable[[int], Awaitable[object]]) -> list[object]:
    """Asks all before the ledger has seen the first; their answers or errors."""
    found: list[object] = [None] * count

    async def one(number: int) -> None:
        try:
            found[number] = await ask(number)
        except (Invalid, NotFound, Conflict) as error:
            found[number] = error

    async with trio.open_nursery() as nursery:
        for number in range(count):
            nursery.start_soon(one, number)
    return found


async def test_a_key_keeps_the_case_of_its_first_login(mailbox: Mailbox[Request]) -> None:
    first = await ledger.sign_in(mailbox, KEY)
    again = await ledger.sign_in(mailbox, KEY.lower())
    assert first.public_key == again.public_key == KEY
    assert first == again


async def test_200_simultaneous_first_logins_of_one_key_get_one_user(mailbox: Mailbox[Request], pool: Pool) -> None:
    keys = (KEY, KEY.lower(), "0x" + KEY[2:].upper())
    found = await at_once(200, lambda number: ledger.sign_in(mailbox, keys[number % 3]))
    assert len(set(found)) == 1
    async with pool.connection() as connection:
        assert await connection.row("SELECT count(*) FROM ellara.users") == (1,)


async def test_two_ledgers_on_one_database_make_one_user_of_a_key(pool: Pool, nursery: trio.Nursery) -> None:
    boxes = [Mailbox[Request]("ledger", 100) for _ in range(4)]
    for box in boxes:
        await nursery.start(Ledger(box, pool).run)
    keys = (KEY, KEY.lower())
    found = await at_once(40, lambda number: ledger.sign_in(boxes[number % 4], keys[number % 2]))
    assert len(set(found)) == 1
    for box in boxes:
        box.close()


async def test_two_old_users_of_one_key_are_each_found_by_their_own_case(mailbox: Mailbox[Request], pool: Pool) -> None:
    add = """INSERT INTO ellara.users VALUES (%(id)s, %(key)s, 'MERCHANT', '2024-01-01', '2024-01-01')"""
    async with pool.connection() as connection:
        await connection.run(add, id="upper", key=KEY)
        await connection.run(add, id="lower", key=KEY.lower())
    assert (await ledger.sign_in(mailbox, KEY)).id == "upper"
    assert (await ledger.sign_in(mailbox, KEY.lower())).id == "lower"


async def signed_in(mailbox: Mailbox[Request]) -> User:
    return await ledger.sign_in(mailbox, KEY)


async def test_a_new_chat_is_there_with_its_question_when_it_is_answered(mailbox: Mailbox[Request], pool: Pool) -> None:
    user = await signed_in(mailbox)
    chat, question = await ledger.open_chat(mailbox, user.id, "Modal", "Berapa modal warung kopi? ☕")
    async with pool.connection() as connection:
        assert await chats.find_chat(connection, chat.id) == chat
        assert await messages.list_messages(connection, chat.id) == [question]
    assert chat.openai_thread_id.startswith("thread_")


async def test_a_chat_of_an_unknown_user_is_refused_alone(mailbox: Mailbox[Request]) -> None:
    user = await signed_in(mailbox)
    owners = [user.id, "nobody", user.id]
    good, bad, also_good = await at_once(3, lambda number: ledger.open_chat(mailbox, owners[number], "t", "q"))
    assert isinstance(good, tuple)
    assert isinstance(also_good, tuple)
    assert isinstance(bad, Invalid)
    assert bad.message == "User not found"


async def test_the_messages_of_a_chat_have_strictly_rising_times_in_the_order_they_were_asked(
    mailbox: Mailbox[Request], pool: Pool
) -> None:
    user = await signed_in(mailbox)
    chat, _ = await ledger.open_chat(mailbox, user.id, "t", "first")
    await at_once(50, lambda number: ledger.append(mailbox, chat.id, Speaker.ASSISTANT, "x"))
    last = await ledger.append(mailbox, chat.id, Speaker.USER, "last")
    async with pool.connection() as connection:
        rows = await messages.list_messages(connection, chat.id)
    times = [row.created_at for row in rows]
    assert len(rows) == 52
    assert sorted(set(times)) == times
    assert rows[-1] == last


async def test_what_concerns_a_chat_that_is_gone_is_not_found(mailbox: Mailbox[Request]) -> None:
    user = await signed_in(mailbox)
    chat, _ = await ledger.open_chat(mailbox, user.id, "t", "q")
    await ledger.delete_chat(mailbox, user.id, chat.id)
    for ask in (
        partial(ledger.append, mailbox, chat.id, Speaker.USER, "late"),
        partial(ledger.retitle, mailbox, chat.id, "late"),
        partial(ledger.delete_chat, mailbox, user.id, chat.id),
    ):
        with pytest.raises(NotFound, match="Chat not found"):
            await ask()


async def test_a_chat_is_deleted_with_its_messages_by_its_owner_alone(mailbox: Mailbox[Request], pool: Pool) -> None:
    user = await signed_in(mailbox)
    chat, _ = await ledger.open_chat(mailbox, user.id, "t", "q")
    with pytest.raises(NotFound, match="Chat not found"):
        await ledger.delete_chat(mailbox, "somebody else", chat.id)
    await ledger.delete_chat(mailbox, user.id, chat.id)
    async with pool.connection() as connection:
        assert await connection.row("SELECT count(*) FROM ellara.messages") == (0,)


async def test_a_title_changes(mailbox: Mailbox[Request], pool: Pool) -> None:
    user = await signed_in(mailbox)
    chat, _ = await ledger.open_chat(mailbox, user.id, "t", "q")
    await ledger.retitle(mailbox, chat.id, "Modal awal")
    async with pool.connection() as connection:
        found = await chats.find_chat(connection, chat.id)
    assert found is not None
    assert found.title == "Modal awal"


async def test_a_transaction_is_recorded_and_updated(mailbox: Mailbox[Request], pool: Pool) -> None:
    user = await signed_in(mailbox)
    made = await ledger.record_transaction(mailbox, user.id, 100_000, TransactionType.USDT)
    await ledger.update_transaction(mailbox, user.id, made.id, TransactionStatus.SUCCESS, "0xaa")
    await ledger.update_transaction(mailbox, user.id, made.id, None, None)
    async with pool.connection() as connection:
        listing = await transactions.list_transactions(connection, user.id, NEWEST)
    assert listing.rows == [
        Transaction(made.id, user.id, 100_000, TransactionType.USDT, TransactionStatus.SUCCESS, "0xaa", made.created_at)
    ]


async def test_an_amount_that_the_column_cannot_hold_is_refused_alone_and_names_the_maximum(mailbox: Mailbox[Request]) -> None:
    user = await signed_in(mailbox)
    amounts = [2**31 - 1, 2**31, 10**80, 0]
    record = lambda number: ledger.record_transaction(mailbox, user.id, amounts[number], TransactionType.NATIVE)  # noqa: E731
    greatest, over, far_over, zero = await at_once(4, record)
    assert isinstance(greatest, Transaction)
    assert isinstance(zero, Transaction)
    assert isinstance(over, Invalid)
    assert over.message == "amount must be at most 2147483647"
    assert isinstance(far_over, Invalid)


async def test_a_widened_column_takes_what_wei_needs(pool: Pool, nursery: trio.Nursery) -> None:
    async with pool.connection() as connection:
        await connection.run("DROP VIEW ellara.transactions")
        await connection.run('ALTER TABLE "Transaction" ALTER amount TYPE numeric(78,0)')
        await connection.run(
            """CREATE VIEW ellara.transactions AS SELECT "id" AS id, "userId" AS user_id, "amount" AS amount, "type" AS type,
               "status" AS status, "txHash" AS tx_hash, "createdAt" AS created_at FROM "Transaction" """
        )
    box = Mailbox[Request]("ledger", 10)
    await nursery.start(Ledger(box, pool).run)
    user = await signed_in(box)
    made = await ledger.record_transaction(box, user.id, 2**256 - 1, TransactionType.NATIVE)
    async with pool.connection() as connection:
        assert (await transactions.list_transactions(connection, user.id, NEWEST)).rows == [made]
    box.close()


async def test_a_hash_of_another_transaction_is_a_conflict_and_its_neighbours_stand(
    mailbox: Mailbox[Request],
) -> None:
    user = await signed_in(mailbox)
    made = await at_once(4, lambda _: ledger.record_transaction(mailbox, user.id, 1, TransactionType.USDT))
    ids = [each.id for each in made if isinstance(each, Transaction)]
    hashes = ["0x01", "0x02", "0x01", "0x03"]
    found = await at_once(4, lambda number: ledger.update_transaction(mailbox, user.id, ids[number], None, hashes[number]))
    assert sorted(type(each).__name__ for each in found) == ["Conflict", "NoneType", "NoneType", "NoneType"]


async def test_anothers_transaction_is_not_found(mailbox: Mailbox[Request]) -> None:
    user = await signed_in(mailbox)
    made = await ledger.record_transaction(mailbox, user.id, 1, TransactionType.USDT)
    with pytest.raises(NotFound, match="Transaction not found"):
        await ledger.update_transaction(mailbox, "somebody else", made.id, TransactionStatus.FAILED, None)


@pytest.mark.parametrize("text", ["nul \x00", "half \ud800"])
async def test_a_text_that_postgresql_cannot_hold_is_refused_alone(mailbox: Mailbox[Request], text: str) -> None:
    user = await signed_in(mailbox)
    chat, _ = await ledger.open_chat(mailbox, user.id, "t", "q")
    texts = ["good", text, "also good"]
    found = await at_once(3, lambda number: ledger.append(mailbox, chat.id, Speaker.USER, texts[number]))
    assert isinstance(found[1], Invalid)
    assert not isinstance(found[0], Invalid)
    assert not isinstance(found[2], Invalid)


async def test_what_queued_is_written_in_one_commit(mailbox: Mailbox[Request], pool: Pool) -> None:
    user = await signed_in(mailbox)
    chat, _ = await ledger.open_chat(mailbox, user.id, "t", "q")
    await at_once(40, lambda number: ledger.append(mailbox, chat.id, Speaker.USER, str(number)))
    async with pool.connection() as connection:
        row = await connection.row('SELECT count(DISTINCT xmin::text) FROM "Message" WHERE "content" <> %(q)s', q="q")
    assert row == (1,)


async def test_a_caller_that_leaves_does_not_stop_what_was_accepted(mailbox: Mailbox[Request], pool: Pool) -> None:
    user = await signed_in(mailbox)
    chat, _ = await ledger.open_chat(mailbox, user.id, "t", "q")
    with trio.CancelScope() as scope:
        scope.cancel()
        await ledger.append(mailbox, chat.id, Speaker.USER, "left behind")
    await ledger.append(mailbox, chat.id, Speaker.USER, "after it")
    async with pool.connection() as connection:
        contents = [row.content for row in await messages.list_messages(connection, chat.id)]
    assert contents == ["q", "left behind", "after it"]


async def test_a_closed_mailbox_is_emptied_before_the_ledger_returns(pool: Pool) -> None:
    box = Mailbox[Request]("ledger", 100)
    entries = [SignIn(public_key=KEY) for _ in range(10)]
    for entry in entries:
        box.post(entry)
    box.close()
    await Ledger(box, pool).run()
    assert len({(await entry.reply()).id for entry in entries}) == 1
    with pytest.raises(Stopping):
        await ledger.sign_in(box, KEY)


def test_entries_of_one_kind_are_gathered_and_those_of_one_subject_keep_their_order() -> None:
    a1, a2, a3, late = (Append(subject=subject, role=Speaker.USER, content="") for subject in ("a", "b", "a", "a"))
    title, end = Retitle(subject="a", title=""), DeleteChat(subject="a", user_id="")
    assert runs([a1, title, a2, a3, end, late]) == [[a1, a2], [title], [a3], [end], [late]]


def test_a_subject_comes_twice_in_a_run_of_messages_alone() -> None:
    one, two = (Retitle(subject="a", title=title) for title in "12")
    first, second = (Append(subject="b", role=Speaker.USER, content=text) for text in "12")
    assert runs([one, two, first, second]) == [[one], [two], [first, second]]


async def test_users_are_found_by_id(mailbox: Mailbox[Request], pool: Pool) -> None:
    user = await signed_in(mailbox)
    async with pool.connection() as connection:
        assert await users.find_user(connection, user.id) == user
        assert await users.find_user(connection, "nobody") is None
