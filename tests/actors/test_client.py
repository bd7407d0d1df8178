"""A client over many connections: what it missed comes again, all of it and nothing twice, as far back as its log goes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ellara.actors.backlog import Total
from ellara.actors.client import Client
from ellara.actors.outbox import PACKET_OVERHEAD_BYTES, Delta
from ellara.errors import ProtocolError
from ellara.protocol.engineio import PING
from tests.actors.connection import Chunk, Connection, arguments, names, open_client
from tests.actors.exchange import Exchange

ONE, OTHER = Chunk("one"), Chunk("other")


def offset_of(event: list[object]) -> int:
    assert isinstance(event[-1], str)
    return int(event[-1])


class TestOffsets:
    def test_every_event_carries_the_next_one_as_its_last_argument(self) -> None:
        client, connection = open_client()
        client.emit("a")
        client.emit("b", 1, {"c": 2})
        client.emit_text("chunk", "x", ONE)
        first, second, third = connection.hears()
        assert first[:-1] == ["a"]
        assert second[:-1] == ["b", 1, {"c": 2}]
        assert third[:-1] == ["chunk", {"answer": "one", "text": "x"}]
        assert [offset_of(second), offset_of(third)] == [offset_of(first) + 1, offset_of(first) + 2]

    def test_binary_events_carry_one_too(self) -> None:
        client, connection = open_client()
        client.emit("file", b"\x01")
        text, attachment = connection.outbox.take()
        assert arguments(text)[:-1] == ["file", {"_placeholder": True, "num": 0}]
        assert offset_of(arguments(text)) > 0
        assert attachment.data == b"\x01"

    def test_acknowledgements_carry_none(self) -> None:
        client, connection = open_client()
        client.acknowledge(7, ("x",))
        assert connection.hears() == [["x"]]

    def test_without_a_log_there_are_none(self) -> None:
        connection = Connection()
        client = Client("/", None, connection)
        client.emit("a")
        client.emit_text("chunk", "x", ONE)
        assert client.pid is None
        assert connection.hears() == [["a"], ["chunk", {"answer": "one", "text": "x"}]]

    def test_what_json_cannot_say_uses_none_up(self) -> None:
        client, connection = open_client()
        client.emit("a")
        deep: list[object] = []
        for _ in range(100_000):
            deep = [deep]
        with pytest.raises(ProtocolError):
            client.emit("b", deep)
        client.emit("c")
        first, second = connection.hears()
        assert offset_of(second) == offset_of(first) + 1


class TestJoining:
    def test_what_has_not_left_is_joined_under_one_offset(self) -> None:
        client, connection = open_client()
        for text in "abc":
            client.emit_text("chunk", text, ONE)
        client.emit("end")
        chunk, end = connection.hears()
        assert chunk[1] == {"answer": "one", "text": "abc"}
        assert offset_of(end) == offset_of(chunk) + 1

    def test_what_has_left_is_not(self) -> None:
        client, connection = open_client()
        client.emit_text("chunk", "a", ONE)
        first = connection.hears()
        client.emit_text("chunk", "b", ONE)
        assert [event[1] for event in first + connection.hears()] == [ONE("a"), ONE("b")]

    @pytest.mark.parametrize("between", ["another text", "another event of that text", "an event"])
    def test_order_is_kept(self, between: str) -> None:
        client, connection = open_client()
        client.emit_text("chunk", "a", ONE)
        match between:
            case "another text":
                client.emit_text("chunk", "-", OTHER)
            case "another event of that text":
                client.emit_text("thought", "-", ONE)
            case _:
                client.emit("event")
        client.emit_text("chunk", "b", ONE)
        assert len(connection.hears()) == 3

    def test_what_comes_while_it_is_lost_is_joined_too(self) -> None:
        client, connection = open_client()
        client.emit_text("chunk", "a", ONE)
        client.lost(Total())
        client.emit_text("chunk", "b", ONE)
        connection.outbox.abandon()
        assert names(client.missed(None)) == ["chunk"]


class TestMissed:
    def test_is_what_came_after_the_offset_in_order(self) -> None:
        client, connection = open_client()
        for name in "abcd":
            client.emit(name)
        events = connection.hears()
        assert names(client.missed(offset_of(events[1]))) == ["c", "d"]

    def test_with_nothing_heard_it_is_all(self) -> None:
        client, _ = open_client()
        client.emit("a")
        client.emit_text("chunk", "b", ONE)
        assert names(client.missed(None)) == ["a", "chunk"]

    def test_an_offset_of_an_earlier_session_passes_for_none(self) -> None:
        client, connection = open_client()
        client.emit("a")
        offset = offset_of(connection.hears()[0])
        assert names(client.missed(offset - 2)) == ["a"]
        assert names(client.missed(offset + 1)) == ["a"]

    def test_pieces_of_one_text_come_in_one_piece(self) -> None:
        client, connection = open_client()
        for text in "abc":
            client.emit_text("chunk", text, ONE)
            connection.hears()
        missed = list(client.missed(None) or ())
        assert [entry.text for entry in missed if isinstance(entry, Delta)] == ["abc"]

    def test_what_was_claimed_is_not_kept(self) -> None:
        client, connection = open_client()
        client.emit("a")
        client.emit("b")
        heard = offset_of(connection.hears()[0])
        client.missed(heard)
        assert client.missed(None) is None

    def test_a_second_cut_before_anything_new_was_heard_gives_the_same_again(self) -> None:
        client, connection = open_client()
        client.emit("a")
        client.emit_text("chunk", "b", ONE)
        heard = offset_of(connection.hears()[0])
        assert names(client.missed(heard)) == names(client.missed(heard)) == ["chunk"]

    def test_is_not_touched_by_what_happens_while_it_is_sent(self) -> None:
        client, _ = open_client()
        client.emit("a")
        missed = client.missed(None)
        client.leave()
        assert names(missed) == ["a"]

    def test_a_client_without_a_log_cannot_be_recovered(self) -> None:
        assert Client("/", None, Connection()).missed(None) is None


class TestPongs:
    def test_cut_the_log_back_to_the_ping_before(self) -> None:
        total = Total()
        client, connection = open_client(total=total)
        for name in "ab":
            client.emit(name)
            client.pinged()
        client.ponged()
        assert total.bytes > PACKET_OVERHEAD_BYTES
        client.pinged()
        client.ponged()
        assert total.bytes == 0
        assert client.missed(offset_of(connection.hears()[1])) is not None

    def test_a_page_that_answered_a_ping_may_not_have_worked_off_what_came_before_it(self) -> None:
        client, connection = open_client()
        for name in "abc":
            client.emit(name)
        events = connection.hears()
        client.pinged()
        client.ponged()
        assert names(client.missed(offset_of(events[0]))) == ["b", "c"]

    def test_of_the_next_one_it_has(self) -> None:
        client, connection = open_client()
        client.emit("a")
        client.emit("b")
        events = connection.hears()
        for _ in range(2):
            client.pinged()
            client.ponged()
        assert client.missed(offset_of(events[0])) is None

    def test_a_client_that_joined_between_ping_and_pong_loses_nothing(self) -> None:
        client, _ = open_client()
        client.emit("a")
        client.ponged()
        client.emit("b")
        assert names(client.missed(None)) == ["a", "b"]


class TestBounds:
    def test_past_its_bound_the_log_lets_go_of_the_oldest(self) -> None:
        client, connection = open_client(1_000)
        for _ in range(10):
            client.emit("x", "y" * 100)
        events = connection.hears()
        assert client.missed(offset_of(events[0])) is None
        assert names(client.missed(offset_of(events[8]))) == ["x"]

    def test_one_event_over_the_bound_is_not_kept(self) -> None:
        client, connection = open_client(1_000)
        client.emit("a")
        client.emit("x", "y" * 2_000)
        before, big = connection.hears()
        assert client.missed(offset_of(before)) is None
        assert names(client.missed(offset_of(big))) == []

    def test_a_text_that_grows_past_it_is_not_kept(self) -> None:
        total = Total()
        client, connection = open_client(1_000, total)
        for _ in range(30):
            client.emit_text("chunk", "é" * 30, ONE)
        assert total.bytes == 0
        client.emit("end")
        chunk, end = connection.hears()
        assert offset_of(end) == offset_of(chunk) + 1
        assert names(client.missed(offset_of(chunk))) == ["end"]

    def test_what_leaves_is_no_longer_counted(self) -> None:
        total = Total()
        clients = [open_client(10_000, total)[0] for _ in range(2)]
        for client in clients:
            client.emit("a", "x" * 100)
            client.emit_text("chunk", "x" * 100, ONE)
        assert total.bytes > 4 * (PACKET_OVERHEAD_BYTES + 100)
        for client in clients:
            client.leave()
        assert total.bytes == 0


def test_a_client_that_is_gone_hears_nothing() -> None:
    client, connection = open_client()
    client.leave()
    client.emit("a")
    client.emit_text("chunk", "b", ONE)
    client.acknowledge(1, ())
    assert (client.gone, client.connected, len(connection.outbox)) == (True, False, 0)


def test_carried_by_another_connection_the_one_before_lets_go() -> None:
    client, before = open_client()
    after = Connection()
    client.carried_by(after)
    assert before.let_go_of == [client]
    client.emit("a")
    assert (len(before.outbox), len(after.outbox)) == (0, 1)


class LatePage:
    """As the JavaScript client, it may answer a ping before it works off what came ahead of it; by the next ping it has."""

    def __init__(self) -> None:
        self.client, self.connection = open_client()
        self.exchange = Exchange()
        self._pinged = False
        self._received: list[list[object]] = []
        self._before_ping: list[list[object]] = []

    def ping(self) -> None:
        """The next one only behind the pong."""
        if not self._pinged:
            self._pinged = True
            self.client.pinged()
            self.connection.queue(PING)

    def receive(self) -> None:
        packets = self.connection.outbox.take()
        for packet in packets:
            if packet is PING:
                self._work_off(self._before_ping)
                self._before_ping, self._received = self._received, []
                self.client.ponged()
                self._pinged = False
            else:
                self._received.append(arguments(packet))

    def work_off(self) -> None:
        self._work_off(self._before_ping + self._received)
        self._before_ping, self._received = [], []

    def _work_off(self, events: list[list[object]]) -> None:
        for event in events:
            self.exchange.work_off(event)

    def come_back(self, *, after_a_cut: bool = True) -> None:
        if after_a_cut:
            self.client.lost(Total())
        self._before_ping, self._received, self._pinged = [], [], False
        offset = self.exchange.offset
        missed = self.client.missed(None if offset is None else int(offset))
        assert missed is not None
        self.connection = Connection()
        self.client.carried_by(self.connection)
        for item in missed:
            self.connection.queue(item)


STEPS = st.one_of(
    st.tuples(st.just("emit"), st.sampled_from(["event", "answer 1", "answer 2"])),
    st.sampled_from([("step", name) for name in ("ping", "receive", "work_off", "cut", "lost", "come_back", "taken over")]),
)


@given(st.lists(STEPS, max_size=60))
@settings(max_examples=300, deadline=None)
def test_over_any_cuts_the_page_hears_everything_once_and_in_order(steps: list[tuple[str, str]]) -> None:
    page = LatePage()
    for number, (kind, name) in enumerate(steps):
        match kind, name:
            case "emit", _:
                page.exchange.emit(page.client, name, chr(ord("a") + number % 26))
            case _, "cut":  # what is on its way is lost
                page.connection.outbox.take()
                page.come_back()
            case _, "lost":
                page.client.lost(Total())
            case _, "taken over":
                page.come_back(after_a_cut=False)
            case _:
                getattr(page, name)()
    page.come_back()
    page.receive()
    page.work_off()
    assert page.exchange.is_whole()
