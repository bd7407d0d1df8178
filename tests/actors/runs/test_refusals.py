"""What is not answered: a sentence for the merchant, and the chat goes on."""

from __future__ import annotations

import pytest

from ellara.actors import ledger
from ellara.actors.phrases import Language, Trouble, phrase
from ellara.actors.runs import WAITING_MAX
from ellara.llm.faults import Fault
from tests.actors.listener import Listener
from tests.actors.runs.ground import LONG, SLOW, Open, Room, open_chat


async def test_an_unknown_user_is_told_so_and_can_ask_again(room: Room) -> None:
    listener = Listener()
    room.ask(listener, LONG, userId="nobody")
    assert await listener.end() == phrase(Trouble.UNKNOWN_USER, Language.INDONESIAN)
    assert listener.acks == [{"ok": False, "message": phrase(Trouble.UNKNOWN_USER, Language.INDONESIAN)}]
    room.ask(listener, LONG)
    assert (await listener.end(2))["isNewChat"] is True


async def test_an_unknown_chat_and_another_users_chat_are_the_same_to_the_asker(room: Room) -> None:
    _, chat_id = await open_chat(room)
    other = await ledger.sign_in(room.ledger, "0x" + "b2" * 20)
    for asked in ("no-such-chat", chat_id):
        listener = Listener()
        room.ask(listener, "What is in my other chat?", asked, userId=other.id)
        assert await listener.end() == phrase(Trouble.UNKNOWN_CHAT, Language.ENGLISH)
        assert listener.names == ["bot_error"]
    assert len(await room.said(chat_id)) == 2


async def test_a_token_speaks_for_its_own_user_alone(room: Room) -> None:
    listener = Listener(user_id="someone-else")
    room.ask(listener, LONG)
    assert listener.heard == [("bot_error", phrase(Trouble.OTHER_USER, Language.INDONESIAN))]
    own = Listener(user_id=room.user.id)
    room.ask(own, LONG)
    assert (await own.end())["isNewChat"] is True


async def test_without_a_token_nobody_asks_where_tokens_are_required(open_room: Open) -> None:
    room, listener = await open_room(require_token=True), Listener()
    room.ask(listener, LONG)
    assert listener.heard == [("bot_error", phrase(Trouble.SIGN_IN, Language.INDONESIAN))]


async def test_a_question_has_a_longest_length(open_room: Open) -> None:
    room, listener = await open_room(question_max_chars=50), Listener()
    room.ask(listener, "What is the price of " + "x" * 30)
    assert listener.heard == [("bot_error", phrase(Trouble.QUESTION_TOO_LONG, Language.ENGLISH))]
    room.ask(listener, "What is the price of " + "x" * 29)
    assert (await listener.end(2))["isNewChat"] is True


async def test_an_error_is_told_in_the_language_of_the_chat(room: Room) -> None:
    listener, chat_id = await open_chat(room, "How do I set my prices?")
    room.ask(listener, "Ok [fault:401]", chat_id)
    assert await listener.end() == phrase(Fault.REFUSED_KEY, Language.ENGLISH)


async def test_who_asks_too_fast_is_told_so(room: Room) -> None:
    listener, sentence = Listener(), phrase(Trouble.TOO_FAST, Language.INDONESIAN)
    room.runs.on_excess(listener.client, listener.ack)
    room.runs.on_excess(listener.client, None)
    assert listener.heard == [("ack", {"ok": False, "message": sentence}), ("bot_error", sentence), ("bot_error", sentence)]


async def test_events_of_other_names_are_ignored(room: Room) -> None:
    listener = Listener()
    room.runs.on_event(listener.client, "typing", [{"question": "x"}], None)
    assert (listener.heard, len(room.mailbox)) == ([], 0)


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("401", Fault.REFUSED_KEY),
        ("429-quota", Fault.NO_QUOTA),
        ("429-long", Fault.RATE_LIMITED),
        ("500-no-retry", Fault.FAILED),
        ("404", Fault.MODEL_GONE),
        ("wrong-type", Fault.BAD_EVENT),
        ("hang", Fault.TIMED_OUT),
        ("stall", Fault.STALLED),
        ("drop", Fault.CUT_OFF),
        ("eof", Fault.CUT_OFF),
        ("failed", Fault.FAILED),
        ("flat-error", Fault.FAILED),
        ("incomplete", Fault.INCOMPLETE_LENGTH),
        ("filter", Fault.INCOMPLETE_FILTER),
        ("bad-json", Fault.BAD_EVENT),
    ],
)
async def test_every_fault_ends_in_one_error_and_keeps_what_was_shown(open_room: Open, kind: str, fault: Fault) -> None:
    room, listener = await open_room(first_event_timeout_s=0.3, silence_timeout_s=0.3), Listener()
    room.ask(listener, f"{LONG} [fault:{kind}]")
    assert await listener.end() == phrase(fault, Language.INDONESIAN)
    chat_id = await listener.until("chat_id")
    assert listener.names[:2] == ["chat_title", "chat_id"]
    assert (await room.said(chat_id))[1:] == ([listener.text] if listener.text else [])
    room.ask(listener, "Lalu bagaimana?", chat_id)
    assert (await listener.end(2))["isNewChat"] is False
    assert [name for name in listener.names if name.startswith("bot_e")] == ["bot_error", "bot_end"]


async def test_more_questions_than_may_wait_are_refused(room: Room) -> None:
    listener, chat_id = await open_chat(room)
    room.ask(listener, SLOW, chat_id)
    await listener.until("bot_chunk")
    for _ in range(WAITING_MAX + 1):
        room.ask(listener, "Dan lagi?", chat_id)
    assert await listener.until("bot_error") == phrase(Trouble.CHAT_BUSY, Language.INDONESIAN)


async def test_more_answers_than_allowed_at_once_are_refused(open_room: Open) -> None:
    room, first, second = await open_room(runs_max=1), Listener(), Listener()
    room.ask(first, SLOW)
    await first.until("bot_chunk")
    room.ask(second, "Is there room for me?")
    assert await second.end() == phrase(Trouble.BUSY, Language.ENGLISH)
    assert second.names == ["bot_error"]


async def test_a_deleted_chat_ends_its_answer_with_an_error(room: Room) -> None:
    listener, chat_id = await open_chat(room)
    room.ask(listener, f"{LONG} [chunks:20] [delay:10]", chat_id)
    await listener.until("bot_chunk")
    await ledger.delete_chat(room.ledger, room.user.id, chat_id)
    assert await listener.end() == phrase(Trouble.UNKNOWN_CHAT, Language.INDONESIAN)
