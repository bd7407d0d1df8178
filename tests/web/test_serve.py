"""Starting and stopping."""

from __future__ import annotations

from functools import partial

import attrs
import pytest
import trio

from ellara.errors import CannotStart
from ellara.web import hypercorn_guard
from ellara.web.serve import serve_http
from tests.web.hostile import request, upgrade
from tests.web.site import SETTINGS, SOON_S, Application, Site, read_until


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
async def test_stopping_cuts_what_does_not_end(site: Site, data: bytes) -> None:
    async with await site.connect() as stream:
        await stream.send_all(data)
        await site.app.arrived.wait()
        site.stop.set()
        with trio.fail_after(SETTINGS.stop_s + SOON_S):
            await site.stopped.wait()


async def test_cancelling_does_not_wait_for_a_peer_that_does_not_read() -> None:
    app = Application()
    with trio.fail_after(SOON_S):
        async with trio.open_nursery() as nursery:
            patient = attrs.evolve(SETTINGS, write_timeout_s=60)
            url = await nursery.start(partial(serve_http, app, patient, trio.Event()))
            async with await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2])) as stream:
                await stream.send_all(request("/flood"))
                await app.arrived.wait()
                await trio.testing.wait_all_tasks_blocked(0.01)
                nursery.cancel_scope.cancel()


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
