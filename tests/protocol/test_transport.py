"""The life of one Engine.IO session, by a clock that the test turns."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ellara.protocol.engineio import NOOP, PING, Packet, Type
from ellara.protocol.transport import CLOSE_WAIT_S, Closed, Do, Limits, Message, Signal, State, Transport

LIMITS = Limits(ping_interval_s=25.0, ping_timeout_s=20.0, upgrade_timeout_s=10.0, payload_max_bytes=1_000_000)
PONG, TEXT, PROBE, UPGRADE = Packet(Type.PONG), Packet(Type.MESSAGE, "x"), Packet(Type.PING, "probe"), Packet(Type.UPGRADE)


def polling() -> Transport:
    return Transport(LIMITS, 0.0, websocket=False)


def websocket() -> Transport:
    return Transport(LIMITS, 0.0, websocket=True)


def upgrading(now: float = 0.0) -> Transport:
    transport = polling()
    assert transport.signal(Signal.SOCKET, now) == []
    assert transport.on_probe(PROBE, now) == [Do.ANSWER_PROBE]
    return transport


def test_the_handshake_of_polling_offers_the_upgrade() -> None:
    said = '{"sid":"abc","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}'
    assert polling().open_packet("abc") == Packet(Type.OPEN, said)
    assert '"upgrades":[]' in str(websocket().open_packet("abc").data)


class TestHeartbeat:
    def test_a_ping_goes_out_after_the_interval_and_the_next_one_after_the_pong(self) -> None:
        transport = websocket()
        assert transport.tick(24.9) == []
        assert transport.deadline == 25.0
        assert transport.tick(25.0) == [Do.PING]
        assert transport.receive(PONG, 30.0) == [Do.CONFIRM]
        assert transport.deadline == 55.0

    @pytest.mark.parametrize("transport", [polling(), websocket()], ids=["polling", "websocket"])
    def test_without_a_pong_the_session_ends(self, transport: Transport) -> None:
        transport.tick(25.0)
        assert transport.tick(44.9) == []
        assert transport.tick(45.0) == [Closed("ping timeout")]

    def test_another_packet_extends_the_wait_once(self) -> None:
        transport = websocket()
        transport.tick(25.0)
        assert transport.receive(TEXT, 35.0) == [Message("x")]
        assert transport.receive(TEXT, 45.0) == [Message("x")]
        assert transport.deadline == 55.0

    def test_a_pong_that_nobody_asked_for_is_ignored(self) -> None:
        transport = websocket()
        assert transport.receive(PONG, 20.0) == []
        assert transport.deadline == 25.0
        transport.tick(25.0)
        assert [transport.receive(PONG, 26.0) for _ in range(2)] == [[Do.CONFIRM], []]

    def test_a_ping_from_the_client_ends_the_session(self) -> None:
        assert websocket().receive(PING, 0.0) == [Closed("transport error")]

    @pytest.mark.parametrize("kind", [Type.OPEN, Type.UPGRADE, Type.NOOP])
    def test_packets_without_a_meaning_here_are_ignored(self, kind: Type) -> None:
        transport = websocket()
        assert transport.receive(Packet(kind), 0.0) == []
        assert transport.state is State.WEBSOCKET


class TestPolling:
    @pytest.mark.parametrize("signal", [Signal.POLL, Signal.POST])
    def test_a_second_request_of_a_kind_is_refused_and_ends_the_session(self, signal: Signal) -> None:
        transport = polling()
        assert transport.signal(signal, 0.0) == []
        assert transport.signal(signal, 0.0) == [Do.REFUSE_OVERLAP, Closed("transport error")]
        assert transport.state is State.CLOSED

    def test_one_after_the_other_is_fine_and_a_get_beside_a_post(self) -> None:
        transport = polling()
        for signal in (Signal.POLL, Signal.POST, Signal.POST_READ, Signal.POST, Signal.POLL_ANSWERED, Signal.POLL):
            assert transport.signal(signal, 0.0) == []

    def test_a_post_is_open_until_its_packets_were_dispatched_or_its_body_refused(self) -> None:
        transport = polling()
        transport.signal(Signal.POST, 0.0)
        assert transport.receive(TEXT, 0.0) == [Message("x")]
        assert transport.signal(Signal.POST, 0.0) == [Do.REFUSE_OVERLAP, Closed("transport error")]
        assert transport.receive(TEXT, 0.0) == []

    @pytest.mark.parametrize("by_client", [True, False])
    def test_a_session_may_end_amid_its_own_post(self, by_client: bool) -> None:
        transport = polling()
        transport.signal(Signal.POST, 0.0)
        assert len(transport.receive(Packet(Type.CLOSE), 0.0) if by_client else transport.close("parse error", 0.0)) == 1
        assert transport.receive(TEXT, 0.0) == transport.signal(Signal.POST_READ, 0.0) == []
        assert transport.state is (State.CLOSED if by_client else State.CLOSING)

    def test_while_the_end_waits_for_a_poll_posts_are_read_and_forgotten(self) -> None:
        transport = polling()
        transport.close("parse error", 0.0)
        for signal in (Signal.POST, Signal.POST_READ, Signal.POST, Signal.POST_CUT):
            assert transport.signal(signal, 0.0) == []
        assert transport.state is State.CLOSING

    @pytest.mark.parametrize("signal", [Signal.POLL_CUT, Signal.POST_CUT])
    def test_a_dropped_request_ends_the_session(self, signal: Signal) -> None:
        assert polling().signal(signal, 0.0) == [Closed("transport error")]

    def test_the_client_may_close(self) -> None:
        assert polling().receive(Packet(Type.CLOSE), 0.0) == [Closed("transport close", by_client=True)]

    def test_over_websocket_a_close_packet_is_ignored(self) -> None:
        assert websocket().receive(Packet(Type.CLOSE), 0.0) == []

    @pytest.mark.parametrize("transport", [polling(), websocket()], ids=["polling", "websocket"])
    def test_garbage_ends_the_session(self, transport: Transport) -> None:
        assert transport.signal(Signal.GARBAGE, 0.0) == [Closed("parse error")]


class TestUpgrade:
    def test_the_websocket_carries_the_session_after_probe_and_upgrade(self) -> None:
        transport = upgrading()
        assert transport.on_probe(UPGRADE, 1.0) == [Do.SWITCH]
        assert transport.state is State.WEBSOCKET
        assert transport.deadline == 25.0

    def test_as_in_the_reference_the_probe_may_be_left_out(self) -> None:
        transport = polling()
        transport.signal(Signal.SOCKET, 0.0)
        assert transport.on_probe(UPGRADE, 0.0) == [Do.SWITCH]

    def test_a_waiting_poll_is_released_every_100_ms(self) -> None:
        transport = upgrading(now=0.0)
        transport.signal(Signal.POLL, 0.0)
        assert transport.deadline == 0.1
        assert transport.tick(0.1) == [Do.RELEASE_POLL]
        transport.signal(Signal.POLL_ANSWERED, 0.1)
        assert transport.tick(0.2) == []
        transport.signal(Signal.POLL, 0.25)
        assert transport.tick(0.31) == [Do.RELEASE_POLL]

    @pytest.mark.parametrize(
        "packet", [TEXT, NOOP, Packet(Type.PING), Packet(Type.PING, "prob"), Packet(Type.MESSAGE, b"2probe")]
    )
    def test_anything_else_ends_the_probe_and_polling_goes_on(self, packet: Packet) -> None:
        transport = upgrading()
        assert transport.on_probe(packet, 1.0) == [Do.END_PROBE]
        assert transport.state is State.POLLING
        assert transport.deadline == 25.0

    def test_an_upgrade_that_is_not_finished_in_time_ends_the_probe(self) -> None:
        transport = upgrading(now=5.0)
        transport.tick(14.9)
        assert Do.END_PROBE in transport.tick(15.0)
        assert transport.state is State.POLLING

    def test_after_a_cut_probe_another_may_follow(self) -> None:
        transport = upgrading()
        assert transport.signal(Signal.SOCKET_CUT, 0.0) == [Do.END_PROBE]
        assert transport.signal(Signal.SOCKET, 0.0) == []

    def test_a_second_websocket_is_refused_in_every_state(self) -> None:
        probed = polling()
        probed.signal(Signal.SOCKET, 0.0)
        for transport in (probed, upgrading(), websocket()):
            before = transport.state
            assert transport.signal(Signal.SOCKET, 0.0) == [Do.REFUSE_SOCKET]
            assert transport.state is before

    def test_posts_and_polls_are_served_up_to_the_switch_and_refused_after_it(self) -> None:
        transport = upgrading()
        assert transport.signal(Signal.POST, 0.0) == []
        assert transport.signal(Signal.POLL, 0.0) == []
        transport.on_probe(UPGRADE, 0.0)
        assert transport.signal(Signal.POLL, 0.0) == [Do.REFUSE]
        assert transport.signal(Signal.POST, 0.0) == [Do.REFUSE]
        assert transport.signal(Signal.POLL_CUT, 0.0) == []
        assert transport.state is State.WEBSOCKET

    def test_the_wait_for_a_pong_starts_again_at_the_switch(self) -> None:
        transport = upgrading()
        transport.tick(25.0)
        transport.signal(Signal.SOCKET, 40.0)
        transport.on_probe(UPGRADE, 44.0)
        assert transport.deadline == 64.0

    def test_when_its_websocket_goes_the_session_goes(self) -> None:
        assert websocket().signal(Signal.SOCKET_CUT, 0.0) == [Closed("transport close")]


class TestClose:
    @pytest.mark.parametrize("transport", [polling(), websocket()], ids=["polling", "websocket"])
    def test_with_somebody_listening_it_is_over_at_once(self, transport: Transport) -> None:
        transport.signal(Signal.POLL, 0.0)
        assert transport.close("server shutting down", 1.0) == [Closed("server shutting down")]
        assert transport.state is State.CLOSED
        assert transport.deadline == inf

    def test_between_two_polls_the_next_one_is_waited_for(self) -> None:
        transport = polling()
        assert transport.close("parse error", 1.0) == [Closed("parse error")]
        assert transport.receive(TEXT, 2.0) == []
        assert transport.signal(Signal.POLL, 2.0) == []
        assert transport.signal(Signal.POLL_ANSWERED, 2.0) == []
        assert transport.state is State.CLOSED

    def test_but_not_for_ever(self) -> None:
        transport = polling()
        transport.close("parse error", 1.0)
        assert transport.deadline == 1.0 + CLOSE_WAIT_S
        assert transport.tick(1.0 + CLOSE_WAIT_S) == []
        assert transport.state is State.CLOSED

    def test_closing_twice_says_so_once(self) -> None:
        transport = polling()
        transport.close("one", 1.0)
        assert transport.close("two", 1.0) == []


steps = st.sampled_from(Signal) | st.builds(Packet, st.sampled_from(Type), st.sampled_from(["", "probe"])) | st.floats(0.0, 30.0)
steps |= st.just("close")


@given(st.booleans(), st.lists(steps, max_size=30))
def test_no_order_of_things_breaks_it_and_the_end_is_told_once(born: bool, things: list[Signal | Packet | float | str]) -> None:
    transport, now, ends = Transport(LIMITS, 0.0, websocket=born), 0.0, 0
    for thing in things:
        if isinstance(thing, float):
            now += thing
            events = transport.tick(now)
        elif isinstance(thing, Signal):
            events = transport.signal(thing, now)
        elif isinstance(thing, str):
            events = transport.close(thing, now)
        else:
            events = transport.receive(thing, now) + transport.on_probe(thing, now)
        ends += sum(isinstance(event, Closed) for event in events)
        assert ends == (transport.state in (State.CLOSING, State.CLOSED))
