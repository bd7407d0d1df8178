from __future__ import annotations

from datetime import UTC, datetime
from math import inf

import pytest

from ellara.errors import AssistantFailed
from ellara.llm.faults import RETRIED, Fault, fault_of, pause_s
from ellara.llm.translation import retry_after_s

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("status", "code", "kind", "fault"),
    [
        (401, "invalid_api_key", "invalid_request_error", Fault.REFUSED_KEY),
        (403, None, None, Fault.REFUSED_KEY),
        (404, "model_not_found", "invalid_request_error", Fault.MODEL_GONE),
        (404, None, None, Fault.REFUSED_REQUEST),
        (400, "context_length_exceeded", "invalid_request_error", Fault.TOO_LONG),
        (400, "unknown_parameter", "invalid_request_error", Fault.REFUSED_REQUEST),
        (429, "rate_limit_exceeded", "requests", Fault.RATE_LIMITED),
        (429, None, None, Fault.RATE_LIMITED),
        (429, "rate_limit_exceeded", "insufficient_quota", Fault.NO_QUOTA),
        (429, "credit_balance_exhausted", None, Fault.NO_QUOTA),
        (408, None, "timeout", Fault.OVERLOADED),
        (500, None, "server_error", Fault.FAILED),
        (502, None, None, Fault.FAILED),
        (503, None, None, Fault.OVERLOADED),
        (200, "rate_limit_exceeded", None, Fault.RATE_LIMITED),
        (200, None, None, Fault.FAILED),
    ],
)
def test_status_code_and_type_say_the_fault(status: int, code: str | None, kind: str | None, fault: Fault) -> None:
    assert fault_of(status, code, kind) is fault


@pytest.mark.parametrize("fault", sorted(set(Fault) - RETRIED))
def test_what_trying_again_cannot_mend_is_not_tried_again(fault: Fault) -> None:
    assert pause_s(AssistantFailed(fault, "", 0.0), 1, 0.4, 0.5) is None


@pytest.mark.parametrize("fault", sorted(RETRIED))
def test_pauses_grow_and_spread(fault: Fault) -> None:
    pauses = [pause_s(AssistantFailed(fault, "", 0.0), tries, 0.4, chance) for tries in (1, 2, 9) for chance in (0.0, 0.99)]
    assert pauses == pytest.approx([0.3, 0.498, 0.6, 0.996, 3.0, 4.98])


def test_retry_after_is_honoured_up_to_a_limit() -> None:
    assert pause_s(AssistantFailed(Fault.RATE_LIMITED, "", 2.0), 1, 0.4, 0.0) == 2.0
    assert pause_s(AssistantFailed(Fault.RATE_LIMITED, "", 300.0), 1, 0.4, 0.0) is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0.0),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "-2"}, 0.0),
        ({"retry-after-ms": "20", "retry-after": "2"}, 0.02),
        ({"retry-after": "Mon, 23 Nov 2026 12:00:03 GMT"}, 3.0),
        ({"retry-after": "soon"}, 0.0),
        ({"x-should-retry": "false", "retry-after": "2"}, inf),
    ],
)
def test_the_wait_asked_for_is_read_in_every_form(headers: dict[str, str], seconds: float) -> None:
    assert retry_after_s(headers, NOW) == seconds
