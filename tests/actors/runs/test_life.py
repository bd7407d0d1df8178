"""Answers one after the other, and how they end when the actor stops or something crashes."""

from __future__ import annotations

import trio
import trio.testing

from ellara.actors.phrases import Language, Trouble, phrase
from ellara.actors.runs import WAITING_MAX
from ellara.model import Speaker
from tests.actors.listener import Listener
from tests.actors.runs.ground import LONG, SLOW, Room, open_chat


async def test_questions_in_one_chat_are_answered_one_after_the_other(room: Room) -> None:
    listener, chat_id = await open_chat(room)
    for number in range(WAITING_MAX):
        room.ask(listener, f"Pertanyaan nomor {number} [chunks:10] [delay:2]", chat_id)
    await listener.end(WAITING_MAX)
    roles = [message.role for message in await room.rows(chat_id)]
    assert roles == [Speaker.USER, Speaker.ASSISTANT] * (1 + WAITING_MAX)
    assert [text[17:18] for text in (await room.said(chat_id))[2::2]] == ["0", "1", "2", "3"]


async def test_at_shutdown_running_answers_are_finished(room: Room) -> None:
    listener = Listener()
    room.ask(listener, f"{LONG} [chunks:20] [delay:10]")
    await listener.until("bot_chunk")
    room.mailbox.close()
    assert (await listener.end())["isNewChat"] is True
    room.ask(listener, LONG)
    assert await listener.until("bot_error") == phrase(Trouble.STOPPING, Language.INDONESIAN)


async def test_past_the_deadline_of_a_shutdown_what_was_shown_is_kept(room: Room) -> None:
    listener, chat_id = await open_chat(room)
    room.ask(listener, SLOW, chat_id)
    await listener.until("bot_chunk", count=3)
    room.ask(listener, "Is anyone still there?", chat_id)
    await trio.testing.wait_all_tasks_blocked()
    room.life.cancel()
    await room.over.wait()
    assert (await room.said(chat_id))[2:] == [SLOW, listener.text]
    stopping = [phrase(Trouble.STOPPING, language) for language in (Language.INDONESIAN, Language.ENGLISH)]
    assert sorted(value for name, value in listener.heard if name == "bot_error") == sorted(stopping)


async def test_a_crash_ends_its_own_answer_alone(room: Room) -> None:
    listener, chat_id = await open_chat(room)
    other = Listener()
    room.ask(other, f"{LONG} [chunks:30] [delay:10]")
    room.ask(listener, "Coba [tool:rusak {}]", chat_id)
    assert await listener.end() == phrase(Trouble.BROKEN, Language.INDONESIAN)
    assert (await other.end())["isNewChat"] is True
    room.ask(listener, "Coba lagi", chat_id)
    assert (await listener.end(2))["chatId"] == chat_id
