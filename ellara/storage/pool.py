"""A small bounded pool of connections, and transactions whose end is known.

It may be built while the database is away: connections are made when one is needed, and again when one was lost.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from psycopg.pq import TransactionStatus

from ellara.errors import Busy, Invalid, Stopping, TimedOut
from ellara.metrics import POOL_WAITING
from ellara.settings import Database
from ellara.storage.connection import CommitUnclear, Connection, Interrupted, connect
from ellara.storage.target import Target

ROLLBACK_S = 1.0
VERDICT_S, VERDICT_PAUSE_S = 5.0, 0.1
"""How long an unclear COMMIT is asked after, and how often."""

TRANSACTION_STATUS = "SELECT txid_status(%(number)s)"


class Pool:
    """At most `pool_size` connections. Who asks when all are out waits in order, at most `pool_wait_s`, then `Busy`."""

    def __init__(self, settings: Database) -> None:
        """Raises `CannotStart` when `url` is no database address."""
        self._target = Target.parse(settings.url.reveal())
        self._settings = settings
        self._free = trio.Semaphore(min(settings.pool_size, self._target.connections_max or settings.pool_size))
        self._resting: list[Connection] = []
        self._closed = False

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection for this caller alone; what it leaves open is rolled back. Raises `Busy`, `Interrupted`, `TimedOut`."""
        await self._take_turn()
        try:
            connection = await self._checkout()
            try:
                yield connection
            finally:
                await self._checkin(connection)
        finally:
            self._free.release()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A connection within a transaction that writes: committed at the end of the block, rolled back if that raises.

        Leaving the block without an error means committed, also when the connection was lost meanwhile: the server is asked.
        Raises `Interrupted` when it was not committed, `CommitUnclear` when the server cannot be asked within `VERDICT_S`.
        """
        async with self.connection() as connection:
            number = await connection.begin()
            yield connection
            if connection.pgconn.transaction_status == TransactionStatus.INERROR:
                raise RuntimeError("the block went on after an error of its transaction: COMMIT would roll back in silence")
            if not await self._commit(connection):
                await self._find_verdict(number)

    def close(self) -> None:
        """Closes what rests; what is out is closed when it comes back. Nobody gets a connection from now on."""
        self._closed = True
        while self._resting:
            self._resting.pop().drop()

    async def _take_turn(self) -> None:
        if self._closed:
            raise Stopping("The server is restarting; please try again in a moment", retry_after_s=5.0)
        try:
            self._free.acquire_nowait()  # takes nobody's turn: what is given back goes to who waits
        except trio.WouldBlock:
            with POOL_WAITING.track_inprogress(), trio.move_on_after(self._settings.pool_wait_s):
                await self._free.acquire()
                return
        else:
            return
        raise Busy("The database is busy; please try again in a moment")

    async def _checkout(self) -> Connection:
        while self._resting:
            connection = self._resting.pop()
            if connection.idle and not connection.hears_something:
                return connection
            connection.drop()
        return await self._connect()

    async def _connect(self) -> Connection:
        settings = self._settings
        return await connect(self._target, timeout_s=settings.connect_timeout_s, statement_timeout_s=settings.statement_timeout_s)

    async def _checkin(self, connection: Connection) -> None:
        if not connection.closed and not connection.idle:
            with trio.move_on_after(ROLLBACK_S, shield=True):
                try:
                    await connection.rollback()
                except (Interrupted, TimedOut):
                    connection.drop()
        if connection.idle and not self._closed:
            self._resting.append(connection)
        else:
            connection.drop()

    async def _commit(self, connection: Connection) -> bool:
        """False: nobody answered, and the connection is closed. Not to be cancelled: a COMMIT on its way cannot be taken back."""
        with trio.CancelScope(shield=True):
            try:
                await connection.commit()
            except (Interrupted, TimedOut):
                connection.drop()
                return False
        return True

    async def _find_verdict(self, number: int) -> None:
        """Returns if transaction `number` was committed. Source: PostgreSQL, "Transaction ID and Snapshot Information"."""
        with trio.move_on_after(VERDICT_S):
            while True:
                match await self._ask_status(number):
                    case "committed":
                        return
                    case "aborted":
                        raise Interrupted("The database is not available; please try again in a moment")
                    case _:
                        await trio.sleep(VERDICT_PAUSE_S)
        raise CommitUnclear("The database did not confirm; please look before you try again")

    async def _ask_status(self, number: int) -> str | None:
        """`committed`, `aborted`, `in progress`; None when the server is away, or is another one that never knew the number."""
        try:
            connection = await self._connect()
        except (Interrupted, TimedOut):
            return None
        try:
            row = await connection.row(TRANSACTION_STATUS, number=number)
        except (Interrupted, TimedOut, Invalid):
            return None
        finally:
            connection.drop()
        return row[0] if row else None
