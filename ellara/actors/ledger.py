"""The only writer of User, Chat, Message and Transaction. It writes what has queued in one commit, and answers after it.

The functions are what callers use; a caller that goes away does not stop what was accepted. Batching needs no timer: while one
commit is on its way the next batch queues up. Absent: reading lists, which needs no order, and any memory between two batches.
"""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from datetime import datetime
from typing import Any, Self, TypeAlias

import attrs
import trio

from ellara.errors import EllaraError, Invalid, NotFound, Refused, Unavailable
from ellara.log import get_logger
from ellara.mailbox import Answer, Call, Mailbox
from ellara.metrics import LEDGER_BATCH, LEDGER_CALLS
from ellara.model import Chat, Message, Speaker, Transaction, TransactionStatus, TransactionType, User, utc_now
from ellara.storage import chats, messages, transactions, users
from ellara.storage.connection import Connection, Interrupted
from ellara.storage.pool import Pool

log = get_logger(__name__)

MAILBOX_SIZE = 1024
BATCH_MAX = 64
RETRY_S, FIRST_PAUSE_S = 3.0, 0.05
"""How long a batch is tried again while the database restarts; the pause between two tries doubles."""


async def sign_in(mailbox: Mailbox[Request], public_key: str) -> User:
    """The user of a key: one with exactly this key, else in other letter case, else a new one."""
    return await _ask(mailbox, SignIn(public_key=public_key))


async def open_chat(mailbox: Mailbox[Request], user_id: str, title: str, question: str) -> tuple[Chat, Message]:
    """A new chat with its first question. Raises `Invalid` when there is no such user."""
    return await _ask(mailbox, OpenChat(user_id=user_id, title=title, question=question))


async def append(mailbox: Mailbox[Request], chat_id: str, role: Speaker, content: str) -> Message:
    """One more message, later than all others of its chat. Raises `NotFound` when the chat is gone."""
    return await _ask(mailbox, Append(subject=chat_id, role=role, content=content))


async def retitle(mailbox: Mailbox[Request], chat_id: str, title: str) -> None:
    """Raises `NotFound` when the chat is gone."""
    await _ask(mailbox, Retitle(subject=chat_id, title=title))


async def delete_chat(mailbox: Mailbox[Request], user_id: str, chat_id: str) -> None:
    """With its messages. Raises `NotFound` for another's or an unknown chat."""
    await _ask(mailbox, DeleteChat(subject=chat_id, user_id=user_id))


async def record_transaction(mailbox: Mailbox[Request], user_id: str, amount: int, type: TransactionType) -> Transaction:  # noqa: A002 - the field's name
    """A pending one, `amount` in the smallest unit. Raises `Invalid` for an unknown user or more than the column holds."""
    return await _ask(mailbox, RecordTransaction(user_id=user_id, amount=amount, type=type))


async def update_transaction(
    mailbox: Mailbox[Request], user_id: str, transaction_id: str, status: TransactionStatus | None, tx_hash: str | None
) -> None:
    """None stays as it is. Raises `NotFound` for another's or an unknown one, `Conflict` when the hash is another's."""
    change = transactions.Change(user_id, status, tx_hash)
    await _ask(mailbox, UpdateTransaction(subject=transaction_id, change=change))


async def _ask(mailbox: Mailbox[Request], entry: Entry[Answer]) -> Answer:
    mailbox.post(entry)
    return await entry.reply()


class Ledger:
    """Takes at most `BATCH_MAX` entries at a time. Mailbox: `MAILBOX_SIZE` calls, then `Busy`.

    A refused row fails alone. While the database is away callers get `Unavailable` after about `RETRY_S`, queued ones with them.
    """

    def __init__(self, mailbox: Mailbox[Request], pool: Pool) -> None:
        self._mailbox = mailbox
        self._pool = pool
        self._amount_max: int | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        async for first in self._mailbox:
            batch = self._mailbox.with_more(first, BATCH_MAX)
            with ExitStack() as stack:
                for entry in batch:
                    stack.enter_context(entry)
                await self._record(batch)

    async def _record(self, batch: Sequence[Request]) -> None:
        """Answers every entry of the batch, after the commit."""
        try:
            outcomes = await self._commit_patiently(batch)
        except Refused as error:
            if len(batch) > 1:  # one of them is to blame: the rest must not suffer
                await self._record(batch[: len(batch) // 2])
                await self._record(batch[len(batch) // 2 :])
            else:
                batch[0].refuse(error)
        except Unavailable as error:
            self._refuse_all(batch, error)
        else:
            LEDGER_BATCH.inc()
            LEDGER_CALLS.inc(len(batch))
            for entry, outcome in zip(batch, outcomes, strict=True):
                entry.settle(outcome)

    def _refuse_all(self, batch: Sequence[Request], error: Unavailable) -> None:
        """Also what queued meanwhile: it has waited as long, and would wait for every batch before it."""
        log.warning("ledger cannot write", error=type(error).__name__, cause=str(error.__cause__), entries=len(batch))
        for entry in batch:
            entry.refuse(error)
        while (queued := self._mailbox.take()) is not None:
            queued.refuse(error)

    async def _commit_patiently(self, batch: Sequence[Request]) -> list[object]:
        """Again while the database restarts: `Interrupted` means that nothing of the batch stands."""
        give_up_at, pause_s = trio.current_time() + RETRY_S, FIRST_PAUSE_S
        while True:
            try:
                return await self._commit(batch)
            except Interrupted:
                if trio.current_time() + pause_s > give_up_at:
                    raise
            await trio.sleep(pause_s)
            pause_s *= 2

    async def _commit(self, batch: Sequence[Request]) -> list[object]:
        """One transaction; the outcome of each entry, in the batch's order."""
        outcomes: dict[Request, object] = {}
        async with self._pool.transaction() as connection:
            book = Book(connection, utc_now(), await self._find_amount_max(connection))
            for run in runs(batch):
                outcomes.update(zip(run, await type(run[0]).write(book, run), strict=True))
        return [outcomes[entry] for entry in batch]

    async def _find_amount_max(self, connection: Connection) -> int:
        if self._amount_max is None:
            self._amount_max = await transactions.amount_max(connection)
        return self._amount_max


@attrs.frozen
class Book:
    """What entries are written with."""

    connection: Connection
    now: datetime
    amount_max: int


@attrs.define(eq=False, kw_only=True)
class Entry(Call[Answer], ABC):
    """One request. Those about one subject (a chat, a transaction) are written in the order they came."""

    subject: str | None = None

    @classmethod
    @abstractmethod
    async def write(cls, book: Book, run: Sequence[Self]) -> Sequence[Answer | Refused]:
        """Writes a run of one kind, of which only appends may share a subject, in as few statements as it takes."""

    def settle(self, outcome: Any) -> None:
        if isinstance(outcome, EllaraError):
            self.refuse(outcome)
        else:
            self.answer(outcome)


Request: TypeAlias = Entry[Any]


def runs(batch: Iterable[Request]) -> list[list[Request]]:
    """Entries of one kind together, so that each kind costs one statement; only what concerns other subjects is overtaken."""
    found: list[tuple[list[Request], set[str | None]]] = []
    for entry in batch:
        for run, subjects in reversed(found):
            repeats = entry.subject is not None and entry.subject in subjects
            if type(run[0]) is type(entry) and (not repeats or isinstance(entry, Append)):
                run.append(entry)
                subjects.add(entry.subject)
                break
            if repeats:
                found.append(([entry], {entry.subject}))
                break
        else:
            found.append(([entry], {entry.subject}))
    return [run for run, _ in found]


@attrs.define(eq=False, kw_only=True)
class SignIn(Entry[User]):
    public_key: str

    @classmethod
    async def write(cls, book: Book, run: Sequence[Self]) -> Sequence[User | Refused]:
        found = await users.sign_in(book.connection, {entry.public_key: _new_id() for entry in run}, book.now)
        return [found[entry.public_key] for entry in run]


@attrs.define(eq=False, kw_only=True)
class OpenChat(Entry[tuple[Chat, Message]]):
    user_id: str
    title: str
    question: str

    @classmethod
    async def write(cls, book: Book, run: Sequence[Self]) -> Sequence[tuple[Chat, Message] | Refused]:
        rows = [entry._rows(book.now) for entry in run]
        opened = await chats.open_chats(book.connection, rows, book.now)
        return [row if row[0].id in opened else Invalid(users.UNKNOWN) for row in rows]

    def _rows(self, now: datetime) -> tuple[Chat, Message]:
        chat = Chat(_new_id(), self.user_id, self.title, f"thread_{uuid.uuid4().hex}", now, now)
        return chat, Message(_new_id(), chat.id, Speaker.USER, self.question, now)


@attrs.define(eq=False, kw_only=True)
class Append(Entry[Message]):
    """The subject is the chat; a run may hold several of one chat."""

    subject: str
    role: Speaker
    content: str

    @classmethod
    async def write(cls, book: Book, run: Sequence[Self]) -> Sequence[Message | Refused]:
        there = await chats.touch_chats(book.connection, {entry.subject for entry in run}, book.now)
        rows = [Message(_new_id(), entry.subject, entry.role, entry.content, book.now) for entry in run]
        times = await messages.append_messages(book.connection, [row for row in rows if row.chat_id in there], book.now)
        return [attrs.evolve(row, created_at=times[row.id]) if row.id in times else NotFound(chats.UNKNOWN) for row in rows]


@attrs.define(eq=False, kw_only=True)
class Retitle(Entry[None]):
    subject: str
    title: str

    @classmethod
    async def write(cls, book: Book, run: Sequence[Self]) -> Sequence[Refused | None]:
        there = await chats.retitle_chats(book.connection, {entry.subject: entry.title for entry in run}, book.now)
        return [None if entry.subject in there else NotFound(chats.UNKNOWN) for entry in run]


@attrs.define(eq=False, kw_only=True)
class DeleteChat(Entry[None]):
    subject: str
    user_id: str

    @classmethod
    async def write(cls, book: Book, run: Sequence[Self]) -> Sequence[Refused | None]:
        deleted = await chats.delete_chats(book.connection, {entry.subject: entry.user_id for entry in run})
        return [None if entry.subject in deleted else NotFound(chats.UNKNOWN) for entry in run]


@attrs.define(eq=False, kw_only=True)
class RecordTransaction(Entry[Transaction]):
    user_id: str
    amount: int
    type: TransactionType

    @classmethod
    async def write(cls, book: Book, run: Sequence[Self]) -> Sequence[Transaction | Refused]:
        rows = [entry._row(book.now) for entry in run]
        fitting = [row for row in rows if row.amount <= book.amount_max]
        added = await transactions.add_transactions(book.connection, fitting)
        too_much = Invalid(f"amount must be at most {book.amount_max}")
        return [row if row.id in added else too_much if row.amount > book.amount_max else Invalid(users.UNKNOWN) for row in rows]

    def _row(self, now: datetime) -> Transaction:
        return Transaction(_new_id(), self.user_id, self.amount, self.type, TransactionStatus.PENDING, None, now)


@attrs.define(eq=False, kw_only=True)
class UpdateTransaction(Entry[None]):
    subject: str
    change: transactions.Change

    @classmethod
    async def write(cls, book: Book, run: Sequence[Self]) -> Sequence[Refused | None]:
        changed = await transactions.change_transactions(book.connection, {entry.subject: entry.change for entry in run})
        return [None if entry.subject in changed else NotFound(transactions.UNKNOWN) for entry in run]


def _new_id() -> str:
    return str(uuid.uuid4())
