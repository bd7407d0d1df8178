"""The assistant against the look-alike: real HTTP on loopback, every fault that it can make."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from urllib.request import urlopen

import attrs
import pytest
import trio

from ellara.errors import AssistantFailed
from ellara.llm.assistant import Assistant
from ellara.llm.client import open_client, proxy_for
from ellara.llm.faults import Fault
from ellara.llm.tools import cek_transaksi
from ellara.model import Message, Speaker, Transaction, TransactionStatus, utc_now
from ellara.sandbox.assistant.server import run_assistant
from ellara.settings import Model, OpenAI, Secret

KEY = "sk-test"
LUNA = Model("gpt-6-luna", reasoning_effort="none")


@attrs.frozen
class Room:
    """An assistant with the look-alike behind it."""

    assistant: Assistant
    url: str

    async def ask(self, question: str) -> str:
        heard: list[str] = []
        await self.assistant.answer(transcript(question), "ani", heard.append)
        return "".join(heard)

    async def fault(self, question: str) -> tuple[str, Fault]:
        heard: list[str] = []
        with pytest.raises(AssistantFailed) as failure:
            await self.assistant.answer(transcript(question), "ani", heard.append)
        return "".join(heard), Fault(failure.value.kind)

    async def stats(self) -> dict[str, object]:
        """What the look-alike has counted."""

        def fetch() -> dict[str, object]:
            with urlopen(self.url.removesuffix("/v1") + "/_stats") as answer:
                counted: dict[str, object] = json.load(answer)
                return counted

        return await trio.to_thread.run_sync(fetch)

    async def requests(self) -> int:
        """How many responses were asked for."""
        counted = (await self.stats())["requests"]
        assert isinstance(counted, dict)
        return int(counted.get("POST /v1/responses", 0))


def transcript(*said: str) -> list[Message]:
    roles = (Speaker.USER, Speaker.ASSISTANT)
    return [Message(str(number), "chat-1", roles[number % 2], content, utc_now()) for number, content in enumerate(said)]


async def no_rows(user_id: str, take: int, status: TransactionStatus | None, search: str | None) -> Sequence[Transaction]:
    return []


Open = Callable[..., Awaitable[Room]]


@pytest.fixture
async def url(nursery: trio.Nursery) -> AsyncIterator[str]:
    base_url: str = await nursery.start(run_assistant, KEY, 0)
    yield base_url
    nursery.cancel_scope.cancel()


@pytest.fixture
async def open_room(url: str, nursery: trio.Nursery) -> Open:
    """Opens a room with settings of the test's own."""

    async def keep_open(settings: OpenAI, *, task_status: trio.TaskStatus[Room]) -> None:
        async with open_client(settings) as client:
            task_status.started(Room(Assistant(client, "Anda Ellara.", [cek_transaksi(no_rows)], settings), url))
            await trio.sleep_forever()

    async def start(**settings: object) -> Room:
        room: Room = await nursery.start(keep_open, OpenAI(api_key=Secret(KEY), base_url=url, **{"retry_pause_ms": 1} | settings))  # type: ignore[arg-type]  # a test names what it sets
        return room

    return start


@pytest.fixture
async def room(open_room: Open) -> Room:
    return await open_room()


async def test_an_answer_arrives_whole_and_in_order(room: Room) -> None:
    assert "kopi susu" in await room.ask("Berapa harga kopi susu? [chunks:40]")


async def test_what_was_said_before_is_sent_again(room: Room) -> None:
    heard: list[str] = []
    await room.assistant.answer(transcript("Saya jual bakso", "Baik.", "Lanjut [history]"), "ani", heard.append)
    assert "Saya jual bakso" in "".join(heard)


async def test_nothing_is_stored_at_openai_and_usage_is_counted(room: Room) -> None:
    usage = await room.assistant.answer(transcript("Bagaimana cara mulai usaha?"), "ani", lambda text: None)
    assert usage.input_tokens > 0
    assert usage.output_tokens > 0
    assert (await room.stats())["conversations"] == 0


async def test_a_tool_is_called_and_its_output_answered(room: Room) -> None:
    said = await room.ask('Cek pembayaran saya [tool:cek_transaksi {"jumlah": 3, "status": null, "hash": null}]')
    assert said
    assert await room.requests() == 2


async def test_two_calls_at_once_are_both_answered(room: Room) -> None:
    marker = '[tool:cek_transaksi {"jumlah": 3, "status": null, "hash": null}]'
    assert await room.ask(f"Cek dua kali {marker} {marker}")


async def test_reasoning_is_sent_back_with_its_call(open_room: Open) -> None:
    room = await open_room(models=(Model("gpt-6-luna", reasoning_effort="low"),))
    assert await room.ask('Cek [tool:cek_transaksi {"jumlah": 1, "status": null, "hash": null}]')
    assert await room.requests() == 2


@pytest.mark.parametrize("kind", ["unknown-tool", "bad-args"])
async def test_a_bad_call_is_told_to_the_model_which_then_answers(room: Room, kind: str) -> None:
    assert await room.ask(f"Cek transaksi [fault:{kind}]")
    assert await room.requests() == 2


async def test_endless_calls_end_in_an_answer_without_tools(open_room: Open) -> None:
    room = await open_room(tool_rounds_max=2)
    assert await room.ask("Cek transaksi [fault:endless-tools]")
    assert await room.requests() == 3


@pytest.mark.parametrize(
    ("kind", "fault", "requests"),
    [
        ("401", Fault.REFUSED_KEY, 1),
        ("404", Fault.MODEL_GONE, 2),
        ("408", Fault.OVERLOADED, 2),
        ("409", Fault.OVERLOADED, 2),
        ("500", Fault.FAILED, 2),
        ("500-no-retry", Fault.FAILED, 1),
        ("502-html", Fault.FAILED, 2),
        ("503", Fault.OVERLOADED, 2),
        ("503-html", Fault.OVERLOADED, 2),
        ("locked", Fault.REFUSED_REQUEST, 1),
        ("context", Fault.TOO_LONG, 2),
        ("429", Fault.RATE_LIMITED, 2),
        ("429-long", Fault.RATE_LIMITED, 1),
        ("429-slow-down", Fault.RATE_LIMITED, 2),
        ("429-quota", Fault.NO_QUOTA, 1),
        ("hang", Fault.TIMED_OUT, 1),
        ("reset", Fault.UNREACHABLE, 2),
        ("slow-headers", Fault.TIMED_OUT, 1),
        ("wrong-type", Fault.BAD_EVENT, 1),
        ("failed:0", Fault.FAILED, 2),
        ("failed-rate:0", Fault.RATE_LIMITED, 2),
        ("flat-error:0", Fault.FAILED, 2),
        ("eof:0", Fault.CUT_OFF, 2),
        ("drop:0", Fault.CUT_OFF, 2),
        ("stall:0", Fault.STALLED, 1),
    ],
)
async def test_a_fault_before_the_first_text(open_room: Open, kind: str, fault: Fault, requests: int) -> None:
    room = await open_room(tries_max=2, first_event_timeout_s=0.3, silence_timeout_s=0.3)
    assert await room.fault(f"Tolong [fault:{kind}]") == ("", fault)
    assert await room.requests() == requests


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("stall", Fault.STALLED),
        ("drop", Fault.CUT_OFF),
        ("cut", Fault.CUT_OFF),
        ("eof", Fault.CUT_OFF),
        ("flat-error", Fault.FAILED),
        ("nested-error", Fault.FAILED),
        ("error-event", Fault.FAILED),
        ("failed", Fault.FAILED),
        ("failed-rate", Fault.RATE_LIMITED),
        ("failed-context", Fault.TOO_LONG),
        ("incomplete", Fault.INCOMPLETE_LENGTH),
        ("filter", Fault.INCOMPLETE_FILTER),
        ("bad-json", Fault.BAD_EVENT),
        ("huge", Fault.BAD_EVENT),
    ],
)
async def test_a_fault_after_some_text_is_never_tried_again(open_room: Open, kind: str, fault: Fault) -> None:
    room = await open_room(silence_timeout_s=0.3)
    text, found = await room.fault(f"Tolong jelaskan [fault:{kind}]")
    assert text
    assert found is fault
    assert await room.requests() == 1


@pytest.mark.parametrize("kind", ["429:1", "429-after-ms:2", "500:1", "503-html:1", "408:2", "reset:1", "slow-headers:10"])
async def test_a_passing_fault_is_not_noticed(room: Room, kind: str) -> None:
    assert await room.ask(f"Tolong jelaskan [fault:{kind}]")


@pytest.mark.parametrize("kind", ["refusal", "twice", "open", "odd"])
async def test_an_odd_stream_is_an_answer_all_the_same(room: Room, kind: str) -> None:
    with trio.fail_after(2):
        assert await room.ask(f"Tolong jelaskan [fault:{kind}]")


async def test_a_whole_answer_has_a_deadline(open_room: Open) -> None:
    room = await open_room(run_timeout_s=0.3)
    text, fault = await room.fault("Tolong [chunks:100] [delay:20]")
    assert text
    assert fault is Fault.TIMED_OUT


async def test_two_messages_of_one_answer_are_two_paragraphs(room: Room) -> None:
    assert (await room.ask("Tolong jelaskan [messages:2]")).count("\n\n") >= 1


async def test_the_next_model_is_used_and_remembered_when_one_is_gone(open_room: Open) -> None:
    room = await open_room(models=(Model("gpt-4"), LUNA))
    assert await room.ask("Apa kabar usaha saya?")
    assert await room.ask("Apa kabar toko saya?")
    assert await room.requests() == 3


async def test_each_model_gets_its_own_parameters_alone(open_room: Open) -> None:
    assert await (await open_room(models=(Model("gpt-4o", temperature=0.3),))).ask("Apa kabar usaha saya?")
    assert await (await open_room(models=(LUNA,))).ask("Apa kabar usaha saya?")


async def test_a_long_history_is_sent_shorter_when_the_model_refuses_it(room: Room) -> None:
    heard: list[str] = []
    long = ["x" * 20_000, "y" * 20_000, "Tolong [fault:context:1]"]
    await room.assistant.answer(transcript(*long), "ani", heard.append)
    assert "".join(heard)


async def test_stopping_an_answer_closes_its_stream_at_once(room: Room) -> None:
    with trio.move_on_after(0.2):
        await room.ask("Tolong [chunks:1000] [delay:10]")
    with trio.fail_after(1):
        while (await room.stats())["activeStreams"]:
            await trio.lowlevel.checkpoint()


async def test_nobody_listening_is_unreachable(open_room: Open) -> None:
    settings = OpenAI(api_key=Secret(KEY), base_url="http://127.0.0.1:9/v1", tries_max=1)
    async with open_client(settings) as client:
        assert (await Room(Assistant(client, "", [], settings), "").fault("Halo semua"))[1] is Fault.UNREACHABLE


async def test_a_title_is_short_and_about_the_question(room: Room) -> None:
    title = await room.assistant.title("Bagaimana cara menentukan harga kopi susu di warung kecil saya?")
    assert title is not None
    assert 0 < len(title) <= 50


@pytest.mark.parametrize("kind", ["500", "401", "429"])
async def test_a_title_that_fails_is_none(room: Room, kind: str) -> None:
    assert await room.assistant.title(f"Bagaimana cara menentukan harga? [fault-title:{kind}]") is None


async def test_a_title_falls_back_to_the_next_model(open_room: Open) -> None:
    room = await open_room(title_models=(Model("gpt-4"), LUNA))
    assert await room.assistant.title("Bagaimana cara menentukan harga kopi?")


@pytest.mark.parametrize(
    ("url", "proxied"),
    [
        ("http://127.0.0.1:58180/v1", False),
        ("http://localhost/v1", False),
        ("https://[::1]:1/v1", False),
        ("https://api.openai.com/v1", True),
        ("https://inside.example.com/v1", False),
    ],
)
def test_a_proxy_is_for_the_outside_alone(url: str, proxied: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", "inside.example.com")
    assert proxy_for(url) == ("http://proxy:3128" if proxied else None)
