"""What waits for a slow reader: in order, bounded, joined where it may be, and nothing after the end."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ellara.actors.outbox import PACKET_OVERHEAD_BYTES, Delta, Outbox, bytes_of, size_of
from ellara.protocol.engineio import Packet, Type
from tests.actors.connection import Chunk, arguments


def text(data: str | bytes) -> Packet:
    return Packet(Type.MESSAGE, data)


def delta(said: str) -> Delta:
    return Delta("/", "chunk", Chunk("one"), said, 7)


class TestOrder:
    def test_a_taker_gets_all_there_is(self) -> None:
        outbox = Outbox(1_000)
        for data in ("a", b"b", "c"):
            outbox.put(text(data))
        assert outbox.take() == [text("a"), text(b"b"), text("c")]
        assert outbox.take() == []

    def test_a_delta_leaves_with_all_that_was_joined_to_it(self) -> None:
        outbox, piece = Outbox(1_000), delta("a")
        outbox.put(piece)
        outbox.put(text("x"))
        piece.text += "b"
        chunk, after = outbox.take()
        assert arguments(chunk) == ["chunk", {"answer": "one", "text": "ab"}, "7"]
        assert after == text("x")
        assert piece.taken

    def test_only_what_waits_is_open_to_more_of_the_same_text(self) -> None:
        piece = delta("a")
        assert piece.is_open_to("chunk", Chunk("one"))
        assert not piece.is_open_to("chunk", Chunk("other"))
        assert not piece.is_open_to("thought", Chunk("one"))
        piece.take()
        assert not piece.is_open_to("chunk", Chunk("one"))


class TestBound:
    def test_below_it_one_packet_of_any_size_fits(self) -> None:
        outbox = Outbox(1_000)
        assert outbox.put(text("x" * 5_000))
        assert not outbox.put(text("x"))
        assert len(outbox) == 1

    def test_what_was_taken_no_longer_counts(self) -> None:
        outbox = Outbox(1_000)
        outbox.put(text("x" * 5_000))
        outbox.take()
        assert outbox.put(text("x"))

    def test_many_small_packets_fill_it_too(self) -> None:
        outbox = Outbox(10_000)
        assert sum(outbox.put(text("")) for _ in range(1_000)) == 10_000 // PACKET_OVERHEAD_BYTES + 1

    def test_what_is_joined_counts(self) -> None:
        outbox = Outbox(1_000)
        outbox.put(delta("a"))
        assert outbox.grow(900)
        assert not outbox.grow(100)

    @pytest.mark.parametrize(("data", "size"), [("abc", 3), ("é", 2), ("☕", 3), ("\ud800", 3), (b"\xff\xff", 2)])
    def test_bytes_are_counted_not_characters(self, data: str | bytes, size: int) -> None:
        assert size_of(text(data)) == PACKET_OVERHEAD_BYTES + size
        assert isinstance(data, bytes) or bytes_of(data) == size


class TestWaiting:
    async def test_a_taker_is_woken_and_gets_what_came_in_the_same_turn(self, autojump_clock: MockClock) -> None:
        outbox, taken = Outbox(1_000), []
        async with trio.open_nursery() as nursery:

            async def take() -> None:
                await outbox.filled()
                taken.extend(outbox.take())

            nursery.start_soon(take)
            await wait_all_tasks_blocked()
            outbox.put(text("a"))
            outbox.put(text("b"))
        assert taken == [text("a"), text("b")]

    async def test_a_cancelled_taker_loses_nothing(self, autojump_clock: MockClock) -> None:
        outbox = Outbox(1_000)
        with trio.move_on_after(1.0):
            await outbox.filled()
        outbox.put(text("a"))
        await outbox.filled()
        assert outbox.take() == [text("a")]

    async def test_it_is_woken_by_the_end(self, autojump_clock: MockClock) -> None:
        outbox = Outbox(1_000)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outbox.filled)
            await wait_all_tasks_blocked()
            outbox.close()
        await outbox.filled()

    def test_who_asks_is_called_once(self) -> None:
        outbox, calls = Outbox(1_000), []
        outbox.when_filled(lambda: calls.append("now"))
        outbox.put(text("a"))
        outbox.put(text("b"))
        outbox.close()
        assert calls == ["now"]

    def test_and_at_once_when_something_waits_already(self) -> None:
        outbox, calls = Outbox(1_000), []
        outbox.put(text("a"))
        outbox.when_filled(lambda: calls.append("now"))
        assert calls == ["now"]

    def test_the_last_who_asked_is_called_alone(self) -> None:
        outbox, calls = Outbox(1_000), []
        outbox.when_filled(lambda: calls.append("first"))
        outbox.when_filled(lambda: calls.append("second"))
        outbox.put(text("a"))
        assert calls == ["second"]


class TestEnd:
    def test_closed_it_gives_what_is_left_and_then_nothing_for_ever(self) -> None:
        outbox = Outbox(1_000)
        outbox.put(text("a"))
        outbox.close()
        assert outbox.put(text("b"))
        assert outbox.take() == [text("a")]
        assert outbox.take() == []

    def test_abandoned_it_gives_nothing_and_its_taker_is_cut(self) -> None:
        outbox, cut = Outbox(1_000), list[str]()
        outbox.when_abandoned(lambda: cut.append("cut"))
        outbox.put(text("a"))
        outbox.abandon()
        assert (outbox.closed, outbox.take(), cut) == (True, [], ["cut"])


class TestSwitch:
    async def test_the_queue_moves_and_the_old_taker_ends(self) -> None:
        old, new = Outbox(1_000), Outbox(1_000)
        old.put(text("a"))
        old.move_to(new)
        new.put(text("b"))
        assert new.take() == [text("a"), text("b")]
        await old.filled()
        assert old.take() == []

    def test_the_new_taker_is_woken(self) -> None:
        old, new, calls = Outbox(1_000), Outbox(1_000), []
        new.when_filled(lambda: calls.append("now"))
        old.move_to(new)
        assert calls == []
        old = Outbox(1_000)
        old.put(text("a"))
        old.move_to(new)
        assert calls == ["now"]

    def test_nothing_is_lost_though_the_new_one_holds_something_already(self) -> None:
        old, new = Outbox(1_000), Outbox(1_000)
        new.put(text("probe"))
        for data in ("a" * 900, "b"):
            old.put(text(data))
        old.move_to(new)
        assert [packet.data for packet in new.take()] == ["probe", "a" * 900, "b"]

    def test_what_moved_counts_on_the_other_side(self) -> None:
        old, new = Outbox(1_000), Outbox(1_000)
        old.put(text("x" * 1_000))
        old.move_to(new)
        assert not new.put(text("x"))

    def test_a_delta_stays_open(self) -> None:
        old, new, piece = Outbox(1_000), Outbox(1_000), delta("a")
        old.put(piece)
        old.move_to(new)
        piece.text += "b"
        assert [arguments(packet)[1] for packet in new.take()] == [Chunk("one")("ab")]
