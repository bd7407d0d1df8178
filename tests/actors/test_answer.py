from __future__ import annotations

from ellara.actors.answer import Answer

Told = list[tuple[object, ...]]


def chunk(text: str) -> tuple[object, ...]:
    return ("bot_chunk", {"content": [{"index": 0, "type": "text", "text": {"value": text}}]})


def answer() -> tuple[Answer, Told]:
    told: Told = []
    return Answer(lambda *event: told.append(event)), told


def test_chunks_wait_for_the_announcement_and_leave_as_one() -> None:
    made, told = answer()
    made.add("Se")
    made.add("lamat")
    made.flush()
    assert told == []
    made.announce("chat-1", "Judul")
    made.flush()
    made.flush()
    assert told == [("chat_title", "Judul"), ("chat_id", "chat-1"), chunk("Selamat")]
    assert made.text == "Selamat"


def test_an_old_chat_is_announced_in_silence() -> None:
    made, told = answer()
    made.announce()
    made.add("a")
    made.flush()
    assert told == [chunk("a")]


def test_a_chat_is_announced_once() -> None:
    made, told = answer()
    made.announce("chat-1", "Judul")
    made.announce("chat-1", "Lain")
    assert told == [("chat_title", "Judul"), ("chat_id", "chat-1")]


def test_the_end_comes_after_the_last_chunk_and_only_once() -> None:
    made, told = answer()
    made.announce()
    made.add("a")
    made.end("chat-1", is_new_chat=False)
    made.fail("Maaf.")
    assert told == [chunk("a"), ("bot_end", {"chatId": "chat-1", "isNewChat": False, "message": "Response completed"})]


def test_a_failure_comes_after_what_was_shown() -> None:
    made, told = answer()
    made.announce()
    made.add("a")
    made.fail("Maaf.")
    made.end("chat-1", is_new_chat=False)
    assert told == [chunk("a"), ("bot_error", "Maaf.")]
