"""How many sessions there may be, where it is wired: over real sockets, each transport's newcomers told in its own way."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest

from ellara.settings import Socket
from tests.counted import counted
from tests.web.hostile import PATH, frame, upgrade
from tests.web.peer import POLLING, Peer, serving

HERE, THERE = "192.0.2.1", "192.0.2.2"
LET_IN = {"polling": 200, "websocket": 101}
PROXY = ("127.0.0.1",)

over_each_transport = pytest.mark.parametrize("transport", LET_IN)


@attrs.frozen
class Answer:
    """`message`: what a client that is refused may read."""

    status: int
    retry_after: str
    message: str


@asynccontextmanager
async def coming(peer: Peer, transport: str, address: str = HERE) -> AsyncIterator[Answer]:
    """A client that asks for a session, as a proxy forwards it; who is let in over polling stays behind it."""
    if transport == "polling":
        answer = await peer.ask(POLLING, x_forwarded_for=address)
        refusal = {} if answer.status == 200 else json.loads(answer.body)
        assert refusal.get("code", 4) == 4
        yield Answer(answer.status, answer.headers.get("retry-after", ""), refusal.get("message", ""))
        return
    async with peer.bare(upgrade(PATH, b"x-forwarded-for: " + address.encode()), joined=False) as ws:
        status, *lines = (await ws.head()).splitlines()
        headers = dict(line.split(": ", 1) for line in lines)
        said = b"" if status.split()[1] == "101" else await ws.rest()
        yield Answer(int(status.split()[1]), headers.get("retry-after", ""), said.decode())


@over_each_transport
async def test_a_place_is_free_again_once_its_session_is_over(transport: str) -> None:
    async with serving(Socket(recovery_s=0, sessions_max=1, sessions_per_address_max=1)) as peer:
        for _ in range(3):
            if transport == "polling":
                query = await peer.handshake()
                await peer.ask(query, "POST", b"1")
            else:
                async with peer.bare() as ws:
                    await ws.says(frame(b"", 8))
                    await ws.rest()


@pytest.mark.parametrize("holder", LET_IN)
@over_each_transport
async def test_an_address_has_so_many_sessions_and_others_have_theirs(holder: str, transport: str) -> None:
    async with serving(Socket(sessions_per_address_max=1), trusted_proxies=PROXY) as peer, coming(peer, holder) as first:
        before = counted("sessions_refused_total", reason="address")
        async with coming(peer, transport) as second, coming(peer, transport, THERE) as third:
            assert (first.status, third.status) == (LET_IN[holder], LET_IN[transport])
        assert second == Answer(429, "5", "Too many sessions from your address; please close one first")
        assert counted("sessions_refused_total", reason="address") == before + 1


@over_each_transport
async def test_what_nobody_trusted_forwards_is_not_believed(transport: str) -> None:
    settings = Socket(sessions_per_address_max=1)
    async with serving(settings) as peer, coming(peer, transport), coming(peer, transport, THERE) as second:
        assert second.status == 429


@over_each_transport
async def test_an_address_opens_so_many_sessions_in_a_while_and_others_theirs(transport: str) -> None:
    settings = Socket(handshakes_per_address_per_s=0.1)
    async with serving(settings, trusted_proxies=PROXY) as peer, coming(peer, transport) as first:
        before = counted("sessions_refused_total", reason="rate")
        async with coming(peer, transport) as second, coming(peer, transport, THERE) as third:
            assert first.status == third.status == LET_IN[transport]
        assert second == Answer(429, "20", "Too many new sessions from your address; please try again later")
        assert counted("sessions_refused_total", reason="rate") == before + 1
