from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ellara.errors import EllaraError, Invalid, NotFound, WrongMediaType
from ellara.model import Page, Transaction, TransactionStatus, TransactionType
from ellara.web import bodies
from ellara.web.bodies import ListRules, Sent

RULES = ListRules(("createdAt", "amount"), sort_by="createdAt", descending=True)
ADDRESS, ORDER = "0x" + "aB" * 20, "0x" + "0f" * 32
MOMENT = datetime(2024, 1, 1, tzinfo=UTC)
JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = st.sampled_from(["publicKey", "amount", "type", "status", "txHash", "beneficiary", "orderHash"])
READERS = [bodies.sign_in, bodies.recording, bodies.update, bodies.settle]


def body(value: object) -> Sent:
    return Sent(json.dumps(value).encode(), "application/json")


@pytest.fixture
def recursion_unlimited() -> Iterator[None]:
    """As py-ecc does on import: then nothing but our bounds keeps a parser off the end of the C stack."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)
    yield
    sys.setrecursionlimit(before)


def refusal(reader: Any, sent: Sent) -> str:
    with pytest.raises(Invalid) as caught:
        reader(sent)
    return caught.value.message


def amount_of(text: str) -> int:
    return bodies.recording(Sent(b'{"amount": %s}' % text.encode(), None))[0]


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("0", 0),
        ("-0", 0),
        ("-0.0", 0),
        ("100000", 100_000),
        ("100000.0", 100_000),
        ("1e5", 100_000),
        ("9007199254740991", 2**53 - 1),
        ("9007199254740991.0", 2**53 - 1),
        ('"0"', 0),
        ('"007"', 7),
        ('"9007199254740993"', 2**53 + 1),
        ('"' + "9" * 78 + '"', 10**78 - 1),
    ],
)
def test_an_amount_is_a_whole_number_or_a_text_of_digits(text: str, amount: int) -> None:
    assert amount_of(text) == amount


@pytest.mark.parametrize(
    "text",
    [
        "-1",
        "0.5",
        "1e-3",
        "true",
        "[]",
        "{}",
        '""',
        '"1.0"',
        '"1e5"',
        '"-1"',
        '"+1"',
        '" 1"',
        '"0x10"',
        '"٣"',
        '"' + "9" * 79 + '"',
    ],
)
def test_any_other_amount_is_refused_by_name(text: str) -> None:
    with pytest.raises(Invalid, match=r"^amount must be a whole number"):
        amount_of(text)


@pytest.mark.parametrize("text", ["9007199254740992", "18446744073709551616", "1" + "0" * 400, "1e300", "1e999"])
def test_a_number_that_javascript_cannot_hold_is_never_rounded(text: str) -> None:
    with pytest.raises(Invalid, match="must be at most 9007199254740991 as a number"):
        amount_of(text)


@given(st.integers(min_value=0, max_value=10**78 - 1))
def test_an_amount_comes_back_as_it_was_sent(amount: int) -> None:
    row = Transaction("t", "u", amount, TransactionType.USDT, TransactionStatus.PENDING, None, MOMENT)
    sent = bodies.transaction_json(row)["amount"]
    assert isinstance(sent, int) == (amount <= 2**53 - 1)
    assert amount_of(json.dumps(sent)) == amount


def test_a_type_left_out_is_native() -> None:
    assert bodies.recording(body({"amount": 1})) == (1, TransactionType.NATIVE)
    assert bodies.recording(body({"amount": 1, "type": None})) == (1, TransactionType.NATIVE)
    assert bodies.recording(body({"amount": 1, "type": "USDT"})) == (1, TransactionType.USDT)


@pytest.mark.parametrize("value", ["usdt", "", 1, [], {}, True])
def test_an_unknown_type_is_refused_by_name(value: object) -> None:
    assert refusal(bodies.recording, body({"amount": 1, "type": value})) == "type must be one of NATIVE, USDT"


def test_a_missing_field_is_named() -> None:
    assert refusal(bodies.sign_in, body({})) == "publicKey is required"
    assert refusal(bodies.recording, body({"type": "USDT"})) == "amount is required"
    assert refusal(bodies.update, body({})) == "status or txHash is required"
    assert refusal(bodies.settle, body({"beneficiary": ADDRESS})) == "beneficiary and orderHash are required"
    assert refusal(bodies.settle, body({"beneficiary": "", "orderHash": ORDER})) == "beneficiary and orderHash are required"


def test_a_public_key_keeps_its_case() -> None:
    assert bodies.sign_in(body({"publicKey": ADDRESS})) == ADDRESS


@pytest.mark.parametrize("key", ["0x12", ADDRESS + "0", ADDRESS[2:], f" {ADDRESS}", f"{ADDRESS}\n", 7, [ADDRESS], {"a": 1}])
def test_another_public_key_is_refused_by_name(key: object) -> None:
    assert refusal(bodies.sign_in, body({"publicKey": key})) == "publicKey must be 0x and 40 hex digits"


def test_fields_of_a_settlement_are_refused_by_name() -> None:
    assert refusal(bodies.settle, body({"beneficiary": "0x1", "orderHash": ORDER})).startswith("beneficiary must be")
    assert refusal(bodies.settle, body({"beneficiary": ADDRESS, "orderHash": 1})).startswith("orderHash must be")


def test_an_update_changes_only_what_it_names() -> None:
    assert bodies.update(body({"status": "SUCCESS"})) == (TransactionStatus.SUCCESS, None)
    assert bodies.update(body({"txHash": "0xabc", "status": None})) == (None, "0xabc")
    assert bodies.update(body({"txHash": "0xabc", "status": "FAILED"})) == (TransactionStatus.FAILED, "0xabc")


@pytest.mark.parametrize("value", ["", "x" * 201, "a\0b", 5, True, []])
def test_a_hash_that_cannot_be_stored_is_refused_by_name(value: object) -> None:
    assert refusal(bodies.update, body({"txHash": value})) == "txHash must be a text of 1 to 200 characters"


def test_fields_that_nobody_knows_are_ignored() -> None:
    assert bodies.recording(body({"amount": 1, "id": "mine", "userId": 7})) == (1, TransactionType.NATIVE)


@pytest.mark.parametrize(
    "data", [b"{", b"{'a': 1}", b'{"amount": NaN}', b"{} {}", b'{"amount": 1, "more": tru}', b"\0", b"[" * 100]
)
def test_what_is_not_json_is_refused(data: bytes) -> None:
    assert refusal(bodies.recording, Sent(data, None)).startswith("The body cannot be read: Malformed JSON: ")


@pytest.mark.parametrize("data", [b"\xff", b'{"amount": "\xed\xa0\x80"}', b'{"\\ud800": 1}', '{"amount": 1}'.encode("utf-16")])
def test_what_is_not_utf8_is_refused(data: bytes) -> None:
    assert refusal(bodies.recording, Sent(data, None)) == "The body must be JSON in UTF-8"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("[" * 100_000, "100002 brackets and commas, at most 20000 are taken"),
        ('{"a":' * 10_000, "Nested 10001 deep, at most 200 is taken"),
        ("[" + "0," * 20_000 + "0]", "20004 brackets and commas, at most 20000 are taken"),
    ],
)
def test_a_body_has_the_bounds_of_a_packet(more: str, message: str, recursion_unlimited: None) -> None:
    body = f'{{"amount":{more}}}'.encode()
    assert refusal(bodies.recording, Sent(body, None)) == f"The body cannot be read: {message}"


@pytest.mark.parametrize("value", [[], "text", 1, True, None])
def test_json_that_is_no_object_is_refused(value: object) -> None:
    assert refusal(bodies.recording, body(value)) == "The body must be a JSON object"


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "application/json",
        "Application/JSON; charset=UTF-8",
        'application/json;charset="utf-8"',
        "application/vnd.api+json",
    ],
)
def test_json_is_taken_under_its_names(content_type: str | None) -> None:
    assert bodies.recording(Sent(b'\xef\xbb\xbf{"amount": 1}', content_type))[0] == 1


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1", "json"]
)
def test_a_body_of_another_type_is_refused(content_type: str) -> None:
    with pytest.raises(WrongMediaType, match="send Content-Type: application/json"):
        bodies.recording(Sent(b'{"amount": 1}', content_type))
    assert refusal(bodies.recording, Sent(b"", content_type)) == "amount is required"


@given(st.dictionaries(FIELDS, JSON), st.sampled_from(READERS))
def test_any_object_is_taken_or_refused(value: dict[str, Any], reader: Any) -> None:
    taken_or_refused(reader, body(value))


@given(st.binary(), st.none() | st.text(), st.sampled_from(READERS))
def test_any_bytes_are_taken_or_refused(data: bytes, content_type: str | None, reader: Any) -> None:
    taken_or_refused(reader, Sent(data, content_type))


def taken_or_refused(reader: Any, sent: Any) -> None:
    with suppress(EllaraError):
        reader(sent)


def test_a_list_has_its_defaults() -> None:
    assert RULES.page({}) == Page(take=10, page=1, sort_by="createdAt", descending=True, search=None)


def test_an_empty_value_means_the_default() -> None:
    assert RULES.page({name: [""] for name in ("take", "page", "sortBy", "sortOrder", "search")}) == RULES.page({})


def test_a_list_is_as_asked() -> None:
    asked = {"take": ["25"], "page": ["3"], "sortBy": ["amount"], "sortOrder": ["asc"], "search": ["0xA"], "other": ["x"]}
    assert RULES.page(asked) == Page(take=25, page=3, sort_by="amount", descending=False, search="0xA")


def test_more_than_a_hundred_are_cut_to_a_hundred() -> None:
    assert RULES.page({"take": ["101"]}).take == RULES.page({"take": ["9007199254740991"]}).take == 100


@pytest.mark.parametrize("name", ["take", "page"])
@pytest.mark.parametrize(
    "text", ["0", "00", "-1", "+1", "1.0", "1e1", " 1", "x", "NaN", "٣", "²", "9007199254740992", "9" * 5_000]
)
def test_a_number_out_of_range_is_refused_by_name(name: str, text: str) -> None:
    with pytest.raises(Invalid, match=rf"^{name} must be an integer from 1 to 9007199254740991$"):
        RULES.page({name: [text]})


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"sortBy": ["constructor"]}, "sortBy must be one of createdAt, amount"),
        ({"sortBy": ["createdAt; DROP"]}, "sortBy must be one of createdAt, amount"),
        ({"sortOrder": ["up"]}, "sortOrder must be asc or desc"),
        ({"search": ["a\0"]}, "search must not contain the character U+0000"),
        ({"take": ["1", "2"]}, "take must be given once"),
    ],
)
def test_another_value_is_refused_by_name(query: dict[str, list[str]], message: str) -> None:
    with pytest.raises(Invalid) as caught:
        RULES.page(query)
    assert caught.value.message == message


QUERY = st.dictionaries(
    st.sampled_from(["take", "page", "sortBy", "sortOrder", "search", "wait"]), st.lists(st.text(), max_size=2)
)


@given(QUERY)
def test_any_query_is_taken_within_limits_or_refused(query: dict[str, list[str]]) -> None:
    taken_or_refused(bodies.waits_until_mined, query)
    try:
        page = RULES.page(query)
    except Invalid:
        return
    assert 1 <= page.take <= 100
    assert (page.page - 1) * page.take < 2**63


def test_only_mined_is_waited_for() -> None:
    assert bodies.waits_until_mined({"wait": ["mined"]})
    assert not bodies.waits_until_mined({"wait": [""]})
    with pytest.raises(Invalid, match="wait must be mined"):
        bodies.waits_until_mined({"wait": ["final"]})


def test_an_id_that_no_row_can_have_is_not_found() -> None:
    with pytest.raises(NotFound, match="Chat not found"):
        bodies.row_id("a\0b", "Chat not found")
