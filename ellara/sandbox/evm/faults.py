"""The dev chain's planned faults: which call goes wrong next, and how. Pure.

Called by server.py. Planned over RPC: `dev_fault {method, kind, count?, skip?, delayMs?, code?, message?}`; `method` "*" means
any but the dev_ ones. Plans are tried in the order in which they were made; `skip` calls pass first, then `count` calls (1)
are hit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import attrs

from ellara.sandbox.evm.jsonrpc import INVALID_PARAMS, SERVER_ERROR, Json, RpcError, parse_quantity

Kind = Literal["delay", "close-before", "close-after", "error", "null", "lost", "429"]
"""What happens instead of the answer.

delay: the answer, `delay_ms` later; close: the connection is reset before or after the work is done; error: a JSON-RPC error;
null: a null result; lost: a send is answered with its hash and not pooled; 429: HTTP 429 with Retry-After.
"""

PLANS_MAX = 1_000


@attrs.define
class Fault:
    method: str
    kind: Kind
    count: int = 1
    skip: int = 0
    delay_ms: int = 0
    code: int = SERVER_ERROR
    message: str = "planned fault"


class FaultPlan:
    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, fields: Mapping[str, Json]) -> None:
        """Raises `RpcError`."""
        if len(self._faults) >= PLANS_MAX:
            raise RpcError(f"at most {PLANS_MAX} faults can be planned")
        self._faults.append(_parse(fields))

    def clear(self) -> None:
        self._faults.clear()

    def take(self, method: str) -> Fault | None:
        """The fault that hits this call, counted off."""
        for fault in self._faults:
            if fault.method not in (method, "*") or method.startswith("dev_"):
                continue
            if fault.skip:
                fault.skip -= 1
                continue
            fault.count -= 1
            if fault.count == 0:
                self._faults.remove(fault)
            return fault
        return None


def _parse(fields: Mapping[str, Json]) -> Fault:
    method, kind = fields.get("method"), fields.get("kind")
    message = fields.get("message", "planned fault")
    code = fields.get("code", SERVER_ERROR)
    if not isinstance(method, str) or not isinstance(message, str) or not isinstance(code, int):
        raise RpcError("method and message must be texts, code an integer", INVALID_PARAMS)
    known = [each for each in get_args(Kind) if each == kind]
    if not known:
        raise RpcError(f"kind must be one of {', '.join(get_args(Kind))}", INVALID_PARAMS)
    count, skip, delay_ms = (parse_quantity(fields.get(name, least), name) for name, least in LEAST.items())
    return Fault(method, known[0], max(1, count), skip, delay_ms, code, message)


LEAST = {"count": 1, "skip": 0, "delayMs": 0}
