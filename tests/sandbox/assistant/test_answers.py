"""What the stand-in says, without a server: markers, deltas, titles, arguments."""

from __future__ import annotations

import json
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ellara.sandbox.assistant.answers import Asked, Call, Fault, answer, arguments, pieces, steering, title, wanted_tool
from ellara.sandbox.assistant.requests import Refusal, ResponseRequest, read

SCHEMA = {
    "type": "object",
    "properties": {
        "limit": {"type": ["integer", "null"], "minimum": 1, "maximum": 50},
        "status": {"anyOf": [{"type": "string", "enum": ["PENDING", "SUCCESS"]}, {"type": "null"}]},
        "hash": {"type": ["string", "null"]},
        "newest": {"type": "boolean"},
    },
    "required": ["limit", "status", "hash", "newest"],
}


def test_markers_are_read_and_taken_out() -> None:
    found = steering(
        'Halo [chunks:3] [size:4][delay:5] [ttft:6] [history] [tool:cek {"a": "]"}] dunia [fault:429:2] [fault-title:500]'
    )
    assert (found.chunks, found.size, found.delay, found.ttft, found.history) == (3, 4, 5, 6, True)
    assert found.tools == (Call("cek", '{"a": "]"}'),)
    assert (found.fault, found.title_fault) == (Fault("429", 2), Fault("500"))
    assert found.clean == "Halo dunia"


@pytest.mark.parametrize("text", ["[tool:cek {]", "[tool:]", "[chunks:x]", "[fault]", "[tool:cek {} x"])
def test_a_broken_marker_stays_text(text: str) -> None:
    assert steering(text).clean == text


@given(st.text())
def test_any_question_is_answered_and_its_deltas_are_the_answer(question: str) -> None:
    by = steering(question)
    text = answer(Asked(by))
    assert "".join(pieces(text, by)).startswith(text)
    assert len(title(by.clean).split()) <= 6


@given(st.text(), st.integers(1, 300), st.integers(1, 50))
def test_steered_deltas_are_as_many_and_as_long_as_asked(text: str, count: int, size: int) -> None:
    found = pieces(text, steering(f"[chunks:{count}][size:{size}]"))
    assert len(found) == count
    assert {len(piece) for piece in found} == {max(size, -(-len(text) // count))}
    assert "".join(found).startswith(text)


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("5 transaksi yang SUCCESS", {"limit": 5, "status": "SUCCESS"}),
        ("transaksi tahun 2026", {"limit": None, "status": None}),
        ("transaksi saya", {"limit": None, "status": None}),
    ],
)
def test_arguments_are_what_the_question_names(question: str, expected: dict[str, object]) -> None:
    assert json.loads(arguments(SCHEMA, question)) == {**expected, "hash": None, "newest": False}


@pytest.mark.parametrize(
    ("question", "wanted"),
    [
        ("Berapa transaksi saya?", True),
        ("Show my payments", True),
        ("omzet bulan ini", True),
        ("Cek harga kopi", False),
        ("", False),
    ],
)
def test_a_tool_is_wanted_by_what_its_name_says(question: str, wanted: bool) -> None:
    assert (wanted_tool(question, ["cek_transaksi"]) == "cek_transaksi") is wanted


@pytest.mark.parametrize(
    ("question", "sign"),
    [
        ("Bagaimana cara mengatur stok?", "pesan ulang"),
        ("How do I pay my taxes?", "income tax"),
        ("Halo, bagaimana pajak saya?", "PPh final"),
        ("Berapa harga yang pas?", "margin"),
        ("bikin promosi", "WhatsApp"),
        ("cara mencatat keuangan", "tutup buku"),
        ("xyz", "langkah kecil"),
    ],
)
def test_the_topic_chooses_the_answer_in_the_language_of_the_question(question: str, sign: str) -> None:
    assert sign in answer(Asked(steering(question)))


@pytest.mark.parametrize(
    ("output", "sign"),
    [("[]", "belum ada catatan"), ('[{"a": 1}]', "1 catatan\n• a: 1"), ('{"total": null}', "total: –"), ("galat", "galat")],
)
def test_a_tool_result_is_told_in_words(output: str, sign: str) -> None:
    assert sign in answer(Asked(steering("transaksi"), results=(("cek_transaksi", output),)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@given(JSON)
def test_any_json_is_read_or_refused(value: object) -> None:
    for body in (value, {"model": "gpt-4o", "input": value}, {"model": "gpt-4o", "input": [value], "tools": value}):
        with suppress(Refusal):
            read(msgspec.json.encode(body), "application/json", ResponseRequest)


def test_markers_cannot_ask_for_more_than_memory_holds() -> None:
    found = pieces("Hai", steering("[chunks:9999999][size:9999999]"))
    assert len(found) <= 20_000
    assert sum(map(len, found)) <= 2_000_000
