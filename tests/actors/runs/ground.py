"""What the tests of answers share: who asks, what was heard, and the room around the actor."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs
import trio

from ellara.actors import ledger
from ellara.actors.runs import Ask, Runs
from ellara.mailbox import Mailbox
from ellara.model import Message, Page, User
from ellara.storage.chats import list_chats
from ellara.storage.messages import list_messages
from ellara.storage.pool import Pool
from tests.actors.listener import Listener

KEY = "sk-test"
LONG = "Tolong jelaskan cara menghitung harga pokok"
SLOW = f"{LONG} [chunks:400] [delay:10]"


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
        self.runs.on_event(listener.client, "message", [payload], listener.acks.append)

    def follow(self, listener: Listener, chat_id: str, **fields: object) -> None:
        """Acknowledged among the events that it hears."""
        payload = {"chatId": chat_id} | ({} if listener.client.user_id else {"userId": self.user.id}) | fields
        self.runs.on_event(listener.client, "resume", [payload], listener.ack)

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
