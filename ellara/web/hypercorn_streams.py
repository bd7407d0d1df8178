"""What stands between hypercorn's connections and the application: one request, and what is yet to be received of it.

Used by `hypercorn_guard`, in the same manner: each remedy stands beside the fact about hypercorn 0.18.0 that makes it necessary.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from math import inf

import trio
from hypercorn.config import Config
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.trio.task_group import TaskGroup, _handle
from hypercorn.typing import AppWrapper, ASGIReceiveEvent, ASGISendEvent, Scope

INBOX_EVENTS = 10


class GuardedTasks(TaskGroup):
    """The tasks of one connection: its applications."""

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
    over, and then it and the reader of its connection wait for each other for ever. What comes behind the last event is dropped,
    as upstream goes on through all that it has read.
    """

    def __init__(self) -> None:
        self._room = trio.Semaphore(INBOX_EVENTS)
        self._over = False
        self._send, self._receive = trio.open_memory_channel[ASGIReceiveEvent](inf)

    async def put(self, event: ASGIReceiveEvent) -> None:
        if event["type"] == "http.disconnect":
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
        """Upstream writes on when the peer is gone or was refused, and without a checkpoint: a loop that only sends would stop
        all others."""
        if self.closed and message is not None:
            await trio.lowlevel.checkpoint()
            raise trio.BrokenResourceError("the peer is gone")
        await super().app_send(message)
