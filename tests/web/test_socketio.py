"""Socket.IO's HTTP face over real sockets: statuses, headers and bodies as the 4.8 reference has them."""

from __future__ import annotations

import json

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from ellara.settings import Socket
from tests.counted import counted
from tests.web.hostile import PATH, UPGRADES, upgrade
from tests.web.peer import POLLING, SOON_S, WEBSOCKET, Peer, crashes, serving
from tests.web.site import read_until


class TestHandshake:
    @pytest.mark.parametrize("query", [POLLING, f"{POLLING}&sid=", f"{POLLING}&b64=1&t=abc&what=ever"])
    async def test_a_get_opens_a_session(self, peer: Peer, query: str) -> None:
        answer = await peer.ask(query)
        opened = json.loads(answer.body.removeprefix("0"))
        assert len(opened.pop("sid")) == 20
        assert opened == {"upgrades": ["websocket"], "pingInterval": 25000, "pingTimeout": 20000, "maxPayload": 1000000}
        assert answer.headers["content-type"] == "text/plain; charset=UTF-8"
        assert answer.headers["cache-control"] == "no-store"

    @pytest.mark.parametrize(
        ("query", "method", "code", "message"),
        [
            ("", "GET", 0, "Transport unknown"),
            ("EIO=3&transport=webtransport", "GET", 0, "Transport unknown"),
            (f"{POLLING}&sid=abc", "GET", 1, "Session ID unknown"),
            (f"{POLLING}&sid=__proto__", "POST", 1, "Session ID unknown"),
            (POLLING, "POST", 2, "Bad handshake method"),
            (POLLING, "PUT", 2, "Bad handshake method"),
            (POLLING, "DELETE", 2, "Bad handshake method"),
            (WEBSOCKET, "GET", 3, "Bad request"),
            ("EIO=3&transport=polling", "GET", 5, "Unsupported protocol version"),
            ("transport=polling", "GET", 5, "Unsupported protocol version"),
        ],
    )
    async def test_what_is_wrong_is_said(self, peer: Peer, query: str, method: str, code: int, message: str) -> None:
        answer = await peer.ask(query, method)
        assert (answer.status, answer.headers["content-type"]) == (400, "application/json")
        assert answer.body == f'{{"code":{code},"message":"{message}"}}'
        assert answer.headers["access-control-allow-origin"] == "*"

    async def test_a_head_is_refused_without_a_body(self, peer: Peer) -> None:
        answer, refused = await peer.ask(POLLING, "HEAD"), await peer.ask(POLLING, "PUT")
        assert answer == attrs.evolve(refused, headers=answer.headers, body="")
        assert answer.headers["content-length"] == refused.headers["content-length"]

    async def test_paths_below_its_own_are_its_own_too(self, peer: Peer) -> None:
        async with await peer.raw(f"GET /socket.io/x/y?{POLLING} HTTP/1.1\r\nHost: x\r\n") as stream:
            assert b'0{"sid":"' in await read_until(stream, b"}")
        async with peer.bare(UPGRADES["below the path"]) as ws:
            await peer.client(ws)

    async def test_another_revision_on_a_known_session_is_a_bad_request(self, peer: Peer) -> None:
        query = await peer.handshake()
        assert (await peer.ask(query.replace("EIO=4", "EIO=3"))).code == 3
        assert (await peer.ask(query, "POST", b"3")).body == "ok"

    @pytest.mark.parametrize(
        ("query", "message"),
        [
            (f"{WEBSOCKET}&sid=abc", "Session ID unknown"),
            ("EIO=4&transport=x", "Transport unknown"),
            ("EIO=3&transport=websocket", "Unsupported protocol version"),
        ],
    )
    async def test_a_websocket_is_refused_before_it_opens(self, peer: Peer, query: str, message: str) -> None:
        async with peer.bare(upgrade(f"/socket.io/?{query}"), joined=False) as ws:
            said = b"".join([chunk async for chunk in ws.stream]).decode()
        assert said.startswith("HTTP/1.1 400 ")
        assert said.endswith(f"\r\n\r\n{message}")

    async def test_a_websocket_opens_with_cors_and_without_compression(self, peer: Peer) -> None:
        async with peer.bare(upgrade(PATH, b"sec-websocket-extensions: permessage-deflate"), joined=False) as ws:
            head = await ws.head()
        assert head.startswith("http/1.1 101 ")
        assert "access-control-allow-origin: *" in head.splitlines()
        assert "sec-websocket-extensions" not in head

    async def test_past_the_last_place_newcomers_are_sent_away_and_who_is_in_goes_on(self) -> None:
        async with serving(Socket(recovery_s=0, sessions_max=1)) as peer:
            query = await peer.handshake()
            assert (await peer.ask(POLLING)).status == 503
            async with peer.bare(joined=False) as ws:
                assert (await ws.head()).startswith("http/1.1 503 ")
            assert (await peer.ask(query, "POST", b"3")).body == "ok"


class TestCors:
    async def test_a_preflight_is_answered_and_touches_no_session(self, peer: Peer) -> None:
        answer = await peer.ask(f"{POLLING}&sid=abc", "OPTIONS", origin="http://a", access_control_request_headers="x-one")
        assert (answer.status, answer.body) == (204, "")
        assert answer.headers["access-control-allow-methods"] == "GET,HEAD,PUT,PATCH,POST,DELETE"
        assert answer.headers["access-control-allow-headers"] == "x-one"
        assert answer.headers["vary"] == "Access-Control-Request-Headers"

    @pytest.mark.parametrize(("origin", "allowed"), [("https://a.id", "https://a.id"), ("https://b.id", None)])
    async def test_only_listed_origins_are_let_in(self, origin: str, allowed: str | None) -> None:
        async with serving(origins=("https://a.id",)) as peer:
            answer = await peer.ask(POLLING, origin=origin)
        assert answer.headers.get("access-control-allow-origin") == allowed
        assert answer.headers["vary"] == "Origin"


class TestPolling:
    async def test_events_go_both_ways(self, peer: Peer) -> None:
        query = await peer.handshake()
        events = '42["halo",{"a":"☕"}]\x1e451-["x",{"_placeholder":true,"num":0}]\x1ebAQI='
        answer = await peer.ask(query, "POST", events.encode())
        assert (answer.status, answer.body, answer.headers["content-type"]) == (200, "ok", "text/html")
        assert (await peer.ask(query)).body == events

    async def test_a_waiting_poll_is_answered_when_something_comes(self, peer: Peer) -> None:
        query = await peer.handshake()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.ask, query, "POST", b'42["x"]')
            assert (await peer.ask(query)).body == '42["x"]'

    async def test_of_two_polls_the_second_is_refused_and_the_session_closed(self, peer: Peer) -> None:
        query, answers = await peer.handshake(), []

        async def poll() -> None:
            answers.append(await peer.ask(query))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(poll)
            nursery.start_soon(poll)
        assert sorted((answer.status, answer.body) for answer in answers) == [(200, "1"), (400, "")]
        assert (await peer.ask(query)).code == 1

    async def test_of_two_posts_the_second_is_refused_and_the_session_closed(self, peer: Peer) -> None:
        query = await peer.handshake()
        async with await peer.raw(f"POST /socket.io/?{query} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n"):
            answer = await peer.ask(query, "POST", b"3")
            while answer.body == "ok":  # the first one's head was not read yet
                answer = await peer.ask(query, "POST", b"3")
        assert (answer.status, answer.body) == (400, "")
        assert (await peer.ask(query)).code == 1

    @pytest.mark.parametrize("request_line", ["GET {} HTTP/1.1", "POST {} HTTP/1.1\r\nContent-Length: 5"])
    async def test_a_dropped_request_closes_the_session(self, peer: Peer, request_line: str) -> None:
        query = await peer.handshake()
        await peer.ask(query, "POST", b'42["x"]')
        await peer.ask(query)
        stream = await peer.raw(f"{request_line.format(f'/socket.io/?{query}')}\r\nHost: x\r\n")
        await wait_all_tasks_blocked(0.05)
        await stream.aclose()
        with trio.fail_after(SOON_S):
            await peer.somebody_left.wait()
        assert (await peer.ask(query)).code == 1

    async def test_an_answer_to_a_poll_that_does_not_arrive_closes_the_session(self) -> None:
        async with serving(Socket(recovery_s=0, payload_max_bytes=20_000_000, outbox_max_bytes=20_000_000)) as peer:
            query = await peer.handshake()
            await peer.ask(query, "POST", b'42["x","%s"]' % (b"x" * 15_000_000))  # more than the sockets' buffers hold
            async with await peer.raw(f"GET /socket.io/?{query} HTTP/1.1\r\nHost: x\r\n") as stream:
                await stream.receive_some(1)
            with trio.fail_after(SOON_S):
                await peer.somebody_left.wait()

    @pytest.mark.parametrize("body", [b"", b"9", b"3\x1e", b"2"])
    async def test_a_malformed_packet_is_answered_ok_and_ends_the_session(self, peer: Peer, body: bytes) -> None:
        query = await peer.handshake()
        assert (await peer.ask(query, "POST", body)).body == "ok"
        assert (await peer.ask(query)).code == 1

    async def test_after_a_malformed_event_the_next_poll_is_told_the_end(self, peer: Peer) -> None:
        query = await peer.handshake()
        assert (await peer.ask(query, "POST", b"42[")).body == "ok"
        assert (await peer.ask(query)).body == "6\x1e1"
        assert (await peer.ask(query)).code == 1

    async def test_a_poll_that_is_sent_again_ends_the_session_and_recovery_brings_all(self) -> None:
        """As HTTP clients do by themselves when a connection breaks before they have the answer: the first one is lost."""
        async with serving(Socket()) as peer:
            query = await peer.handshake("&t=1", "&t=2", "&t=3")
            await peer.ask(f"{query}&t=4", "POST", b'42["x"]')
            assert (await peer.ask(f"{query}&t=5")).body.startswith('42["x","')
            assert (await peer.ask(f"{query}&t=5")).status == 400
            assert (await peer.ask(f"{query}&t=6")).code == 1
            assert peer.left == []

    async def test_a_post_that_is_sent_again_is_heard_once(self) -> None:
        async with serving(Socket()) as peer:
            query = await peer.handshake("&t=1", "&t=2", "&t=3")
            assert (await peer.ask(f"{query}&t=4", "POST", b'42["x"]')).body == "ok"
            assert (await peer.ask(f"{query}&t=4", "POST", b'42["x"]')).status == 400
            assert len(peer.clients) == 1

    async def test_who_never_changes_its_stamp_says_nothing_by_it(self, peer: Peer) -> None:
        query = await peer.handshake(*["&t=1"] * 3)
        for _ in range(3):
            assert (await peer.ask(f"{query}&t=1", "POST", b'42["x"]')).body == "ok"
            assert (await peer.ask(f"{query}&t=1")).body == '42["x"]'

    async def test_a_waiting_poll_brings_what_came_before_the_end_and_the_end(self, peer: Peer) -> None:
        query = await peer.handshake()
        async with await peer.raw(f"GET /socket.io/?{query} HTTP/1.1\r\nHost: x\r\n") as stream:
            await wait_all_tasks_blocked()
            assert (await peer.ask(query, "POST", b'42["x"]\x1e42[')).body == "ok"
            assert await read_until(stream, b'42["x"]\x1e1')
        assert (await peer.ask(query)).code == 1

    async def test_a_crash_of_ours_where_it_is_written_ends_this_session_alone(self, peer: Peer) -> None:
        query, other = await peer.handshake(), await peer.handshake()
        before = crashes()
        await peer.ask(query, "POST", b'42["crash later"]')
        answer = await peer.ask(query)
        assert (answer.status, answer.body, answer.headers["access-control-allow-origin"]) == (200, "1", "*")
        assert ((await peer.ask(query)).code, crashes()) == (1, before + 1)
        assert (await peer.ask(other, "POST", b"3")).body == "ok"

    async def test_a_body_of_max_payload_is_taken_and_one_byte_more_is_not(self) -> None:
        async with serving(Socket(recovery_s=0, payload_max_bytes=1_000)) as peer:
            query, before = await peer.handshake(), counted("messages_refused_total", transport="polling")
            assert (await peer.ask(query, "POST", b'42["x","' + b"x" * 990 + b'"]')).status == 200
            answer = await peer.ask(query, "POST", b'42["x","' + b"x" * 991 + b'"]')
            assert (answer.status, answer.body, answer.headers["access-control-allow-origin"]) == (413, "", "*")
            assert counted("messages_refused_total", transport="polling") == before + 1
            assert (await peer.ask(query)).body == '42["x","' + "x" * 990 + '"]'

    async def test_a_binary_body_belongs_to_another_revision(self, peer: Peer) -> None:
        query = await peer.handshake()
        answer = await peer.ask(query, "POST", b"3", content_type="application/octet-stream")
        assert (answer.status, answer.body) == (400, "")
        assert (await peer.ask(query)).code == 1

    @pytest.mark.parametrize("origin", ["https://a.id\x01", "\x7f"])
    async def test_an_origin_with_control_characters_is_a_bad_request(self, peer: Peer, origin: str) -> None:
        async with await peer.raw(f"GET /socket.io/?{POLLING} HTTP/1.1\r\nHost: x\r\nOrigin: {origin}\r\n") as stream:
            assert (await read_until(stream, b"}")).endswith(b'{"code":3,"message":"Bad request"}')

    async def test_another_method_does_no_harm(self, peer: Peer) -> None:
        query = await peer.handshake()
        assert (await peer.ask(query, "PUT", b"3")).status == 500
        assert (await peer.ask(query, "POST", b"3")).body == "ok"

    @pytest.mark.parametrize(
        ("accepted", "size", "encoding"),
        [("gzip, deflate", 2_000, "gzip"), ("br", 2_000, None), ("gzip;q=0", 2_000, None), ("gzip", 900, None)],
    )
    async def test_a_large_answer_is_compressed_for_who_asks(
        self, peer: Peer, accepted: str, size: int, encoding: str | None
    ) -> None:
        query = await peer.handshake()
        await peer.ask(query, "POST", f'42["x","{"x" * size}"]'.encode())
        answer = await peer.ask(query, accept_encoding=accepted)
        assert answer.headers.get("content-encoding") == encoding
        assert answer.body == f'42["x","{"x" * size}"]'
