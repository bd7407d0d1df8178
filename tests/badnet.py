"""A bad network between clients and a server: lines are cut, stalled, dripped, go deaf or are refused. It reorders nothing.

`BadNet` is a TCP proxy on loopback with a trio loop in a thread of its own, so that sync and trio tests alike (and many thousand
lines of the soak) are carried while the test does something else. Its commands return once they are in force.
"""

from __future__ import annotations

import enum
import random
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

import attrs
import outcome
import trio
from outcome import Outcome

HOST, COMMAND_S, READ_MAX_BYTES = "127.0.0.1", 10.0, 65_536
T = TypeVar("T")


class Way(enum.Enum):
    UP = "to the server"
    DOWN = "to the client"


BOTH = (Way.UP, Way.DOWN)


@attrs.frozen
class Drip:
    piece_bytes: int
    every_s: float


@attrs.define(eq=False)
class Line:
    """One connection of a client, with the one to the server that stands for it."""

    client: trio.SocketStream
    server: trio.SocketStream
    scope: trio.CancelScope
    life_bytes: int | None
    """It is cut once so many more bytes have gone down to the client; None: not by itself."""
    deaf: bool = False

    def cut(self, *, reset: bool) -> None:
        if reset:
            _close_by_reset(self.client, self.server)
        self.scope.cancel()


class BadNet:
    """Leads to the server on `port`; a context manager starts and ends it. What is random follows from `seed`.

    `cut` loses what is under way, as a real cut does; `stall` and `drip` lose nothing.
    """

    def __init__(self, port: int, seed: int = 0) -> None:
        self._server_port = port
        self._random = random.Random(seed)
        self._lines: dict[Line, None] = {}
        self._lives: deque[int] = deque()
        self._refusing = False
        self._drip: Drip | None = None
        self._flow = {way: trio.Event() for way in BOTH}
        self._lift()
        self._started: Future[None] = Future()
        self._thread = threading.Thread(target=trio.run, args=(self._run,), name="badnet")

    def cut(self, share: float = 1.0, *, reset: bool = True) -> int:
        """This share of the lines, picked at random, at least one if there is any: by RST, or else by FIN. → how many."""

        def cut() -> int:
            count = min(len(self._lines), max(1, round(len(self._lines) * share)))
            for line in self._random.sample(list(self._lines), count):
                line.cut(reset=reset)
            return count

        return self._do(cut)

    def cut_after(self, *down_bytes: int) -> None:
        """The next new lines, one for each number, are closed once exactly so many bytes have gone down to the client."""
        self._do(lambda: self._lives.extend(down_bytes))

    def stall(self, *ways: Way) -> None:
        """Nothing comes through (that way) until `flow`; both ends stay connected. Also on lines that are new by then."""

        def stall() -> None:
            for way in ways or BOTH:
                if self._flow[way].is_set():
                    self._flow[way] = trio.Event()

        self._do(stall)

    def drip(self, piece_bytes: int, every_s: float) -> None:
        """No more than so many bytes at a time come through, each way of each line, until `flow`."""
        self._drip = Drip(piece_bytes, every_s)

    def flow(self) -> None:
        """Ends stalling and dripping."""
        self._drip = None
        self._do(self._lift)

    def go_deaf(self) -> int:
        """The lines there are: neither side hears anything more, not even that the other one has gone. → how many."""

        def go_deaf() -> int:
            for line in self._lines:
                line.deaf = True
            return len(self._lines)

        return self._do(go_deaf)

    def refuse(self) -> None:
        """New lines are reset, until `accept`; those there are live on."""
        self._refusing = True

    def accept(self) -> None:
        self._refusing = False

    @property
    def lines(self) -> int:
        """Open now, deaf ones included."""
        return self._do(lambda: len(self._lines))

    def _do(self, command: Callable[[], T]) -> T:
        """In the proxy's loop, between two of its steps; what it raises, it raises here."""
        done: Future[Outcome[T]] = Future()
        self._token.run_sync_soon(lambda: done.set_result(outcome.capture(command)))
        return done.result(COMMAND_S).unwrap()

    def _lift(self) -> None:
        for flow in self._flow.values():
            flow.set()

    async def _run(self) -> None:
        async with trio.open_nursery() as nursery:
            self._life = nursery.cancel_scope
            self._token = trio.lowlevel.current_trio_token()
            listeners = await nursery.start(partial(trio.serve_tcp, self._carry, 0, host=HOST))
            self.port = listeners[0].socket.getsockname()[1]
            self.url = f"http://{HOST}:{self.port}"
            self._started.set_result(None)

    async def _carry(self, client: trio.SocketStream) -> None:
        server = None
        if not self._refusing:
            with suppress(OSError):
                server = await trio.open_tcp_stream(HOST, self._server_port)
        if server is None:
            _close_by_reset(client)
            return
        async with client, server:
            async with trio.open_nursery() as nursery:
                line = Line(client, server, nursery.cancel_scope, self._lives.popleft() if self._lives else None)
                self._lines[line] = None
                nursery.start_soon(self._pump, line, Way.UP)
                nursery.start_soon(self._pump, line, Way.DOWN)
            del self._lines[line]

    async def _pump(self, line: Line, way: Way) -> None:
        source, target = (line.client, line.server) if way is Way.UP else (line.server, line.client)
        try:
            while data := await source.receive_some(READ_MAX_BYTES):
                await self._pass_on(line, way, data, target)
            await self._flow[way].wait()
            if not line.deaf:
                await target.send_eof()
        except trio.BrokenResourceError:
            if not line.deaf:
                line.cut(reset=True)

    async def _pass_on(self, line: Line, way: Way, data: bytes, target: trio.SocketStream) -> None:
        while data:
            await self._flow[way].wait()
            if line.deaf:
                return
            drip = self._drip
            piece = data[: drip.piece_bytes] if drip else data
            if way is Way.DOWN and line.life_bytes is not None:
                piece = piece[: line.life_bytes]
                line.life_bytes -= len(piece)
            await target.send_all(piece)
            data = data[len(piece) :]
            if line.life_bytes == 0:
                line.cut(reset=False)
            if drip:
                await trio.sleep(drip.every_s)

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.result(COMMAND_S)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._do(self._life.cancel)
        self._thread.join(COMMAND_S)


def _close_by_reset(*streams: trio.SocketStream) -> None:
    """When they are closed: what is unsent is thrown away, and the peer is told by an RST."""
    for stream in streams:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
