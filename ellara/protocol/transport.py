"""One Engine.IO session, without I/O: which transport carries it, heartbeat, probe and upgrade, the end.

A `Signal` is what happened to a request or a WebSocket; packets come beside them. Both give events, which the session's actor
carries out; nothing here waits, sends or reads a clock: `now` is seconds of any clock. What is to be sent waits elsewhere.
Source: the public "Engine.IO protocol" document, and the 4.8 reference where it is more exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from math import inf
from typing import TypeAlias

import attrs
import msgspec

from ellara.protocol.engineio import Packet, Type

NOOP_INTERVAL_S = 0.1
"""While an upgrade is under way a waiting poll is released this often, so that the client can pause polling."""

CLOSE_WAIT_S = 30.0
"""How long an ended session waits for the client's next poll, to tell it."""


class State(Enum):
    POLLING = "polling"
    PROBED = "polling, and a WebSocket has come"
    UPGRADING = "polling, and the probe on the WebSocket was answered"
    WEBSOCKET = "websocket"
    CLOSING = "ended; the next poll is told"
    CLOSED = "closed"


class Signal(Enum):
    POLL = "a GET came"
    POLL_ANSWERED = "it was given something to answer"
    POLL_CUT = "its connection dropped"
    POST = "a POST came"
    POST_READ = "its packets were dispatched, or its body was refused"
    POST_CUT = "its connection dropped in the middle"
    SOCKET = "a WebSocket came"
    SOCKET_CUT = "it closed"
    PROBE = "it said 2probe"
    UPGRADE = "it said 5"
    ODD_FRAME = "it said something else before 5"
    LATE = "it did not say 5 in time"
    GARBAGE = "what came is no Engine.IO packet"


class Do(Enum):
    REFUSE = "answer that GET or POST with 400: the session is on its WebSocket"
    REFUSE_OVERLAP = "answer that GET or POST with 400: one at a time"
    REFUSE_SOCKET = "close that WebSocket"
    ANSWER_PROBE = "say 3probe on the new WebSocket"
    END_PROBE = "close the new WebSocket"
    SWITCH = "the new WebSocket carries the session from here on"
    RELEASE_POLL = "answer the waiting poll with a noop"
    PING = "send a ping"
    CONFIRM = "the pong is here"


@attrs.frozen
class Message:
    """For Socket.IO."""

    data: str | bytes


@attrs.frozen
class Closed:
    """The session is over. `by_client`: it said so itself, over polling."""

    reason: str
    by_client: bool = False


Event: TypeAlias = Do | Message | Closed

_ON_POLLING = (State.POLLING, State.PROBED, State.UPGRADING)
_ON_PROBE = (State.PROBED, State.UPGRADING)
_CUT = Closed("transport close")
_ERROR = Closed("transport error")
_GARBAGE = Closed("parse error")

TRANSITIONS: Mapping[tuple[State, Signal], tuple[State, Event | None]] = {
    (State.POLLING, Signal.SOCKET): (State.PROBED, None),
    **{(state, Signal.PROBE): (State.UPGRADING, Do.ANSWER_PROBE) for state in _ON_PROBE},
    **{(state, Signal.UPGRADE): (State.WEBSOCKET, Do.SWITCH) for state in _ON_PROBE},
    **{(state, signal): (State.POLLING, Do.END_PROBE) for state in _ON_PROBE for signal in (Signal.ODD_FRAME, Signal.LATE)},
    **{(state, Signal.SOCKET_CUT): (State.POLLING, Do.END_PROBE) for state in _ON_PROBE},
    **{(state, Signal.POLL_CUT): (State.CLOSED, _ERROR) for state in _ON_POLLING},
    **{(state, Signal.POST_CUT): (State.CLOSED, _ERROR) for state in _ON_POLLING},
    **{(state, Signal.GARBAGE): (State.CLOSED, _GARBAGE) for state in (*_ON_POLLING, State.WEBSOCKET)},
    (State.WEBSOCKET, Signal.SOCKET_CUT): (State.CLOSED, _CUT),
    **{(state, Signal.SOCKET): (state, Do.REFUSE_SOCKET) for state in State if state is not State.POLLING},
    **{(State.WEBSOCKET, signal): (State.WEBSOCKET, Do.REFUSE) for signal in (Signal.POLL, Signal.POST)},
    **{(State.CLOSING, signal): (State.CLOSED, None) for signal in (Signal.POLL_ANSWERED, Signal.POLL_CUT)},
}
"""What is not listed changes nothing and gives nothing."""


@attrs.frozen
class Limits:
    ping_interval_s: float
    ping_timeout_s: float
    upgrade_timeout_s: float
    payload_max_bytes: int


class Transport:
    """The life of one session. `websocket`: born as one, else by a polling handshake."""

    def __init__(self, limits: Limits, now: float, *, websocket: bool) -> None:
        self._limits = limits
        self.state = State.WEBSOCKET if websocket else State.POLLING
        self.poll_waits = self._post_open = False
        self._ping_due, self._pong_due = now + limits.ping_interval_s, inf
        self._pong_extended = False
        self._upgrade_due = self._noop_due = self._close_due = inf

    def open_packet(self, sid: str) -> Packet:
        """The handshake's answer."""
        handshake = {
            "sid": sid,
            "upgrades": ["websocket"] if self.state is State.POLLING else [],
            "pingInterval": round(self._limits.ping_interval_s * 1000),
            "pingTimeout": round(self._limits.ping_timeout_s * 1000),
            "maxPayload": self._limits.payload_max_bytes,
        }
        return Packet(Type.OPEN, msgspec.json.encode(handshake).decode())

    @property
    def deadline(self) -> float:
        """When `tick` must be called next."""
        return min(self._ping_due, self._pong_due, self._upgrade_due, self._noop_due, self._close_due)

    def signal(self, signal: Signal, now: float) -> list[Event]:
        if self._overlaps(signal):
            return [Do.REFUSE_OVERLAP, *(self._finish(_ERROR) if self.state in _ON_POLLING else [])]
        before = self.state
        self.state, event = TRANSITIONS.get((before, signal), (before, None))
        self._set_clocks(signal, before, now)
        return [] if event is None else [event]

    def _overlaps(self, signal: Signal) -> bool:
        """Keeps count of the open GET and POST; True when one more of its kind came."""
        polls, posts = self.poll_waits, self._post_open
        match signal:
            case Signal.POLL | Signal.POST if self.state is State.WEBSOCKET:
                return False
            case Signal.POLL:
                self.poll_waits = True
                return polls
            case Signal.POLL_ANSWERED | Signal.POLL_CUT:
                self.poll_waits = False
            case Signal.POST:
                self._post_open = True
                return posts
            case Signal.POST_READ | Signal.POST_CUT:
                self._post_open = False
        return False

    def _set_clocks(self, signal: Signal, before: State, now: float) -> None:
        if self.state not in _ON_PROBE:
            self._upgrade_due = self._noop_due = inf
        elif before is State.POLLING:
            self._upgrade_due = now + self._limits.upgrade_timeout_s
        if signal is Signal.PROBE and self.state is State.UPGRADING:
            self._noop_due = now + NOOP_INTERVAL_S
        if before is not self.state is State.WEBSOCKET and self._pong_due < inf:
            self._pong_due = now + self._limits.ping_timeout_s  # the client holds its pong back until it has switched
        if self.state is State.CLOSED:
            self.end()

    def on_probe(self, packet: Packet, now: float) -> list[Event]:
        """From a WebSocket that does not carry the session yet."""
        match packet:
            case Packet(Type.PING, "probe"):
                return self.signal(Signal.PROBE, now)
            case Packet(Type.UPGRADE):
                return self.signal(Signal.UPGRADE, now)
            case _:
                return self.signal(Signal.ODD_FRAME, now)

    def receive(self, packet: Packet, now: float) -> list[Event]:
        """From the transport that carries the session, or out of a POST."""
        if self.state in (State.CLOSING, State.CLOSED):
            return []
        if self._pong_due < inf and packet.type is not Type.PONG and not self._pong_extended:
            self._pong_due, self._pong_extended = now + self._limits.ping_timeout_s, True
        match packet.type:
            case Type.MESSAGE:
                return [Message(packet.data)]
            case Type.PONG if self._pong_due < inf:
                self._ping_due, self._pong_due = now + self._limits.ping_interval_s, inf
                return [Do.CONFIRM]
            case Type.PING:
                return self._finish(_ERROR)  # the wrong direction
            case Type.CLOSE if self.state is not State.WEBSOCKET:
                return self._finish(Closed("transport close", by_client=True))
        return []

    def tick(self, now: float) -> list[Event]:
        """What is due by now."""
        events: list[Event] = []
        if self._pong_due <= now:
            return self._finish(Closed("ping timeout"))
        if self._close_due <= now:
            self.end()
            return []
        if self._ping_due <= now:
            self._ping_due, self._pong_due, self._pong_extended = inf, now + self._limits.ping_timeout_s, False
            events.append(Do.PING)
        if self._upgrade_due <= now:
            events += self.signal(Signal.LATE, now)
        if self._noop_due <= now:
            self._noop_due = now + NOOP_INTERVAL_S
            events += [Do.RELEASE_POLL] * self.poll_waits
        return events

    def close(self, reason: str, now: float) -> list[Event]:
        """We end it. Between two polls it stays CLOSING, until a poll was told or `CLOSE_WAIT_S` are over."""
        if self.state in (State.CLOSING, State.CLOSED):
            return []
        waits_for_poll = self.state in _ON_POLLING and not self.poll_waits
        events = self._finish(Closed(reason))
        if waits_for_poll:
            self.state, self._close_due = State.CLOSING, now + CLOSE_WAIT_S
        return events

    def end(self) -> None:
        """Here and now: there is nothing more to say."""
        self.state = State.CLOSED
        self._ping_due = self._pong_due = self._upgrade_due = self._noop_due = self._close_due = inf

    def _finish(self, event: Closed) -> list[Event]:
        self.end()
        return [event]
