"""Chats, messages and transactions as their readers get them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ellara.errors import Invalid
from ellara.model import Chat, Message, Page, Speaker, Transaction, TransactionStatus, TransactionType
from ellara.storage import chats, messages, transactions, users
from ellara.storage.connection import Connection
from ellara.storage.pages import part_of
from ellara.storage.pool import Pool

NOW = datetime(2024, 1, 1, 12, 0, 0, 123_000, tzinfo=UTC)
PAGE = Page(take=10, page=1, sort_by="title", descending=False, search=None)
TX_PAGE = attrs.evolve(PAGE, sort_by="createdAt", descending=True)


async def user(connection: Connection, key: str = "0xaa") -> str:
    return (await users.sign_in(connection, {key: key}, NOW))[key].id


async def titled(connection: Connection, user_id: str, *titles: str) -> None:
    rows = [
        (Chat(f"c{n}", user_id, title, f"thread_{n}", NOW, NOW), Message(f"m{n}", f"c{n}", Speaker.USER, "q", NOW))
        for n, title in enumerate(titles)
    ]
    await chats.open_chats(connection, rows, NOW)


async def found_titles(pool: Pool, page: Page, *titles: str) -> list[str]:
    async with pool.connection() as connection:
        user_id = await user(connection)
        await titled(connection, user_id, *titles)
        listing = await chats.list_chats(connection, user_id, page)
    assert listing.total >= len(listing.rows)
    return [chat.title for chat in listing.rows]


async def test_titles_sort_by_code_point_letter_case_aside(pool: Pool) -> None:
    assert await found_titles(pool, PAGE, "b", "É", "A", "C", "_", "10", "9") == ["10", "9", "_", "A", "b", "C", "É"]


@pytest.mark.parametrize(
    ("search", "expected"),
    [("MODAL", ["Modal awal", "modal 100%"]), ("%", ["modal 100%"]), ("_", ["a_b"]), ("\\", ["c\\d"]), ("é", ["É"]), ("q", [])],
)
async def test_a_title_is_found_by_any_part_and_nothing_in_it_is_special(pool: Pool, search: str, expected: list[str]) -> None:
    page = attrs.evolve(PAGE, search=search)
    found = await found_titles(pool, page, "Modal awal", "modal 100%", "a_b", "aXb", "c\\d", "É")
    assert sorted(found) == sorted(expected)


async def test_pages_follow_one_another_and_ties_are_broken_by_the_id(pool: Pool) -> None:
    async with pool.connection() as connection:
        user_id = await user(connection)
        await titled(connection, user_id, *["same"] * 7)
        pages = [await chats.list_chats(connection, user_id, attrs.evolve(PAGE, take=3, page=n)) for n in (1, 2, 3, 4)]
    assert [[chat.id for chat in page.rows] for page in pages] == [["c0", "c1", "c2"], ["c3", "c4", "c5"], ["c6"], []]
    assert {page.total for page in pages} == {7}


async def test_a_page_beyond_all_rows_is_empty(pool: Pool) -> None:
    assert await found_titles(pool, attrs.evolve(PAGE, page=10**30), "a") == []


@pytest.mark.parametrize("sort_by", chats.SORTS)
@pytest.mark.parametrize("descending", [False, True])
async def test_chats_sort_by_each_choice(pool: Pool, sort_by: str, descending: bool) -> None:
    assert len(await found_titles(pool, attrs.evolve(PAGE, sort_by=sort_by, descending=descending), "a", "b")) == 2


async def test_another_way_to_sort_is_refused_with_the_choices(pool: Pool) -> None:
    with pytest.raises(Invalid, match="title, createdAt, updatedAt, openaiThreadId, id"):
        await found_titles(pool, attrs.evolve(PAGE, sort_by="id; DROP TABLE"), "a")


async def test_lists_tell_an_unknown_user(pool: Pool) -> None:
    async with pool.connection() as connection:
        for ask, page in ((chats.list_chats, PAGE), (transactions.list_transactions, TX_PAGE)):
            with pytest.raises(Invalid, match="User not found"):
                await ask(connection, "nobody", page)


async def test_a_list_holds_the_users_own_rows_alone(pool: Pool) -> None:
    async with pool.connection() as connection:
        owner, other = await user(connection), await user(connection, "0xbb")
        await titled(connection, owner, "mine")
        assert (await chats.list_chats(connection, other, PAGE)).rows == []
        assert (await chats.list_chats(connection, other, PAGE)).total == 0


async def test_owners_are_told_of_the_chats_that_are_there(pool: Pool) -> None:
    async with pool.connection() as connection:
        await titled(connection, owner := await user(connection), "a", "b")
        assert await chats.find_owners(connection, {"c0", "c1", "gone"}) == {"c0": owner, "c1": owner}


async def test_times_are_utc_to_the_millisecond(pool: Pool) -> None:
    async with pool.connection() as connection:
        await titled(connection, await user(connection), "a")
        chat = await chats.find_chat(connection, "c0")
    assert chat is not None
    assert chat.created_at == chat.updated_at == NOW


async def test_a_chat_touched_later_says_so_and_never_goes_back(pool: Pool) -> None:
    async with pool.connection() as connection:
        await titled(connection, await user(connection), "a")
        later = NOW + timedelta(milliseconds=1)
        assert await chats.touch_chats(connection, {"c0", "gone"}, later) == {"c0"}
        await chats.touch_chats(connection, {"c0"}, NOW)
        chat = await chats.find_chat(connection, "c0")
    assert chat is not None
    assert chat.updated_at == later


async def test_messages_come_oldest_first_the_question_before_an_answer_of_the_same_millisecond(pool: Pool) -> None:
    old = "INSERT INTO ellara.messages VALUES (%(id)s, 'c0', %(role)s, 'x', '2020-01-01')"
    async with pool.connection() as connection:
        await titled(connection, await user(connection), "a")
        await connection.run(old, id="a", role="assistant")
        await connection.run(old, id="b", role="user")
        rows = await messages.list_messages(connection, "c0")
    assert [row.id for row in rows] == ["b", "a", "m0"]


async def test_a_message_is_later_than_one_the_old_backend_dated_ahead(pool: Pool) -> None:
    async with pool.connection() as connection:
        await titled(connection, await user(connection), "a")
        await connection.run("UPDATE ellara.messages SET created_at = '2030-01-01'")
        new = Message("new", "c0", Speaker.ASSISTANT, "x", NOW)
        times = await messages.append_messages(connection, [new], NOW)
    assert times["new"] == datetime(2030, 1, 1, 0, 0, 0, 1000, tzinfo=UTC)


async def paid(connection: Connection, user_id: str) -> list[Transaction]:
    rows = [
        Transaction(f"t{n}", user_id, n * 100, kind, TransactionStatus.PENDING, None, NOW + timedelta(seconds=n))
        for n, kind in enumerate([TransactionType.USDT, TransactionType.NATIVE, TransactionType.USDT])
    ]
    await transactions.add_transactions(connection, rows)
    change = transactions.Change(user_id, TransactionStatus.SUCCESS, "0xAb01")
    await transactions.change_transactions(connection, {"t1": change})
    return rows


@pytest.mark.parametrize(
    ("sort_by", "descending", "expected"),
    [
        ("createdAt", True, "t2 t1 t0"),
        ("amount", False, "t0 t1 t2"),
        ("type", False, "t1 t0 t2"),
        ("status", True, "t1 t2 t0"),
        ("txHash", False, "t1 t0 t2"),
        ("id", True, "t2 t1 t0"),
    ],
)
async def test_transactions_sort_by_each_choice(pool: Pool, sort_by: str, descending: bool, expected: str) -> None:
    async with pool.connection() as connection:
        user_id = await user(connection)
        await paid(connection, user_id)
        page = attrs.evolve(TX_PAGE, sort_by=sort_by, descending=descending)
        listing = await transactions.list_transactions(connection, user_id, page)
    assert " ".join(row.id for row in listing.rows) == expected


async def test_a_transaction_is_found_by_part_of_its_hash_and_by_its_status(pool: Pool) -> None:
    async with pool.connection() as connection:
        user_id = await user(connection)
        await paid(connection, user_id)
        listing = await transactions.list_transactions(connection, user_id, attrs.evolve(TX_PAGE, search="xAB"))
        pending = await transactions.find_transactions(connection, user_id, 5, TransactionStatus.PENDING, None)
        by_hash = await transactions.find_transactions(connection, user_id, 5, None, "ab0")
    assert [row.id for row in listing.rows] == [row.id for row in by_hash] == ["t1"]
    assert [row.id for row in pending] == ["t2", "t0"]


@pytest.mark.parametrize(
    ("column_type", "expected"),
    [
        ("integer", 2**31 - 1),
        ("bigint", 2**63 - 1),
        ("numeric(78,0)", 10**78 - 1),
        ("numeric(20,2)", 10**18 - 1),
        ("numeric", 2**256 - 1),
    ],
)
def test_the_greatest_amount_follows_from_the_column(column_type: str, expected: int) -> None:
    assert transactions.largest(column_type) == expected


@given(st.text())
def test_a_pattern_escapes_what_is_special_and_nothing_else(text: str) -> None:
    pattern = part_of(text)
    assert pattern[0] == pattern[-1] == "%"
    assert re.sub(r"\\(.)", r"\1", pattern[1:-1], flags=re.DOTALL) == text
    assert not set("\\%_") & set(re.sub(r"\\.", "", pattern[1:-1]))
