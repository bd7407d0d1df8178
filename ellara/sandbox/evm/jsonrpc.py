"""JSON-RPC 2.0 as geth speaks it: what a call and its answers look like, how quantities and data are written. Pure.

Called by every file of the dev chain. Source: jsonrpc.org/specification, ethereum/execution-apis, go-ethereum rpc/errors.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs
import msgspec

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
SERVER_ERROR = -32000
EXECUTION_REVERTED = 3

CALLS_MAX = 1_000
"""In one batch; geth's `rpc.batch-request-limit`."""

Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]

_QUANTITY = re.compile(r"0x(0|[1-9a-fA-F][0-9a-fA-F]{0,63})")
_DATA = re.compile(r"0x(?:[0-9a-fA-F]{2})*")


class RpcError(Exception):
    """An answer that is an error. Its default code is what geth uses for nearly everything."""

    def __init__(self, message: str, code: int = SERVER_ERROR, data: Json = None) -> None:
        super().__init__(message)
        self.message, self.code, self.data = message, code, data


@attrs.frozen
class Call:
    """One method call; `id` None: a notification, which is not answered."""

    id: str | int | float | None
    method: str
    params: list[Json]


def parse_calls(body: bytes) -> tuple[list[Call | RpcError], bool]:
    """The calls of a request, faulty ones as their errors, and whether they came as a batch. Raises `RpcError` for the whole."""
    try:
        parsed = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        raise RpcError("parse error", PARSE_ERROR) from None
    if not isinstance(parsed, list):
        return [_parse_call(parsed)], False
    if not parsed:
        raise RpcError("empty batch", INVALID_REQUEST)
    if len(parsed) > CALLS_MAX:
        raise RpcError("batch too large", INVALID_REQUEST)
    return [_parse_call(each) for each in parsed], True


def result_of(call: Call, result: Json) -> dict[str, Json]:
    return {"jsonrpc": "2.0", "id": call.id, "result": result}


def error_of(call_id: str | int | float | None, error: RpcError) -> dict[str, Json]:
    content: dict[str, Json] = {"code": error.code, "message": error.message}
    if error.data is not None:
        content["data"] = error.data
    return {"jsonrpc": "2.0", "id": call_id, "error": content}


def quantity(number: int) -> str:
    """0 is `0x0`; never a leading zero."""
    return hex(number)


def data(content: bytes) -> str:
    return "0x" + content.hex()


def parse_quantity(value: Json, what: str) -> int:
    """Raises `RpcError`, saying `what`. A JSON number is taken too, as geth does for some."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if not isinstance(value, str) or not _QUANTITY.fullmatch(value):
        raise RpcError(f"invalid argument: {what} must be a hex quantity such as 0x1f, without leading zeros", INVALID_PARAMS)
    return int(value, 16)


def parse_data(value: Json, what: str, length: int | None = None) -> bytes:
    """Of exactly `length` bytes, or of any. Raises `RpcError`, saying `what`."""
    if not isinstance(value, str) or not _DATA.fullmatch(value):
        raise RpcError(f"invalid argument: {what} must be 0x and an even number of hex digits", INVALID_PARAMS)
    content = bytes.fromhex(value[2:])
    if length is not None and len(content) != length:
        raise RpcError(f"invalid argument: {what} must be {length} bytes, not {len(content)}", INVALID_PARAMS)
    return content


def parse_object(value: Json, what: str) -> Mapping[str, Json]:
    """Raises `RpcError`, saying `what`."""
    if not isinstance(value, dict):
        raise RpcError(f"invalid argument: {what} must be an object", INVALID_PARAMS)
    return value


def _parse_call(value: Json) -> Call | RpcError:
    if not isinstance(value, dict):
        return RpcError("invalid request", INVALID_REQUEST)
    call_id, method, params = value.get("id"), value.get("method"), value.get("params")
    if isinstance(call_id, bool | list | dict) or not isinstance(method, str):
        return RpcError("invalid request", INVALID_REQUEST)
    if params is None:
        params = []
    if not isinstance(params, list):
        return RpcError("non-array args", INVALID_PARAMS)
    return Call(call_id, method, params)


class Params:
    """A call's arguments by position."""

    def __init__(self, values: list[Json]) -> None:
        self._values = values

    def optional(self, position: int) -> Json:
        """None when it is left out."""
        return self._values[position] if position < len(self._values) else None

    def required(self, position: int) -> Json:
        """Raises `RpcError`."""
        value = self.optional(position)
        if value is None:
            raise RpcError(f"missing value for required argument {position}", INVALID_PARAMS)
        return value

    def flag(self, position: int) -> bool:
        """False when it is left out. Raises `RpcError`."""
        value = self.optional(position)
        if not isinstance(value, bool | None):
            raise RpcError(f"invalid argument {position}: expected true or false", INVALID_PARAMS)
        return bool(value)

    def quantity(self, position: int) -> int:
        """Raises `RpcError`."""
        return parse_quantity(self.required(position), str(position))

    def data(self, position: int, length: int | None = None) -> bytes:
        """Raises `RpcError`."""
        return parse_data(self.required(position), str(position), length)

    def object(self, position: int) -> Mapping[str, Json]:
        """Raises `RpcError`."""
        return parse_object(self.required(position), str(position))
