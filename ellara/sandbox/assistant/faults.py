"""The faults that a marker in the question can ask for, `[fault:KIND]` or `[fault:KIND:N]`; on streamed responses alone. Pure.

Before the stream (N: only the first N requests with this question, else all):
    401 · 404 (model gone) · 408 · 409 · 500 · 500-no-retry · 502-html · 503 · 503-html · locked · context
    429 · 429-after (Retry-After 1 s) · 429-after-ms (20 ms) · 429-long (300 s) · 429-date (in 2 s)
    429-slow-down · 429-quota
    hang (no byte) · reset (no byte) · slow-headers (N: ms, 1000) · wrong-type (200 with HTML)
While it streams text (N: after so many deltas, 3; 0: before any):
    stall · drop (reset) · cut (within a chunk) · eof (clean, without a terminal event)
    flat-error · nested-error · error-event (then failed) · failed · failed-rate · failed-context · incomplete (length) · filter
    bad-json · huge (an event of 5 MB) · refusal · twice (two terminal events) · open (no end after completed)
    odd (chunks of 7 bytes)
Tools: unknown-tool · bad-args · endless-tools
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from email.utils import formatdate

import attrs

from ellara.sandbox.assistant.answers import Fault
from ellara.sandbox.assistant.events import Act, Events, Frame
from ellara.sandbox.assistant.requests import Refusal

DELTAS = 3
"""After which a stream is struck, unless the marker says."""
HUGE_CHARS = 5_000_000
SLOW_HEADERS_MS = 1_000
HTML = b"<html><head><title>Bad gateway</title></head><body><center><h1>Bad gateway</h1></center></body></html>"
CUT_CHUNK = b'1f4\r\nevent: response.output_text.delta\ndata: {"type":"response.outp'

SERVER_ERROR = {"code": "server_error", "message": "The model failed to generate a response."}
RATE_ERROR = {"code": "rate_limit_exceeded", "message": "Rate limit reached while the response was generated."}

CONTEXT_ERROR = {"code": "context_length_exceeded", "message": "The conversation exceeds the context window of this model."}

_LIMITED = ("Rate limit reached for requests. Please try again later.", "requests", "rate_limit_exceeded")
_BROKEN = ("The server had an error while processing your request. Sorry about that!", "server_error", None)
_LOCKED = "Another process is currently operating on this conversation. Please retry in a few seconds."

REFUSALS: Mapping[str, tuple[int, str, str, str | None]] = {
    "401": (401, "Incorrect API key provided.", "invalid_request_error", "invalid_api_key"),
    "404": (404, "The model does not exist or you do not have access to it.", "invalid_request_error", "model_not_found"),
    "408": (408, "Request timed out.", "timeout", None),
    "409": (409, "The request conflicts with another one.", "invalid_request_error", None),
    "500": (500, *_BROKEN),
    "500-no-retry": (500, *_BROKEN),
    "503": (503, "Our servers are currently overloaded. Please try again later.", "server_error", "server_is_overloaded"),
    "locked": (400, _LOCKED, "invalid_request_error", "conversation_locked"),
    "context": (400, "Your input exceeds the context window of this model.", "invalid_request_error", "context_length_exceeded"),
    "429": (429, *_LIMITED),
    "429-after": (429, *_LIMITED),
    "429-after-ms": (429, *_LIMITED),
    "429-long": (429, *_LIMITED),
    "429-date": (429, *_LIMITED),
    "429-slow-down": (429, "Slow down: the rate of requests rose too fast.", "rate_limit_error", "slow_down"),
    "429-quota": (429, "You exceeded your current quota, please check your plan.", "insufficient_quota", "insufficient_quota"),
}
"""Status, message, type, code."""
PARAMS = {"locked": "conversation", "context": "input", "404": "model"}
HEADERS = {
    "429-after": ("retry-after", "1"),
    "429-after-ms": ("retry-after-ms", "20"),
    "429-long": ("retry-after", "300"),
    "500-no-retry": ("x-should-retry", "false"),
}
PAGES = {"502-html": 502, "503-html": 503, "wrong-type": 200}
"""Answered with an HTML page."""
BEFORE = frozenset({*REFUSALS, *PAGES, "hang", "reset", "slow-headers"})
"""Strike a request as a whole."""


def refusal(kind: str, now_s: float) -> Refusal:
    status, message, error_type, code = REFUSALS[kind]
    headers = [HEADERS[kind]] if kind in HEADERS else []
    if kind == "429-date":
        headers = [("retry-after", formatdate(now_s + 2, usegmt=True))]
    return Refusal(status, message, kind=error_type, code=code, param=PARAMS.get(kind), headers=headers)


def deltas(fault: Fault) -> int:
    return DELTAS if fault.count is None else fault.count


def struck(events: Events, finished: Mapping[str, object], fault: Fault | None) -> Iterator[Frame]:
    """The frames of a stream, with the fault in its place; an unknown one does nothing."""
    whole = events.whole(finished)
    if fault is None or events.deltas == 0:
        yield from whole
    elif fault.kind in _ENDINGS:
        yield from _through(whole, min(deltas(fault), events.deltas))
        yield from _ENDINGS[fault.kind](events)
    else:
        yield from _disturbed(whole, events, finished, fault)


def _through(frames: Iterator[Frame], limit: int) -> Iterator[Frame]:
    """Up to the delta of that number; for 0 the opening alone."""
    seen = 0
    for frame in frames:
        yield frame
        seen += frame.paced
        if seen == limit:
            return


def _disturbed(frames: Iterator[Frame], events: Events, finished: Mapping[str, object], fault: Fault) -> Iterator[Frame]:
    seen = 0
    for frame in frames:
        stays = frame.last and fault.kind == "open"
        yield attrs.evolve(frame, act=Act.STALL) if stays else frame
        seen += frame.paced
        if frame.paced and seen == min(max(deltas(fault), 1), events.deltas):
            yield Frame(_intruder(events, fault.kind))
    if fault.kind == "twice":
        yield events.terminal(finished)


def _intruder(events: Events, kind: str) -> bytes:
    match kind:
        case "bad-json":
            return events.event("response.output_text.delta", delta="x").replace(b'"delta":', b'"delta"=')
        case "huge":
            return events.event("response.output_text.delta", delta="", obfuscation="x" * HUGE_CHARS)
        case _:
            return b""


def _failed(events: Events, error: Mapping[str, str] = SERVER_ERROR) -> Frame:
    return events.terminal({"status": "failed", "error": error})


def _flat(events: Events) -> Frame:
    return Frame(events.event("error", **SERVER_ERROR, param=None))


def _nested(events: Events) -> Frame:
    return Frame(events.event("error", error={**SERVER_ERROR, "type": "server_error", "param": None}))


_ENDINGS: Mapping[str, Callable[[Events], list[Frame]]] = {
    "stall": lambda _: [Frame(b"", act=Act.STALL)],
    "drop": lambda _: [Frame(b"", act=Act.RESET)],
    "cut": lambda _: [Frame(b"", act=Act.CUT)],
    "eof": lambda _: [],
    "flat-error": lambda events: [_flat(events)],
    "nested-error": lambda events: [_nested(events)],
    "error-event": lambda events: [_flat(events), _failed(events)],
    "failed": lambda events: [_failed(events)],
    "failed-rate": lambda events: [_failed(events, RATE_ERROR)],
    "failed-context": lambda events: [_failed(events, CONTEXT_ERROR)],
}
"""Faults that end a stream, and the frames that do it."""
STREAMED = frozenset({*_ENDINGS, "incomplete", "filter", "bad-json", "huge", "refusal", "twice", "open", "odd"})
KINDS = BEFORE | STREAMED | {"unknown-tool", "bad-args", "endless-tools"}
