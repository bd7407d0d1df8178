"""Socket.IO's HTTP face over real sockets: statuses, headers and bodies as the 4.8 reference has them, and who outlives what."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import attrs
import h11
import pytest
import trio
from prometheus_client import REGISTRY
from trio.testing import wait_all_tasks_blocked
from trio_websocket import ConnectionClosed, WebSocketConnection, open_websocket_url

from ellara.actors.session import Ack, Client
from ellara.settings import Server, Socket
from ellara.web.serve import serve_http
from ellara.web.socketio import SocketIO

POLLING, WEBSOCKET = "EIO=4&transport=polling", "EIO=4&transport=websocket"
SOON_S = 5.0
SETTINGS = Socket()
UPGRADE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)


@attrs.frozen
class Response:
    status: int
    headers: Mapping[str, str]
    body: str

    @property
    def code(self) -> object:
        return json.loads(self.body)["code"]


@attrs.define
class Peer:
    """A served SocketIO, and what a client does to it, each request on a connection of its own."""

    port: int
    socketio: SocketIO
    clients: list[Client] = attrs.field(factory=list)
    left: list[Client] = attrs.field(factory=list)
    somebody_left: trio.Event = attrs.field(factory=trio.Event)

    def on_leave(self, client: Client) -> None:
        self.left.append(client)
        self.somebody_left.set()

    def on_event(self, client: Client, event: str, args: list[object], ack: Ack | None) -> None:
        self.clients.append(client)
        if event == "crash":
            raise RuntimeError("our own bug")
        client.emit(event, *args)

    async def ask(self, query: str, method: str = "GET", body: bytes = b"", **headers: str) -> Response:
        with trio.fail_after(SOON_S):
            async with await trio.open_tcp_stream("127.0.0.1", self.port) as stream:
                connection = h11.Connection(h11.CLIENT)
                named = {"host": "x", "content-length": str(len(body))} | {k.replace("_", "-"): v for k, v in headers.items()}
                request = h11.Request(method=method, target=f"/socket.io/?{query}", headers=list(named.items()))
                events: tuple[h11.Event, ...] = (request, h11.Data(data=body), h11.EndOfMessage())
                await stream.send_all(b"".join(connection.send(event) or b"" for event in events))
                return await self._response(stream, connection)

    async def _response(self, stream: trio.SocketStream, connection: h11.Connection) -> Response:
        head, body = None, b""
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await stream.receive_some())
            elif isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                assert head is not None
                headers = {name.decode(): value.decode() for name, value in head.headers}
                text = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
                return Response(head.status_code, headers, text.decode())

    async def handshake(self) -> str:
        """The query that goes on with a new polling session, in which `/` is joined."""
        opened = await self.ask(POLLING)
        query = f"{POLLING}&sid={json.loads(opened.body[1:])['sid']}"
        await self.ask(query, "POST", b"40")
        assert (await self.ask(query)).body.startswith('40{"sid":')
        return query

    async def raw(self, request: str) -> trio.SocketStream:
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        await stream.send_all(f"{request}\r\n".encode())
        return stream

    @asynccontextmanager
    async def websocket(self, query: str = WEBSOCKET) -> AsyncIterator[WebSocketConnection]:
        with trio.fail_after(2 * SOON_S):
            async with open_websocket_url(f"ws://127.0.0.1:{self.port}/socket.io/?{query}") as ws:
                yield ws

    async def join(self, ws: WebSocketConnection) -> None:
        assert str(await ws.get_message()).startswith("0{")
        await ws.send_message("40")
        assert str(await ws.get_message()).startswith('40{"sid":')


@asynccontextmanager
async def serving(settings: Socket = SETTINGS, origins: tuple[str, ...] = ("*",)) -> AsyncIterator[Peer]:
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        peer: Peer
        socketio = SocketIO(
            settings,
            origins,
            nursery,
            authenticate=lambda auth: None,
            on_event=lambda *args: peer.on_event(*args),
            on_leave=lambda client: peer.on_leave(client),
        )
        server = Server(port=0, stop_s=0.5, write_timeout_s=1.0)
        url = await nursery.start(serve_http, socketio, server, stop)
        peer = Peer(int(url.rpartition(":")[2]), socketio)
        yield peer
        await socketio.close(deadline_s=0.2)
        stop.set()


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async with serving() as peer:
        yield peer


def dropped(reason: str) -> float:
    return REGISTRY.get_sample_value("ellara_sessions_dropped_total", {"reason": reason}) or 0.0


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
        async with await peer.raw(f"GET /socket.io/?{query} HTTP/1.1\r\nHost: x\r\n{UPGRADE}") as stream:
            said = b"".join([chunk async for chunk in stream]).decode()
        assert said.startswith("HTTP/1.1 400 ")
        assert said.endswith(f"\r\n\r\n{message}")

    async def test_a_websocket_opens_with_cors_and_without_compression(self, peer: Peer) -> None:
        offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n"
        async with await peer.raw(f"GET /socket.io/?{WEBSOCKET} HTTP/1.1\r\nHost: x\r\n{UPGRADE}{offer}") as stream:
            said = bytes(await stream.receive_some()).decode("latin-1").lower()
        assert said.startswith("http/1.1 101 ")
        assert "access-control-allow-origin: *\r\n" in said
        assert "sec-websocket-extensions" not in said

    async def test_past_the_last_place_newcomers_are_sent_away_and_who_is_in_goes_on(self) -> None:
        async with serving(Socket(sessions_max=1)) as peer:
            query = await peer.handshake()
            assert (await peer.ask(POLLING)).status == 503
            async with await peer.raw(f"GET /socket.io/?{WEBSOCKET} HTTP/1.1\r\nHost: x\r\n{UPGRADE}") as stream:
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 503 ")
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
        async with serving(Socket(payload_max_bytes=20_000_000, outbox_max_bytes=20_000_000)) as peer:
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

    async def test_a_body_of_max_payload_is_taken_and_one_byte_more_is_not(self) -> None:
        async with serving(Socket(payload_max_bytes=1_000)) as peer:
            query = await peer.handshake()
            assert (await peer.ask(query, "POST", b'42["x","' + b"x" * 990 + b'"]')).status == 200
            answer = await peer.ask(query, "POST", b'42["x","' + b"x" * 991 + b'"]')
            assert (answer.status, answer.body, answer.headers["access-control-allow-origin"]) == (413, "", "*")
            assert (await peer.ask(query)).body == '42["x","' + "x" * 990 + '"]'

    async def test_a_binary_body_belongs_to_another_revision(self, peer: Peer) -> None:
        query = await peer.handshake()
        answer = await peer.ask(query, "POST", b"3", content_type="application/octet-stream")
        assert (answer.status, answer.body) == (400, "")
        assert (await peer.ask(query)).code == 1

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

    async def test_frames_in_the_segment_of_the_request_are_not_lost(self, peer: Peer) -> None:
        frame = b"\x81\x82\x00\x00\x00\x0040"
        head = f"GET /socket.io/?{WEBSOCKET} HTTP/1.1\r\nHost: x\r\n{UPGRADE}\r\n".encode()
        async with await trio.open_tcp_stream("127.0.0.1", peer.port) as stream:
            await stream.send_all(head + frame)
            said = b""
            with trio.fail_after(SOON_S):
                while b'40{"sid":' not in said:
                    said += await stream.receive_some()

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

    @pytest.mark.parametrize("letter", ["x", "é"])
    async def test_a_message_over_max_payload_closes_with_1009(self, letter: str) -> None:
        async with serving(Socket(payload_max_bytes=1_000)) as peer, peer.websocket() as ws:
            await peer.join(ws)
            await ws.send_message(f'42["x","{letter * (1_001 // len(letter.encode()))}"]')
            with pytest.raises(ConnectionClosed) as closed:
                await ws.get_message()
            assert closed.value.reason is not None
            assert closed.value.reason.code == 1009

    async def test_a_crash_of_ours_closes_this_connection_alone(self, peer: Peer) -> None:
        async with peer.websocket() as good, peer.websocket() as bad:
            await peer.join(good)
            await peer.join(bad)
            before = dropped("crash")
            await bad.send_message('42["crash"]')
            with pytest.raises(ConnectionClosed):
                await bad.get_message()
            assert dropped("crash") == before + 1
            await good.send_message('42["still"]')
            assert await good.get_message() == '42["still"]'

    async def test_polling_beside_a_websocket_is_a_bad_request(self, peer: Peer) -> None:
        async with peer.websocket() as ws:
            sid = json.loads((await ws.get_message())[1:])["sid"]
            for method in ("GET", "POST"):
                assert (await peer.ask(f"{POLLING}&sid={sid}", method, b"40" if method == "POST" else b"")).code == 3
            await ws.send_message("40")
            assert str(await ws.get_message()).startswith("40")

    async def test_a_client_that_never_reads_is_dropped_and_holds_nobody_up(self) -> None:
        async with serving(Socket(outbox_max_bytes=100_000)) as peer, peer.websocket() as good:
            await peer.join(good)
            before = dropped("outbox full")
            async with await peer.raw(f"GET /socket.io/?{WEBSOCKET} HTTP/1.1\r\nHost: x\r\n{UPGRADE}") as deaf:
                await deaf.send_all(b"\x81\x82\x00\x00\x00\x0040" + b"\x81\x87\x00\x00\x00\x00" + b'42["x"]')
                with trio.fail_after(SOON_S):
                    while not peer.left:
                        await trio.lowlevel.checkpoint()
                        for client in peer.clients:
                            client.emit("chunk", "x" * 10_000)
            assert dropped("outbox full") == before + 1
            await good.send_message('42["still"]')
            assert await good.get_message() == '42["still"]'


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
        async with serving(Socket(upgrade_timeout_s=0.05)) as peer:
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
            nursery.start_soon(peer.socketio.close)
            with pytest.raises(ConnectionClosed):
                await ws.get_message()
        assert answers[0].body == "1"
        assert len(peer.left) == 2

    async def test_after_it_nobody_is_let_in(self, peer: Peer) -> None:
        await peer.socketio.close()
        assert (await peer.ask(POLLING)).status == 503
        async with await peer.raw(f"GET /socket.io/?{WEBSOCKET} HTTP/1.1\r\nHost: x\r\n{UPGRADE}") as stream:
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 503 ")

    async def test_a_client_that_never_comes_back_holds_it_up_no_longer_than_its_deadline(self, peer: Peer) -> None:
        await peer.handshake()
        with trio.fail_after(SOON_S):
            await peer.socketio.close(deadline_s=0.05)
            await peer.somebody_left.wait()
