from __future__ import annotations

from contextlib import suppress
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ellara.errors import AssistantFailed
from ellara.llm.faults import Fault
from ellara.llm.stream import EVENT_MAX_BYTES, Reader, Splitter, decode

LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
WORDS = st.text(st.characters(exclude_characters="\0\r\n", exclude_categories=["Cs"]), max_size=12)


def event(kind: str, **fields: object) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + msgspec.json.encode({"type": kind, **fields}) + b"\n\n"


def delta(text: str, index: int = 0) -> bytes:
    return event("response.output_text.delta", delta=text, output_index=index, obfuscation="xx")


def call(index: int, call_id: str) -> bytes:
    item = {"type": "function_call", "id": "fc_1", "call_id": call_id, "name": "cek_transaksi", "arguments": "{}"}
    return event("response.output_item.done", output_index=index, item=item)


COMPLETED = event("response.completed", response={"id": "resp_1", "usage": {"input_tokens": 7, "output_tokens": 3}})


def ended(stream: bytes, after_text: bool = False) -> tuple[str, Fault | None]:
    reader = Reader(after_text)
    text = reader.receive(stream)
    try:
        reader.finish()
    except AssistantFailed as failure:
        return text, Fault(failure.kind)
    return text, None


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


@given(st.lists(st.tuples(WORDS, LINE_ENDS), max_size=8), st.lists(st.integers(0, 2_000), max_size=12))
def test_any_split_of_the_bytes_gives_the_same_events(events: list[tuple[str, bytes]], places: list[int]) -> None:
    stream = b"".join(b": ping" + end + b"event: x" + end + b"data: " + text.encode() + end + end for text, end in events) + b"\n"
    pieces = Splitter()
    assert [data for piece in cut(stream, places) for data in pieces.receive(piece)] == [text.encode() for text, _ in events]


def test_several_data_lines_are_one_event() -> None:
    assert Splitter().receive(b"data: {\ndata:  1\n\ndata:x\n\n") == [b"{\n 1", b"x"]


@given(st.lists(st.integers(0, 300), max_size=6))
def test_an_event_over_the_limit_ends_the_stream_wherever_it_was_cut(places: list[int]) -> None:
    splitter = Splitter(event_max_bytes=100)
    pieces = cut(b"data: a\n\n" + b"data: " + b"x" * 200 + b"\n\ndata: b\n\n", places)
    assert [data for piece in pieces for data in splitter.receive(piece)] == [b"a"]
    assert splitter.overflowed


@given(st.lists(WORDS, min_size=1, max_size=10), st.lists(st.integers(0, 3_000), max_size=12))
def test_the_text_is_whole_and_in_order_however_its_bytes_arrive(words: list[str], places: list[int]) -> None:
    reader = Reader()
    pieces = cut(b"".join(map(delta, words)) + COMPLETED, places)
    assert "".join(map(reader.receive, pieces)) == "".join(words)
    assert reader.finish().usage.output_tokens == 3


def test_deltas_that_arrive_together_are_joined() -> None:
    assert Reader().receive(delta("Se") + delta("lamat") + delta(" pagi")) == "Selamat pagi"


def test_a_second_message_item_begins_a_paragraph() -> None:
    assert ended(delta("satu", 0) + delta("dua", 1) + COMPLETED) == ("satu\n\ndua", None)


def test_text_after_a_tool_round_begins_a_paragraph() -> None:
    assert ended(delta("dua") + COMPLETED, after_text=True) == ("\n\ndua", None)


def test_a_nul_never_reaches_the_database() -> None:
    assert Reader().receive(delta("a\0b")) == "ab"


def test_calls_and_items_come_in_the_order_of_the_output() -> None:
    thought = event("response.output_item.done", output_index=0, item={"type": "reasoning", "encrypted_content": "e"})
    reader = Reader()
    reader.receive(call(2, "call_b") + thought + call(1, "call_a") + COMPLETED)
    assert [asked.call_id for asked in reader.finish().calls] == ["call_a", "call_b"]
    assert [item["type"] for item in reader.finish().items] == ["reasoning", "function_call", "function_call"]


def test_nothing_is_read_after_the_last_event() -> None:
    assert ended(delta("a") + COMPLETED + delta("b") + COMPLETED) == ("a", None)


@pytest.mark.parametrize(
    ("stream", "fault"),
    [
        (b"", Fault.CUT_OFF),
        (COMPLETED, Fault.EMPTY),
        (event("response.incomplete", response={"incomplete_details": {"reason": "max_output_tokens"}}), Fault.INCOMPLETE_LENGTH),
        (event("response.incomplete", response={"incomplete_details": {"reason": "content_filter"}}), Fault.INCOMPLETE_FILTER),
        (event("response.failed", response={"error": {"code": "server_error", "message": "m"}}), Fault.FAILED),
        (event("response.failed", response={"error": {"code": "rate_limit_exceeded", "message": "m"}}), Fault.RATE_LIMITED),
        (event("response.failed", response={"error": {"code": "invalid_prompt", "message": "m"}}), Fault.REFUSAL),
        (event("response.failed", response={"error": None}), Fault.FAILED),
        (event("error", code="server_error", message="m", param=None), Fault.FAILED),
        (event("error", error={"type": "insufficient_quota", "code": None, "message": "m"}), Fault.NO_QUOTA),
        (b'data: {"error": {"message": "m", "code": "server_is_overloaded"}}\n\n', Fault.OVERLOADED),
        (event("response.output_text.delta", delta=5), Fault.BAD_EVENT),
        (event("response.output_item.done", output_index=0, item={"type": "function_call"}) + COMPLETED, Fault.BAD_EVENT),
        (b"data: {not json\n\n", Fault.BAD_EVENT),
        (b"data: " + b"x" * EVENT_MAX_BYTES, Fault.BAD_EVENT),
    ],
    ids=lambda value: value.value if isinstance(value, Fault) else "",
)
def test_every_bad_ending_is_told_apart_and_loses_no_text(stream: bytes, fault: Fault) -> None:
    assert ended(stream)[1] is fault
    if fault is not Fault.EMPTY:
        assert ended(delta("a") + stream) == ("a", fault)


def test_a_refusal_is_shown_as_the_answer() -> None:
    assert ended(event("response.refusal.delta", delta="Maaf.", output_index=0) + COMPLETED) == ("Maaf.", None)


def test_unknown_events_are_ignored_whatever_their_fields() -> None:
    odd = event("response.never_heard_of", delta={"x": 1}) + b"data: {}\n\n" + event("response.reasoning_text.delta", delta="t")
    assert ended(odd + delta("a") + COMPLETED) == ("a", None)


@given(st.binary(max_size=200))
def test_garbage_is_a_fault_or_nothing(data: bytes) -> None:
    with suppress(msgspec.DecodeError):
        decode(data)
    assert isinstance(Reader().receive(data + b"\n\n"), str)
