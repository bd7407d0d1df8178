"""Socket.IO packets, protocol revision 5, as they ride in Engine.IO messages: `<type>[<attachments>-][<namespace>,][<id>][JSON]`.

`encode` gives the messages of one packet: its text, then its binary attachments. `Decoder` puts them together again.
Source: the public "Socket.IO protocol" document, and the 4.8 reference where it is more exact.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeAlias

import attrs

from ellara.errors import ProtocolError
from ellara.jsontext import NESTING_MAX, from_json, to_json

ATTACHMENTS_MAX = 10
"""The reference's own limit."""

PACKET_MAX_BYTES = 2_000_000
"""A text and its attachments together: a message as long as a payload may be, with an attachment as long."""

_HEAD = re.compile(r"([0-6])(?:(?<=[56])([0-9]{1,9})-)?(?:(/[^,]*),?)?([0-9]*)", re.ASCII)
_NAMESPACE_MAX_CHARS = 1_000
"""It is repeated to the client, also where there is no such namespace."""
_ID_MAX_DIGITS = 40
"""JavaScript reads any length as a float; past this no client can mean it."""

_ABSENT = object()
"""No payload at all; `null` is something else."""

_RESERVED = frozenset({"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"})


@attrs.frozen
class Connect:
    """From a client `data` is its auth; from the server `{"sid": …}`."""

    namespace: str
    data: Mapping[str, object] | None = None


@attrs.frozen
class Disconnect:
    namespace: str


@attrs.frozen
class Event:
    """`args[0]` is the name. No args at all, or a number as name, is legal and means nothing. With bytes in it: BINARY_EVENT."""

    namespace: str
    args: list[object]
    id: int | None = None
    """The acknowledgement that the sender waits for."""


@attrs.frozen
class Ack:
    namespace: str
    args: list[object]
    id: int | None = None


@attrs.frozen
class ConnectError:
    namespace: str
    data: Mapping[str, object] | str


Packet: TypeAlias = Connect | Disconnect | Event | Ack | ConnectError


def encode(packet: Packet) -> list[str | bytes]:
    """The text, then the attachments. Raises `ProtocolError` for what JSON cannot say (too deep; infinity beside odd text)."""
    match packet:
        case Connect():
            return [f"0{_prefix(packet.namespace)}{to_json(packet.data) if packet.data is not None else ''}"]
        case Disconnect():
            return [f"1{_prefix(packet.namespace)}"]
        case ConnectError():
            return [f"4{_prefix(packet.namespace)}{to_json(packet.data)}"]
        case Event() | Ack():
            attachments: list[bytes] = []
            payload = to_json(_take_out(packet.args, attachments))
            kind = 2 if isinstance(packet, Event) else 3
            head = f"{kind + 3}{len(attachments)}-" if attachments else f"{kind}"
            return [f"{head}{_prefix(packet.namespace)}{'' if packet.id is None else packet.id}{payload}", *attachments]


class Decoder:
    """One direction of one connection: remembers a packet whose attachments are still to come, `max_bytes` in all."""

    def __init__(self, max_bytes: int = PACKET_MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._waiting: tuple[Event | Ack, int] | None = None
        self._attachments: list[bytes] = []
        self._held_bytes = 0

    def receive(self, message: str | bytes) -> Packet | None:
        """One Engine.IO message; None while attachments are missing. Raises `ProtocolError`."""
        if isinstance(message, bytes):
            return self._attach(message)
        if self._waiting is not None:
            raise ProtocolError(f"Text where attachment {len(self._attachments) + 1} of {self._waiting[1]} was due")
        packet, attachments = _decode(message)
        if not attachments:
            return packet
        assert isinstance(packet, Event | Ack)
        self._waiting, self._held_bytes = (packet, attachments), len(message.encode("utf-8", "surrogatepass"))
        return None

    def _attach(self, data: bytes) -> Packet | None:
        if self._waiting is None:
            raise ProtocolError("An attachment without a packet")
        packet, attachments = self._waiting
        self._held_bytes += len(data)
        if self._held_bytes > self._max_bytes:
            raise ProtocolError(f"A packet of {self._held_bytes} bytes with its attachments, at most {self._max_bytes} are taken")
        self._attachments.append(data)
        if len(self._attachments) < attachments:
            return None
        found, self._waiting, self._attachments = self._attachments, None, []
        return attrs.evolve(packet, args=[_put_back(arg, found) for arg in packet.args])


def _decode(text: str) -> tuple[Packet, int]:
    """The packet and how many attachments follow it."""
    head = _HEAD.match(text)
    if head is None:
        raise ProtocolError(f"Unknown packet type {text[:1]!r}")
    kind, attachments, namespace, ack_id = head.groups()
    if kind in "56" and not 1 <= int(attachments or 0) <= ATTACHMENTS_MAX:
        raise ProtocolError(f"Expected 1 to {ATTACHMENTS_MAX} attachments, not {attachments}")
    if len(namespace or "") > _NAMESPACE_MAX_CHARS:
        raise ProtocolError(f"A namespace of {len(namespace)} characters, at most {_NAMESPACE_MAX_CHARS} are taken")
    if len(ack_id) > _ID_MAX_DIGITS:
        raise ProtocolError(f"An id of {len(ack_id)} digits, at most {_ID_MAX_DIGITS} are taken")
    payload = from_json(text[head.end() :]) if len(text) > head.end() else _ABSENT
    return _packet(kind, namespace or "/", int(ack_id) if ack_id else None, payload), int(attachments or 0)


def _packet(kind: str, namespace: str, ack_id: int | None, payload: object) -> Packet:
    if kind == "0" and (payload is _ABSENT or isinstance(payload, dict)):
        return Connect(namespace, payload if isinstance(payload, dict) else None)
    if kind == "1" and payload is _ABSENT:
        return Disconnect(namespace)
    if kind in "25" and (payload is _ABSENT or (isinstance(payload, list) and _may_be_name(payload[:1]))):
        return Event(namespace, payload if isinstance(payload, list) else [], ack_id)
    if kind in "36" and (payload is _ABSENT or isinstance(payload, list)):
        return Ack(namespace, payload if isinstance(payload, list) else [], ack_id)
    if kind == "4" and isinstance(payload, dict | str):
        return ConnectError(namespace, payload)
    raise ProtocolError(f"A packet of type {kind} with a payload that it cannot have")


def _may_be_name(first: list[object]) -> bool:
    """The reference lets a number through, which then names no event."""
    match first:
        case [str() as name]:
            return name not in _RESERVED
        case [bool()]:
            return False
        case _:
            return bool(first) and isinstance(first[0], int | float)


def _prefix(namespace: str) -> str:
    return "" if namespace == "/" else f"{namespace},"


def _take_out(value: object, attachments: list[bytes], depth: int = 1) -> object:
    """The value with each bytes replaced by its placeholder; the bytes go into `attachments`."""
    if isinstance(value, bytes):
        attachments.append(value)
        return {"_placeholder": True, "num": len(attachments) - 1}
    if not isinstance(value, list | tuple | dict):
        return value
    if depth > NESTING_MAX:
        raise ProtocolError(f"Nested more than {NESTING_MAX} deep")
    if isinstance(value, dict):
        return {key: _take_out(item, attachments, depth + 1) for key, item in value.items()}
    return [_take_out(item, attachments, depth + 1) for item in value]


def _put_back(value: object, attachments: list[bytes]) -> object:
    match value:
        case {"_placeholder": True, "num": int() as number} if not isinstance(number, bool) and 0 <= number < len(attachments):
            return attachments[number]
        case {"_placeholder": True}:
            raise ProtocolError(f"A placeholder that names none of {len(attachments)} attachments")
        case list():
            return [_put_back(item, attachments) for item in value]
        case dict():
            return {key: _put_back(item, attachments) for key, item in value.items()}
        case _:
            return value
