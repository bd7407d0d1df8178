"""Answers from question to end: the real ledger, PostgreSQL and look-alike; only the client, outside of this room, records."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any

import attrs
import msgspec
import pytest
import trio
import trio.testing

from ellara.actors import ledger
from ellara.actors.ledger import Ledger
from ellara.actors.phrases import Language, Trouble, phrase
from ellara.actors.runs import WAITING_MAX, Ask, Runs
from ellara.actors.session import Client
from ellara.llm.assistant import Assistant
from ellara.llm.client import open_client
from ellara.llm.faults import Fault
from ellara.llm.tools import Tool, cek_transaksi
from ellara.mailbox import Mailbox
from ellara.model import Message, Page, Speaker, Transaction, TransactionStatus, TransactionType, User
from ellara.protocol import socketio
from ellara.sandbox.assistant.server import run_assistant
from ellara.settings import Database, OpenAI, Secret
from ellara.storage.chats import list_chats
from ellara.storage.messages import list_messages
from ellara.storage.pool import Pool
from ellara.storage.transactions import find_transactions
from tests.conftest import fresh_database

KEY = "sk-test"
LONG = "Tolong jelaskan cara menghitung harga pokok"
SLOW = f"{LONG} [chunks:400] [delay:10]"


class Listener:
    """A client and what it heard."""

    def __init__(self, user_id: str | None = None) -> None:
        self.client = Client("/", user_id, self._hear)
        self.heard: list[tuple[str, Any]] = []
        self.acks: list[Any] = []
        self._news = trio.Event()

    def _hear(self, packet: socketio.Packet) -> None:
        assert isinstance(packet, socketio.Event)
        name, *args = packet.args
        assert isinstance(name, str)
        self.heard.append((name, args[0]))
        self._news.set()
        self._news = trio.Event()

    async def until(self, *names: str, count: int = 1) -> Any:
        """What the `count`-th of these events carried."""
        with trio.fail_after(5):
            while len(found := [value for name, value in self.heard if name in names]) < count:
                await self._news.wait()
        return found[count - 1]

    async def end(self, count: int = 1) -> Any:
        return await self.until("bot_end", "bot_error", count=count)

    @property
    def names(self) -> list[str]:
        """The events in order, chunks in a row as one."""
        return [name for at, (name, _) in enumerate(self.heard) if at == 0 or name != self.heard[at - 1][0]]

    @property
    def text(self) -> str:
        return "".join(value["content"][0]["text"]["value"] for name, value in self.heard if name == "bot_chunk")


@attrs.frozen
class Room:
    """The actor, what it works with, and the scope that it runs in."""

    runs: Runs
    mailbox: Mailbox[Ask]
    pool: Pool
    user: User
    ledger: Mailbox[ledger.Request]
    life: trio.CancelScope
    over: trio.Event

    def ask(self, listener: Listener, question: str, chat_id: str | None = None, **fields: object) -> None:
        payload = {"question": question, "userId": self.user.id, "chatId": chat_id} | fields
        self.runs.on_event(listener.client, "message", [payload], lambda answer: listener.acks.append(answer))

    async def rows(self, chat_id: str) -> list[Message]:
        async with self.pool.connection() as connection:
            return await list_messages(connection, chat_id)

    async def said(self, chat_id: str) -> list[str]:
        return [message.content for message in await self.rows(chat_id)]

    async def titles(self) -> list[str]:
        async with self.pool.connection() as connection:
            listing = await list_chats(connection, self.user.id, Page(100, 1, "createdAt", False, None))
            return [chat.title for chat in listing.rows]


Open = Callable[..., Awaitable[Room]]


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    pass


async def crash(user_id: str, asked: Nothing) -> object:
    raise RuntimeError("a bug of ours")


@pytest.fixture(scope="module")
def database(postgres: str, template: str) -> Iterator[Database]:
    """One for all of these tests: each has users of its own."""
    yield from fresh_database(postgres, template)


@pytest.fixture
async def open_room(pool: Pool, nursery: trio.Nursery) -> AsyncIterator[Open]:
    """Opens a room with settings of the test's own. The ledger outlives the answers, as in the daemon."""
    rooms: list[Room] = []

    async def find(user_id: str, take: int, status: TransactionStatus | None, search: str | None) -> Sequence[Transaction]:
        async with pool.connection() as connection:
            return await find_transactions(connection, user_id, take, status, search)

    async def keep_open(settings: OpenAI, require_token: bool, *, task_status: trio.TaskStatus[Room]) -> None:
        book, mailbox = Mailbox[ledger.Request]("ledger", 1_000), Mailbox[Ask]("runs", 1_000)
        await nursery.start(Ledger(book, pool).run)
        async with open_client(settings) as client:
            tools = [cek_transaksi(find), Tool("rusak", "", Nothing, crash)]
            runs = Runs(
                mailbox, book, pool, Assistant(client, "Anda Ellara.", tools, settings), settings, require_token=require_token
            )
            user = await ledger.sign_in(book, "0x" + secrets.token_hex(20))
            room = Room(runs, mailbox, pool, user, book, trio.CancelScope(), trio.Event())
            with room.life:
                task_status.started(room)
                await runs.run()
        room.over.set()

    async def start(require_token: bool = False, **settings: Any) -> Room:
        url: str = await nursery.start(run_assistant, KEY, 0)
        openai = OpenAI(api_key=Secret(KEY), base_url=url, **{"retry_pause_ms": 1} | settings)
        rooms.append(await nursery.start(keep_open, openai, require_token))
        return rooms[-1]

    yield start
    for room in rooms:
        room.life.cancel()
        await room.over.wait()


@pytest.fixture
async def room(open_room: Open) -> Room:
    return await open_room()


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


async def open_chat(room: Room, question: str = "Halo") -> tuple[Listener, str]:
    """A chat with one answer, and the page that shows it."""
    listener = Listener()
    room.ask(listener, question)
    chat_id: str = (await listener.end())["chatId"]
    listener.heard.clear()
    return listener, chat_id


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


async def test_an_answer_goes_on_when_its_client_leaves(room: Room) -> None:
    listener, chat_id = await open_chat(room)
    room.ask(listener, f"{LONG} [chunks:30] [delay:10]", chat_id)
    await listener.until("bot_chunk", count=2)
    listener.client.connected = False
    room.runs.on_leave(listener.client)
    heard = len(listener.heard)
    with trio.fail_after(5):
        while len(await room.said(chat_id)) < 4:
            await trio.lowlevel.checkpoint()
    assert len(listener.heard) == heard


async def test_questions_in_one_chat_are_answered_one_after_the_other(room: Room) -> None:
    listener, chat_id = await open_chat(room)
    for number in range(WAITING_MAX):
        room.ask(listener, f"Pertanyaan nomor {number} [chunks:10] [delay:2]", chat_id)
    await listener.end(WAITING_MAX)
    roles = [message.role for message in await room.rows(chat_id)]
    assert roles == [Speaker.USER, Speaker.ASSISTANT] * (1 + WAITING_MAX)
    assert [text[17:18] for text in (await room.said(chat_id))[2::2]] == ["0", "1", "2", "3"]


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


async def test_the_model_reads_the_askers_own_transactions(room: Room) -> None:
    mine = await ledger.record_transaction(room.ledger, room.user.id, 125_000, TransactionType.USDT)
    listener = Listener()
    room.ask(listener, 'Cek pembayaran [tool:cek_transaksi {"jumlah": 5, "status": null, "hash": null}]')
    await listener.end()
    assert str(mine.amount) in listener.text.replace(".", "")
