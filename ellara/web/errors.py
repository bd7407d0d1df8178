"""The one table from errors to HTTP: what a client gets is a status and a sentence, never more.

401 and 403 mean the token and nothing else: the frontends log the user out on both. What the framework raises on its own (no
such route, no such method, too large) gets a sentence here too. The unforeseen is a 500; its details are in the log.
"""

from __future__ import annotations

from http import HTTPStatus
from math import ceil

import attrs
from werkzeug.exceptions import HTTPException

from ellara.errors import (
    Conflict,
    EllaraError,
    NotFound,
    Refused,
    TokenMissing,
    TokenRejected,
    TooLarge,
    Unavailable,
    WrongMediaType,
)

STATUSES: dict[type[EllaraError], int] = {
    TokenMissing: 401,
    TokenRejected: 403,
    NotFound: 404,
    Conflict: 409,
    TooLarge: 413,
    WrongMediaType: 415,
    Refused: 400,  # Invalid, Reverted: the asker must change something
    Unavailable: 503,
    EllaraError: 500,
}
"""The nearest ancestor counts."""

SENTENCES = {
    404: "There is no such route",
    405: "This route does not take this method",
    413: "The request body is too large",
}
UNFORESEEN = "Something went wrong on our side; please try again"


@attrs.frozen
class ErrorAnswer:
    status: int
    message: str
    headers: dict[str, str] = attrs.Factory(dict)


def answer_for(error: Exception) -> ErrorAnswer:
    match error:
        case EllaraError():
            return _ours(error)
        case HTTPException(code=int(code)) if 400 <= code < 500:
            kept = {name: value for name, value in error.get_headers() if name == "Allow"}
            return ErrorAnswer(code, SENTENCES.get(code, HTTPStatus(code).phrase), kept)
        case _:
            return ErrorAnswer(500, UNFORESEEN)


def _ours(error: EllaraError) -> ErrorAnswer:
    status = next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)
    if status == 500:
        return ErrorAnswer(500, UNFORESEEN)
    later = {"Retry-After": str(ceil(error.retry_after_s))} if isinstance(error, Unavailable) else {}
    return ErrorAnswer(status, error.message, later)
