"""Whatever comes, in whatever order: the life of a session and of its namespaces, beside a model that keeps the rules."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ellara.errors import ProtocolError
from ellara.protocol import namespace
from ellara.protocol.engineio import Packet, Type
from ellara.protocol.namespace import Acknowledged, Join, Left, Namespaces, NoSuchNamespace, Received
from ellara.protocol.transport import TRANSITIONS, Closed, Do, Event, Limits, Message, Signal, State, Transport

LIMITS = Limits(ping_interval_s=25.0, ping_timeout_s=20.0, upgrade_timeout_s=10.0, payload_max_bytes=1_000_000)
OVER = (State.CLOSING, State.CLOSED)

packets = st.builds(Packet, st.sampled_from(Type), st.sampled_from(["", "probe", "x"]))


class Life(RuleBasedStateMachine):
    """Drives a `Transport` as the shell does: each GET and POST is answered once, and nothing comes from what is gone."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.get_open = self.post_open = self.probe_open = self.told_end = self.pong_due = False

    @initialize(begin=st.sampled_from([State.POLLING, State.UPGRADING, State.WEBSOCKET]))
    def open(self, begin: State) -> None:
        self.transport = Transport(LIMITS, self.now, websocket=begin is State.WEBSOCKET)
        if begin is State.UPGRADING:
            self.websocket()
            self.probe(Packet(Type.PING, "probe"))

    def signal(self, signal: Signal) -> list[Event]:
        """By the table, and nothing beside it."""
        state, event = TRANSITIONS.get((self.transport.state, signal), (self.transport.state, None))
        events = self.transport.signal(signal, self.now)
        assert (self.transport.state, events) == (state, [] if event is None else [event])
        return self.carry_out(events)

    def overlap(self, signal: Signal) -> None:
        lives = self.transport.state not in OVER
        assert self.transport.signal(signal, self.now) == [Do.REFUSE_OVERLAP, *[Closed("transport error")] * lives]
        self.told_end |= lives

    def carry_out(self, events: list[Event]) -> list[Event]:
        for event in events:
            match event:
                case Closed():
                    assert not self.told_end
                    self.told_end = True
                case Do.RELEASE_POLL:
                    assert self.get_open
                    self.answer_get()
                case Do.END_PROBE | Do.SWITCH:
                    assert self.probe_open
                    self.probe_open = False
                case Do.ANSWER_PROBE:
                    assert self.probe_open
                case Do.PING | Do.CONFIRM:
                    assert self.pong_due is (event is Do.CONFIRM)
                    self.pong_due = event is Do.PING
                case _:
                    assert isinstance(event, Message) or event in (Do.REFUSE, Do.REFUSE_SOCKET)
        return events

    @rule()
    def get(self) -> None:
        if self.get_open and self.transport.state is not State.WEBSOCKET:
            self.overlap(Signal.POLL)
        elif Do.REFUSE not in self.signal(Signal.POLL):
            self.get_open = True

    @precondition(lambda self: self.get_open)
    @rule()
    def answer_get(self) -> None:
        self.get_open = False
        self.signal(Signal.POLL_ANSWERED)

    @precondition(lambda self: self.get_open)
    @rule()
    def cut_get(self) -> None:
        self.get_open = False
        self.signal(Signal.POLL_CUT)

    @rule()
    def post(self) -> None:
        if self.post_open and self.transport.state is not State.WEBSOCKET:
            self.overlap(Signal.POST)
        elif Do.REFUSE not in self.signal(Signal.POST):
            self.post_open = True

    @precondition(lambda self: self.post_open)
    @rule(signal=st.sampled_from([Signal.POST_READ, Signal.POST_CUT]))
    def end_post(self, signal: Signal) -> None:
        self.post_open = False
        self.signal(signal)

    @rule(packet=packets)
    def receive(self, packet: Packet) -> None:
        over = self.transport.state in OVER
        events = self.carry_out(self.transport.receive(packet, self.now))
        assert not (over and events)
        assert Message(packet.data) not in events or packet.type is Type.MESSAGE

    @precondition(lambda self: self.pong_due)
    @rule()
    def pong(self) -> None:
        self.receive(Packet(Type.PONG))

    @rule()
    def garbage(self) -> None:
        self.signal(Signal.GARBAGE)

    @rule()
    def websocket(self) -> None:
        if Do.REFUSE_SOCKET not in self.signal(Signal.SOCKET):
            self.probe_open = True

    @precondition(lambda self: self.probe_open)
    @rule(packet=packets)
    def probe(self, packet: Packet) -> None:
        self.carry_out(self.transport.on_probe(packet, self.now))

    @precondition(lambda self: self.probe_open or self.transport.state is State.WEBSOCKET)
    @rule()
    def cut_websocket(self) -> None:
        self.signal(Signal.SOCKET_CUT)

    @rule(seconds=st.floats(0.0, 60.0))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.carry_out(self.transport.tick(self.now))

    @precondition(lambda self: self.transport.deadline < inf)
    @rule()
    def wait_for_the_deadline(self) -> None:
        before = self.transport.deadline
        self.now = max(self.now, before)
        events = self.carry_out(self.transport.tick(self.now))
        assert events or self.transport.deadline != before
        assert self.transport.deadline > self.now

    @rule()
    def close(self) -> None:
        self.carry_out(self.transport.close("we end it", self.now))

    @invariant()
    def an_end_is_told_once_and_final(self) -> None:
        assert self.told_end is (self.transport.state in OVER)
        if self.transport.state is not State.CLOSED:
            assert self.transport.deadline < inf, "a session always has a deadline of its own"
        else:
            assert self.transport.deadline == inf
            self.probe_open = False


class Rooms(RuleBasedStateMachine):
    """Drives `Namespaces` as the session does: a `Join` is answered before the next message, an error ends the connection."""

    def __init__(self) -> None:
        super().__init__()
        self.connection()

    def connection(self) -> None:
        self.namespaces = Namespaces(("/", "/ws"), 2_000_000)
        self.joined: set[str] = set()

    def hear(self, text: str, *, legal: bool) -> list[namespace.Event] | None:
        """None: it was the end, and another connection begins."""
        if legal:
            return self.namespaces.receive(text)
        with pytest.raises(ProtocolError):
            self.namespaces.receive(text)
        self.connection()
        return None

    @rule(name=st.sampled_from(["/", "/ws"]), welcome=st.booleans())
    def connect(self, name: str, welcome: bool) -> None:
        if self.hear(f"0{name},", legal=name not in self.joined) == [Join(name, {})] and welcome:
            self.namespaces.accept(name, "abc")
            self.joined.add(name)
        elif name not in self.joined:
            self.namespaces.refuse(name, "no")

    @rule()
    def connect_to_none(self) -> None:
        assert self.hear("0/nope,", legal=True) == [NoSuchNamespace("/nope")]

    @rule(name=st.sampled_from(["/", "/ws"]), ack_id=st.sampled_from(["", "7"]))
    def event(self, name: str, ack_id: str) -> None:
        received = Received(name, "a", [1], int(ack_id) if ack_id else None)
        assert self.hear(f'2{name},{ack_id}["a",1]', legal=name in self.joined) in (None, [received])

    @rule(name=st.sampled_from(["/", "/ws"]), binary=st.binary(max_size=3))
    def binary_event(self, name: str, binary: bytes) -> None:
        assert self.namespaces.receive(f'51-{name},["a",{{"_placeholder":true,"num":0}}]') == []
        if name in self.joined:
            assert self.namespaces.receive(binary) == [Received(name, "a", [binary], None)]
        else:
            with pytest.raises(ProtocolError):
                self.namespaces.receive(binary)
            self.connection()

    @rule(name=st.sampled_from(["/", "/ws"]), packet=st.sampled_from(["3", "3[]", "2", "2[1]", '2["__proto__"]']))
    def nobodys(self, name: str, packet: str) -> None:
        assert not self.hear(f"{packet[0]}{name},{packet[1:]}", legal=name in self.joined)

    @rule(name=st.sampled_from(["/", "/ws"]))
    def acknowledgement(self, name: str) -> None:
        assert self.hear(f"3{name},7[1]", legal=name in self.joined) in (None, [Acknowledged(name, 7, [1])])

    @rule(name=st.sampled_from(["/", "/ws"]))
    def leave(self, name: str) -> None:
        assert self.hear(f"1{name},", legal=name in self.joined) in (None, [Left(name)])
        self.joined.discard(name)

    @rule(text=st.sampled_from(["", "4{}", "2[", "0[]", "51"]) | st.just(b"x"))
    def garbage(self, text: str) -> None:
        self.hear(text, legal=False)


Life.TestCase.settings = Rooms.TestCase.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
TestLife, TestRooms = Life.TestCase, Rooms.TestCase
