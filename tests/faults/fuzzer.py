"""Peers that send garbage, by a seed: random bytes, and what is valid after a few random changes, cut anywhere and ended anyhow.

A peer is over within `PEER_S` whatever the server does; at the end each session that was closed hears so at its next poll.
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial

import trio

from tests.web.hostile import FRAMES, PATH, POLLING, REQUESTS, UPGRADES, frame, request, upgrade

Say = Callable[[trio.SocketStream], Awaitable[None]]

PEER_S = 2.0
END_S = 10.0
"""A server that has not ended a connection or a session by then will not."""
AT_ONCE = 60

PACKETS = [
    b"40",
    b'40{"token":"x"}',
    b"40/ws,",
    b"41",
    b"1",
    b"2",
    b"3",
    b"2probe",
    b"5",
    b"6",
    b'42["message",{"question":"Halo"}]',
    b'42["message","{\\"question\\":1}"]',
    b'42/ws,["resume",{"chatId":"x"}]',
    b'420["resume",{}]',
    b"431[1]",
    b'451-["x",{"_placeholder":true,"num":0}]',
    b'4511111111111-["x"]',
    b"bAAAA",
    b'42["x","\\ud800"]',
    b'42["x",' + b"[" * 2_000 + b"]" * 2_000 + b"]",
    b'42["x",' + b"9" * 5_000 + b"]",
    b'40{"pid":"x","offset":"0"}',
]
SPLINTERS = [
    b"\r\n",
    b"\r\n\r\n",
    b"\x00",
    b"\xff",
    b"\x1e",
    b'"',
    b"[",
    b"{",
    b",",
    b":",
    b"%00",
    b"-1",
    b"9" * 30,
    b"\xed\xa0\x80",
]
REQUEST_BYTES = [*REQUESTS.values(), *UPGRADES.values(), request(POLLING), request("/health"), request("/metrics") * 20]


class Fuzzer:
    def __init__(self, seed: int, port: int) -> None:
        self._random = random.Random(seed)
        self._port = port
        self.peers = 0
        """Over."""
        self._sids: list[str] = []

    async def run(self, peers: int) -> None:
        """So many, `AT_ONCE` at a time."""
        kinds: list[Say] = [self._say_noise, *[self._say_request] * 2, *[self._speak_websocket] * 2, self._poll]
        await _at_once(partial(self._peer, self._random.choice(kinds)) for _ in range(peers))
        await _at_once(partial(_poll_to_the_end, self._port, sid) for sid in self._sids)

    async def _peer(self, say: Say) -> None:
        with trio.move_on_after(PEER_S), suppress(trio.BrokenResourceError, OSError):
            async with await trio.open_tcp_stream("127.0.0.1", self._port) as stream:
                await say(stream)
                await self._leave(stream)
        self.peers += 1

    async def _say_noise(self, stream: trio.SocketStream) -> None:
        await self._send(stream, self._random.randbytes(self._random.choice([1, 10, 100, 20_000])))

    async def _say_request(self, stream: trio.SocketStream) -> None:
        await self._send(stream, self._changed(self._random.choice(REQUEST_BYTES)))

    async def _speak_websocket(self, stream: trio.SocketStream) -> None:
        """The request is good, and now and then the first packets."""
        said = upgrade(PATH) + frame(b"40") * self._random.choice([0, 1])
        for _ in range(self._random.choice([1, 1, 3, 10])):
            packet = self._random.choice(PACKETS)
            part = self._random.choice([frame(packet), frame(packet, 2), frame(self._changed(packet)), *FRAMES.values()])
            said += self._random.choice([part, part, self._changed(part)])
        await self._send(stream, said)

    async def _poll(self, stream: trio.SocketStream) -> None:
        """A session is opened, and joined now and then; what is posted is not what it should be."""
        await stream.send_all(request(POLLING))
        answer = await stream.receive_some()
        while not answer.endswith(b"}") and (part := await stream.receive_some()):
            answer += part
        sid = json.loads(answer.partition(b"\r\n\r\n0")[2])["sid"]
        self._sids.append(sid)
        packets = [b"40", *self._random.choices(PACKETS, k=self._random.choice([0, 1, 5]))]
        body = self._random.choice([self._changed(b"\x1e".join(packets)), b"\x1e".join(map(self._changed, packets))])
        post = request(f"{POLLING}&sid={sid}", b"content-length: %d" % len(body)).replace(b"GET", b"POST") + body
        await self._send(stream, self._random.choice([post, post, post * 2, self._changed(post)]))
        await self._send(stream, request(f"{POLLING}&sid={sid}") * self._random.choice([0, 1, 2]))

    async def _send(self, stream: trio.SocketStream, data: bytes) -> None:
        cuts = sorted(self._random.randrange(len(data) + 1) for _ in range(self._random.choice([0, 0, 1, 3])))
        for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
            await stream.send_all(data[start:end])
            await trio.sleep(self._random.choice([0, 0, 0.002]))

    async def _leave(self, stream: trio.SocketStream) -> None:
        match self._random.randrange(6):
            case 0:  # reset
                stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, struct.pack("ii", 1, 0))
            case 1:  # half-open
                await stream.send_eof()
                await _read_to_end(stream)
            case 2:
                await _read_to_end(stream)
            case 3:  # reads nothing
                await trio.sleep(0.2)
            case _:
                pass

    def _changed(self, data: bytes) -> bytes:
        for _ in range(self._random.choice([0, 1, 1, 2, 5])):
            changed = bytearray(data)
            start, end = sorted(self._random.randrange(len(data) + 1) for _ in range(2))
            end = min(end, start + self._random.choice([1, 4, 100]))
            match self._random.randrange(5):
                case 0:
                    del changed[start:end]
                case 1:
                    changed[start:start] = self._random.choice(SPLINTERS)
                case 2:
                    changed[start:end] = self._random.randbytes(end - start)
                case 3:
                    changed[start:start] = changed[start:end] * self._random.choice([1, 2, 50])
                case _:
                    del changed[end:]
            data = bytes(changed)
        return data


async def _poll_to_the_end(port: int, sid: str) -> None:
    """As a client does that hears no pings, until its session is unknown; raises `TooSlowError` if it never is."""
    data = b""
    with trio.fail_after(END_S):
        while b'"code":1' not in data:
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(request(f"{POLLING}&sid={sid}", b"connection: close"))
                data = b"".join([part async for part in stream])


async def _at_once(peers: Iterator[Callable[[], Awaitable[None]]]) -> None:
    async def take() -> None:
        for peer in peers:
            await peer()

    async with trio.open_nursery() as nursery:
        for _ in range(AT_ONCE):
            nursery.start_soon(take)


async def _read_to_end(stream: trio.SocketStream) -> None:
    with trio.move_on_after(0.3):
        while await stream.receive_some(65_536):
            pass


async def each_alone(port: int, inputs: Sequence[bytes]) -> None:
    """Each on a connection of its own, half-closed behind it and read to its end; raises `TooSlowError` if that never comes."""
    for data in inputs:
        with trio.fail_after(END_S), suppress(trio.BrokenResourceError):
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(data)
                await stream.send_eof()
                while await stream.receive_some(65_536):
                    pass
