"""What the tests of answers share: who asks, what was heard, and the room around the actor."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import trio

from ellara.actors import ledger
from ellara.actors.runs import Ask, Runs
from ellara.actors.session import Client
from ellara.mailbox import Mailbox
from ellara.model import Message, Page, User
from ellara.protocol import socketio
from ellara.storage.chats import list_chats
from ellara.storage.messages import list_messages
from ellara.storage.pool import Pool

KEY = "sk-test"
LONG = "Tolong jelaskan cara menghitung harga pokok"
SLOW = f"{LONG} [chunks:400] [delay:10]"


class Listener:
    """A client and what it heard."""

    def __init__(self, user_id: str | None = None) -> None:
        self.client = Client("/", user_id, self._hear)
        self.heard: list[tuple[str, Any]] = []
        self.acks: list[Any] = []
        self._news = trio.Event()

    def _hear(self, packet: socketio.Packet) -> None:
        assert isinstance(packet, socketio.Event)
        name, *args = packet.args
        assert isinstance(name, str)
        self.heard.append((name, args[0]))
        self._news.set()
        self._news = trio.Event()

    async def until(self, *names: str, count: int = 1) -> Any:
        """What the `count`-th of these events carried."""
        with trio.fail_after(5):
            while len(found := [value for name, value in self.heard if name in names]) < count:
                await self._news.wait()
        return found[count - 1]

    async def end(self, count: int = 1) -> Any:
        return await self.until("bot_end", "bot_error", count=count)

    @property
    def names(self) -> list[str]:
        """The events in order, chunks in a row as one."""
        return [name for at, (name, _) in enumerate(self.heard) if at == 0 or name != self.heard[at - 1][0]]

    @property
    def text(self) -> str:
        return "".join(value["content"][0]["text"]["value"] for name, value in self.heard if name == "bot_chunk")


@attrs.frozen
class Room:
    """The actor, what it works with, and the scope that it runs in."""

    runs: Runs
    mailbox: Mailbox[Ask]
    pool: Pool
    user: User
    ledger: Mailbox[ledger.Request]
    life: trio.CancelScope
    over: trio.Event

    def ask(self, listener: Listener, question: str, chat_id: str | None = None, **fields: object) -> None:
        payload = {"question": question, "userId": self.user.id, "chatId": chat_id} | fields
        self.runs.on_event(listener.client, "message", [payload], lambda answer: listener.acks.append(answer))

    async def rows(self, chat_id: str) -> list[Message]:
        async with self.pool.connection() as connection:
            return await list_messages(connection, chat_id)

    async def said(self, chat_id: str) -> list[str]:
        return [message.content for message in await self.rows(chat_id)]

    async def titles(self) -> list[str]:
        async with self.pool.connection() as connection:
            listing = await list_chats(connection, self.user.id, Page(100, 1, "createdAt", False, None))
            return [chat.title for chat in listing.rows]


Open = Callable[..., Awaitable[Room]]


async def open_chat(room: Room, question: str = "Halo") -> tuple[Listener, str]:
    """A chat with one answer, and the page that shows it."""
    listener = Listener()
    room.ask(listener, question)
    chat_id: str = (await listener.end())["chatId"]
    listener.heard.clear()
    return listener, chat_id
