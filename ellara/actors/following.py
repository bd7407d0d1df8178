"""Following: lets a client follow a chat of its user (`resume`), once the chat is known to be there and the user's.

While an answer is being generated in it that is known; else the database is asked, for all that have queued at once: after a
restart every page comes back in the same second. Used by runs.py alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping

import attrs

from ellara.actors.answer import Answer, refuse
from ellara.actors.application import Ack
from ellara.actors.audience import Audience, Key, Seat
from ellara.actors.client import Client
from ellara.actors.phrases import Language, Trouble, trouble_of
from ellara.actors.questions import Resume
from ellara.errors import EllaraError
from ellara.llm.faults import Fault
from ellara.mailbox import Mailbox
from ellara.storage.chats import find_owners
from ellara.storage.pool import Pool
from ellara.supervision import contained

MAILBOX_SIZE = 1_024
BATCH_MAX = 256


@attrs.frozen(eq=False)
class Follow:
    """A client in front of the chat that it wants to follow."""

    seat: Seat
    key: Key
    after: int
    ack: Ack | None


class Following:
    """Mailbox: 1,024 clients, then `Busy`. `running`: the answer being generated in a chat, once its question is stored."""

    def __init__(self, pool: Pool, audience: Audience, running: Callable[[Key], Answer | None]) -> None:
        self._pool = pool
        self._audience = audience
        self._running = running
        self._mailbox = Mailbox[Follow]("following", MAILBOX_SIZE)
        self._unread = False
        """The mailbox has no reader any more: the daemon is at its end, or starts the actor again."""

    def ask(self, client: Client, user_id: str, resume: Resume, ack: Ack | None) -> None:
        """Whichever chat it showed, it hears no more of it. Never raises, never waits."""
        key = (user_id, resume.chat_id)
        follow = Follow(self._audience.show(client, key), key, resume.after, ack)
        if self._running(key) is not None:
            self._let_in(follow)
        elif self._unread:
            _refuse(follow, Trouble.STOPPING)
        else:
            self._enqueue(follow)

    def close(self) -> None:
        self._mailbox.close()

    async def run(self) -> None:
        """Until closed and empty. Cut short, it refuses who waits; whoever comes after is refused until it runs again."""
        self._unread = False
        try:
            async for first in self._mailbox:
                with contained("following"):
                    await self._look_up(deque(self._mailbox.with_more(first, BATCH_MAX)))
        finally:
            self._unread = True
            while (follow := self._mailbox.take()) is not None:
                _refuse(follow, Trouble.STOPPING)

    def _enqueue(self, follow: Follow) -> None:
        try:
            self._mailbox.post(follow)
        except EllaraError as error:
            _refuse(follow, trouble_of(error))

    async def _look_up(self, batch: deque[Follow]) -> None:
        """Each is let in or refused, also when this crashes or is cancelled."""
        trouble: Trouble | Fault = Trouble.BROKEN
        try:
            async with self._pool.connection() as connection:
                owners = await find_owners(connection, {follow.key[1] for follow in batch})
            while batch:
                self._decide(batch.popleft(), owners)
        except EllaraError as error:
            trouble = trouble_of(error)
        finally:
            for follow in batch:
                _refuse(follow, trouble)

    def _decide(self, follow: Follow, owners: Mapping[str, str]) -> None:
        user_id, chat_id = follow.key
        if owners.get(chat_id) == user_id:
            self._let_in(follow)
        else:  # another's and an unknown one are refused alike
            _refuse(follow, Trouble.UNKNOWN_CHAT)

    def _let_in(self, follow: Follow) -> None:
        """Who hears the answer already is told nothing again: what is on its way to it may not be in its `after` yet."""
        client, answer = follow.seat.client, self._running(follow.key)
        is_heard = answer is not None and answer.is_heard_by(client)
        follows = self._audience.follow(follow.seat)
        if answer is None or answer.ended:
            _accept(follow, {"running": False})
            return
        _accept(follow, {"running": True, "after": answer.units_told if is_heard else min(follow.after, answer.units_told)})
        if follows and not is_heard:
            answer.catch_up(client, follow.after)


def _accept(follow: Follow, details: Mapping[str, object]) -> None:
    """`after` in it: where the text that follows goes on, so that a page can cut its own back to there."""
    if follow.ack is not None:
        follow.ack({"ok": True, "chatId": follow.key[1], **details})


def _refuse(follow: Follow, trouble: Trouble | Fault) -> None:
    refuse(follow.seat.client, follow.ack, trouble, Language.INDONESIAN)
