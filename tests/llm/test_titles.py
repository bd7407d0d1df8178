from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ellara.llm.titles import TITLE_MAX_CHARS, UNTITLED, clip, cut_title, model_title, plain_title

FAMILY, FLAG, THUMB = "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1ee\U0001f1e9", "\U0001f44d\U0001f3fd"


def units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


@pytest.mark.parametrize("greeting", ["halo", "Hello", "HI", " halo! ", "hi..."])
def test_a_greeting_is_titled_greeting(greeting: str) -> None:
    assert plain_title(greeting) == "Greeting"


def test_a_question_of_up_to_15_characters_is_its_own_title() -> None:
    assert plain_title("  harga   kopi?") == "harga kopi?"
    assert plain_title("a" * 15) == "a" * 15
    assert plain_title("a" * 16) is None


@pytest.mark.parametrize("question", ["", "   ", "\n\t"])
def test_a_blank_question_still_has_a_title(question: str) -> None:
    assert plain_title(question) == UNTITLED == cut_title(question)


def test_punctuation_alone_is_its_own_title() -> None:
    assert plain_title("???") == "???"
    assert cut_title("?" * 60) == "?" * 50


def test_the_title_of_a_failed_model_is_the_first_50_characters() -> None:
    question = "Bagaimana cara menentukan harga jual kopi susu di warung saya?"
    assert cut_title(question) == question[:50].rstrip()


@pytest.mark.parametrize("answer", ['"Harga Kopi"', "“Harga Kopi”", " 'Harga\nKopi' ", "«Harga Kopi»"])
def test_quotes_and_line_breaks_are_taken_off_the_models_title(answer: str) -> None:
    assert model_title(answer) == "Harga Kopi"


@pytest.mark.parametrize("answer", ["", '""', " … ", "!!!"])
def test_a_model_that_says_nothing_gives_no_title(answer: str) -> None:
    assert model_title(answer) is None


@pytest.mark.parametrize("cluster", [FAMILY, FLAG, THUMB, "e\u0301"])
def test_a_character_is_never_torn(cluster: str) -> None:
    for before in range(40, 51):
        fits = before + units(cluster) <= 50
        assert clip("x" * before + cluster + "y" * 20, 50).rstrip("y") == "x" * before + cluster * fits


def test_flags_are_cut_between_pairs() -> None:
    assert clip(FLAG * 20, 50) == FLAG * 12


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=120))
def test_any_title_fits_and_is_one_line(question: str) -> None:
    for title in (cut_title(question), plain_title(question) or "x"):
        assert 0 < units(title) <= TITLE_MAX_CHARS
        assert "\n" not in title
