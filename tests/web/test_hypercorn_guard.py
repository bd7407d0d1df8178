"""Hostile peers over raw sockets: after each of them the server still answers."""

from __future__ import annotations

import struct
from contextlib import suppress
from functools import partial

import attrs
import pytest
import trio
from structlog.testing import capture_logs

from ellara.metrics import CONNECTION_FAULTS
from ellara.web.serve import serve_http
from tests.web.site import SETTINGS, SOON_S, Application, Site, answers, frame, read_until, request, upgrade

HOSTILE = {
    "bytes behind the upgrade": upgrade("/", b"connection: close") + b"x",
    "upgrade with a length": upgrade("/", b"content-length: 5") + b"hello",
    "upgrade with chunks": upgrade("/", b"transfer-encoding: chunked") + b"5\r\nhello\r\n0\r\n\r\n",
    "non-ASCII subprotocol": upgrade("/", b"sec-websocket-protocol: \xff\xfe"),
    "non-ASCII extension": upgrade("/", b"sec-websocket-extensions: \xff"),
    "odd deflate bits": upgrade("/", b"sec-websocket-extensions: permessage-deflate; server_max_window_bits=abc"),
    "odd h2c settings": request("/", b"connection: Upgrade, HTTP2-Settings", b"upgrade: h2c", b"http2-settings: AAMA"),
    "HTTP/2 at once": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
    "no handshake key": request("/", b"upgrade: websocket", b"connection: upgrade"),
    "garbage": bytes(range(256)) * 4,
    "unknown opcode": upgrade() + frame(b"", 0xB),
    "unmasked frame": upgrade() + b"\x81\x02hi",
    "bad UTF-8": upgrade() + frame(b"\xff\xfe"),
    "bad close code": upgrade() + frame(b"\x00\x01", 8),
    "oversized ping": upgrade() + frame(bytes(200), 9),
    "frames behind the close": upgrade() + frame(b"", 8) + frame(b"late"),
    "NUL and bytes in the path": request("/%ff%00"),
    "non-ASCII target": request("/").replace(b"/ ", b"/\xff ", 1),
    "bad chunk": b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhelloXX",
    "endless head": b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20_000,
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
async def test_a_hostile_peer_ends_its_own_connection_at_most(site: Site, data: bytes) -> None:
    async with await site.connect() as stream:
        await stream.send_all(data)
        await stream.send_eof()
        with trio.fail_after(SOON_S):
            assert b"html" not in b"".join([part async for part in stream])
    assert await answers(site)


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("upgrade with a length", b"400"),
        ("upgrade with chunks", b"400"),
        ("odd h2c settings", b"200"),
        ("HTTP/2 at once", b"505"),
        ("no handshake key", b"400"),
        ("non-ASCII target", b"400"),
        ("endless head", b"431"),
    ],
)
async def test_what_is_not_understood_is_answered_in_http_1(site: Site, name: str, status: bytes) -> None:
    async with await site.connect() as stream:
        await stream.send_all(HOSTILE[name])
        with trio.fail_after(SOON_S):
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 " + status)


async def test_a_reset_in_the_middle_ends_its_own_connection_alone(site: Site) -> None:
    stream = await site.connect()
    await stream.send_all(upgrade() + frame(b"hi"))
    await site.app.arrived.wait()
    stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, struct.pack("ii", 1, 0))
    await stream.aclose()
    assert await answers(site)


async def test_a_peer_that_ends_while_it_is_spoken_to_fills_no_log(site: Site) -> None:
    with capture_logs() as logged:
        for _ in range(10):
            async with await site.connect() as stream:
                await stream.send_all(upgrade("/sends"))
                await read_until(stream, b"x")
                await stream.send_all(frame(b"", 8))
                with trio.fail_after(SOON_S), suppress(trio.BrokenResourceError):
                    while await stream.receive_some():
                        pass
    assert [event["event"] for event in logged] == []


async def test_a_fault_below_the_application_is_counted(site: Site) -> None:
    before = CONNECTION_FAULTS._value.get()
    await site.say(HOSTILE["non-ASCII subprotocol"])
    assert CONNECTION_FAULTS._value.get() == before + 1


async def test_refusals_of_the_server_itself_are_json(site: Site) -> None:
    head, _, body = (await site.say(b"GET / HTTP/1.1\r\n\r\n")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    assert b"content-type: application/json" in head
    assert b"access-control-allow-origin: *" in head
    assert body == b'{"message":"Bad Request"}'


async def test_the_server_does_not_name_itself(site: Site) -> None:
    assert b"server:" not in (await site.say(request("/", b"connection: close"))).lower()


async def test_two_lengths_for_one_body_are_refused(site: Site) -> None:
    smuggled = request("/smuggled")
    data = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled
    answer = await site.say(data)
    assert answer.startswith(b"HTTP/1.1 400")
    assert answer.count(b"HTTP/1.1") == 1


async def test_a_body_that_does_not_come_in_time_is_refused(site: Site) -> None:
    answer = await site.say(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhel")
    assert answer.startswith(b"HTTP/1.1 408")
    assert answer.endswith(b'{"message":"Request Timeout"}')
    assert site.app.ended.is_set()


async def test_a_page_on_a_listed_origin_may_read_the_refusals_of_the_server_itself() -> None:
    async with trio.open_nursery() as nursery:
        named = attrs.evolve(SETTINGS, cors_origins=("https://a.id", "https://b.id"))
        url = await nursery.start(partial(serve_http, Application(), named, trio.Event()))
        site = Site(int(url.rpartition(":")[2]), Application(), trio.Event(), trio.Event())
        answer = await site.say(request("/", b"origin: https://b.id").replace(b"HTTP/1.1", b"HTTP/1.2"))
        nursery.cancel_scope.cancel()
    assert answer.startswith(b"HTTP/1.1 505")
    assert b"access-control-allow-origin: https://b.id\r\n" in answer


async def test_an_answer_that_does_not_wait_for_the_body_arrives_and_the_body_is_taken_off(site: Site) -> None:
    post = b"POST /deaf HTTP/1.1\r\nhost: a\r\ncontent-length: 20000000\r\n\r\n" + bytes(20_000_000)
    with trio.fail_after(SOON_S):
        async with await site.connect() as stream, trio.open_nursery() as sending:
            sending.start_soon(stream.send_all, post)
            await site.app.arrived.wait()
            await trio.testing.wait_all_tasks_blocked(0.01)
            site.app.go.set()
            answer = await read_until(stream, b"ok")
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"connection: close" in answer
        await site.app.ended.wait()


@pytest.mark.parametrize("path", ["/", "/slow"])
async def test_frames_that_come_before_the_acceptance_are_answered(site: Site, path: str) -> None:
    async with await site.connect() as stream:
        await stream.send_all(upgrade(path) + b"".join(frame(b"%03d" % number) for number in range(100)))
        await stream.send_all(frame(b"end"))
        await site.app.arrived.wait()
        site.app.go.set()
        data = await read_until(stream, b"\x81\x03end")
    assert data.partition(b"\r\n\r\n")[2] == b"".join(b"\x81\x03%03d" % number for number in range(100)) + b"\x81\x03end"


async def test_no_compression_of_frames_is_negotiated(site: Site) -> None:
    async with await site.connect() as stream:
        await stream.send_all(upgrade("/", b"sec-websocket-extensions: permessage-deflate"))
        assert b"sec-websocket-extensions" not in (await read_until(stream, b"\r\n\r\n")).lower()


@pytest.mark.parametrize("head", [request("/", b"upgrade: websocket", b"connection: upgrade"), upgrade().replace(b"13", b"12")])
async def test_a_bad_handshake_is_refused_and_closed(site: Site, head: bytes) -> None:
    assert (await site.say(head)).startswith(b"HTTP/1.1 400")


async def test_a_message_over_the_limit_ends_the_socket_and_the_application_hears_of_it(site: Site) -> None:
    answer = await site.say(upgrade() + frame(bytes(2_000)))
    assert answer.endswith(b"\x88\x02" + struct.pack("!H", 1009))
    with trio.fail_after(SOON_S):
        await site.app.ended.wait()


async def test_a_peer_that_does_not_read_is_cut(site: Site) -> None:
    async with await site.connect() as stream:
        await stream.send_all(upgrade("/sends"))
        with trio.fail_after(SOON_S):
            await site.app.ended.wait()
        assert await answers(site)


async def test_a_peer_that_talks_and_does_not_read_leaves_nothing_behind(site: Site) -> None:
    async with await site.connect() as stream:
        await stream.send_all(upgrade("/sends") + frame(b"unread") * 100)
        with trio.fail_after(SOON_S):
            await site.app.ended.wait()
        site.stop.set()
        with trio.fail_after(SETTINGS.stop_s / 2):
            await site.stopped.wait()


async def test_an_application_that_only_sends_stops_when_the_peer_is_gone(site: Site) -> None:
    async with await site.connect() as stream:
        await stream.send_all(upgrade("/sends"))
        await read_until(stream, b"x")
    with trio.fail_after(SOON_S):
        await site.app.ended.wait()


async def test_a_connection_that_the_peer_closed_is_let_go_at_once(site: Site) -> None:
    async with await site.connect() as stream:
        await stream.send_all(request())
        await read_until(stream, b"ok")
        await stream.send_eof()
        with trio.fail_after(SETTINGS.keep_alive_s / 2):
            assert await stream.receive_some() == b""


async def test_an_application_that_is_cancelled_as_it_has_answered_leaves_no_connection_behind(site: Site) -> None:
    for _ in range(20):
        assert (await site.say(request("/hasty", b"connection: close"))).endswith(b"ok")
        async with await site.connect() as stream:
            await stream.send_all(request("/hasty"))
            await read_until(stream, b"ok")
    site.stop.set()
    with trio.fail_after(SETTINGS.stop_s / 2):
        await site.stopped.wait()


async def test_a_connection_that_is_idle_behind_such_an_application_ends_at_the_stop(site: Site) -> None:
    async with await site.connect() as stream:
        await stream.send_all(request("/hasty"))
        await read_until(stream, b"ok")
        site.stop.set()
        with trio.fail_after(SETTINGS.stop_s / 2):
            assert await stream.receive_some() == b""


async def test_a_refused_head_is_answered_without_a_body(site: Site) -> None:
    before = CONNECTION_FAULTS._value.get()
    answer = await site.say(request("?").replace(b"GET", b"HEAD"))
    assert answer.startswith(b"HTTP/1.1 400")
    assert answer.endswith(b"\r\n\r\n")
    assert CONNECTION_FAULTS._value.get() == before


async def test_an_idle_connection_ends_after_its_time(site: Site) -> None:
    async with await site.connect() as stream:
        with trio.fail_after(SETTINGS.keep_alive_s + SOON_S):
            assert await stream.receive_some() == b""
