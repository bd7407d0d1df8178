"""Answers from question to end: what is heard, in which order, and what is stored."""

from __future__ import annotations

import json

import pytest
import trio

from ellara.actors import ledger
from ellara.model import Speaker, TransactionType
from tests.actors.listener import Listener
from tests.actors.runs.ground import LONG, SLOW, Open, Room, open_chat


async def test_a_new_chat_hears_title_id_chunks_end_in_this_order(room: Room) -> None:
    listener = Listener()
    room.ask(listener, LONG)
    end = await listener.end()
    chat_id = await listener.until("chat_id")
    assert listener.names == ["chat_title", "chat_id", "bot_chunk", "bot_end"]
    assert end == {"chatId": chat_id, "isNewChat": True, "message": "Response completed"}
    assert await room.said(chat_id) == [LONG, listener.text]
    assert [message.role for message in await room.rows(chat_id)] == [Speaker.USER, Speaker.ASSISTANT]


async def test_a_chunk_has_exactly_the_shape_that_pages_read(room: Room) -> None:
    listener = Listener()
    room.ask(listener, LONG)
    chunk = await listener.until("bot_chunk")
    assert chunk == {"content": [{"index": 0, "type": "text", "text": {"value": chunk["content"][0]["text"]["value"]}}]}


async def test_when_the_end_is_told_the_answer_is_there(room: Room) -> None:
    for number in range(5):
        _, chat_id = await open_chat(room, f"{LONG} {number}")
        assert len(await room.said(chat_id)) == 2


async def test_an_old_chat_hears_chunks_and_end_alone_and_goes_on(room: Room) -> None:
    listener, chat_id = await open_chat(room, "Saya jual bakso di Bandung")
    room.ask(listener, "Lanjutkan yang tadi [history]", chat_id)
    assert await listener.end() == {"chatId": chat_id, "isNewChat": False, "message": "Response completed"}
    assert listener.names == ["bot_chunk", "bot_end"]
    assert "bakso di Bandung" in listener.text


@pytest.mark.parametrize("form", ["object", "json", "null", "empty"])
async def test_the_payload_is_taken_in_every_form_that_frontends_send(room: Room, form: str) -> None:
    payload: dict[str, object] = {"question": LONG, "userId": room.user.id}
    if form in ("null", "empty"):
        payload["chatId"] = None if form == "null" else ""
    listener = Listener()
    room.runs.on_event(listener.client, "message", [json.dumps(payload) if form == "json" else payload], None)
    assert (await listener.end())["isNewChat"] is True


async def test_an_acknowledgement_names_chat_and_message(room: Room) -> None:
    listener = Listener()
    room.ask(listener, LONG)
    chat_id = (await listener.end())["chatId"]
    assert listener.acks == [{"ok": True, "chatId": chat_id, "messageId": (await room.rows(chat_id))[0].id}]


async def test_a_greeting_needs_no_model_for_its_title(room: Room) -> None:
    listener = Listener()
    room.ask(listener, "halo")
    await listener.end()
    assert listener.heard[0] == ("chat_title", "Greeting")
    assert await room.titles() == ["Greeting"]


async def test_the_models_title_is_told_and_stored(room: Room) -> None:
    listener = Listener()
    room.ask(listener, f"{LONG} untuk bakso dan mi ayam di warung saya ya")
    title = await listener.until("chat_title")
    await listener.end()
    assert [name for name, _ in listener.heard].count("chat_title") == 1
    assert await room.titles() == [title]


@pytest.mark.parametrize(("fault", "end"), [("", "bot_end"), (" [fault:401]", "bot_error")])
async def test_also_a_quick_end_waits_for_the_title(open_room: Open, fault: str, end: str) -> None:
    room, listener = await open_room(title_wait_ms=5_000), Listener()
    room.ask(listener, f"{LONG} untuk bakso dan mi ayam di warung saya [fault-title:slow:100]{fault}")
    await listener.end()
    assert [name for name in listener.names if name != "bot_chunk"] == ["chat_title", "chat_id", end]
    assert await room.titles() == [await listener.until("chat_title")]


async def test_a_title_that_fails_is_cut_from_the_question(room: Room) -> None:
    listener = Listener()
    room.ask(listener, f"{LONG} [fault-title:500]")
    await listener.end()
    assert listener.heard[0] == ("chat_title", f"{LONG} [fault-title:500]"[:50].rstrip())
    assert await room.titles() == [listener.heard[0][1]]


async def test_a_slow_title_follows_a_provisional_one(open_room: Open) -> None:
    room, listener = await open_room(title_wait_ms=20), Listener()
    room.ask(listener, f"{LONG} [fault-title:slow:300] [chunks:60] [delay:10]")
    late = await listener.until("chat_title", count=2)
    await listener.end()
    assert listener.names[:3] == ["chat_title", "chat_id", "bot_chunk"]
    assert LONG.startswith(listener.heard[0][1][: len(LONG)])
    assert listener.heard[0][1] != late
    assert await room.titles() == [late]


async def test_a_page_never_hears_two_chats_at_once(room: Room) -> None:
    listener, chat_id = await open_chat(room)
    room.ask(listener, SLOW, chat_id)
    await listener.until("bot_chunk", count=3)
    room.ask(listener, "Pertanyaan lain di percakapan baru")
    end = await listener.end()
    assert end["isNewChat"] is True
    after = [name for name, _ in listener.heard].index("chat_title")
    heard = "".join(value["content"][0]["text"]["value"] for name, value in listener.heard[after:] if name == "bot_chunk")
    assert (await room.said(end["chatId"]))[1] == heard


async def test_back_in_a_chat_a_page_hears_its_new_answer_but_not_the_rest_of_an_old_one(room: Room) -> None:
    listener, chat_id = await open_chat(room)
    room.ask(listener, f"{LONG} [chunks:40] [delay:10]", chat_id)
    await listener.until("bot_chunk")
    room.ask(listener, "Pertanyaan lain di percakapan baru")
    listener.heard.clear()
    room.ask(listener, "Kembali lagi", chat_id)
    assert (await listener.end())["chatId"] == chat_id
    assert listener.names == ["bot_chunk", "bot_end"]
    assert (await room.said(chat_id))[-2:] == ["Kembali lagi", listener.text]


async def test_what_a_slow_client_has_not_taken_reaches_it_in_one_piece(room: Room) -> None:
    listener, chat_id = await open_chat(room)
    room.ask(listener, f"{LONG} [chunks:200] [delay:1]", chat_id)
    with trio.fail_after(5):
        while len(said := await room.said(chat_id)) < 4:
            await trio.lowlevel.checkpoint()
    assert listener.chunks == [said[-1]]
    await listener.end()


async def test_an_answer_goes_on_when_its_client_leaves(room: Room) -> None:
    listener, chat_id = await open_chat(room)
    room.ask(listener, f"{LONG} [chunks:30] [delay:10]", chat_id)
    await listener.until("bot_chunk", count=2)
    listener.client.leave()
    room.runs.on_leave(listener.client)
    heard = len(listener.heard)
    with trio.fail_after(5):
        while len(await room.said(chat_id)) < 4:
            await trio.lowlevel.checkpoint()
    assert len(listener.heard) == heard


async def test_the_model_reads_the_askers_own_transactions(room: Room) -> None:
    mine = await ledger.record_transaction(room.ledger, room.user.id, 125_000, TransactionType.USDT)
    listener = Listener()
    room.ask(listener, 'Cek pembayaran [tool:cek_transaksi {"jumlah": 5, "status": null, "hash": null}]')
    await listener.end()
    assert str(mine.amount) in listener.text.replace(".", "")
