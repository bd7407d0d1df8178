"""The seed's chats. Written by the ledger alone; read by whoever holds a connection."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import LiteralString

from psycopg.rows import TupleRow

from ellara.model import Chat, Listing, Message, Page
from ellara.storage.connection import Connection, aware, naive
from ellara.storage.pages import list_page, statements

UNKNOWN = "Chat not found"

COLUMNS: LiteralString = "id, user_id, title, openai_thread_id, created_at, updated_at"

SORTS: Mapping[str, LiteralString] = {
    "title": 'lower(title) COLLATE "C"',  # by code point, letter case aside: the same on every server
    "createdAt": "created_at",
    "updatedAt": "updated_at",
    "openaiThreadId": 'openai_thread_id COLLATE "C"',
    "id": 'id COLLATE "C"',
}
"""By the names on the wire."""

LISTS = statements("ellara.chats", COLUMNS, "(%(pattern)s::text IS NULL OR title ILIKE %(pattern)s)", SORTS)

FIND_CHAT = "SELECT id, user_id, title, openai_thread_id, created_at, updated_at FROM ellara.chats WHERE id = %(chat_id)s"


async def find_chat(connection: Connection, chat_id: str) -> Chat | None:
    """Whoever's it is."""
    row = await connection.row(FIND_CHAT, chat_id=chat_id)
    return _chat(row) if row else None


OWNERS = "SELECT id, user_id FROM ellara.chats WHERE id = ANY(%(ids)s)"


async def find_owners(connection: Connection, ids: Collection[str]) -> dict[str, str]:
    """Chat id → user id, of those that are there."""
    return dict(await connection.rows(OWNERS, ids=list(ids)))


async def list_chats(connection: Connection, user_id: str, page: Page) -> Listing[Chat]:
    """`search` is part of the title, in any case. Raises `Invalid` for an unknown user or way to sort."""
    rows, total = await list_page(connection, LISTS, user_id, page)
    return Listing([_chat(row) for row in rows], total)


OPEN_CHATS = """
WITH wanted AS (
    SELECT * FROM unnest(%(ids)s::text[], %(user_ids)s::text[], %(titles)s::text[], %(threads)s::text[],
                         %(message_ids)s::text[], %(questions)s::text[])
        AS wanted (id, user_id, title, thread, message_id, question)
), opened AS (
    INSERT INTO ellara.chats (id, user_id, title, openai_thread_id, created_at, updated_at)
    SELECT id, user_id, title, thread, %(now)s, %(now)s FROM wanted
    WHERE EXISTS (SELECT FROM ellara.users WHERE users.id = wanted.user_id)
    RETURNING id
), asked AS (
    INSERT INTO ellara.messages (id, chat_id, role, content, created_at)
    SELECT message_id, id, 'user', question, %(now)s FROM wanted JOIN opened USING (id)
)
SELECT id FROM opened
"""


async def open_chats(connection: Connection, opened: Sequence[tuple[Chat, Message]], now: datetime) -> set[str]:
    """Stores chats, each with its first question. Answers the ids of those whose user exists."""
    rows = await connection.rows(
        OPEN_CHATS,
        ids=[chat.id for chat, _ in opened],
        user_ids=[chat.user_id for chat, _ in opened],
        titles=[chat.title for chat, _ in opened],
        threads=[chat.openai_thread_id for chat, _ in opened],
        message_ids=[message.id for _, message in opened],
        questions=[message.content for _, message in opened],
        now=naive(now),
    )
    return {row[0] for row in rows}


TOUCH_CHATS = """
WITH held AS (SELECT id FROM ellara.chats WHERE id = ANY(%(ids)s) ORDER BY id FOR NO KEY UPDATE)
UPDATE ellara.chats SET updated_at = greatest(chats.updated_at, %(now)s) FROM held WHERE chats.id = held.id RETURNING chats.id
"""


async def touch_chats(connection: Connection, ids: Collection[str], now: datetime) -> set[str]:
    """Marks chats as changed and holds them until the transaction ends. Answers the ids of those that are there."""
    return {row[0] for row in await connection.rows(TOUCH_CHATS, ids=sorted(ids), now=naive(now))}


RETITLE_CHATS = """
UPDATE ellara.chats SET title = wanted.title, updated_at = greatest(updated_at, %(now)s)
FROM unnest(%(ids)s::text[], %(titles)s::text[]) AS wanted (id, title) WHERE chats.id = wanted.id RETURNING chats.id
"""


async def retitle_chats(connection: Connection, titles: Mapping[str, str], now: datetime) -> set[str]:
    """By id. Answers the ids of those that are there."""
    rows = await connection.rows(RETITLE_CHATS, ids=list(titles), titles=list(titles.values()), now=naive(now))
    return {row[0] for row in rows}


DELETE_CHATS = """
WITH held AS (
    SELECT chats.id FROM ellara.chats JOIN unnest(%(ids)s::text[], %(user_ids)s::text[]) AS wanted (id, user_id)
        ON chats.id = wanted.id AND chats.user_id = wanted.user_id
    ORDER BY chats.id FOR UPDATE OF chats
), emptied AS (
    DELETE FROM ellara.messages USING held WHERE messages.chat_id = held.id
)
DELETE FROM ellara.chats USING held WHERE chats.id = held.id RETURNING chats.id
"""


async def delete_chats(connection: Connection, owners: Mapping[str, str]) -> set[str]:
    """With their messages. `owners`: chat id → user id. Answers the ids of those that were there and the user's."""
    rows = await connection.rows(DELETE_CHATS, ids=list(owners), user_ids=list(owners.values()))
    return {row[0] for row in rows}


def _chat(row: TupleRow) -> Chat:
    chat_id, user_id, title, thread, created_at, updated_at = row
    return Chat(chat_id, user_id, title, thread, aware(created_at), aware(updated_at))
