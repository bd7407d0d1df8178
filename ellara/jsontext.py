"""JSON as JavaScript writes and reads it, within bounds: for whatever a peer sent.

msgspec does it; what it does not take and JavaScript does is left to the standard library. The bounds are looked for before any
parser sees the text, by a few passes over the whole of it: a payload of a megabyte holds the loop for 20 ms at worst.
"""

from __future__ import annotations

import json
from itertools import accumulate

import msgspec

from ellara.errors import ProtocolError

NESTING_MAX = 200
"""No client of ours comes near it. The interpreter's own limit is no guard: libraries raise it past what the C stack holds."""

STRUCTURE_MAX = 20_000
"""Brackets and commas outside of strings. A megabyte of them would hold the loop for a quarter of a second, and is no message."""

_STRUCTURAL = "[]{},"
_NOT_STRUCTURAL = bytes(set(range(256)) - set(b'[]{},"'))
_STEPS = bytes.maketrans(b"[]{},", b"\x01\xff\x01\xff\x00")
"""What each does to the depth, as signed bytes."""

_INTEGER_MAX_DIGITS = 400
"""JavaScript's numbers end at 309; past that they are infinite."""

_DECODER = msgspec.json.Decoder(float_hook=float)
"""msgspec's own floats take 10 µs each where the digits lie between two of them: 40,000 fit into a payload."""


def to_json(value: object) -> str:
    """Infinity is written as null. Raises `ProtocolError` for infinity beside a lone surrogate."""
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:  # a lone surrogate, which JavaScript's strings may hold: written as the escape it came as
        return _escaped(value)


def _escaped(value: object) -> str:
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    except ValueError as error:
        raise ProtocolError(f"Not to be said in JSON: {error}") from None


def from_json(text: str) -> object:
    """Raises `ProtocolError` for what is no JSON or too much of it."""
    if sum(map(text.count, _STRUCTURAL)) > NESTING_MAX:
        _check(structure(text))
    try:
        return _DECODER.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return _leniently(text)


def _leniently(text: str) -> object:
    """What JavaScript takes and msgspec does not: lone surrogates, and integers beyond every range, which become infinite."""
    try:
        return json.loads(text, parse_int=_integer, parse_constant=_refuse_constant)
    except ValueError as error:
        raise ProtocolError(f"Malformed JSON: {error}") from None


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _INTEGER_MAX_DIGITS else float(digits)


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


def structure(text: str) -> bytes:
    """The brackets and commas outside of strings, as far as a text is JSON; past that at least what a parser would come to."""
    unescaped = text.encode("utf-8", "surrogatepass").replace(rb"\\", b"").replace(rb"\"", b"")
    quoted = unescaped.translate(None, _NOT_STRUCTURAL).replace(b'""', b"")
    return b"".join(quoted.split(b'"')[::2])


def _check(found: bytes) -> None:
    if len(found) > STRUCTURE_MAX:
        raise ProtocolError(f"{len(found)} brackets and commas, at most {STRUCTURE_MAX} are taken")
    depth = max(accumulate(memoryview(found.translate(_STEPS)).cast("b")), default=0)
    if depth > NESTING_MAX:
        raise ProtocolError(f"Nested {depth} deep, at most {NESTING_MAX} is taken")
