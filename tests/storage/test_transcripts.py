from __future__ import annotations

from datetime import timedelta

import pytest

from ellara.model import Chat, Message, Speaker, utc_now
from ellara.storage.chats import open_chats, touch_chats
from ellara.storage.messages import append_messages, list_messages
from ellara.storage.pool import Pool
from ellara.storage.transcripts import MESSAGES_MAX, read_transcripts
from ellara.storage.users import sign_in

NOW = utc_now()


@pytest.fixture
async def users(pool: Pool) -> list[str]:
    """Two users, of whom each has one chat with one question; ids `chat-0` and `chat-1`."""
    async with pool.transaction() as connection:
        made = await sign_in(connection, {"0x" + "a1" * 20: "user-0", "0x" + "b2" * 20: "user-1"}, NOW)
        chats = [Chat(f"chat-{at}", user.id, "t", f"thread-{at}", NOW, NOW) for at, user in enumerate(made.values())]
        await open_chats(connection, [(chat, Message(f"{chat.id}-q", chat.id, Speaker.USER, "q", NOW)) for chat in chats], NOW)
        return [chat.user_id for chat in chats]


async def say(pool: Pool, chat_id: str, contents: list[str]) -> None:
    async with pool.transaction() as connection:
        await touch_chats(connection, [chat_id], NOW)
        rows = [Message(f"{chat_id}-{at}", chat_id, Speaker.ASSISTANT, text, NOW) for at, text in enumerate(contents)]
        await append_messages(connection, rows, NOW + timedelta(seconds=1))


async def test_many_chats_are_read_at_once_each_as_it_is_listed(pool: Pool, users: list[str]) -> None:
    await say(pool, "chat-0", ["a", "b", "c"])
    async with pool.connection() as connection:
        found = await read_transcripts(connection, [("chat-1", users[1]), ("chat-0", users[0])], 1_000)
        assert found == {
            ("chat-0", users[0]): await list_messages(connection, "chat-0"),
            ("chat-1", users[1]): await list_messages(connection, "chat-1"),
        }
        assert [message.content for message in found["chat-0", users[0]]] == ["q", "a", "b", "c"]


async def test_another_users_chat_and_an_unknown_one_are_left_out(pool: Pool, users: list[str]) -> None:
    async with pool.connection() as connection:
        assert await read_transcripts(connection, [("chat-0", users[1]), ("nowhere", users[0])], 1_000) == {}
        assert list(await read_transcripts(connection, [("chat-0", users[1]), ("chat-0", users[0])], 1_000)) == [
            ("chat-0", users[0])
        ]


async def test_of_a_long_chat_only_its_end_is_read(pool: Pool, users: list[str]) -> None:
    await say(pool, "chat-0", [f"{at:010}" for at in range(300)])
    async with pool.connection() as connection:
        by_count = (await read_transcripts(connection, [("chat-0", users[0])], 1_000_000))["chat-0", users[0]]
        by_bytes = (await read_transcripts(connection, [("chat-0", users[0])], 45))["chat-0", users[0]]
    assert [message.content for message in by_count] == [f"{at:010}" for at in range(300 - MESSAGES_MAX, 300)]
    assert [message.content for message in by_bytes] == [f"{at:010}" for at in range(295, 300)]
