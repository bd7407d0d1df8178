"""permessage-deflate: off unless configured, and bounded where it is on."""

from __future__ import annotations

import struct
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import wsproto.events
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Event, TextMessage
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import FrameProtocol

from ellara.settings import Socket
from ellara.web.websocket_handshake import accept
from tests.web.hostile import PATH, UPGRADES, upgrade
from tests.web.left import nothing_collected
from tests.web.peer import SOON_S, Peer, serving


class Deflating:
    """A client that offers permessage-deflate."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.received_bytes = 0
        self._ws = WSConnection(ConnectionType.CLIENT)

    async def opens(self) -> AcceptConnection:
        request = wsproto.events.Request(host="x", target=PATH, extensions=[PerMessageDeflate()])
        await self.stream.send_all(self._ws.send(request))
        accepted = await self.hears()
        assert isinstance(accepted, AcceptConnection)
        return accepted

    async def says(self, *messages: str) -> None:
        for message in messages:
            await self.stream.send_all(self._ws.send(TextMessage(message)))

    async def hears(self) -> Event:
        while True:
            for event in self._ws.events():
                return event
            data = await self.stream.receive_some()
            self.received_bytes += len(data)
            self._ws.receive_data(data or None)

    async def text(self) -> str:
        """A whole message."""
        heard = ""
        while True:
            event = await self.hears()
            assert isinstance(event, TextMessage)
            heard += event.data
            if event.message_finished:
                return heard


COMPRESSED = Socket(recovery_s=0, compression=True, payload_max_bytes=100_000)


@asynccontextmanager
async def deflating(peer: Peer) -> AsyncIterator[Deflating]:
    with trio.fail_after(SOON_S):
        async with await trio.open_tcp_stream("127.0.0.1", peer.port) as stream:
            yield Deflating(stream)


class TestCompression:
    async def test_is_off_unless_configured(self, peer: Peer) -> None:
        async with deflating(peer) as ws:
            assert (await ws.opens()).extensions == []
            await ws.text()
            await ws.says("40", '42["x"]')
            assert [(await ws.text())[:4] for _ in range(2)] == ['40{"', '42["']

    async def test_goes_both_ways_where_it_is(self) -> None:
        async with serving(COMPRESSED) as peer, deflating(peer) as ws:
            assert len((await ws.opens()).extensions) == 1
            await ws.text()
            event = f'42["x","{"y" * 90_000}"]'
            await ws.says("40", event)
            assert (await ws.text()).startswith("40{")
            assert await ws.text() == event
            assert ws.received_bytes < 5_000

    async def test_is_not_forced_on_who_does_not_offer_it(self) -> None:
        async with serving(COMPRESSED) as peer, peer.bare() as ws:
            await peer.client(ws)

    async def test_no_more_is_inflated_than_a_message_may_be(self) -> None:
        headers = [(b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="), (b"sec-websocket-version", b"13")]
        offer = (b"sec-websocket-extensions", b"permessage-deflate")
        _, ws = accept([*headers, offer], [], inflated_max_bytes=1_000)
        bomb = zlib.compressobj(wbits=-15)
        deflated = bomb.compress(bytes(50_000_000)) + bomb.flush(zlib.Z_SYNC_FLUSH)
        ws.receive_data(b"\xc1\xfe" + struct.pack("!H", len(deflated)) + bytes(4) + deflated)
        (closed,) = ws.events()
        assert isinstance(closed, CloseConnection)
        assert closed.code == 1009

    async def test_of_an_ended_one_nothing_waits_for_the_garbage_collector(self) -> None:
        with nothing_collected() as left:
            async with serving(COMPRESSED) as peer:
                async with peer.bare() as ws:
                    await peer.client(ws)
                with trio.fail_after(SOON_S):
                    await peer.somebody_left.wait()
            assert left(FrameProtocol) == []

    async def test_what_grows_past_the_bound_is_closed_with_1009(self) -> None:
        async with serving(COMPRESSED) as peer, deflating(peer) as ws:
            await ws.opens()
            await ws.text()
            await ws.says("4" * 50_000_000)
            closed = await ws.hears()
            assert isinstance(closed, CloseConnection)
            assert closed.code == 1009

    @pytest.mark.parametrize("name", ["odd server deflate bits", "odd client deflate bits", "non-ASCII extension"])
    async def test_an_odd_offer_is_refused_or_ignored_without_harm(self, name: str) -> None:
        async with serving(COMPRESSED) as peer, peer.bare() as good, peer.bare(UPGRADES[name], joined=False) as odd:
            assert (await odd.head()).startswith("http/1.1 400 ")
            await peer.client(good)

    async def test_what_does_not_inflate_ends_its_own_connection(self) -> None:
        offer = upgrade(PATH, b"sec-websocket-extensions: permessage-deflate")
        async with serving(COMPRESSED) as peer, peer.bare() as good, peer.bare(offer, joined=False) as bad:
            assert "permessage-deflate" in await bad.head()
            await bad.says(bytes([0xC1, 0x84]) + bytes(4) + b"\xff\xff\xff\xff")
            said = b"".join([part async for part in bad.stream])
            assert said[said.index(b"\x88") + 2 :].startswith(struct.pack("!H", 1007))
            await peer.client(good)
