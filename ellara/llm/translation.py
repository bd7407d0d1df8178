"""Where the SDK's and its HTTP library's exceptions end: each becomes an `AssistantFailed` with its Fault.

Imports both lazily, as `client.py` does. Raw streams raise the HTTP library's errors, not the SDK's: both are caught.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime
from math import inf
from typing import TYPE_CHECKING

from ellara.errors import AssistantFailed
from ellara.llm.faults import Fault, fault_of
from ellara.model import utc_now

if TYPE_CHECKING:
    from openai import APIConnectionError, APIStatusError


@contextmanager
def translated() -> Iterator[None]:
    """Raises `AssistantFailed` for whatever the outside does wrong."""
    import httpx2
    import openai

    try:
        yield
    except openai.APIStatusError as error:
        raise _of_status(error) from None
    except openai.APIConnectionError as error:
        raise AssistantFailed(_of_connection(error), f"{error.message} {error.__cause__!r}", 0.0) from None
    except openai.OpenAIError as error:
        raise AssistantFailed(Fault.FAILED, str(error), 0.0) from None
    except httpx2.TimeoutException as error:
        raise AssistantFailed(Fault.STALLED, repr(error), 0.0) from None
    except httpx2.HTTPError as error:
        raise AssistantFailed(Fault.CUT_OFF, repr(error), 0.0) from None


def _of_status(error: APIStatusError) -> AssistantFailed:
    fault = fault_of(error.status_code, error.code, error.type)
    reason = f"{error.status_code} {error.code}: {error.message} (request {error.request_id})"
    return AssistantFailed(fault, reason[:1_000], retry_after_s(error.response.headers, utc_now()))


def _of_connection(error: APIConnectionError) -> Fault:
    import httpx2

    match error.__cause__:
        case httpx2.PoolTimeout():
            return Fault.OVERLOADED
        case httpx2.ReadTimeout() | httpx2.WriteTimeout():
            return Fault.TIMED_OUT
        case _:
            return Fault.UNREACHABLE


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float:
    """What the server asks to wait: 0 if it does not say, infinity if it says not to try again. Source: RFC 9110, 10.2.3."""
    if headers.get("x-should-retry") == "false":
        return inf
    try:
        if "retry-after-ms" in headers:
            return max(0.0, float(headers["retry-after-ms"]) / 1000)
        return max(0.0, float(headers.get("retry-after", "0")))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(headers["retry-after"]) - now).total_seconds())
    except (KeyError, ValueError, TypeError):
        return 0.0
