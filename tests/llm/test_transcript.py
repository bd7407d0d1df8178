from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ellara.llm.transcript import estimated_tokens, input_items
from ellara.model import Message, Speaker, utc_now

NOW = utc_now()


def rows(*said: tuple[Speaker, str]) -> list[Message]:
    return [Message(str(number), "chat", role, content, NOW) for number, (role, content) in enumerate(said)]


def turns(count: int, length: int) -> list[Message]:
    pair = ((Speaker.USER, "q" * length), (Speaker.ASSISTANT, "a" * length))
    return rows(*pair * count, (Speaker.USER, "last"))


def test_a_short_chat_is_sent_whole() -> None:
    items = input_items(turns(1, 10), 1_000)
    assert items == [
        {"role": "user", "content": "q" * 10},
        {"role": "assistant", "content": "a" * 10},
        {"role": "user", "content": "last"},
    ]


def test_a_long_chat_is_cut_at_a_question() -> None:
    items = input_items(turns(50, 300), 1_000)
    assert items[0]["role"] == "user"
    assert items[-1]["content"] == "last"
    assert 3 <= len(items) < 12


def test_the_last_question_stays_even_if_it_is_over_the_budget() -> None:
    assert input_items(rows((Speaker.USER, "a"), (Speaker.USER, "x" * 9_000)), 500) == [{"role": "user", "content": "x" * 9_000}]


def test_blank_rows_are_left_out() -> None:
    assert len(input_items(rows((Speaker.USER, "a"), (Speaker.ASSISTANT, "  "), (Speaker.USER, "b")), 500)) == 2


@given(st.lists(st.tuples(st.sampled_from(Speaker), st.text(max_size=60)), max_size=30), st.integers(0, 400))
def test_what_is_sent_is_an_end_of_the_chat_within_the_budget(said: list[tuple[Speaker, str]], budget: int) -> None:
    messages = [*rows(*said), *rows((Speaker.USER, "last"))]
    items = input_items(messages, budget)
    kept = [message for message in messages if message.content.strip()][-len(items) :]
    assert [item["content"] for item in items] == [message.content for message in kept]
    assert items[0]["role"] == "user"
    assert len(items) == 1 or sum(estimated_tokens(message.content) for message in kept) <= budget
