"""The seed's messages. Written by the ledger alone; read by whoever holds a connection."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from psycopg.rows import TupleRow

from ellara.model import Message, Speaker
from ellara.storage.connection import Connection, aware, naive

LIST_MESSAGES = """
SELECT id, chat_id, role, content, created_at FROM ellara.messages WHERE chat_id = %(chat_id)s
ORDER BY created_at, role COLLATE "C" DESC, id
"""


async def list_messages(connection: Connection, chat_id: str) -> list[Message]:
    """All of a chat, the oldest first. Of two that the old backend stored within one millisecond the question comes first."""
    return [_message(row) for row in await connection.rows(LIST_MESSAGES, chat_id=chat_id)]


APPEND_MESSAGES = """
INSERT INTO ellara.messages (id, chat_id, role, content, created_at)
SELECT id, chat_id, role, content,
       greatest(%(now)s, (SELECT max(created_at) + interval '1 ms' FROM ellara.messages WHERE messages.chat_id = wanted.chat_id))
       + (row_number() OVER (PARTITION BY chat_id ORDER BY position) - 1) * interval '1 ms'
FROM unnest(%(ids)s::text[], %(chat_ids)s::text[], %(roles)s::text[], %(contents)s::text[])
    WITH ORDINALITY AS wanted (id, chat_id, role, content, position)
RETURNING id, created_at
"""


async def append_messages(connection: Connection, messages: Sequence[Message], now: datetime) -> dict[str, datetime]:
    """Stores messages of chats that the caller's transaction holds (`touch_chats`): so times within a chat strictly rise.

    Answers the time of each by its id; the times in `messages` count for nothing.
    """
    rows = await connection.rows(
        APPEND_MESSAGES,
        ids=[message.id for message in messages],
        chat_ids=[message.chat_id for message in messages],
        roles=[message.role.value for message in messages],
        contents=[message.content for message in messages],
        now=naive(now),
    )
    return {message_id: aware(created_at) for message_id, created_at in rows}


def _message(row: TupleRow) -> Message:
    message_id, chat_id, role, content, created_at = row
    speaker = Speaker.USER if role == Speaker.USER else Speaker.ASSISTANT  # the column is a text: never refuse what is stored
    return Message(message_id, chat_id, speaker, content, aware(created_at))
