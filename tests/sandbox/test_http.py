"""The shell under the sandbox's servers, spoken to in bytes."""

from __future__ import annotations

import json
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import pairwise
from socket import SO_LINGER, SOL_SOCKET

import h11
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from ellara.sandbox import http
from ellara.sandbox.http import Handler, Request, Response, serve

GET = b"GET /a%20b?x=1&x=2&y= HTTP/1.1\r\nHost: h\r\nX-Odd: \xe9\r\n\r\n"


async def echo(request: Request, response: Response) -> None:
    shown = {"method": request.method, "path": request.path, "query": request.query, "odd": request.headers.get("x-odd")}
    await response.send(200, json.dumps(shown | {"body": request.body.decode()}).encode())


@asynccontextmanager
async def served(handler: Handler) -> AsyncIterator[trio.SocketStream]:
    """A connection to a server that runs `handler`."""
    async with trio.open_nursery() as nursery:
        port = await nursery.start(serve, handler)
        async with await trio.open_tcp_stream(http.HOST, port) as stream:
            yield stream
        nursery.cancel_scope.cancel()


async def answer(stream: trio.SocketStream, method: bytes = b"GET") -> tuple[int, bytes]:
    """Status and body of the next answer. Raises h11's error when it is cut."""
    wire, status, body = h11.Connection(h11.CLIENT), 0, b""
    wire.send(h11.Request(method=method, target="/", headers=[("host", "h")]))
    wire.send(h11.EndOfMessage())
    while not isinstance(event := wire.next_event(), h11.EndOfMessage):
        if event is h11.NEED_DATA:
            wire.receive_data(await stream.receive_some(1))
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += event.data
    return status, body


async def test_a_request_arrives_parsed() -> None:
    async with served(echo) as stream:
        await stream.send_all(GET)
        status, body = await answer(stream)
    assert status == 200
    assert json.loads(body) == {"method": "GET", "path": "/a b", "query": {"x": "1", "y": ""}, "odd": "é", "body": ""}


async def test_a_connection_serves_one_request_after_another_even_sent_at_once() -> None:
    post = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
    async with served(echo) as stream:
        await stream.send_all(GET + post + GET)
        assert [json.loads((await answer(stream))[1])["method"] for _ in range(3)] == ["GET", "POST", "GET"]


@given(cuts=st.lists(st.integers(1, 60), max_size=8))
def test_any_split_of_a_request_is_the_same_request(cuts: list[int]) -> None:
    whole = b"POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"
    edges = [0, *sorted(cuts), len(whole)]

    async def main() -> None:
        async with served(echo) as stream:
            for start, end in pairwise(edges):
                await stream.send_all(whole[start:end])
                await trio.lowlevel.checkpoint()
            assert json.loads((await answer(stream))[1])["body"] == "hello"

    trio.run(main)


async def test_a_chunked_answer_leaves_the_connection_usable() -> None:
    async def count(request: Request, response: Response) -> None:
        await response.start(200, [("content-type", "text/plain")])
        for part in (b"one ", b"two"):
            await response.chunk(part)
        await response.finish()

    async with served(count) as stream:
        for _ in range(2):
            await stream.send_all(GET)
            assert await answer(stream) == (200, b"one two")


async def test_a_head_request_gets_no_body() -> None:
    async with served(echo) as stream:
        await stream.send_all(GET.replace(b"GET", b"HEAD"))
        assert await answer(stream, b"HEAD") == (200, b"")


async def test_a_client_that_asks_before_it_sends_a_body_is_told_to_go_on() -> None:
    async with served(echo) as stream:
        await stream.send_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert (await stream.receive_some(100)).startswith(b"HTTP/1.1 100 ")
        await stream.send_all(b"hi")
        assert json.loads((await answer(stream))[1])["body"] == "hi"


@pytest.mark.parametrize(
    "bad",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET //[ HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_a_bad_request_gets_400_and_the_end_of_its_connection(bad: bytes) -> None:
    async with served(echo) as stream:
        await stream.send_all(bad)
        status, body = await answer(stream)
        assert status == 400
        assert json.loads(body)["error"]["message"]
        assert await stream.receive_some() == b""


async def test_a_body_over_the_limit_gets_413(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "BODY_MAX_BYTES", 10)
    async with served(echo) as stream:
        await stream.send_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\n" + b"x" * 11)
        assert (await answer(stream))[0] == 413


async def crash(request: Request, response: Response) -> None:
    if request.query:
        await response.start(200, [])
    raise ValueError("on purpose")


async def test_a_crash_before_the_answer_is_a_500_and_the_connection_goes_on() -> None:
    async with served(crash) as stream:
        for _ in range(2):
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            status, body = await answer(stream)
            assert status == 500
            assert b"on purpose" not in body


async def test_a_crash_inside_an_answer_cuts_it() -> None:
    async with served(crash) as stream:
        await stream.send_all(GET)
        with pytest.raises(h11.RemoteProtocolError):
            await answer(stream)


@pytest.mark.parametrize("writes", [True, False])
@pytest.mark.parametrize("reset", [True, False])
async def test_a_peer_that_leaves_cancels_its_handler(writes: bool, reset: bool) -> None:
    began, ended = trio.Event(), trio.Event()

    async def endless(request: Request, response: Response) -> None:
        try:
            await response.start(200, [])
            began.set()
            while True:
                await response.chunk(b"x" * 10_000) if writes else await trio.sleep_forever()
        finally:
            ended.set()

    async with served(endless) as stream:
        await stream.send_all(GET)
        await began.wait()
        if reset:
            stream.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        await stream.aclose()
        with trio.fail_after(1):
            await ended.wait()


async def test_a_server_that_aborts_resets_the_connection() -> None:
    async def cut(request: Request, response: Response) -> None:
        await response.start(200, [])
        response.abort()

    async with served(cut) as stream:
        await stream.send_all(GET)
        with pytest.raises(trio.BrokenResourceError):
            await answer(stream)


async def test_raw_bytes_go_out_as_they_are_and_end_the_connection() -> None:
    async def odd(request: Request, response: Response) -> None:
        await response.raw(b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n9\r\nshort")

    async with served(odd) as stream:
        await stream.send_all(GET)
        with pytest.raises(h11.RemoteProtocolError, match="incomplete chunked read"):
            await answer(stream)


async def test_a_port_in_use_is_an_os_error() -> None:
    async with trio.open_nursery() as nursery:
        port = await nursery.start(serve, echo)
        with pytest.raises(OSError, match="in use"):
            await serve(echo, port)
        nursery.cancel_scope.cancel()


async def test_a_hundred_peers_are_served_at_once() -> None:
    gathered = trio.Event()
    waiting = 0

    async def together(request: Request, response: Response) -> None:
        nonlocal waiting
        waiting += 1
        if waiting == 100:
            gathered.set()
        await gathered.wait()
        await response.send(200, b"{}")

    async def ask(port: int) -> None:
        async with await trio.open_tcp_stream(http.HOST, port) as stream:
            await stream.send_all(GET)
            assert await answer(stream) == (200, b"{}")

    async with trio.open_nursery() as nursery:
        port = await nursery.start(serve, together)
        with trio.fail_after(10):
            async with trio.open_nursery() as peers:
                for _ in range(100):
                    peers.start_soon(partial(ask, port))
        nursery.cancel_scope.cancel()
