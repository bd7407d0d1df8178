from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ellara.actors.phrases import Trouble
from ellara.actors.questions import Question, Resume, parse_message, parse_resume, trouble_with_user
from ellara.jsontext import NESTING_MAX, STRUCTURE_MAX

PAYLOAD = {"question": "Apa kabar?", "userId": "ani"}


@pytest.mark.parametrize("chat_id", [{}, {"chatId": None}, {"chatId": ""}])
def test_no_chat_id_begins_a_chat(chat_id: dict[str, object]) -> None:
    for payload in (PAYLOAD | chat_id, json.dumps(PAYLOAD | chat_id)):
        assert parse_message([payload]) == Question("Apa kabar?", "ani", None)


def test_a_chat_id_goes_on_with_that_chat_and_other_fields_are_ignored() -> None:
    assert parse_message([PAYLOAD | {"chatId": "c1", "clientMessageId": 7}, "more"]) == Question("Apa kabar?", "ani", "c1")


@pytest.mark.parametrize("field", ["question", "userId"])
@pytest.mark.parametrize("value", [None, "", ...])
def test_question_and_user_are_required(field: str, value: object) -> None:
    payload = {name: text for name, text in PAYLOAD.items() if name != field} | ({} if value is ... else {field: value})
    assert parse_message([payload]) is Trouble.QUESTION_MISSING


def test_a_blank_question_is_none() -> None:
    assert parse_message([PAYLOAD | {"question": " \n "}]) is Trouble.QUESTION_MISSING


@pytest.mark.parametrize(
    "args",
    [
        [],
        [None],
        [7],
        [[]],
        ["not json"],
        ["[]"],
        ['"x"'],
        ["\ud800"],
        [PAYLOAD | {"\ud800": 1}],
        ["[" * 100_000],
        [PAYLOAD | {"question": 7}],
        [PAYLOAD | {"chatId": 7}],
        [PAYLOAD | {"userId": {}}],
        [PAYLOAD | {"question": "a\0b"}],
        [PAYLOAD | {"question": "a\ud800b"}],
        [PAYLOAD | {"userId": "a\0"}],
        [PAYLOAD | {"chatId": "a\0"}],
        [PAYLOAD | {"chatId": "x" * 1_000}],
        [b"bytes"],
    ],
)
def test_what_cannot_be_read_or_stored_is_refused(args: list[object]) -> None:
    assert parse_message(args) is Trouble.MALFORMED


@pytest.mark.parametrize("parse", [parse_message, parse_resume])
@pytest.mark.parametrize("more", ["0," * STRUCTURE_MAX + "0", "[" * NESTING_MAX + "]" * NESTING_MAX])
def test_a_json_string_has_the_bounds_of_every_payload(parse: Callable[[list[object]], object], more: str) -> None:
    payload = '{"question": "Apa kabar?", "userId": "ani", "chatId": "c1", "more": [%s]}'
    assert not isinstance(parse([payload % "0"]), Trouble)
    assert parse([payload % more]) is Trouble.MALFORMED


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@given(
    st.lists(JSON, max_size=2) | st.lists(st.dictionaries(st.sampled_from(["question", "userId", "chatId"]), JSON), max_size=2)
)
def test_any_arguments_are_a_question_or_a_trouble(args: list[object]) -> None:
    assert isinstance(parse_message(args), Question | Trouble)


def test_a_chat_to_follow_is_named_alone_or_with_its_user_and_what_is_shown() -> None:
    for payload in ({"chatId": "c1"}, {"chatId": "c1", "userId": None, "after": None}, {"chatId": "c1", "userId": "", "more": 1}):
        assert parse_resume([payload]) == parse_resume([json.dumps(payload)]) == Resume("c1", None, 0)
    assert parse_resume([{"chatId": "c1", "userId": "ani", "after": 12}]) == Resume("c1", "ani", 12)


@pytest.mark.parametrize("payload", [{}, {"chatId": None}, {"chatId": ""}, {"after": 1}])
def test_a_chat_to_follow_is_required(payload: object) -> None:
    assert parse_resume([payload]) is Trouble.CHAT_MISSING


@pytest.mark.parametrize(
    "wrong", [{"after": -1}, {"after": 1.5}, {"after": "1"}, {"after": True}, {"chatId": "a\0"}, {"userId": 7}]
)
def test_garbage_in_a_wish_to_follow_is_refused(wrong: dict[str, object]) -> None:
    assert parse_resume([{"chatId": "c1"} | wrong]) is Trouble.MALFORMED


@given(st.lists(JSON, max_size=2) | st.lists(st.dictionaries(st.sampled_from(["chatId", "userId", "after"]), JSON), max_size=2))
def test_any_arguments_are_a_wish_to_follow_or_a_trouble(args: list[object]) -> None:
    assert isinstance(parse_resume(args), Resume | Trouble)


def test_a_token_decides_who_asks_and_without_one_the_payload_where_that_is_allowed() -> None:
    assert trouble_with_user("ani", "ani", require_token=True) is None
    assert trouble_with_user("ani", None, require_token=True) is None
    assert trouble_with_user("ani", "budi", require_token=False) is Trouble.OTHER_USER
    assert trouble_with_user(None, "ani", require_token=False) is None
    assert trouble_with_user(None, "ani", require_token=True) is Trouble.SIGN_IN
