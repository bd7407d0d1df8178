"""The newest messages of many chats at once: what the assistant reads before it answers. No table of its own."""

from __future__ import annotations

from collections.abc import Collection

from ellara.model import Message, Speaker
from ellara.storage.connection import Connection, aware

MESSAGES_MAX = 200

READ_TRANSCRIPTS = """
SELECT chats.id, chats.user_id, newest.id, newest.role, newest.content, newest.created_at
FROM unnest(%(chat_ids)s::text[], %(user_ids)s::text[]) AS wanted (chat_id, user_id)
JOIN ellara.chats ON chats.id = wanted.chat_id AND chats.user_id = wanted.user_id
LEFT JOIN LATERAL (
    SELECT *, sum(octet_length(content)) OVER (ORDER BY created_at DESC, role COLLATE "C", id DESC)
              - octet_length(content) AS later_bytes
    FROM (
        SELECT id, role, content, created_at FROM ellara.messages WHERE messages.chat_id = chats.id
        ORDER BY created_at DESC, role COLLATE "C", id DESC LIMIT %(messages_max)s
    ) AS latest
) AS newest ON newest.later_bytes < %(bytes_max)s
ORDER BY chats.id, newest.created_at, newest.role COLLATE "C" DESC, newest.id
"""


async def read_transcripts(
    connection: Connection, wanted: Collection[tuple[str, str]], bytes_max: int
) -> dict[tuple[str, str], list[Message]]:
    """By (chat's id, user's id), oldest first; a chat that is not there or not that user's is left out.

    Of a long chat the newest `MESSAGES_MAX` at most, as many as begin within the last `bytes_max` of it.
    """
    pairs = sorted(set(wanted))
    rows = await connection.rows(
        READ_TRANSCRIPTS,
        chat_ids=[chat_id for chat_id, _ in pairs],
        user_ids=[user_id for _, user_id in pairs],
        messages_max=MESSAGES_MAX,
        bytes_max=bytes_max,
    )
    found: dict[tuple[str, str], list[Message]] = {}
    for chat_id, user_id, message_id, role, content, created_at in rows:
        messages = found.setdefault((chat_id, user_id), [])
        if message_id is not None:
            speaker = Speaker.USER if role == Speaker.USER else Speaker.ASSISTANT
            messages.append(Message(message_id, chat_id, speaker, content, aware(created_at)))
    return found
