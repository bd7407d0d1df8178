"""Fault: every way in which OpenAI fails an answer, told apart by what is to be done about it. Pure.

One table turns a status, code or type into a Fault; one function says whether and when to try again. What a merchant reads is
in `actors/phrases.py`. Sources: OpenAI's error codes guide, `openai.types.responses.ResponseError`.
"""

from __future__ import annotations

from enum import StrEnum

from ellara.errors import AssistantFailed

RETRY_AFTER_MAX_S = 10.0
"""A longer wait asked for by OpenAI is not worth a merchant's time: the answer fails at once, saying so."""

LONGEST_PAUSE_S = 4.0


class Fault(StrEnum):
    """`AssistantFailed.kind`, for the log, the metrics and phrases.py."""

    REFUSED_KEY = "refused_key"
    NO_QUOTA = "no_quota"
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    TIMED_OUT = "timed_out"
    STALLED = "stalled"
    UNREACHABLE = "unreachable"
    MODEL_GONE = "model_gone"
    TOO_LONG = "too_long"
    REFUSED_REQUEST = "refused_request"
    REFUSAL = "refusal"
    CUT_OFF = "cut_off"
    FAILED = "failed"
    INCOMPLETE_LENGTH = "incomplete_length"
    INCOMPLETE_FILTER = "incomplete_filter"
    BAD_EVENT = "bad_event"
    EMPTY = "empty"
    TOOL_LOOP = "tool_loop"


RETRIED = {Fault.RATE_LIMITED, Fault.OVERLOADED, Fault.UNREACHABLE, Fault.FAILED, Fault.CUT_OFF, Fault.EMPTY}
"""Not a timeout: the merchant has waited long enough, and the model may still be running (and be paid for)."""

CODES = {
    "insufficient_quota": Fault.NO_QUOTA,
    "billing_hard_limit_reached": Fault.NO_QUOTA,
    "credit_balance_exhausted": Fault.NO_QUOTA,
    "organization_spend_limit_exceeded": Fault.NO_QUOTA,
    "project_spend_limit_exceeded": Fault.NO_QUOTA,
    "organization_usage_limit_exceeded": Fault.NO_QUOTA,
    "rate_limit_exceeded": Fault.RATE_LIMITED,
    "slow_down": Fault.RATE_LIMITED,
    "server_is_overloaded": Fault.OVERLOADED,
    "server_error": Fault.FAILED,
    "invalid_api_key": Fault.REFUSED_KEY,
    "model_not_found": Fault.MODEL_GONE,
    "context_length_exceeded": Fault.TOO_LONG,
    "invalid_prompt": Fault.REFUSAL,
    "content_policy_violation": Fault.REFUSAL,
    "bio_policy": Fault.REFUSAL,
    "misalignment_policy_violation": Fault.REFUSAL,
}

STATUSES = {
    401: Fault.REFUSED_KEY,
    403: Fault.REFUSED_KEY,
    408: Fault.OVERLOADED,
    409: Fault.OVERLOADED,
    429: Fault.RATE_LIMITED,
    503: Fault.OVERLOADED,
}

INCOMPLETE = {"max_output_tokens": Fault.INCOMPLETE_LENGTH, "content_filter": Fault.INCOMPLETE_FILTER}


def fault_of(status: int, code: str | None, kind: str | None) -> Fault:
    """Which fault an error is: `status` of the response (200 inside a stream), `code` and `type` of the error object."""
    if kind == "insufficient_quota":  # may carry any code
        return Fault.NO_QUOTA
    if code in CODES:
        return CODES[code]
    if status in STATUSES:
        return STATUSES[status]
    return Fault.REFUSED_REQUEST if 400 <= status < 500 else CODES.get(kind or "", Fault.FAILED)


def pause_s(failure: AssistantFailed, tries: int, first_pause_s: float, chance: float) -> float | None:
    """How long to wait before try `tries + 1`, or None for giving up; `chance` in [0, 1) spreads those who failed together."""
    if failure.kind not in RETRIED or failure.retry_after_s > RETRY_AFTER_MAX_S:
        return None
    backoff_s = min(first_pause_s * 2.0 ** (tries - 1), LONGEST_PAUSE_S)
    return max(failure.retry_after_s, backoff_s * 0.75) + backoff_s * 0.5 * chance
