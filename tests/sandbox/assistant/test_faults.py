"""Each fault as a client meets it: by the SDK where it notices, in bytes where it does not."""

from __future__ import annotations

import email.utils
import time

import httpx2
import openai
import pytest
import trio

from ellara.sandbox.assistant import faults as assistant_faults
from ellara.sandbox.assistant.faults import BEFORE, KINDS, PAGES, REFUSALS, STREAMED
from tests.sandbox.assistant.ground import CHECK, kinds, room, text

TEXT = "Hai [chunks:6] [size:4]"


@pytest.mark.parametrize("kind", sorted(REFUSALS))
async def test_a_refusal_strikes_the_request(kind: str) -> None:
    status, _, error_type, code = REFUSALS[kind]
    async with room() as here:
        with pytest.raises(openai.APIStatusError) as raised:
            await here.events(f"{TEXT} [fault:{kind}]")
        assert (raised.value.status_code, raised.value.type, raised.value.code) == (status, error_type, code)
        assert (await here.stats())["streams"] == 0


@pytest.mark.parametrize(
    ("kind", "header", "value"),
    [
        ("429-after", "retry-after", "1"),
        ("429-after-ms", "retry-after-ms", "20"),
        ("429-long", "retry-after", "300"),
        ("500-no-retry", "x-should-retry", "false"),
        ("429", "retry-after", None),
    ],
)
async def test_a_refusal_says_when_to_try_again(kind: str, header: str, value: str | None) -> None:
    async with room() as here:
        with pytest.raises(openai.APIStatusError) as raised:
            await here.events(f"Hai [fault:{kind}]")
    assert raised.value.response.headers.get(header) == value


async def test_a_refusal_may_name_the_hour() -> None:
    async with room() as here:
        with pytest.raises(openai.RateLimitError) as raised:
            await here.events("Hai [fault:429-date]")
    named = email.utils.parsedate_to_datetime(raised.value.response.headers["retry-after"])
    assert 0 <= named.timestamp() - time.time() <= 2


async def test_a_count_spares_the_requests_after() -> None:
    async with room() as here:
        for _ in range(2):
            with pytest.raises(openai.InternalServerError):
                await here.events("Hai [fault:500:2]")
        assert text(await here.events("Hai [fault:500:2]"))


@pytest.mark.parametrize("kind", sorted(PAGES))
async def test_a_page_comes_instead_of_the_api(kind: str) -> None:
    async with room() as here:
        answer = await here.raw.post(
            f"{here.url}/responses", json={"model": "gpt-4o", "input": f"[fault:{kind}]", "stream": True}
        )
    assert (answer.status_code, answer.headers["content-type"]) == (PAGES[kind], "text/html")
    assert answer.text.startswith("<html>")


async def test_not_a_byte_comes_before_the_client_gives_up() -> None:
    async with room() as here:
        with pytest.raises(openai.APITimeoutError):
            await here.client.with_options(timeout=0.1).responses.create(model="gpt-4o", input="[fault:hang]", stream=True)


async def test_headers_come_late() -> None:
    async with room() as here:
        started = trio.current_time()
        assert text(await here.events(f"{TEXT} [fault:slow-headers:100]"))
        assert trio.current_time() - started >= 0.1


@pytest.mark.parametrize("kind", ["reset", "drop"])
async def test_a_connection_is_reset(kind: str) -> None:
    async with room() as here:
        with pytest.raises(httpx2.ReadError, match="reset by peer"):
            await here.stream_bytes(f"{TEXT} [fault:{kind}]")


async def test_a_chunk_is_cut() -> None:
    async with room() as here:
        with pytest.raises(httpx2.RemoteProtocolError, match="incomplete chunked read"):
            await here.stream_bytes(f"{TEXT} [fault:cut]")


async def test_a_stream_stalls() -> None:
    heard: list[str] = []
    async with room() as here:
        with pytest.raises(openai.APITimeoutError):
            await here.hear(f"{TEXT} [fault:stall]", heard.append)
        await here.until(activeStreams=0, streamsAborted=1)
    assert heard[-3:] == ["response.output_text.delta"] * 3


@pytest.mark.parametrize(
    ("fault", "deltas", "ending"),
    [
        ("eof", 3, ["output_text.delta"]),
        ("eof:0", 0, ["created", "in_progress", "sandbox.note"]),
        ("eof:99", 6, ["output_text.delta"]),
        ("flat-error:1", 1, ["output_text.delta", "error"]),
        ("error-event", 3, ["output_text.delta", "error", "failed"]),
        ("failed", 3, ["output_text.delta", "failed"]),
        ("failed:0", 0, ["created", "in_progress", "sandbox.note", "failed"]),
        ("incomplete", 3, ["output_text.done", "content_part.done", "output_item.done", "incomplete"]),
        ("filter:2", 2, ["output_text.done", "content_part.done", "output_item.done", "incomplete"]),
        ("twice", 6, ["output_item.done", "completed"]),
        ("odd", 6, ["output_item.done", "completed"]),
    ],
)
async def test_a_stream_ends_its_own_way(fault: str, deltas: int, ending: list[str]) -> None:
    async with room() as here:
        events = await here.events(f"{TEXT} [fault:{fault}]")
    assert sum("delta" in event for event in events) == deltas
    assert kinds(events)[-len(ending) :] == ending
    assert [event["sequence_number"] for event in events] == list(range(len(events)))


async def test_a_nested_error_is_one_that_the_sdk_raises() -> None:
    async with room() as here:
        with pytest.raises(openai.APIError) as raised:
            await here.events(f"{TEXT} [fault:nested-error]")
    assert raised.value.code == "server_error"


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("incomplete", "max_output_tokens"), ("filter", "content_filter"), ("failed-rate", "rate_limit_exceeded")],
)
async def test_a_bad_end_says_why(fault: str, reason: str) -> None:
    async with room() as here:
        *_, last = await here.events(f"{TEXT} [fault:{fault}]")
    assert reason in str(last["response"])


async def test_a_refusal_is_streamed_in_its_own_events() -> None:
    async with room() as here:
        events = await here.events("Hai [fault:refusal]")
    assert "refusal.delta" in kinds(events)
    assert kinds(events)[-1] == "completed"
    assert not text(events)


async def test_an_event_is_not_json() -> None:
    async with room() as here:
        data = b"".join(await here.stream_bytes(f"{TEXT} [fault:bad-json]"))
    assert b'"delta"="x"' in data
    assert b"response.completed" in data


async def test_an_event_is_huge() -> None:
    async with room() as here:
        assert len(b"".join(await here.stream_bytes(f"{TEXT} [fault:huge]"))) > 5_000_000


async def test_the_connection_stays_open_after_the_end() -> None:
    heard: list[str] = []
    async with room() as here:
        with pytest.raises(openai.APITimeoutError):
            await here.hear(f"{TEXT} [fault:open]", heard.append)
        await here.until(activeStreams=0, streamsDone=1)
    assert heard[-1] == "response.completed"


@pytest.mark.parametrize(
    ("kind", "name", "arguments"), [("unknown-tool", "alat_tak_dikenal", "{}"), ("bad-args", "cek_transaksi", '{"limit": ')]
)
async def test_a_call_is_bad(kind: str, name: str, arguments: str) -> None:
    async with room() as here:
        *_, last = await here.events(f"Hai [fault:{kind}]", tools=[CHECK])
    (call,) = last["response"]["output"]
    assert (call["name"], call["arguments"]) == (name, arguments)


async def test_tools_are_called_without_end() -> None:
    context: list[object] = [{"role": "user", "content": "Hai [fault:endless-tools]"}]
    async with room() as here:
        for _ in range(4):
            (call,) = (await here.respond(context, tools=[CHECK]))["output"]
            context += [call, {"type": "function_call_output", "call_id": call["call_id"], "output": "[]"}]


@pytest.mark.parametrize("path", ["/responses", "/chat/completions"])
async def test_a_title_fails_alone(path: str) -> None:
    question, told = "Hai [fault-title:500]", "Write a title"
    body = (
        {"input": question, "instructions": told}
        if path == "/responses"
        else {"messages": [{"role": "system", "content": told}, {"role": "user", "content": question}]}
    )
    async with room() as here:
        assert (await here.refused(path, model="gpt-4o", **body)).status_code == 500
        assert text(await here.events(question))


def test_every_kind_is_listed_where_a_reader_looks_it_up() -> None:
    words = set((assistant_faults.__doc__ or "").replace("·", " ").split())
    assert words >= KINDS
    assert not BEFORE & STREAMED
