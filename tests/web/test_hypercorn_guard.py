"""Hostile peers over raw sockets: after each of them the server still answers."""

from __future__ import annotations

import re
import struct
from contextlib import suppress

import attrs
import pytest
import trio
from structlog.testing import capture_logs

from ellara.web import hypercorn_guard
from tests.counted import counted
from tests.web.hostile import REQUESTS, UPGRADES, request, upgrade
from tests.web.site import SETTINGS, SOON_S, Site, answers, read_until, serving

HOSTILE = REQUESTS | {f"upgrade: {name}": data for name, data in UPGRADES.items()}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
async def test_a_hostile_peer_ends_its_own_connection_at_most(site: Site, data: bytes) -> None:
    async with await site.connect() as stream:
        await stream.send_all(data)
        await stream.send_eof()
        with trio.fail_after(SOON_S):
            assert b"html" not in b"".join([part async for part in stream])
    assert await answers(site)


@pytest.mark.parametrize(
    ("name", "statuses"),
    [
        ("absolute target", [b"200"]),
        ("folded header", [b"200"]),
        ("lines without CR", [b"200"]),
        ("thousand headers", [b"200"]),
        ("h2c settings cut short", [b"200"]),
        ("HTTP/2 over 1.1", [b"200", b"400"]),
        ("unknown coding alone", [b"501"]),
        ("two equal lengths", [b"200", b"200"]),
        ("asks before its body", [b"100", b"200"]),
        ("asks and sends nothing", [b"100", b"408"]),
    ],
)
async def test_what_is_odd_but_clear_is_answered_as_by_others(site: Site, name: str, statuses: list[bytes]) -> None:
    async with await site.connect() as stream:
        await stream.send_all(REQUESTS[name])
        answer = b""
        with trio.fail_after(SOON_S):
            while (found := re.findall(rb"HTTP/1\.1 (\d{3})", answer)) != statuses:
                answer += await stream.receive_some()
                assert found == statuses[: len(found)]


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("upgrade: with a length", b"400"),
        ("upgrade: with chunks", b"400"),
        ("upgrade: of HTTP/1.0", b"400"),
        ("odd h2c settings", b"200"),
        ("HTTP/2 at once", b"505"),
        ("non-ASCII target", b"400"),
        ("endless head", b"431"),
    ],
)
async def test_what_is_not_understood_is_answered_in_http_1(site: Site, name: str, status: bytes) -> None:
    async with await site.connect() as stream:
        await stream.send_all(HOSTILE[name])
        with trio.fail_after(SOON_S):
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 " + status)


async def test_however_many_requests_are_pipelined_each_is_answered(site: Site) -> None:
    answer = await site.say(request() * 1_200 + request("/", b"connection: close"))
    assert answer.count(b"HTTP/1.1 200") == 1_201


async def test_a_request_writes_nothing_into_the_log(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    """Least of all of the environment, which holds the secrets."""
    caplog.set_level(0)
    async with serving() as site:
        await site.say(request("/", b"connection: close"))
    assert (capfd.readouterr(), caplog.messages) == (("", ""), [])


@pytest.mark.parametrize("data", [upgrade("/socket.io/"), request("/flood")])
async def test_a_reset_in_the_middle_ends_its_own_connection_alone(site: Site, data: bytes) -> None:
    stream = await site.connect()
    await stream.send_all(data)
    await site.app.arrived.wait()
    stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, struct.pack("ii", 1, 0))
    await stream.aclose()
    assert await answers(site)


async def test_a_peer_that_ends_while_it_is_spoken_to_fills_no_log(site: Site) -> None:
    with capture_logs() as logged:
        for _ in range(10):
            async with await site.connect() as stream:
                await stream.send_all(request("/flood"))
                await read_until(stream, b"\0")
            with trio.fail_after(SOON_S):
                await site.app.ended.wait()
    assert [event["event"] for event in logged] == []


async def test_a_fault_below_the_application_is_counted_and_logged_in_one_line(site: Site) -> None:
    before = counted("connection_faults_total")
    with capture_logs() as logged:
        assert await site.say(upgrade("/socket.io/crash")) == b""
    assert counted("connection_faults_total") == before + 1
    assert [(event["event"], event["fault"]) for event in logged] == [
        ("connection ended by a fault", "RuntimeError('our own bug')")
    ]
    assert await answers(site)


async def test_refusals_of_the_server_itself_are_json(site: Site) -> None:
    before = counted("http_requests_total", method="other", status="400")
    head, _, body = (await site.say(b"GET / HTTP/1.1\r\n\r\n")).partition(b"\r\n\r\n")
    assert counted("http_requests_total", method="other", status="400") == before + 1
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
    async with serving(attrs.evolve(SETTINGS, cors_origins=("https://a.id", "https://b.id"))) as site:
        answer = await site.say(request("/", b"origin: https://b.id").replace(b"HTTP/1.1", b"HTTP/1.2"))
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


@pytest.mark.parametrize("post", [b"POST /deaf HTTP/1.1\r\nhost: a\r\n", b"POST /deaf HTTP/1.1\r\nhost: a\r\nhost: b\r\n"])
async def test_a_body_that_nobody_waits_for_is_taken_off_for_a_while_and_not_for_ever(
    post: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hypercorn_guard, "LINGER_S", 0.2)
    async with serving(attrs.evolve(SETTINGS, body_timeout_s=60)) as site, await site.connect() as stream:
        site.app.go.set()
        start = trio.current_time()
        await stream.send_all(post + b"content-length: 1000000000000\r\n\r\n")
        with trio.fail_after(SOON_S):
            await drip(stream, bytes(100_000))
        assert trio.current_time() - start > 0.2


async def test_a_peer_that_does_not_read_is_cut(site: Site) -> None:
    async with await site.connect() as stream:
        await stream.send_all(request("/flood"))
        with trio.fail_after(SOON_S):
            await site.app.ended.wait()
        assert await answers(site)


async def test_a_peer_that_reads_slowly_gets_all(site: Site) -> None:
    """Longer than a write may take in all, but never so long at once."""
    start, taken = trio.current_time(), 0
    async with await site.connect() as stream:
        await stream.send_all(request("/large", b"connection: close"))
        while part := await stream.receive_some(1_000_000):
            taken += len(part)
            if trio.current_time() - start < SETTINGS.write_timeout_s * 2:
                await trio.sleep(SETTINGS.write_timeout_s / 10)  # the pace of its reading
    assert taken > 20_000_000
    assert trio.current_time() - start > SETTINGS.write_timeout_s


async def test_an_application_hears_that_its_last_words_did_not_arrive(site: Site) -> None:
    async with await site.connect() as stream:
        await stream.send_all(request("/large"))
        with trio.fail_after(SOON_S):
            await site.app.broken.wait()


async def test_a_peer_that_talks_and_does_not_read_leaves_nothing_behind(site: Site) -> None:
    async with await site.connect() as stream:
        await stream.send_all(request("/flood") + request() * 100)
        with trio.fail_after(SOON_S):
            await site.app.ended.wait()
        site.stop.set()
        with trio.fail_after(SETTINGS.stop_s / 2):
            await site.stopped.wait()


async def test_an_application_that_only_sends_stops_when_the_peer_is_gone(site: Site) -> None:
    async with await site.connect() as stream:
        await stream.send_all(request("/flood"))
        await read_until(stream, b"\0")
    with trio.fail_after(SOON_S):
        await site.app.ended.wait()


async def test_a_connection_that_the_peer_closed_is_let_go_at_once() -> None:
    async with serving(attrs.evolve(SETTINGS, keep_alive_s=60)) as site, await site.connect() as stream:
        await stream.send_all(request())
        await read_until(stream, b"ok")
        await stream.send_eof()
        with trio.fail_after(SOON_S):
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
    before = counted("connection_faults_total")
    answer = await site.say(request("?").replace(b"GET", b"HEAD"))
    assert answer.startswith(b"HTTP/1.1 400")
    assert answer.endswith(b"\r\n\r\n")
    assert counted("connection_faults_total") == before


async def test_a_connection_that_says_nothing_is_closed_without_a_word(site: Site) -> None:
    """A browser opens one for later; what it did not ask for it would take for the answer to its next request."""
    async with await site.connect() as stream:
        with trio.fail_after(SETTINGS.head_timeout_s + SOON_S):
            assert await stream.receive_some() == b""


async def test_an_idle_connection_ends_after_its_time_and_not_before(site: Site) -> None:
    async with await site.connect() as stream:
        await stream.send_all(request())
        await read_until(stream, b"ok")
        answered_at = trio.current_time()
        with trio.fail_after(SETTINGS.keep_alive_s + SOON_S):
            assert await stream.receive_some() == b""
        assert trio.current_time() - answered_at > SETTINGS.head_timeout_s * 2


@pytest.mark.parametrize("before", [b"", request()], ids=["first", "further"])
async def test_a_head_that_drips_is_refused(before: bytes) -> None:
    async with serving(attrs.evolve(SETTINGS, keep_alive_s=60)) as site, await site.connect() as stream:
        await stream.send_all(before)
        if before:
            await read_until(stream, b"ok")
        async with trio.open_nursery() as dripping:
            dripping.start_soon(drip, stream, b"GET / HTTP/1.1\r\nhost: a\r\n" + b"a: b\r\n" * 1_000)
            answer = await read_until(stream, b"}")
            dripping.cancel_scope.cancel()
    assert answer.startswith(b"HTTP/1.1 408")
    assert answer.endswith(b'{"message":"Request Timeout"}')


async def drip(stream: trio.SocketStream, data: bytes) -> None:
    with suppress(trio.BrokenResourceError):
        for byte in data:
            await stream.send_all(bytes([byte]))
            await trio.sleep(0.01)


@pytest.mark.parametrize("before", [b"", request("/slow")], ids=["alone", "pipelined"])
@pytest.mark.parametrize("cuts", [1, 2, 7])
async def test_a_head_over_its_limit_is_refused_however_it_is_cut(site: Site, before: bytes, cuts: int) -> None:
    head = before + request("/", *[b"a: %s" % (b"b" * 100)] * 200)
    async with await site.connect() as stream:
        for part in range(cuts):
            await stream.send_all(head[len(head) * part // cuts : len(head) * (part + 1) // cuts])
            await trio.testing.wait_all_tasks_blocked(0.005)
        site.app.go.set()
        answer = await read_until(stream, b"}")
    assert answer.count(b"HTTP/1.1 431") == 1
    assert answer.count(b"HTTP/1.1 200") == bool(before)
