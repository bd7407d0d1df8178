"""WebSockets by hand: what breaks RFC 6455 is told and ends its own connection, and who does not read holds nobody up."""

from __future__ import annotations

import socket
import struct

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from ellara.settings import Socket
from ellara.web import websocket
from ellara.web.engineio_request import Request
from ellara.web.upgrade import Upgrade
from tests.counted import counted
from tests.web.hostile import FRAMES, UPGRADES, fragment, frame, upgrade
from tests.web.left import nothing_collected
from tests.web.peer import SOON_S, Bare, Peer, serving

CLOSE = 8


async def says_for_ever(ws: Bare) -> None:
    while True:
        await ws.says(frame(b"6") * 1_000)


class TestFaults:
    @pytest.mark.parametrize(
        ("said", "code"),
        [
            (FRAMES["unmasked"], 1002),
            (FRAMES["reserved bits"], 1002),
            (b"\xc1\x81" + bytes(4) + b"x", 1002),
            (FRAMES["unknown opcode"], 1002),
            (FRAMES["oversized ping"], 1002),
            (FRAMES["fragmented ping"], 1002),
            (FRAMES["continuation of nothing"], 1002),
            (FRAMES["text within a text"], 1002),
            (FRAMES["bad close code"], 1002),
            (FRAMES["close of one byte"], 1002),
            (FRAMES["long length for a short frame"], 1002),
            (FRAMES["bad UTF-8"], 1007),
            (FRAMES["close with bad UTF-8"], 1007),
            (fragment(b"4\xe2", 1) + frame(b"x", 0), 1007),
        ],
    )
    async def test_are_told_and_end_their_own_connection(self, peer: Peer, said: bytes, code: int) -> None:
        async with peer.bare() as good, peer.bare() as bad:
            await bad.says(said)
            heard = await bad.hears()
            assert heard is not None
            assert (heard[0], heard[1][:2]) == (CLOSE, struct.pack("!H", code))
            assert await bad.hears() is None
            await peer.client(good)

    @pytest.mark.parametrize("name", FRAMES)
    async def test_no_hostile_frames_hurt_a_neighbour(self, peer: Peer, name: str) -> None:
        async with peer.bare() as good, peer.bare(upgrade() + FRAMES[name], joined=False) as bad:
            await bad.stream.send_eof()
            await bad.head()
            while await bad.hears() is not None:
                pass
            await peer.client(good)

    async def test_end_the_session_at_once(self, peer: Peer) -> None:
        async with peer.bare() as ws:
            client = await peer.client(ws)
            await ws.says(FRAMES["unmasked"])
            await ws.hears()
            assert peer.left == [client]


class TestSize:
    @pytest.mark.parametrize(
        "message",
        [
            frame(b'42["x","' + b"y" * 991 + b'"]'),
            frame('42["x","{}"]'.format("é" * 496).encode()),
            frame(bytes(1_001), 2),
            fragment(b"4", 1) + fragment(b"x") * 1_000,
            b"\x81\xff" + struct.pack("!Q", 10**12) + bytes(4) + b"x" * 1_001,
        ],
        ids=["text", "bytes not characters", "binary", "fragments", "the part that came"],
    )
    async def test_over_the_bound_the_connection_is_closed_with_1009(self, message: bytes) -> None:
        async with serving(Socket(recovery_s=0, payload_max_bytes=1_000)) as peer, peer.bare() as ws:
            before = counted("messages_refused_total", transport="websocket")
            await ws.says(message)
            assert await ws.hears() == (CLOSE, struct.pack("!H", 1009))
            assert await ws.hears() is None
            assert counted("messages_refused_total", transport="websocket") == before + 1

    async def test_exactly_the_bound_is_taken_from_each_message(self) -> None:
        async with serving(Socket(recovery_s=0, payload_max_bytes=1_000)) as peer, peer.bare() as ws:
            event = b'42["x","' + b"y" * 990 + b'"]'
            await ws.says(frame(event), fragment(event[:100], 1), frame(event[100:], 0))
            assert [await ws.text() for _ in range(2)] == [event.decode()] * 2

    async def test_empty_fragments_are_nothing(self, peer: Peer) -> None:
        async with peer.bare() as ws:
            await ws.says(fragment(b"", 1), fragment(b"") * 5_000, fragment(b'42["x"'), frame(b"]", 0))
            assert await ws.text() == '42["x"]'


class TestFrames:
    async def test_a_ping_is_answered_with_what_it_said(self, peer: Peer) -> None:
        async with peer.bare() as ws:
            await ws.says(frame(b"are you there", 9))
            assert await ws.hears() == (10, b"are you there")

    async def test_a_ping_between_the_fragments_of_a_message_is_answered_first(self, peer: Peer) -> None:
        async with peer.bare() as ws:
            await ws.says(fragment(b'42["', 1), fragment(b"\xe2\x98"), frame(b"", 9), frame(b'\x95"]', 0))
            assert await ws.hears() == (10, b"")
            assert await ws.text() == '42["☕"]'

    async def test_a_pong_that_nobody_asked_for_is_nothing(self, peer: Peer) -> None:
        async with peer.bare() as ws:
            await ws.says(frame(b"x", 10))
            await peer.client(ws)

    async def test_all_that_comes_behind_the_request_is_taken_in_order(self, peer: Peer) -> None:
        early = frame(b"40") + b"".join(frame(b'42["x",%d]' % number) for number in range(1_000))
        async with peer.bare(upgrade() + early, joined=False) as ws:
            assert (await ws.head()).startswith("http/1.1 101 ")
            heard = [await ws.text() for _ in range(1_002)]
        assert heard[2:] == [f'42["x",{number}]' for number in range(1_000)]

    async def test_one_byte_at_a_time_is_a_message_too(self, peer: Peer) -> None:
        async with peer.bare() as ws:
            for byte in frame('42["☕"]'.encode()):
                await ws.says(bytes([byte]))
            assert await ws.text() == '42["☕"]'

    async def test_frames_that_wait_together_leave_together(self, peer: Peer) -> None:
        async with peer.bare() as ws:
            client = await peer.client(ws)
            before = segments_received(ws)
            for number in range(50):
                client.emit("x", number)
            assert [await ws.text() for _ in range(50)] == [f'42["x",{number}]' for number in range(50)]
            assert segments_received(ws) == before + 1


def segments_received(ws: Bare) -> int:
    """With data, as the kernel counts them (`tcpi_data_segs_in`): each write is one, as nothing is held back (TCP_NODELAY)."""
    info = ws.stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    assert isinstance(info, bytes)
    return int(struct.unpack_from("I", info, 152)[0])


class TestClose:
    async def test_of_the_client_is_answered_and_ends_it_at_once(self, peer: Peer) -> None:
        async with peer.bare() as ws:
            client = await peer.client(ws)
            start = trio.current_time()
            await ws.says(frame(struct.pack("!H", 1000) + b"bye", CLOSE))
            heard = await ws.hears()
            assert heard is not None
            assert (heard[0], heard[1][:2]) == (CLOSE, struct.pack("!H", 1000))
            assert await ws.hears() is None
            assert trio.current_time() - start < websocket.CLOSE_WAIT_S / 2
            assert peer.left == [client]

    async def test_what_comes_behind_it_is_not_heard(self, peer: Peer) -> None:
        async with peer.bare() as ws:
            await peer.client(ws)
            await ws.says(frame(b"", CLOSE), frame(b'42["late"]'))
            await wait_all_tasks_blocked()
            await ws.says(frame(b'42["later"]'))
            assert await ws.hears() == (CLOSE, b"")
            assert await ws.hears() is None
            assert len(peer.clients) == 1

    async def test_of_ours_is_an_empty_frame_and_its_answer_ends_it_at_once(self, peer: Peer) -> None:
        async with peer.bare() as ws:
            await ws.says(frame(b"42["))
            assert await ws.hears() == (CLOSE, b"")
            start = trio.current_time()
            await ws.says(frame(b"", CLOSE))
            assert await ws.hears() is None
            assert trio.current_time() - start < websocket.CLOSE_WAIT_S / 2

    async def test_of_ours_is_waited_for_no_longer_than_that(self, peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(websocket, "CLOSE_WAIT_S", 0.2)
        async with peer.bare() as ws:
            start = trio.current_time()
            await ws.says(frame(b"42["))
            assert await ws.hears() == (CLOSE, b"")
            await ws.says(frame(b'42["late"]'))
            assert await ws.hears() is None
            assert 0.2 <= trio.current_time() - start < 2.0
            assert peer.clients == []

    async def test_a_message_over_the_bound_behind_ours_is_no_fault(self) -> None:
        async with serving(Socket(recovery_s=0, payload_max_bytes=1_000)) as peer, peer.bare() as ws:
            before = counted("connection_faults_total")
            await ws.says(frame(b"42["))
            assert await ws.hears() == (CLOSE, b"")
            await ws.says(frame(b"x" * 2_000), frame(b"", CLOSE))
            assert await ws.hears() is None
            assert counted("connection_faults_total") == before

    async def test_comes_behind_all_that_was_queued(self, peer: Peer) -> None:
        async with peer.bare() as ws:
            await ws.says(frame(b'42["one"]'), frame(b'42["two"]'), frame(b"42["))
            assert [await ws.text() for _ in range(2)] == ['42["one"]', '42["two"]']
            assert await ws.hears() == (CLOSE, b"")

    async def test_that_is_not_answered_holds_no_shutdown_up(self, peer: Peer) -> None:
        async with peer.bare() as ws:
            start = trio.current_time()
            await peer.socketio.close(within_s=0.05)
            assert await ws.hears() == (CLOSE, b"")
            assert await ws.hears() is None
            assert trio.current_time() - start < websocket.CLOSE_WAIT_S / 2

    async def test_what_is_said_on_and_on_behind_it_is_not_looked_at(self, peer: Peer) -> None:
        async with peer.bare() as ws:
            start = trio.current_time()
            await ws.says(frame(b"42["))
            with pytest.raises(trio.BrokenResourceError):
                await says_for_ever(ws)
            assert trio.current_time() - start < websocket.CLOSE_WAIT_S / 2

    async def test_without_a_word_ends_the_session(self, peer: Peer) -> None:
        async with peer.bare() as ws:
            await peer.client(ws)
        with trio.fail_after(SOON_S):
            await peer.somebody_left.wait()


class TestRate:
    @pytest.mark.parametrize(
        "said", [frame(b"", 9) * 30, frame(b"", 10) * 30, frame(b"6") * 30, fragment(b"4", 1) + fragment(b"") * 30]
    )
    async def test_what_says_nothing_counts_too(self, said: bytes) -> None:
        async with serving(Socket(recovery_s=0, events_per_s=1)) as peer, peer.bare() as ws:
            before = counted("sessions_dropped_total", reason="too many events")
            await ws.says(said)
            while await ws.hears() not in (None, (CLOSE, b"")):
                pass
            assert counted("sessions_dropped_total", reason="too many events") == before + 1


class TestHandshake:
    @pytest.mark.parametrize(
        "name", ["without a key", "bad key", "old version", "odd version", "session unknown", "transport unknown", "old revision"]
    )
    async def test_a_bad_one_is_refused_and_a_page_may_read_it(self, peer: Peer, name: str) -> None:
        async with peer.bare(UPGRADES[name], joined=False) as ws:
            head = await ws.head()
            assert head.startswith("http/1.1 400 ")
            assert "access-control-allow-origin: *" in head

    async def test_of_another_version_is_told_which_is_spoken(self, peer: Peer) -> None:
        async with peer.bare(UPGRADES["old version"], joined=False) as ws:
            assert "sec-websocket-version: 13" in await ws.head()

    @pytest.mark.parametrize(
        "name", ["non-ASCII subprotocol", "non-ASCII extension", "odd server deflate bits", "odd client deflate bits"]
    )
    async def test_what_is_not_used_is_not_looked_at(self, peer: Peer, name: str) -> None:
        async with peer.bare(UPGRADES[name], joined=False) as ws:
            head = await ws.head()
            assert head.startswith("http/1.1 101 ")
            assert "sec-websocket-extensions" not in head
            assert "sec-websocket-protocol" not in head

    async def test_so_is_one_for_which_there_is_no_room(self) -> None:
        async with serving(Socket(sessions_max=1)) as peer, peer.bare(), peer.bare(joined=False) as second:
            head = await second.head()
            assert head.startswith("http/1.1 503 ")
            assert "access-control-allow-origin: *" in head

    async def test_nothing_of_the_request_is_kept(self, peer: Peer) -> None:
        with nothing_collected() as left:
            async with peer.bare():
                assert left(Upgrade, Request) == []
