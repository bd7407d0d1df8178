"""Starting and stopping, and hostile peers over raw sockets: after each of them the server still answers."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import attrs
import pytest
import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable

from ellara.errors import CannotStart
from ellara.metrics import CONNECTION_FAULTS
from ellara.settings import Server
from ellara.web import hypercorn_guard
from ellara.web.serve import serve_http

SETTINGS = Server(port=0, stop_s=0.3, write_timeout_s=0.3, body_timeout_s=0.3, keep_alive_s=1)
SOON_S = 5.0


@attrs.define
class Application:
    """/slow and /deaf wait for `go` and read no body; /flood writes without end; a WebSocket echoes, at /sends it only sends."""

    go: trio.Event = attrs.field(factory=trio.Event)
    arrived: trio.Event = attrs.field(factory=trio.Event)
    ended: trio.Event = attrs.field(factory=trio.Event)
    turns: int = 0

    async def __call__(self, scope: Any, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        answers: dict[str, Callable[..., Any]] = {"http": self.http, "websocket": self.websocket}
        try:
            await answers[scope["type"]](scope["path"], receive, send)
        finally:
            self.ended.set()

    async def http(self, path: str, receive: Any, send: Any) -> None:
        self.arrived.set()
        if path == "/hasty":
            self.go.set()
            await self.hasty(receive, send)
            return
        if path in ("/slow", "/deaf"):
            await self.go.wait()
        while path not in ("/slow", "/deaf") and (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")] * (path != "/flood")})
        while path == "/flood":
            await send({"type": "http.response.body", "body": bytes(1_000_000), "more_body": True})
        await send({"type": "http.response.body", "body": b"ok"})

    async def hasty(self, receive: Any, send: Any) -> None:
        """As quart: what reads cancels what answers once it hears of the end."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.http, "/slow", receive, send)
            while (await receive())["type"] != "http.disconnect":
                pass
            nursery.cancel_scope.cancel()

    async def websocket(self, path: str, receive: Any, send: Any) -> None:
        self.arrived.set()
        await receive()
        if path == "/slow":
            await self.go.wait()
        await send({"type": "websocket.accept"})
        while path == "/sends":
            self.turns += 1
            await send({"type": "websocket.send", "text": "x" * 10_000})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})


@attrs.define
class Site:
    port: int
    app: Application
    stop: trio.Event
    stopped: trio.Event

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.port)

    async def say(self, data: bytes) -> bytes:
        """Sends, then reads to the end of the stream."""
        async with await self.connect() as stream:
            with trio.fail_after(SOON_S):
                await stream.send_all(data)
                return b"".join([part async for part in stream])


async def serve(site: Site, *, task_status: trio.TaskStatus[str]) -> None:
    await serve_http(site.app, SETTINGS, site.stop, message_max_bytes=1_000, task_status=task_status)
    site.stopped.set()


@pytest.fixture
async def site(nursery: trio.Nursery) -> AsyncIterator[Site]:
    site = Site(0, Application(), trio.Event(), trio.Event())
    url = await nursery.start(serve, site)
    site.port = int(url.rpartition(":")[2])
    yield site
    nursery.cancel_scope.cancel()


def request(path: str = "/", *more: bytes) -> bytes:
    return b"".join([b"GET %s HTTP/1.1\r\nhost: a\r\n" % path.encode(), *(line + b"\r\n" for line in more), b"\r\n"])


def upgrade(path: str = "/", *more: bytes) -> bytes:
    head = (b"upgrade: websocket", b"connection: Upgrade", b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==")
    return request(path, *head, b"sec-websocket-version: 13", *more)


def frame(payload: bytes, opcode: int = 1) -> bytes:
    """Final, masked with zeros."""
    size = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + struct.pack("!H", len(payload))
    return bytes([0x80 | opcode]) + size + bytes(4) + payload


async def read_until(stream: trio.SocketStream, end: bytes) -> bytes:
    data = b""
    with trio.fail_after(SOON_S):
        while not data.endswith(end):
            part = await stream.receive_some()
            assert part, f"the stream ended after {data!r}"
            data += part
    return data


async def answers(site: Site) -> bool:
    return (await site.say(request("/", b"connection: close"))).endswith(b"ok")


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


@pytest.mark.parametrize("data", [request("/slow"), request("/flood"), upgrade("/slow"), upgrade()])
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
