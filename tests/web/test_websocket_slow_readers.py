"""WebSockets whose peer reads slowly or not at all: dropped by bytes and by time, and nobody else waits for them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from ellara.actors.client import Client
from ellara.settings import Socket
from tests.counted import counted
from tests.web.hostile import frame
from tests.web.peer import SOON_S, Bare, Peer, serving

MANY = 120
"""Events of 100 KB: more bytes than a pair of sockets holds on its own."""

ROOMY = Socket(outbox_max_bytes=50_000_000, recovery_max_bytes=50_000_000)


@asynccontextmanager
async def deaf(peer: Peer) -> AsyncIterator[tuple[Bare, Client]]:
    """One that is joined, and to which more was said than it reads; its writer waits."""
    async with peer.bare() as ws:
        client = await peer.client(ws)
        flood(client)
        await wait_all_tasks_blocked()
        yield ws, client


def flood(client: Client, first: int = 0) -> None:
    for number in range(first, first + MANY):
        client.emit("flood", number, "x" * 100_000)


async def numbers(ws: Bare) -> list[int]:
    """Of the events that it hears, up to the end."""
    found = []
    while (heard := await ws.hears()) is not None and heard[1].endswith(b"]"):
        assert heard[0] == 1
        found.append(int(heard[1].split(b",")[1]))
    return found


async def flood_until_lost(client: Client) -> None:
    """In each turn of the loop one event, so that most are on their way."""
    number = 0
    with trio.fail_after(SOON_S):
        while client.connected:
            client.emit("flood", number, "x" * 100_000)
            number += 1
            await trio.lowlevel.checkpoint()


async def says_for_ever(ws: Bare) -> None:
    while True:
        await ws.says(frame(b"", 9))
        await trio.lowlevel.checkpoint()


async def until_lost(client: Client) -> None:
    with trio.fail_after(SOON_S):
        while client.connected:
            await trio.lowlevel.checkpoint()


class TestByBytes:
    async def test_it_is_dropped_without_a_word_and_its_client_is_kept(self) -> None:
        settings = Socket(outbox_max_bytes=1_000_000)
        async with serving(settings, write_timeout_s=0.2) as peer, peer.bare() as good, peer.bare() as ws:
            full, slow = (counted("sessions_dropped_total", reason=why) for why in ("outbox full", "slow reader"))
            client = await peer.client(ws)
            await flood_until_lost(client)
            heard = await numbers(ws)
            assert heard == list(range(len(heard)))
            assert await ws.hears() is None
            assert counted("sessions_dropped_total", reason="outbox full") == full + 1
            assert counted("sessions_dropped_total", reason="slow reader") == slow
            assert not client.gone
            assert peer.left == []
            await peer.client(good)

    async def test_its_socket_is_let_go_at_once(self) -> None:
        async with serving(Socket(outbox_max_bytes=1_000_000), write_timeout_s=600.0) as peer, peer.bare() as ws:
            await flood_until_lost(await peer.client(ws))
            with pytest.raises(trio.BrokenResourceError), trio.fail_after(SOON_S):
                await says_for_ever(ws)


class TestByTime:
    async def test_who_takes_nothing_is_dropped(self) -> None:
        async with serving(ROOMY, write_timeout_s=0.1) as peer:
            before = counted("sessions_dropped_total", reason="slow reader")
            async with deaf(peer) as (ws, client):
                assert client.connected
                await until_lost(client)
                assert counted("sessions_dropped_total", reason="slow reader") == before + 1
                heard = await numbers(ws)
                assert heard == list(range(len(heard)))
                assert len(heard) < MANY
                assert peer.left == []

    async def test_who_is_back_hears_the_rest(self) -> None:
        async with serving(ROOMY, write_timeout_s=0.1) as peer, deaf(peer) as (ws, client):
            await until_lost(client)
            heard = await numbers(ws)
            async with peer.bare(joined=False) as back:
                await back.head()
                await back.text()
                await back.says(frame(b'40{"pid":"%s"}' % str(client.pid).encode()))
                assert str(client.pid) in await back.text()
                assert (await back.text()).startswith('42["x",')
                await back.says(frame(b"42["))
                assert await numbers(back) == list(range(MANY))
            assert heard == list(range(len(heard)))

    async def test_who_reads_slowly_hears_all(self) -> None:
        async with serving(ROOMY, write_timeout_s=0.2) as peer, deaf(peer) as (ws, client):
            start, read = trio.current_time(), b""
            while read.count(b'42["flood') < MANY:
                read += await ws.stream.receive_some(256_000)
                if trio.current_time() - start < 0.5:
                    await trio.sleep(0.03)  # the pace of its reading
            assert client.connected
            assert trio.current_time() - start > 0.4

    async def test_its_ping_is_answered_between_the_frames(self) -> None:
        async with serving(ROOMY) as peer, deaf(peer) as (ws, _):
            await ws.says(frame(b"one", 9), frame(b"two", 9))
            heard = [await ws.hears() for _ in range(MANY + 1)]
            pongs = [frame for frame in heard if frame is not None and frame[0] == 10]
            assert pongs == [(10, b"two")]

    async def test_what_was_queued_leaves_before_our_close_frame(self) -> None:
        async with serving(ROOMY) as peer, deaf(peer) as (ws, _):
            await ws.says(frame(b"42["))
            assert [await ws.hears() is not None for _ in range(MANY)] == [True] * MANY
            assert await ws.hears() == (8, b"")

    async def test_a_peer_that_broke_the_protocol_is_told_behind_what_is_on_its_way(self) -> None:
        async with serving(ROOMY) as peer, deaf(peer) as (ws, _):
            await ws.says(b"\x81\x02hi")
            heard = [await ws.hears() for _ in range(MANY + 1)]
            assert [frame[0] for frame in heard if frame is not None] == [1] * MANY + [8]
            assert await ws.hears() is None


class TestNobodyWaits:
    async def test_others_are_served_meanwhile(self) -> None:
        async with serving(ROOMY) as peer, peer.bare() as good, deaf(peer) as (_, client):
            for _ in range(10):
                await peer.client(good)
            assert client.connected

    async def test_a_timer_is_not_held_up(self) -> None:
        settings = Socket(outbox_max_bytes=50_000_000, ping_interval_s=0.1)
        async with serving(settings) as peer, peer.bare() as good, deaf(peer) as (_, client):
            assert await good.text() == "2"
            assert client.connected

    async def test_the_end_is_not_held_up(self) -> None:
        async with serving(ROOMY, write_timeout_s=600.0) as peer, deaf(peer) as (_, client):
            with trio.fail_after(SOON_S):
                await peer.socketio.close(within_s=0.1)
            assert peer.left == [client]
