"""Reading from OpenAI less often when many streams are open, so that what arrived meanwhile is handled at once.

A stream's deltas come one by one, and each wakes the whole stack above the socket. With few streams that is what one wants; with
hundreds it fills the processor, and everyone's first word waits. Imported by client.py when it opens: it needs the HTTP library.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import httpcore2
import httpx2
import trio

UNPACED_STREAMS = 32
PAUSE_PER_STREAM_S, PAUSE_MAX_S = 0.0002, 0.1
"""Some 5,000 reads a second over all streams; a reader does not see a tenth of a second."""

UNPACED_READS = 4
"""Of each response: its headers, opening events and first words are never held back."""


POOLS, STREAMS_PER_POOL = 16, 32


@attrs.define
class Pace:
    streams: int = 0
    """Open now."""

    @property
    def pause_s(self) -> float:
        """How long at least from one read of a stream to its next."""
        return 0.0 if self.streams <= UNPACED_STREAMS else min(self.streams * PAUSE_PER_STREAM_S, PAUSE_MAX_S)

    @contextmanager
    def one_more(self) -> Iterator[None]:
        """While a stream is open."""
        self.streams += 1
        try:
            yield
        finally:
            self.streams -= 1


class PacedSocket(trio.abc.Stream):
    """Below TLS: what one read brings may be many of its records, and those above are then there without another read."""

    def __init__(self, stream: trio.abc.Stream, pace: Pace) -> None:
        self._stream = stream
        self._pace = pace
        self._reads = 0
        self._last_read = 0.0

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        self._reads += 1
        if self._reads > UNPACED_READS and (pause_s := self._pace.pause_s):
            await trio.sleep_until(self._last_read + pause_s)
        data = await self._stream.receive_some(max_bytes)
        self._last_read = trio.current_time()
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self._reads = 0  # the next response begins
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()


class PacedStream(httpcore2.AsyncNetworkStream):
    """The HTTP library's own stream on top of a `PacedSocket`; it asks for the socket itself, so that is kept at hand."""

    def __init__(self, stream: httpcore2.AsyncNetworkStream, socket: trio.socket.SocketType) -> None:
        self._stream = stream
        self._socket = socket

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return await self._stream.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.AsyncNetworkStream:
        return PacedStream(await self._stream.start_tls(ssl_context, server_hostname, timeout), self._socket)

    def get_extra_info(self, info: str) -> Any:
        match info:
            case "socket":
                return self._socket
            case "is_readable":
                return self._socket.is_readable()
            case "client_addr":
                return self._socket.getsockname()
            case "server_addr":
                return self._socket.getpeername()
            case _:
                return self._stream.get_extra_info(info)


class PacedBackend(httpcore2.TrioBackend):
    def __init__(self, pace: Pace) -> None:
        self._pace = pace

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        stream: Any = await super().connect_tcp(host, port, timeout, local_address, socket_options)
        socket = stream.get_extra_info("socket")
        return PacedStream(type(stream)(PacedSocket(trio.SocketStream(socket), self._pace)), socket)


class PacedTransport(httpx2.AsyncBaseTransport):
    """The HTTP library's own transports, over paced connections. A few, for each walks its whole pool at every request.

    They fill up in order, so that at low load the few connections are used again.
    """

    def __init__(self, pace: Pace, limits: httpx2.Limits) -> None:
        self._pace = pace
        tls = httpx2.create_ssl_context()  # 30 ms each
        limits = httpx2.Limits(
            max_connections=limits.max_connections,
            max_keepalive_connections=STREAMS_PER_POOL,
            keepalive_expiry=limits.keepalive_expiry,
        )
        self._pools = [_transport(pace, limits, tls) for _ in range(POOLS)]

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        pool = self._pools[self._pace.streams // STREAMS_PER_POOL % POOLS]
        return await pool.handle_async_request(request)

    async def aclose(self) -> None:
        for pool in self._pools:
            await pool.aclose()


def _transport(pace: Pace, limits: httpx2.Limits, tls: ssl.SSLContext) -> httpx2.AsyncHTTPTransport:
    transport = httpx2.AsyncHTTPTransport(verify=tls, limits=limits)
    assert hasattr(transport._pool, "_network_backend")  # it takes no backend, so the one of its pool is replaced
    transport._pool._network_backend = PacedBackend(pace)
    return transport
