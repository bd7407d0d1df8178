"""Transcripts: reads what chats have said so far, for the answers that begin. Used by runs.py alone.

What has queued is read in one query, as the ledger writes in one commit: when hundreds ask at once, round trips are the wait.
"""

from __future__ import annotations

from contextlib import ExitStack

import attrs

from ellara.errors import EllaraError, NotFound
from ellara.mailbox import Call, Mailbox
from ellara.model import Message
from ellara.storage.chats import UNKNOWN
from ellara.storage.pool import Pool
from ellara.storage.transcripts import read_transcripts
from ellara.supervision import contained

MAILBOX_SIZE = 1_024
BATCH_MAX = 32


@attrs.define(eq=False, kw_only=True)
class Read(Call[list[Message]]):
    chat_id: str
    user_id: str


class Transcripts:
    """Mailbox: 1,024 reads, then `Busy`. `bytes_max`: how much of a chat's end is wanted."""

    def __init__(self, pool: Pool, bytes_max: int) -> None:
        self._pool = pool
        self._bytes_max = bytes_max
        self._mailbox = Mailbox[Read]("transcripts", MAILBOX_SIZE)

    async def newest(self, chat_id: str, user_id: str) -> list[Message]:
        """Oldest first. Raises `NotFound` for another's or an unknown chat."""
        read = Read(chat_id=chat_id, user_id=user_id)
        self._mailbox.post(read)
        return await read.reply()

    def close(self) -> None:
        self._mailbox.close()

    async def run(self) -> None:
        """Until closed and empty."""
        async for first in self._mailbox:
            batch = self._mailbox.with_more(first, BATCH_MAX)
            with ExitStack() as stack:
                for read in batch:
                    stack.enter_context(read)
                with contained("transcripts"):  # else all answers would end with it
                    await self._answer(batch)

    async def _answer(self, batch: list[Read]) -> None:
        try:
            async with self._pool.connection() as connection:
                found = await read_transcripts(connection, [(read.chat_id, read.user_id) for read in batch], self._bytes_max)
        except EllaraError as error:
            for read in batch:
                read.refuse(error)
            return
        for read in batch:
            messages = found.get((read.chat_id, read.user_id))
            if messages is None:
                read.refuse(NotFound(UNKNOWN))
            else:
                read.answer(messages)
