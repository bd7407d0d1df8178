"""Engine.IO packets, protocol revision 4: one character, then data.

A WebSocket carries one packet a frame; a polling body joins packets by 0x1E. Binary is a bare binary frame, or `b` and base64.
Source: the public "Engine.IO protocol" document, and the 4.8 reference where it is more exact.
"""

from __future__ import annotations

import binascii
import string
from collections.abc import Iterable
from enum import Enum

import attrs

from ellara.errors import ProtocolError

SEPARATOR = "\x1e"


class Type(Enum):
    OPEN = "0"
    CLOSE = "1"
    PING = "2"
    PONG = "3"
    MESSAGE = "4"
    UPGRADE = "5"
    NOOP = "6"


_STANDARD_BASE64 = bytes.maketrans(b"-_", b"+/")
_NOT_BASE64 = bytes(set(range(256)) - set(b"+/-_" + string.ascii_letters.encode() + string.digits.encode()))

_BY_CHARACTER = {kind.value: kind for kind in Type}


@attrs.frozen
class Packet:
    """`data` is bytes only in a binary MESSAGE."""

    type: Type
    data: str | bytes = ""


PING, PROBE_ANSWER, NOOP, CLOSE = Packet(Type.PING), Packet(Type.PONG, "probe"), Packet(Type.NOOP), Packet(Type.CLOSE)


def encode_frame(packet: Packet) -> str | bytes:
    """For a WebSocket: text for a text frame, bytes for a binary one."""
    return packet.data if isinstance(packet.data, bytes) else packet.type.value + packet.data


def decode_frame(frame: str | bytes) -> Packet:
    """One WebSocket message, or one packet out of a polling body. Raises `ProtocolError`."""
    if isinstance(frame, bytes):
        return Packet(Type.MESSAGE, frame)
    if frame.startswith("b"):
        return Packet(Type.MESSAGE, _bytes_from_base64(frame[1:]))
    kind = _BY_CHARACTER.get(frame[:1])
    if kind is None:
        raise ProtocolError(f"Unknown packet type {frame[:1]!r}")
    return Packet(kind, frame[1:])


def encode_payload(packets: Iterable[Packet]) -> str:
    """For the body of a poll's answer."""
    return SEPARATOR.join(
        "b" + binascii.b2a_base64(packet.data, newline=False).decode()
        if isinstance(packet.data, bytes)
        else packet.type.value + packet.data
        for packet in packets
    )


def split_payload(body: str) -> list[str]:
    """The body of a POST, for `decode_frame` one by one: what stands before a malformed packet still counts."""
    return body.split(SEPARATOR)


def _bytes_from_base64(text: str) -> bytes:
    """As leniently as the reference: either alphabet, padding optional, other characters skipped."""
    digits = text.partition("=")[0].encode("ascii", "ignore").translate(_STANDARD_BASE64, _NOT_BASE64)
    whole = digits[:-1] if len(digits) % 4 == 1 else digits
    return binascii.a2b_base64(whole + b"=" * (-len(whole) % 4))
