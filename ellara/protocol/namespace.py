"""Socket.IO over one Engine.IO session: which namespaces are joined, and what each packet means there.

Whoever drives it answers a `Join` with `accept` or `refuse` before it hands in the next message. No identity, no sending.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TypeAlias

import attrs

from ellara.errors import ProtocolError
from ellara.protocol import socketio
from ellara.protocol.socketio import Ack, Connect, ConnectError, Disconnect


@attrs.frozen
class Join:
    """The client asks to come in; `auth` is its own, unchecked."""

    namespace: str
    auth: Mapping[str, object]


@attrs.frozen
class NoSuchNamespace:
    namespace: str


@attrs.frozen
class Received:
    namespace: str
    name: str
    args: list[object]
    ack_id: int | None


@attrs.frozen
class Acknowledged:
    """The client answers an event of ours that asked for it, or one that there never was."""

    namespace: str
    id: int
    args: list[object]


@attrs.frozen
class Left:
    namespace: str


Event: TypeAlias = Join | NoSuchNamespace | Received | Acknowledged | Left


class State(Enum):
    OUT = "out"
    ASKED = "asked"
    JOINED = "joined"


TAKEN: Mapping[State, tuple[type[socketio.Packet], ...]] = {
    State.OUT: (Connect,),
    State.ASKED: (),
    State.JOINED: (socketio.Event, Ack, Disconnect),
}
"""What a client may send in each state; anything else ends the connection."""


POLLUTING = frozenset({"__proto__", "constructor", "prototype"})
"""No event of anybody's; as keys of a JavaScript object they would change all others."""


class Namespaces:
    """`served`: the names there are. `packet_max_bytes`: one packet with its attachments."""

    def __init__(self, served: tuple[str, ...], packet_max_bytes: int) -> None:
        self._served = served
        self._decoder = socketio.Decoder(packet_max_bytes)
        self._states: dict[str, State] = {}

    def receive(self, message: str | bytes) -> list[Event]:
        """One Engine.IO message. Raises `ProtocolError`, after which the connection must end."""
        packet = self._decoder.receive(message)
        if packet is None:
            return []
        state = self._states.get(packet.namespace, State.OUT)
        if not isinstance(packet, TAKEN[state]):
            raise ProtocolError(f"{type(packet).__name__} in a namespace that is {state.value}")
        match packet:
            case Connect():
                return [self._asked(packet)]
            case Disconnect():
                del self._states[packet.namespace]
                return [Left(packet.namespace)]
            case socketio.Event(args=[str() as name, *args]) if name not in POLLUTING:
                return [Received(packet.namespace, name, args, packet.id)]
            case Ack(id=int() as ask_id):
                return [Acknowledged(packet.namespace, ask_id, packet.args)]
            case socketio.Event() | Ack() | ConnectError():  # nobody's events
                return []

    def _asked(self, packet: Connect) -> Event:
        if packet.namespace not in self._served:
            return NoSuchNamespace(packet.namespace)
        self._states[packet.namespace] = State.ASKED
        return Join(packet.namespace, packet.data or {})

    def accept(self, namespace: str, sid: str, pid: str | None = None) -> Connect:
        """The answer that lets the client in; `pid`: what it shows to be recovered."""
        assert self._states[namespace] is State.ASKED
        self._states[namespace] = State.JOINED
        return Connect(namespace, {"sid": sid} if pid is None else {"sid": sid, "pid": pid})

    def refuse(self, namespace: str, message: str) -> ConnectError:
        """The answer that keeps it out; it may ask again."""
        self._states.pop(namespace, None)
        return ConnectError(namespace, {"message": message})
