"""Starting and stopping."""

from __future__ import annotations

import os
import resource
import socket
from contextlib import suppress
from functools import partial

import attrs
import pytest
import trio

from ellara.errors import CannotStart
from ellara.web import hypercorn_guard, last_words, serve
from ellara.web.serve import serve_http
from tests.counted import counted
from tests.web.hostile import request, upgrade
from tests.web.site import SETTINGS, SOON_S, Application, Site, answers, read_until, serving

TCP_ESTABLISHED = 1
"""As the kernel numbers the states of a connection."""

FULL = attrs.evolve(SETTINGS, connections_max=1, head_timeout_s=60)


async def test_stopping_lets_an_open_request_end(site: Site) -> None:
    async with await site.connect() as stream:
        await stream.send_all(request("/slow"))
        await site.app.arrived.wait()
        site.stop.set()
        site.app.go.set()
        assert (await read_until(stream, b"ok")).startswith(b"HTTP/1.1 200")
    with trio.fail_after(SETTINGS.stop_s / 2):
        await site.stopped.wait()


async def test_stopping_closes_idle_connections_and_takes_no_more(site: Site) -> None:
    async with await site.connect() as stream:
        await stream.send_all(request())
        await read_until(stream, b"ok")
        site.stop.set()
        with trio.fail_after(SETTINGS.stop_s / 2):
            assert await stream.receive_some() == b""
            await site.stopped.wait()
    with pytest.raises(OSError, match="connect"):
        await site.connect()


async def test_stopping_does_not_wait_for_what_was_pipelined_behind_the_last_request(site: Site) -> None:
    async with await site.connect() as stream:
        await stream.send_all(request("/slow") + request())
        await site.app.arrived.wait()
        site.stop.set()
        site.app.go.set()
        with trio.fail_after(SETTINGS.stop_s / 2):
            await site.stopped.wait()


@pytest.mark.parametrize("data", [request("/slow"), request("/flood"), upgrade()])
async def test_stopping_cuts_what_does_not_end(data: bytes) -> None:
    async with serving(attrs.evolve(SETTINGS, stop_s=0.1, write_timeout_s=60)) as site, await site.connect() as stream:
        await stream.send_all(data)
        await site.app.arrived.wait()
        site.stop.set()
        with trio.fail_after(SOON_S):
            await site.stopped.wait()


async def test_cancelling_does_not_wait_for_a_peer_that_does_not_read() -> None:
    app = Application()
    with trio.fail_after(SOON_S):
        async with trio.open_nursery() as nursery:
            patient = attrs.evolve(SETTINGS, write_timeout_s=60)
            url = await nursery.start(partial(serve_http, app, patient, trio.Event()))
            stream = await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2]))
            await stream.send_all(request("/flood"))
            await app.arrived.wait()
            await trio.testing.wait_all_tasks_blocked(0.01)
            nursery.cancel_scope.cancel()
        await stream.aclose()


async def test_hundreds_may_come_in_one_turn_of_the_loop(site: Site) -> None:
    """As after a restart; the kernel lets them wait. Whom it has no room for, it would answer a second later, or never."""
    clients = [socket.socket() for _ in range(500)]
    for client in clients:
        client.setblocking(False)
        with suppress(BlockingIOError):
            client.connect(("127.0.0.1", site.port))
    connected = [client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == TCP_ESTABLISHED for client in clients]
    for client in clients:
        client.close()
    assert all(connected)


async def test_a_port_in_use_is_a_clear_refusal(site: Site) -> None:
    with pytest.raises(CannotStart, match=f"port {site.port} of 127.0.0.1 is in use"):
        await serve_http(site.app, attrs.evolve(SETTINGS, port=site.port), trio.Event())


async def test_a_host_that_is_not_ours_is_a_clear_refusal() -> None:
    with pytest.raises(CannotStart, match=r"cannot listen on port 0 of 203\.0\.113\.1"):
        await serve_http(Application(), attrs.evolve(SETTINGS, host="203.0.113.1"), trio.Event())


async def test_another_release_of_hypercorn_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hypercorn_guard, "KNOWN_VERSION", "0.17.3")
    with pytest.raises(CannotStart, match=r"0\.17\.3 is needed"):
        await serve_http(Application(), SETTINGS, trio.Event())


async def test_a_refused_connection_is_told_and_let_go() -> None:
    async with serving(attrs.evolve(SETTINGS, connections_max=1, keep_alive_s=60)) as site, await site.connect() as stream:
        await stream.send_all(request())
        await read_until(stream, b"ok")
        before = counted("connections_refused_total", reason="full")
        answer = await site.say(request())
        assert counted("connections_refused_total", reason="full") == before + 1
        await stream.aclose()
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert await answers(site)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nretry-after: 5\r\n" in answer
    assert b"access-control-allow-origin: *" in answer
    assert answer.endswith(b'{"message":"The server has as many connections as it can serve; please try again later"}')


async def test_a_refused_connection_may_speak_while_it_is_told() -> None:
    async with serving(FULL) as site, await site.connect(), await site.connect() as second:
        for _ in range(3):
            await second.send_all(b"GET / HTTP/1.1")
            await trio.testing.wait_all_tasks_blocked(0.01)
        assert (await read_until(second, b"}")).startswith(b"HTTP/1.1 503")
        assert await second.receive_some() == b""


async def test_a_refused_connection_sees_the_end_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_words, "HEARD_WITHIN_S", 60.0)
    async with serving(FULL) as site, await site.connect():
        assert (await site.say(request())).startswith(b"HTTP/1.1 503")


async def test_a_refused_connection_cannot_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_words, "HEARD_WITHIN_S", 0.05)
    async with serving(FULL) as site, await site.connect(), await site.connect() as second:
        await read_until(second, b"}")
        with trio.fail_after(SOON_S), suppress(trio.BrokenResourceError):
            while True:
                await second.send_all(b"x")
                await trio.sleep(0.01)


async def test_past_so_many_refused_ones_the_next_is_closed_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "REFUSED_MAX", 1)
    async with serving(FULL) as site, await site.connect(), await site.connect(), await site.connect() as third:
        with trio.fail_after(SOON_S):
            assert await third.receive_some() == b""


async def test_one_address_has_so_many_connections_and_others_have_theirs() -> None:
    async with serving(attrs.evolve(SETTINGS, connections_per_address_max=2)) as site:
        async with await site.connect(), await site.connect():
            before = counted("connections_refused_total", reason="address")
            assert (await site.say(b"")).startswith(b"HTTP/1.1 429 ")
            assert counted("connections_refused_total", reason="address") == before + 1
            async with await site.connect("127.0.0.2") as other:
                await other.send_all(request())
                await read_until(other, b"ok")
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert await answers(site)


async def test_open_connections_are_counted(site: Site) -> None:
    async with await site.connect() as first, await site.connect() as second:
        for stream, data in ((first, request()), (second, upgrade())):
            await stream.send_all(data)
            await stream.receive_some()
        assert counted("connections") == 2
    await trio.testing.wait_all_tasks_blocked(0.01)
    assert counted("connections") == 0


async def test_a_websocket_counts_as_the_connection_that_it_is() -> None:
    async with serving(attrs.evolve(SETTINGS, connections_max=1)) as site, await site.connect() as stream:
        await stream.send_all(upgrade())
        await read_until(stream, b"101 \r\n\r\n")
        assert (await site.say(request())).startswith(b"HTTP/1.1 503")
        await stream.aclose()
        await site.app.ended.wait()
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert await answers(site)


async def test_without_descriptors_connections_wait_until_there_are_some(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    clients = [trio.socket.socket() for _ in range(5)]
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        for client in clients:
            await client.connect(("127.0.0.1", site.port))
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert caplog.messages == ["accept returned EMFILE (Too many open files); retrying in 0.1 seconds"]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for client in clients:
        await client.send(request())
        with client, trio.fail_after(SOON_S):
            assert (await client.recv(1_000)).startswith(b"HTTP/1.1 200")


class TestBehindAProxy:
    SETTINGS = attrs.evolve(SETTINGS, connections_per_address_max=1, trusted_proxies=("127.0.0.1",))

    async def test_its_connections_are_not_counted(self) -> None:
        async with serving(self.SETTINGS) as site, await site.connect(), await site.connect() as stream:
            await stream.send_all(request())
            await read_until(stream, b"ok")

    async def test_each_request_has_the_client_it_was_forwarded_for(self) -> None:
        async with serving(self.SETTINGS) as site, await site.connect() as stream:
            for client in (b"192.0.2.1", b"192.0.2.2"):
                await stream.send_all(request("/", b"x-forwarded-for: 10.9.9.9, " + client))
                await read_until(stream, b"ok")
            await stream.send_all(upgrade("/socket.io/", b"X-Forwarded-For: ::ffff:192.0.2.3"))
            await read_until(stream, b"101 \r\n\r\n")
        assert site.app.clients == [("192.0.2.1", 0), ("192.0.2.2", 0)]
        assert [each.client for each in site.app.upgrades] == ["192.0.2.3"]

    async def test_another_peer_is_not_believed(self) -> None:
        async with serving(self.SETTINGS) as site, await site.connect("127.0.0.2") as stream:
            await stream.send_all(request("/", b"x-forwarded-for: 192.0.2.1"))
            await read_until(stream, b"ok")
            (client,) = site.app.clients
        assert isinstance(client, tuple)
        assert client[0] == "127.0.0.2"
