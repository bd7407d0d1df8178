from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ellara.actors.answer import Answer
from tests.actors.listener import Listener

END = ("bot_end", {"chatId": "chat-1", "isNewChat": False, "message": "Response completed"})


def chunk(text: str) -> tuple[str, Any]:
    return ("bot_chunk", {"content": [{"index": 0, "type": "text", "text": {"value": text}}]})


def answer() -> tuple[Answer, Listener]:
    listener = Listener()
    return Answer(lambda: [listener.client]), listener


def test_chunks_wait_for_the_announcement_and_leave_as_one() -> None:
    made, listener = answer()
    made.add("Se")
    made.add("lamat")
    assert made.waiting
    assert listener.heard == []
    made.announce("chat-1", "Judul")
    assert listener.heard == [("chat_title", "Judul"), ("chat_id", "chat-1"), chunk("Selamat")]
    assert made.text == "Selamat"
    assert not made.waiting


def test_an_old_chat_is_announced_in_silence() -> None:
    made, listener = answer()
    made.announce()
    made.add("a")
    assert listener.heard == [chunk("a")]


def test_a_chat_is_announced_once() -> None:
    made, listener = answer()
    made.announce("chat-1", "Judul")
    made.announce("chat-1", "Lain")
    assert listener.heard == [("chat_title", "Judul"), ("chat_id", "chat-1")]


def test_the_end_comes_after_the_last_chunk_and_only_once() -> None:
    made, listener = answer()
    made.announce()
    made.add("a")
    made.end("chat-1", is_new_chat=False)
    made.fail("Maaf.")
    assert listener.heard == [chunk("a"), END]


def test_a_failure_comes_after_what_was_shown() -> None:
    made, listener = answer()
    made.announce()
    made.add("a")
    made.fail("Maaf.")
    made.end("chat-1", is_new_chat=False)
    assert listener.heard == [chunk("a"), ("bot_error", "Maaf.")]


def test_what_is_not_taken_yet_is_joined_in_order_between_the_other_events() -> None:
    made, listener = answer()
    made.announce()
    for text in "abc":
        made.add(text)
    made.retitle("Judul")
    for text in "de":
        made.add(text)
    made.end("chat-1", is_new_chat=False)
    assert listener.heard == [chunk("abc"), ("chat_title", "Judul"), chunk("de"), END]


def test_texts_of_two_answers_are_never_joined() -> None:
    made, listener = answer()
    other = Answer(lambda: [listener.client])
    for each, text in ((made, "a"), (other, "b")):
        each.announce()
        each.add(text)
    assert listener.heard == [chunk("a"), chunk("b")]


def test_what_was_missed_comes_after_what_was_heard_before_it() -> None:
    made, listener = answer()
    made.announce()
    made.add("a")
    listener.ack("resumed")
    made.catch_up(listener.client, 0)
    made.add("b")
    assert listener.heard == [chunk("a"), ("ack", "resumed"), chunk("a"), chunk("b")]


@pytest.mark.parametrize("state", ["unannounced", "without text", "ended"])
def test_there_is_nothing_to_catch_up_with(state: str) -> None:
    made, listener = answer()
    if state != "unannounced":
        made.announce()
    if state != "without text":
        made.add("a")
    if state == "ended":
        made.end("chat-1", is_new_chat=False)
    listener.heard.clear()
    made.catch_up(listener.client, 0)
    assert listener.heard == []


@given(st.text(st.sampled_from("aé☕👋\ud83d\udc4b")), st.integers(0, 20))
def test_a_page_that_shows_any_part_of_the_text_gets_the_rest(text: str, units: int) -> None:
    made, listener = answer()
    made.announce()
    made.add(text)
    listener.heard.clear()
    made.catch_up(listener.client, units)
    assert in_javascript(text)[: 2 * units] + in_javascript(listener.text) == in_javascript(text)


def in_javascript(text: str) -> bytes:
    """As its strings are: two bytes for each unit of `length`."""
    return text.encode("utf-16-le", "surrogatepass")
