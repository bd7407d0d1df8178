"""Why a contract refused: the revert data found in an error answer, decoded to one sentence for a client to read.

The texts come from the contract, and a token's own: cut, one line, printable. `abi/errors.json` lists the custom errors we know.
"""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.resources import files

from ellara.chain.answers import RpcError

ERROR_STRING, PANIC = bytes.fromhex("08c379a0"), bytes.fromhex("4e487b71")
REASON_MAX_CHARS = 200
NO_REASON = "The contract refused without giving a reason"

PANICS = {
    0x01: "an assertion failed",
    0x11: "arithmetic overflow",
    0x12: "division by zero",
    0x21: "a value outside its enumeration",
    0x22: "wrongly encoded storage",
    0x31: "nothing left to take from an array",
    0x32: "an index out of bounds",
    0x41: "too much memory asked for",
    0x51: "a call to an unset function",
}
"""Source: Solidity documentation, Panic via assert and Error via require."""

_HEX = re.compile(r"0x(?:[0-9a-fA-F]{2})*")
_REASON_IN_TEXT = re.compile(r"(?:execution reverted|reverted with reason string|revert):?\s*(.*)", re.IGNORECASE | re.DOTALL)


def revert_reason(error: RpcError) -> str:
    """One sentence, from the data where there is some, else from what the node's own text gives away."""
    data = revert_data(error.data)
    if data:
        return decode_revert(data)
    found = _REASON_IN_TEXT.search(error.text)
    return _one_line(found.group(1).strip("'\" ")) if found and found.group(1).strip() not in ("", "revert") else NO_REASON


def revert_data(data: object) -> bytes | None:
    """Where nodes put it, in this order: `data`, `data.data`, `data.originalError.data`, `data.<hash>.return|result`."""
    if isinstance(data, str):
        return _hex(data)
    if not isinstance(data, dict):
        return None
    original = data.get("originalError")
    places = [data.get("data"), original.get("data") if isinstance(original, dict) else None]
    nested = next((value for value in data.values() if isinstance(value, dict) and {"return", "result"} & value.keys()), {})
    places += [nested.get("return"), nested.get("result")]
    return next((found for place in places if isinstance(place, str) and (found := _hex(place)) is not None), None)


def decode_revert(data: bytes) -> str:
    """`Error(string)` gives its text, `Panic(uint256)` its meaning, a custom error its name and arguments."""
    selector, arguments = data[:4], data[4:]
    if selector == ERROR_STRING:
        return _one_line(_string(arguments)) or NO_REASON
    if selector == PANIC and len(arguments) >= 32:
        code = int.from_bytes(arguments[:32], "big")
        return f"The contract failed: {PANICS.get(code, 'an internal error')} (panic 0x{code:02x})"
    return _custom_error(selector, arguments)


def _hex(text: str) -> bytes | None:
    text = text.removeprefix("Reverted ")
    return bytes.fromhex(text[2:]) if _HEX.fullmatch(text) else None


def _string(arguments: bytes) -> str:
    """An ABI string as the only argument. Cut short or with a wrong length: as much as there is."""
    offset = int.from_bytes(arguments[:32], "big")
    size = int.from_bytes(arguments[offset : offset + 32], "big")
    return arguments[offset + 32 : offset + 32 + size].decode("utf-8", "replace")


def _one_line(text: str) -> str:
    printable = "".join(character if character.isprintable() else " " for character in text[: 4 * REASON_MAX_CHARS])
    return " ".join(printable.split())[:REASON_MAX_CHARS]


def _custom_error(selector: bytes, arguments: bytes) -> str:
    from eth_abi.abi import decode  # heavy, and loaded by web3 long before any contract is asked
    from eth_abi.exceptions import DecodingError

    known = _known_errors().get(selector)
    if known is None:
        return f"The contract refused with error 0x{selector.hex()}"
    name, fields = known
    try:
        values = decode([kind for kind, _ in fields], arguments)
    except DecodingError:
        return _words(name)
    given = ", ".join(
        f"{field} {'0x' + value.hex() if isinstance(value, bytes) else value}"
        for (_, field), value in zip(fields, values, strict=True)
    )
    return _one_line(f"{_words(name)} ({given})" if given else _words(name))


def _words(name: str) -> str:
    """`OrderAlreadySettled` → `Order already settled`; `ERC20InsufficientBalance` → `ERC20 insufficient balance`."""
    first, *rest = re.findall(r"[A-Z]+[0-9]+|[A-Z][a-z0-9]*", name)
    return " ".join([first, *(word.lower() for word in rest)])


@cache
def _known_errors() -> dict[bytes, tuple[str, list[tuple[str, str]]]]:
    """Selector → name and (type, field) of each argument."""
    from eth_utils.crypto import keccak

    known = {}
    for entry in json.loads(files("ellara.chain").joinpath("abi/errors.json").read_text(encoding="utf-8")):
        fields = [(field["type"], field["name"]) for field in entry["inputs"]]
        signature = f"{entry['name']}({','.join(kind for kind, _ in fields)})"
        known[keccak(text=signature)[:4]] = (entry["name"], fields)
    return known
