"""Speaks to sessions as web/socketio.py does, and stands for the rest of Ellara: what the connections are for."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import attrs
import trio

from ellara.actors.application import Ack, Application
from ellara.actors.client import Client
from ellara.actors.clients import Clients
from ellara.actors.outbox import Outbox
from ellara.actors.session import Hub, Session
from ellara.actors.timers import Timers
from ellara.errors import TokenExpired, TokenRejected
from ellara.protocol.engineio import encode_frame
from ellara.protocol.transport import Signal
from ellara.settings import Socket

SETTINGS = Socket(recovery_s=0, outbox_max_bytes=10_000)
SOON_S = 10.0


@attrs.define
class Ellara:
    """`pong` is answered to `ping`."""

    settings: Socket
    timers: Timers = attrs.field(factory=Timers)
    clients: list[Client] = attrs.field(factory=list)
    """That asked something."""
    heard: list[tuple[str, list[object]]] = attrs.field(factory=list)
    left: list[Client] = attrs.field(factory=list)
    ended: list[Session] = attrs.field(factory=list)
    hub: Hub = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        application = Application(self.authenticate, self.on_event, lambda client, _: client.emit("too fast"), self.left.append)
        clients = Clients(self.settings, self.timers, application.on_leave)
        self.hub = Hub(self.settings, application, clients, self.timers, self.ended.append)

    def authenticate(self, auth: Mapping[str, object]) -> str | None:
        if auth.get("token") == "bad":
            raise TokenRejected("Invalid Token")
        if auth.get("token") == "ani's, of yesterday":
            raise TokenExpired("ani")
        return str(auth["token"]) if "token" in auth else None

    def on_event(self, client: Client, event: str, args: list[object], ack: Ack | None) -> None:
        if client not in self.clients:
            self.clients.append(client)
        self.heard.append((event, args))
        if ack is not None:
            ack(*args)
            ack("a second answer")
        match event:
            case "ping":
                client.emit("pong", *args)
            case "crash":
                raise RuntimeError("our own bug")
            case "flood":
                for _ in range(100):
                    client.emit("flood", "x" * 1_000)


class Shell:
    """`line`: the WebSocket that it speaks over."""

    def __init__(self, ellara: Ellara, *, websocket: bool) -> None:
        self.session = Session(ellara.hub, "127.0.0.1", websocket=websocket)
        self.line = self.session.outbox
        self.is_cut = False
        self.line.when_abandoned(self._cut)
        self._ended = ellara.ended

    def _cut(self) -> None:
        self.is_cut = True

    def is_over(self) -> bool:
        """Told, and told once."""
        assert self._ended.count(self.session) <= 1
        return self.session in self._ended

    def says(self, *frames: str | bytes) -> None:
        for frame in frames:
            self.session.frame(self.line, frame)

    async def hears(self) -> list[str | bytes]:
        """What goes out next; nothing when the line was closed."""
        await self.line.filled()
        return [encode_frame(packet) for packet in self.line.take()]

    async def polls(self) -> list[str | bytes]:
        outbox = self.session.poll()
        await outbox.filled()
        packets = outbox.take()
        self.session.happened(Signal.POLL_ANSWERED)
        return [encode_frame(packet) for packet in packets]

    async def posts(self, body: str) -> None:
        self.session.post()
        await self.session.posted(body)

    def upgrades(self) -> None:
        """A WebSocket comes, and it is the line from here on."""
        self.line = Outbox(10_000)
        self.session.socket_came(self.line)

    async def joins(self, auth: str = "") -> None:
        self.says(f"40{auth}")
        assert str((await self.hears())[0]).startswith('40{"sid":"')

    def comes_back(self, client: Client, **auth: object) -> None:
        """To its namespace, showing its pid."""
        self.says(f"40{client.namespace},{json.dumps({'pid': client.pid} | auth)}")


@asynccontextmanager
async def connected(
    websocket: bool = True, within_s: float = SOON_S, settings: Socket = SETTINGS
) -> AsyncIterator[tuple[Shell, Ellara]]:
    """A session whose handshake was answered; cut at the end. A test that waits for longer has failed."""
    ellara = Ellara(settings)
    with trio.fail_after(within_s):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ellara.timers.run)
            shell = Shell(ellara, websocket=websocket)
            opened = await shell.hears() if websocket else await shell.polls()
            assert shell.session.sid in str(opened[0])
            yield shell, ellara
            nursery.cancel_scope.cancel()
