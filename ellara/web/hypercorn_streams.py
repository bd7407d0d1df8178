"""What stands between hypercorn's connections and the application: one request, one WebSocket, and what is yet to be received.

Used by `hypercorn_guard`, in the same manner: each remedy stands beside the fact about hypercorn 0.18.0 that makes it necessary.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from math import inf
from typing import Any, NoReturn

import trio
from hypercorn.config import Config
from hypercorn.protocol.events import Body, Data, Request, StreamClosed
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.protocol.ws_stream import ASGIWebsocketState, WSStream
from hypercorn.trio.task_group import TaskGroup, _handle
from hypercorn.typing import AppWrapper, ASGIReceiveEvent, ASGISendEvent, Scope, WebsocketAcceptEvent
from wsproto.connection import ConnectionState
from wsproto.events import CloseConnection
from wsproto.events import Event as WebSocketEvent
from wsproto.frame_protocol import CloseReason

INBOX_EVENTS = 10


class GuardedTasks(TaskGroup):
    """The tasks of one connection: its applications and its idle timer."""

    async def spawn_app(
        self, app: AppWrapper, config: Config, scope: Scope, send: Callable[[ASGISendEvent | None], Awaitable[None]]
    ) -> Callable[[ASGIReceiveEvent], Awaitable[None]]:
        inbox = Inbox()
        assert self._nursery is not None
        self._nursery.start_soon(_handle, app, config, scope, inbox.receive, send, trio.to_thread.run_sync, trio.from_thread.run)
        return inbox.put


class Inbox:
    """What an application has yet to receive. Full means that its connection is not read on; the last event always gets in.

    Upstream's queue has no such exception: an application that answers without reading a long body cannot be told that it is
    over, and then it and the reader of its connection wait for each other for ever. Frames behind the last event are dropped,
    as upstream goes on through all that it has read.
    """

    def __init__(self) -> None:
        self._room = trio.Semaphore(INBOX_EVENTS)
        self._over = False
        self._send, self._receive = trio.open_memory_channel[ASGIReceiveEvent](inf)

    async def put(self, event: ASGIReceiveEvent) -> None:
        if event["type"] in ("http.disconnect", "websocket.disconnect"):
            self._over = True
            self._room.release()  # for a reader that waits to put what nobody will receive
            self._send.send_nowait(event)
            return
        if not self._over:
            await self._room.acquire()
        if not self._over:
            self._send.send_nowait(event)

    async def receive(self) -> ASGIReceiveEvent:
        event = await self._receive.receive()
        self._room.release()
        return event


class GuardedRequest(HTTPStream):
    """One request: the application's side of it sees the ASGI events."""

    async def app_send(self, message: ASGISendEvent | None) -> None:
        """Upstream writes on when the peer is gone or was refused."""
        if self.closed and message is not None:
            await _tell_that_the_peer_is_gone()
        await super().app_send(message)


class GuardedWebSocket(WSStream):
    """One WebSocket: the application's side of it sees the ASGI events."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._decided = trio.Event()

    async def handle(self, event: StreamEvent) -> None:
        """Frames that come before the application accepts wait, unread; upstream answers 400, in a state that ends the server."""
        if isinstance(event, Body | Data) and not self.closed:
            await self._decided.wait()
        elif isinstance(event, StreamClosed):
            self._decided.set()
        await super().handle(event)
        if isinstance(event, Request) and self.closed:  # a bad handshake, answered; upstream leaves the connection open for ever
            await self.send(StreamClosed(stream_id=self.stream_id))

    async def app_send(self, message: ASGISendEvent | None) -> None:
        """Upstream returns at once, without a checkpoint, when the peer is gone or is closing: a loop that only sends would stop
        all others."""
        if (self.closed or self._is_ending) and message is not None:
            await _tell_that_the_peer_is_gone()
        await super().app_send(message)

    @property
    def _is_ending(self) -> bool:
        """The peer's close frame came, and is being answered."""
        return self.state is ASGIWebsocketState.CONNECTED and self.connection.state is not ConnectionState.OPEN

    async def _accept(self, message: WebsocketAcceptEvent) -> None:
        await super()._accept(message)
        self._decided.set()

    async def _send_wsproto_event(self, event: WebSocketEvent) -> None:
        """After a message over the limit upstream sends close 1009, tells nobody, and is mute from then on: end it."""
        await super()._send_wsproto_event(event)
        if isinstance(event, CloseConnection) and event.code == CloseReason.MESSAGE_TOO_BIG:
            await self.send(StreamClosed(stream_id=self.stream_id))


async def _tell_that_the_peer_is_gone() -> NoReturn:
    await trio.lowlevel.checkpoint()
    raise trio.BrokenResourceError("the peer is gone")
