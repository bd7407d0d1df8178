"""A connection taken over from hypercorn: what is handed on, and that nothing of hypercorn stays behind."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial

import h11
import pytest
import trio

from ellara.web import last_words
from ellara.web.hypercorn_guard import GuardedConnection
from ellara.web.hypercorn_http1 import GuardedHttp1
from ellara.web.serve import WebSockets, serve_http
from ellara.web.upgrade import Upgrade
from tests.web.hostile import PATH, frame, request, upgrade
from tests.web.left import nothing_collected
from tests.web.site import SETTINGS, SOON_S, Application, Site, read_until


async def test_what_comes_behind_the_request_is_handed_on_in_order(site: Site) -> None:
    frames = b"".join(frame(b"%03d" % number) for number in range(100))
    async with await site.connect() as stream:
        await stream.send_all(upgrade() + frames)
        await stream.send_all(frame(b"end"))
        assert (await read_until(stream, b"end")).partition(b"\r\n\r\n")[2] == frames + frame(b"end")


@pytest.mark.parametrize("target", [PATH, f"http://a{PATH}"])
async def test_the_request_is_handed_on_whole(site: Site, target: str) -> None:
    async with await site.connect() as stream:
        await stream.send_all(upgrade(target, b"Origin: https://a.id"))
        await read_until(stream, b"101 \r\n\r\n")
    (taken,) = site.app.upgrades
    assert (taken.target, taken.client, taken.early) == (PATH.encode(), "127.0.0.1", b"")
    assert (b"origin", b"https://a.id") in taken.headers


async def test_a_kept_alive_connection_can_be_upgraded(site: Site) -> None:
    async with await site.connect() as stream:
        await stream.send_all(request() + upgrade() + b"early")
        data = await read_until(stream, b"early")
    assert data.startswith(b"HTTP/1.1 200")
    assert b"\r\n\r\nokHTTP/1.1 101 \r\n\r\nearly" in data


@pytest.mark.parametrize(
    "head",
    [
        upgrade("/elsewhere"),
        upgrade().replace(b"GET", b"HEAD"),
        upgrade().replace(b"upgrade: websocket", b"upgrade: smoke"),
        upgrade().replace(b"connection: Upgrade", b"connection: close"),
    ],
)
async def test_what_is_no_websocket_of_ours_is_an_ordinary_request(site: Site, head: bytes) -> None:
    async with await site.connect() as stream:
        await stream.send_all(head)
        assert (await read_until(stream, b"\r\n\r\n" if b"HEAD" in head else b"ok")).startswith(b"HTTP/1.1 200")
    assert site.app.upgrades == []


async def test_the_header_lines_of_a_websocket_count_together(site: Site) -> None:
    async with await site.connect() as stream:
        await stream.send_all(upgrade().replace(b"connection: Upgrade", b"connection: Upgrade\r\nconnection: keep-alive"))
        assert (await read_until(stream, b"\r\n\r\n")).startswith(b"HTTP/1.1 101")


async def test_a_websocket_keeps_nothing_of_hypercorn(site: Site) -> None:
    with nothing_collected() as left:
        async with await site.connect() as stream:
            await stream.send_all(request() + upgrade())
            await read_until(stream, b"101 \r\n\r\n")
            assert left(GuardedConnection, GuardedHttp1, h11.Connection) == []


async def test_its_request_is_kept_by_nobody_but_its_handler() -> None:
    during: list[object] = ["it did not run"]

    async def handle(_stream: trio.SocketStream, upgrade: Upgrade) -> None:
        del upgrade
        during[:] = left(Upgrade)

    with nothing_collected() as left:
        async with trio.open_nursery() as nursery:
            websockets = WebSockets(b"/", handle)
            url = await nursery.start(partial(serve_http, Application(), SETTINGS, trio.Event(), websockets=websockets))
            site = Site(int(url.rpartition(":")[2]), Application(), trio.Event(), trio.Event())
            assert await site.say(upgrade("/")) == b""
            nursery.cancel_scope.cancel()
    assert during == []


async def test_a_websocket_ends_with_its_handler(site: Site) -> None:
    async with await site.connect() as stream:
        await stream.send_all(upgrade())
        await read_until(stream, b"101 \r\n\r\n")
        await stream.send_eof()
        with trio.fail_after(SOON_S):
            assert await stream.receive_some() == b""
            await site.app.ended.wait()


async def test_a_refused_one_that_does_not_read_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_words, "HEARD_WITHIN_S", 0.05)
    near, far = (trio.SocketStream(each) for each in trio.socket.socketpair())
    with suppress(BlockingIOError):
        while True:
            os.write(near.socket.fileno(), bytes(65_536))
    with trio.fail_after(SOON_S):
        await last_words.refuse(near, 400, b"Bad request", [])
    await near.aclose()
    await far.aclose()
