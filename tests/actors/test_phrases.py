from __future__ import annotations

import re

import pytest

from ellara.actors.phrases import PHRASES, Language, Trouble, language_of, phrase, trouble_of
from ellara.errors import AssistantFailed, Busy, Crashed, EllaraError, NotFound, Stopping
from ellara.llm.faults import Fault

INTERNAL = re.compile(r"openai|gpt|http|api|\b[45]\d\d\b|exception|traceback|postgres|database|token|null|_", re.IGNORECASE)


def test_there_is_a_phrase_for_everything_that_can_go_wrong() -> None:
    assert set(PHRASES) == {*Trouble, *Fault}
    assert len(PHRASES) == len(Trouble) + len(Fault)


@pytest.mark.parametrize("trouble", list(PHRASES))
def test_a_phrase_is_short_and_tells_nothing_of_ours(trouble: Trouble | Fault) -> None:
    for language in Language:
        sentence = phrase(trouble, language)
        assert 10 < len(sentence) < 130
        assert sentence.endswith(".")
        assert not INTERNAL.search(sentence)
    assert phrase(trouble, Language.INDONESIAN) != phrase(trouble, Language.ENGLISH)


@pytest.mark.parametrize(
    ("error", "trouble"),
    [
        (AssistantFailed(Fault.STALLED, ""), Fault.STALLED),
        (NotFound(""), Trouble.UNKNOWN_CHAT),
        (Stopping(""), Trouble.STOPPING),
        (Busy(""), Trouble.BUSY),
        (Crashed(""), Trouble.BROKEN),
    ],
)
def test_an_error_is_said_as_what_it_means_to_the_asker(error: EllaraError, trouble: Trouble | Fault) -> None:
    assert trouble_of(error) is trouble


@pytest.mark.parametrize(
    "question",
    [
        "Hello, I need help",
        "How do I set the price of my coffee?",
        "What is VAT?",
        "Please check my transactions",
        "can you help me?",
    ],
)
def test_an_english_question_is_answered_in_english(question: str) -> None:
    assert language_of(question) is Language.ENGLISH


@pytest.mark.parametrize(
    "question",
    [
        "Bagaimana cara menentukan harga?",
        "halo",
        "tolong cek pembayaran customer saya yang pending",
        "apa itu marketing plan?",
        "cara upload product di marketplace",
        "12345 ???",
        "",
    ],
)
def test_anything_else_is_answered_in_bahasa_indonesia(question: str) -> None:
    assert language_of(question) is Language.INDONESIAN


def test_a_question_that_does_not_tell_is_in_the_language_of_those_before_it() -> None:
    assert language_of("ok", "12", "How do I set the price?", "Bagaimana cara?") is Language.ENGLISH
    assert language_of("ok", "Bagaimana cara?", "How do I set the price?") is Language.INDONESIAN
