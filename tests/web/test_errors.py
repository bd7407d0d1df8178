from __future__ import annotations

import pytest
from werkzeug.exceptions import MethodNotAllowed, RequestEntityTooLarge
from werkzeug.exceptions import NotFound as NoRoute

from ellara import errors
from ellara.errors import EllaraError
from ellara.web.errors import UNFORESEEN, ErrorAnswer, answer_for

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, EllaraError)]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.Invalid("take must be an integer"), 400),
        (errors.Reverted("Already paid in full"), 400),
        (errors.TokenMissing("Authentication failed, token is missing"), 401),
        (errors.TokenRejected("Token expired"), 403),
        (errors.NotFound("Chat not found"), 404),
        (errors.Conflict("This hash belongs to another transaction"), 409),
        (errors.TooLarge("At most 1000 bytes"), 413),
        (errors.WrongMediaType("The body must be JSON"), 415),
    ],
)
def test_a_refusal_is_its_status_and_its_sentence(error: EllaraError, status: int) -> None:
    assert answer_for(error) == ErrorAnswer(status, error.message)


@pytest.mark.parametrize("kind", [errors.Busy, errors.TimedOut, errors.Stopping, errors.Crashed, errors.ChainUnavailable])
def test_what_may_be_tried_again_says_when(kind: type[errors.Unavailable]) -> None:
    assert answer_for(kind("Please try again", 1.2)) == ErrorAnswer(503, "Please try again", {"Retry-After": "2"})


@pytest.mark.parametrize("kind", KINDS)
def test_only_a_token_is_answered_with_401_or_403(kind: type[EllaraError]) -> None:
    error = kind.__new__(kind)
    error.message, error.retry_after_s = "why", 1.0  # type: ignore[attr-defined]  # of Unavailable
    assert (answer_for(error).status in (401, 403)) == issubclass(kind, errors.TokenMissing | errors.TokenRejected)


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("secret"), errors.GaveUp("secret"), ExceptionGroup("secret", [OSError("x")])]
)
def test_the_unforeseen_tells_a_client_nothing(error: Exception) -> None:
    assert answer_for(error) == ErrorAnswer(500, UNFORESEEN)


def test_what_the_framework_refuses_is_a_sentence_of_ours() -> None:
    assert answer_for(NoRoute()) == ErrorAnswer(404, "There is no such route")
    assert answer_for(RequestEntityTooLarge()) == ErrorAnswer(413, "The request body is too large")


def test_a_wrong_method_says_which_are_right() -> None:
    assert answer_for(MethodNotAllowed(["GET", "HEAD"])).headers == {"Allow": "GET, HEAD"}
