"""`resume`: a chat's answers are heard by every session of its user that follows it, whole and once, and by nobody else."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack

import pytest
import trio
import trio.testing

from ellara.actors import ledger
from ellara.actors.following import MAILBOX_SIZE
from ellara.actors.phrases import Language, Trouble, phrase
from ellara.settings import Database
from tests.actors.listener import Listener
from tests.actors.runs.ground import LONG, Open, Room, open_chat

RUNNING = f"{LONG} [chunks:40] [delay:10]"


async def running_answer(room: Room, chunks: int = 5) -> tuple[Listener, str]:
    """The page that asked, amid its answer."""
    asker, chat_id = await open_chat(room)
    room.ask(asker, RUNNING, chat_id)
    await asker.until("bot_chunk", count=chunks)
    return asker, chat_id


async def following(room: Room, chat_id: str, user_id: str | None = None) -> Listener:
    follower = Listener(user_id)
    room.follow(follower, chat_id)
    ack = await follower.until("ack")
    assert (ack["ok"], ack["chatId"]) == (True, chat_id)
    return follower


async def test_amid_an_answer_it_hears_the_text_so_far_then_the_rest_and_the_one_end(room: Room) -> None:
    asker, chat_id = await running_answer(room)
    follower = await following(room, chat_id, room.user.id)
    assert follower.chunks[0] == asker.text
    end = await follower.end()
    assert follower.names == ["ack", "bot_chunk", "bot_end"]
    assert (await room.said(chat_id))[-1] == follower.text
    assert await asker.end() == end
    assert asker.text == follower.text


async def test_from_before_it_hears_what_another_session_asks(room: Room) -> None:
    asker, chat_id = await open_chat(room)
    follower = await following(room, chat_id)
    for count in (1, 2):
        room.ask(asker, f"Pertanyaan nomor {count}", chat_id)
        assert await follower.end(count) == await asker.end(count)
    assert follower.names == ["ack", "bot_chunk", "bot_end", "bot_chunk", "bot_end"]
    assert follower.text == asker.text


async def test_from_after_an_answer_it_hears_the_next_one_alone(room: Room) -> None:
    asker, chat_id = await running_answer(room)
    await asker.end()
    follower = await following(room, chat_id)
    room.ask(asker, "Terima kasih", chat_id)
    await follower.end()
    assert (await room.said(chat_id))[-1] == follower.text


async def test_a_failure_ends_it_for_followers_too(room: Room) -> None:
    asker, chat_id = await open_chat(room)
    follower = await following(room, chat_id)
    room.ask(asker, f"{LONG} [fault:drop]", chat_id)
    assert await follower.end() == await asker.end()
    assert follower.heard[1:] == asker.heard


async def test_a_session_that_only_asked_hears_its_own_answers_alone(room: Room) -> None:
    asker, chat_id = await open_chat(room)
    other = Listener()
    room.ask(other, "Dari tab yang lain", chat_id)
    await other.end()
    assert asker.heard == []


async def test_a_page_that_shows_a_part_hears_only_the_rest(room: Room) -> None:
    asker, chat_id = await running_answer(room)
    back = Listener()
    room.follow(back, chat_id, after=len(asker.text) - 3)
    after = len(asker.text) - 3
    assert back.heard == [
        ("ack", {"ok": True, "chatId": chat_id, "running": True, "after": after}),
        ("bot_chunk", back.heard[1][1]),
    ]
    assert back.text == asker.text[-3:]
    await back.end()
    assert (await room.said(chat_id))[-1].endswith(back.text)


@pytest.mark.parametrize("missing", [0, 3, 1_000])
async def test_who_hears_the_answer_already_still_hears_everything_once(room: Room, missing: int) -> None:
    """Chunks are on their way that its page has not shown yet; and some pages ask twice."""
    asker, chat_id = await running_answer(room)
    for _ in range(2):
        shown = len(asker.text)
        room.follow(asker, chat_id, after=max(0, shown - missing))
        assert asker.heard[-1] == ("ack", {"ok": True, "chatId": chat_id, "running": True, "after": shown})
    await asker.end()
    assert [name for name in asker.names if name != "ack"].count("bot_end") == 1
    assert (await room.said(chat_id))[-1] == asker.text


async def test_a_new_chat_can_be_followed_before_it_is_announced(open_room: Open) -> None:
    room, asker, acked = await open_room(title_wait_ms=5_000), Listener(), trio.Event()
    payload = {"question": f"{LONG} [fault-title:slow:200]", "userId": room.user.id}
    room.runs.on_event(asker.client, "message", [payload], lambda answer: acked.set())
    await acked.wait()
    async with room.pool.connection() as connection:
        row = await connection.row("SELECT id FROM ellara.chats WHERE user_id = %(user_id)s", user_id=room.user.id)
    assert row is not None
    follower = await following(room, row[0])
    await follower.end()
    await asker.end()
    assert follower.names == ["ack", "chat_title", "chat_id", "bot_chunk", "bot_end"]
    assert follower.text == asker.text


async def test_another_users_chat_and_an_unknown_one_are_refused_alike(room: Room) -> None:
    asker, chat_id = await running_answer(room)
    other = await ledger.sign_in(room.ledger, "0x" + "b2" * 20)
    sentence = phrase(Trouble.UNKNOWN_CHAT, Language.INDONESIAN)
    refused = [("ack", {"ok": False, "message": sentence}), ("bot_error", sentence)]
    for listener, asked in ((Listener(other.id), chat_id), (Listener(), chat_id), (Listener(other.id), "no-such-chat")):
        room.follow(listener, asked, userId=other.id)
        await listener.until("bot_error")
        assert listener.heard == refused
    await asker.end()
    await trio.testing.wait_all_tasks_blocked()
    assert listener.heard == refused


async def test_a_token_speaks_for_its_own_user_alone(room: Room) -> None:
    _, chat_id = await open_chat(room)
    listener = Listener(user_id="someone-else")
    room.follow(listener, chat_id, userId=room.user.id)
    assert listener.heard[-1] == ("bot_error", phrase(Trouble.OTHER_USER, Language.INDONESIAN))


async def test_without_a_token_nobody_follows_where_tokens_are_required(open_room: Open) -> None:
    room, listener = await open_room(require_token=True), Listener()
    room.follow(listener, "chat")
    assert listener.heard[-1] == ("bot_error", phrase(Trouble.SIGN_IN, Language.INDONESIAN))


@pytest.mark.parametrize(
    ("payload", "trouble"),
    [({"userId": "ani"}, Trouble.CHAT_MISSING), ({"chatId": "c1"}, Trouble.CHAT_MISSING), ([], Trouble.MALFORMED)],
)
async def test_what_names_no_chat_or_nobody_is_refused(room: Room, payload: object, trouble: Trouble) -> None:
    listener = Listener()
    room.runs.on_event(listener.client, "resume", [payload], None)
    assert listener.heard == [("bot_error", phrase(trouble, Language.INDONESIAN))]


async def test_a_json_string_is_taken_too(room: Room) -> None:
    _, chat_id = await open_chat(room)
    listener = Listener(room.user.id)
    room.runs.on_event(listener.client, "resume", [json.dumps({"chatId": chat_id})], listener.ack)
    assert await listener.until("ack") == {"ok": True, "chatId": chat_id, "running": False}


async def test_who_has_left_hears_nothing_more(room: Room) -> None:
    asker, chat_id = await running_answer(room)
    follower = await following(room, chat_id)
    follower.client.leave()
    room.runs.on_leave(follower.client)
    heard = list(follower.heard)
    await asker.end()
    assert follower.heard == heard


@pytest.mark.parametrize("turn", ["ask", "follow"])
async def test_a_follower_that_turns_to_another_chat_hears_nothing_more_of_this_one(room: Room, turn: str) -> None:
    _, other_id = await open_chat(room)
    asker, chat_id = await running_answer(room)
    follower = await following(room, chat_id)
    if turn == "ask":
        room.ask(follower, "Pertanyaan lain", other_id)
    else:
        room.follow(follower, other_id)
    follower.heard.clear()
    await asker.end()
    room.ask(asker, "Masih di sini?", chat_id)
    await asker.end(2)
    assert [value["chatId"] for name, value in follower.heard if name == "bot_end"] == [other_id] * (turn == "ask")


@pytest.mark.parametrize("lookup", ["first", "both"])
async def test_of_two_chats_the_one_asked_for_last_is_followed(room: Room, lookup: str) -> None:
    asker, first = await open_chat(room)
    second = (await running_answer(room))[1] if lookup == "first" else (await open_chat(room))[1]
    follower = Listener()
    room.follow(follower, first)
    room.follow(follower, second)
    await follower.until("ack", count=2)
    follower.heard.clear()
    room.ask(asker, "Untuk yang pertama", first)
    await asker.end()
    room.ask(asker, "Untuk yang kedua", second)
    await asker.end(2)
    assert {value["chatId"] for name, value in follower.heard if name == "bot_end"} == {second}


async def test_more_than_can_be_looked_up_are_refused_as_busy(room: Room) -> None:
    _, chat_id = await open_chat(room)
    listeners = [Listener() for _ in range(MAILBOX_SIZE + 2)]  # one is in the reader's hands
    for listener in listeners:
        room.follow(listener, chat_id)
    assert listeners[-1].heard[-1] == ("bot_error", phrase(Trouble.BUSY, Language.INDONESIAN))
    for listener in listeners[:MAILBOX_SIZE]:
        assert await listener.until("ack") == {"ok": True, "chatId": chat_id, "running": False}


async def test_while_the_database_is_away_it_is_said_so(room: Room) -> None:
    _, chat_id = await open_chat(room)
    room.pool.close()
    listener = Listener()
    room.follow(listener, chat_id)
    assert await listener.until("bot_error") == phrase(Trouble.STOPPING, Language.INDONESIAN)


async def with_lookups_held(room: Room, stack: AsyncExitStack, chat_id: str) -> tuple[Listener, Listener]:
    """One whose chat is being looked up, and one queued behind it, until the stack is closed."""
    for _ in range(Database().pool_size):
        await stack.enter_async_context(room.pool.connection())
    looked_up, queued = Listener(), Listener()
    for listener in (looked_up, queued):
        room.follow(listener, chat_id)
        await trio.testing.wait_all_tasks_blocked()
    return looked_up, queued


async def test_who_waits_when_the_actor_is_cut_short_is_told(room: Room) -> None:
    _, chat_id = await open_chat(room)
    async with AsyncExitStack() as stack:
        looked_up, queued = await with_lookups_held(room, stack, chat_id)
        room.life.cancel()
        assert await looked_up.until("bot_error") == phrase(Trouble.BROKEN, Language.INDONESIAN)
        assert await queued.until("bot_error") == phrase(Trouble.STOPPING, Language.INDONESIAN)


async def test_who_waits_when_the_last_answer_of_a_shutdown_ends_is_let_in(room: Room) -> None:
    _, chat_id = await open_chat(room)
    async with AsyncExitStack() as stack:
        listeners = await with_lookups_held(room, stack, chat_id)
        room.mailbox.close()
        await trio.testing.wait_all_tasks_blocked()
    for listener in listeners:
        assert await listener.until("ack") == {"ok": True, "chatId": chat_id, "running": False}
    await room.over.wait()


@pytest.mark.parametrize("end", ["asked", "cut short"])
async def test_who_comes_after_the_last_answer_is_told_to_come_back(room: Room, end: str) -> None:
    _, chat_id = await open_chat(room)
    if end == "asked":
        room.mailbox.close()
    else:
        room.life.cancel()
    await room.over.wait()
    listener, sentence = Listener(), phrase(Trouble.STOPPING, Language.INDONESIAN)
    room.follow(listener, chat_id)
    assert listener.heard == [("ack", {"ok": False, "message": sentence}), ("bot_error", sentence)]


async def test_started_again_it_lets_in_again(room: Room, nursery: trio.Nursery) -> None:
    _, chat_id = await open_chat(room)
    room.life.cancel()
    await room.over.wait()
    await nursery.start(room.runs.run)
    await trio.testing.wait_all_tasks_blocked()  # until its tasks have begun, who asks is refused
    await following(room, chat_id)
    room.mailbox.close()
