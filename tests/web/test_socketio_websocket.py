"""Socket.IO over WebSockets, the upgrade and the end: over real sockets, as the 4.8 reference does it, and who outlives what."""

from __future__ import annotations

import json

import pytest
import trio
from trio.testing import wait_all_tasks_blocked
from trio_websocket import ConnectionClosed

from ellara.settings import Socket
from tests.web.peer import POLLING, SOON_S, WEBSOCKET, Peer, crashes, serving


class TestWebSocket:
    async def test_events_and_bytes_go_both_ways(self, peer: Peer) -> None:
        async with peer.websocket() as ws:
            await peer.join(ws)
            for frame in ('42["halo","☕"]', '451-["x",{"_placeholder":true,"num":0}]', b"\x01"):
                await ws.send_message(frame)
            assert [await ws.get_message() for _ in range(3)] == [
                '42["halo","☕"]',
                '451-["x",{"_placeholder":true,"num":0}]',
                b"\x01",
            ]

    @pytest.mark.parametrize("frame", ["", b"", "9", "2", "42[", '42["connect"]'])
    async def test_a_malformed_packet_closes_this_connection_alone(self, peer: Peer, frame: str | bytes) -> None:
        async with peer.websocket() as good, peer.websocket() as bad:
            await peer.join(good)
            await peer.join(bad)
            await bad.send_message(frame)
            with pytest.raises(ConnectionClosed):
                await bad.get_message()
            await good.send_message('42["still"]')
            assert await good.get_message() == '42["still"]'

    @pytest.mark.parametrize("event", ["crash", "crash later"])
    async def test_a_crash_of_ours_closes_this_connection_alone(self, peer: Peer, event: str) -> None:
        async with peer.websocket() as good, peer.websocket() as bad:
            await peer.join(good)
            await peer.join(bad)
            before = crashes()
            await bad.send_message(f'42["{event}"]')
            with pytest.raises(ConnectionClosed):
                await bad.get_message()
            assert crashes() == before + 1
            await good.send_message('42["still"]')
            assert await good.get_message() == '42["still"]'

    async def test_polling_beside_a_websocket_is_a_bad_request(self, peer: Peer) -> None:
        async with peer.websocket() as ws:
            sid = json.loads((await ws.get_message())[1:])["sid"]
            for method in ("GET", "POST"):
                assert (await peer.ask(f"{POLLING}&sid={sid}", method, b"40" if method == "POST" else b"")).code == 3
            await ws.send_message("40")
            assert str(await ws.get_message()).startswith("40")


class TestUpgrade:
    async def test_the_session_moves_over_with_what_was_queued(self, peer: Peer) -> None:
        query = await peer.handshake()
        async with peer.websocket(query.replace("polling", "websocket")) as ws:
            await ws.send_message("2probe")
            assert await ws.get_message() == "3probe"
            await peer.ask(query, "POST", b'42["one"]\x1e42["two"]')
            await ws.send_message("5")
            await ws.send_message('42["three"]')
            assert [await ws.get_message() for _ in range(3)] == ['42["one"]', '42["two"]', '42["three"]']
            assert (await peer.ask(query)).code == 3

    async def test_a_waiting_poll_is_released(self, peer: Peer) -> None:
        query = await peer.handshake()
        async with peer.websocket(query.replace("polling", "websocket")) as ws:
            await ws.send_message("2probe")
            assert (await peer.ask(query)).body == "6"

    async def test_a_probe_that_says_something_else_is_closed_and_polling_goes_on(self, peer: Peer) -> None:
        query = await peer.handshake()
        async with peer.websocket(query.replace("polling", "websocket")) as ws:
            await ws.send_message('42["x"]')
            with pytest.raises(ConnectionClosed):
                await ws.get_message()
        assert (await peer.ask(query, "POST", b'42["still"]')).body == "ok"
        assert (await peer.ask(query)).body == '42["still"]'

    async def test_a_probe_that_takes_too_long_is_closed_and_polling_goes_on(self) -> None:
        async with serving(Socket(recovery_s=0, upgrade_timeout_s=0.05)) as peer:
            query = await peer.handshake()
            async with peer.websocket(query.replace("polling", "websocket")) as ws:
                with pytest.raises(ConnectionClosed):
                    await ws.get_message()
            assert (await peer.ask(query, "POST", b"3")).body == "ok"

    async def test_a_second_websocket_is_closed_at_once(self, peer: Peer) -> None:
        async with peer.websocket() as first:
            sid = json.loads((await first.get_message())[1:])["sid"]
            async with peer.websocket(f"{WEBSOCKET}&sid={sid}") as second:
                with pytest.raises(ConnectionClosed):
                    await second.get_message()
            await first.send_message("40")
            assert str(await first.get_message()).startswith("40")


class TestClose:
    async def test_everybody_is_told_at_the_transport_and_has_left(self, peer: Peer) -> None:
        query, answers = await peer.handshake(), []

        async def poll() -> None:
            answers.append(await peer.ask(query))

        async with peer.websocket() as ws, trio.open_nursery() as nursery:
            await peer.join(ws)
            await peer.ask(query, "POST", b'42["x"]')
            await peer.ask(query)
            nursery.start_soon(poll)
            await wait_all_tasks_blocked(0.05)
            nursery.start_soon(peer.socketio.close, SOON_S)
            with pytest.raises(ConnectionClosed):
                await ws.get_message()
        assert answers[0].body == "1"
        assert len(peer.left) == 2

    async def test_after_it_nobody_is_let_in(self, peer: Peer) -> None:
        await peer.socketio.close(SOON_S)
        assert (await peer.ask(POLLING)).status == 503
        async with peer.bare(joined=False) as ws:
            assert (await ws.head()).startswith("http/1.1 503 ")

    async def test_a_client_that_never_comes_back_holds_it_up_no_longer_than_its_deadline(self, peer: Peer) -> None:
        await peer.handshake()
        with trio.fail_after(SOON_S):
            await peer.socketio.close(within_s=0.05)
            await peer.somebody_left.wait()
