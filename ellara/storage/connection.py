"""PostgreSQL on trio: psycopg 3 waiting by trio's own means, without threads, and what its errors mean.

`Connection.rows`, `row` and `run` are how every statement of this room is sent: psycopg's exceptions end there. Each wait has a
deadline; a cancelled query is cancelled on the server too. Connections are autocommit: transactions are pool.py's.
"""

from __future__ import annotations

import select
from collections.abc import Generator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, LiteralString, TypeVar

import psycopg
import trio
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow

from ellara.errors import Conflict, Invalid, TimedOut, Unavailable
from ellara.storage.target import Target

Result = TypeVar("Result")

CANCEL_S = 1.0
"""How long a server may take to hear of a cancelled query, and again to obey; past that the connection is closed."""
GRACE_S = 1.0
"""How much longer than `statement_timeout` we wait for the server to enforce it."""
READ, WRITE, BOTH = int(psycopg.waiting.Wait.R), int(psycopg.waiting.Wait.W), int(psycopg.waiting.Wait.RW)


class Interrupted(Unavailable):
    """The connection was lost or refused, or the server gave the transaction up: nothing of it stands; to try again is safe."""


class CommitUnclear(Unavailable):
    """Nobody can say whether the transaction was committed: only work with a unique key may be tried again."""


class Taken(Conflict):
    """A unique value exists already. `constraint`: the name of the index."""

    def __init__(self, constraint: str) -> None:
        super().__init__("This value is taken")
        self.constraint = constraint


class Dangling(Conflict):
    """A row refers to one that is not there, or no longer."""


class Connection(psycopg.AsyncConnection[TupleRow]):
    """One connection, used by one task at a time."""

    patience_s: float
    """The longest that any one wait on it may take."""

    def __init__(self, pgconn: pq.abc.PGconn) -> None:
        super().__init__(pgconn)
        self.lock = trio.Lock()  # type: ignore[assignment]  # asyncio's there: the same two methods

    async def rows(self, statement: LiteralString, /, **parameters: object) -> list[TupleRow]:
        """Runs a statement and answers its rows. Raises `Interrupted`, `TimedOut`, `Taken`, `Dangling`, `Invalid`."""
        cursor = await self._run(statement, parameters)
        return await cursor.fetchall()

    async def row(self, statement: LiteralString, /, **parameters: object) -> TupleRow | None:
        """Runs a statement and answers its first row."""
        cursor = await self._run(statement, parameters)
        return await cursor.fetchone()

    async def run(self, statement: LiteralString, /, **parameters: object) -> int:
        """Runs a statement and answers how many rows it touched."""
        return (await self._run(statement, parameters)).rowcount

    async def begin(self) -> int:
        """Opens a transaction and answers its number, by which its end can be asked for later: `txid_status`."""
        try:
            cursor = await self.execute("BEGIN; SELECT txid_current()", prepare=False)
            cursor.nextset()
            row = await cursor.fetchone()
        except psycopg.Error as error:
            raise self._translated(error) from error
        assert row is not None
        return int(row[0])

    async def commit(self) -> None:
        try:
            await super().commit()
        except psycopg.Error as error:
            raise self._translated(error) from error

    async def rollback(self) -> None:
        try:
            await super().rollback()
        except psycopg.Error as error:
            raise self._translated(error) from error

    async def _run(self, statement: LiteralString, parameters: Mapping[str, object]) -> psycopg.AsyncCursor[TupleRow]:
        try:
            return await self.execute(statement, parameters or None)
        except psycopg.Error as error:
            raise self._translated(error) from error
        except UnicodeEncodeError as error:
            raise Invalid("A text holds half of a surrogate pair") from error

    @property
    def idle(self) -> bool:
        """Open, and between transactions."""
        return not self.closed and self.pgconn.transaction_status == pq.TransactionStatus.IDLE

    @property
    def hears_something(self) -> bool:
        """Of an idle one: what a server says unasked is a farewell."""
        return bool(_ready_now(self.pgconn.socket, READ))

    def drop(self) -> None:
        """Closes without a word to the server and without waiting."""
        self._closed = True
        self.pgconn.finish()

    async def wait(self, gen: Generator[int, int, Result], interval: float = 0.0, timeout: float | None = None) -> Result:  # noqa: ARG002 - psycopg's signature
        """psycopg's seam: drives one of its generators. Raises `psycopg.errors._WaitTimeout` only when `timeout` is given."""
        with trio.move_on_after(self.patience_s if timeout is None else timeout):
            try:
                return await _drive(gen, self.pgconn.socket)
            except trio.Cancelled:
                await self._abandon(gen)
                raise
        if timeout is not None:
            raise psycopg.errors._WaitTimeout("wait timeout expired")
        self.drop()
        raise psycopg.errors.QueryCanceled("no answer in time")

    async def cancel_safe(self, *, timeout: float = CANCEL_S) -> None:
        with trio.fail_after(timeout):
            await _drive_pairs(self._cancel_gen())

    async def _abandon(self, gen: Generator[int, int, object]) -> None:
        """Cancels the running query on the server and drains its answer, so that the connection stays good; else closes it."""
        if self.pgconn.transaction_status != pq.TransactionStatus.ACTIVE:
            return
        with trio.move_on_after(CANCEL_S * 2, shield=True):
            try:
                await self.cancel_safe()
                await _drive(gen, self.pgconn.socket)
            except psycopg.errors.QueryCanceled:
                return
            except (psycopg.Error, trio.TooSlowError):
                self.drop()
                return
            return
        self.drop()

    def _translated(self, error: psycopg.Error) -> Exception:
        """What a psycopg error means to us; the error itself where it is a bug of ours. Closes a connection of no more use."""
        match error:
            case psycopg.errors.UniqueViolation():
                return Taken(error.diag.constraint_name or "")
            case psycopg.errors.ForeignKeyViolation():
                return Dangling("This refers to something that is gone")
            case psycopg.DataError():
                nul = "NUL" in str(error)
                return Invalid("A text must not contain the character U+0000" if nul else "A value does not fit its column")
            case psycopg.errors.QueryCanceled():
                return TimedOut("The database did not answer in time; please try again in a moment")
            case psycopg.errors.ReadOnlySqlTransaction() | psycopg.errors.FeatureNotSupported():
                self.drop()  # a server that was demoted; a prepared statement whose table changed: both go with the connection
                return Interrupted("The database is changing over; please try again in a moment")
            case psycopg.OperationalError() | psycopg.errors.IdleInTransactionSessionTimeout():
                return Interrupted("The database is not available; please try again in a moment")
            case _:
                return error


async def connect(target: Target, *, timeout_s: float, statement_timeout_s: float) -> Connection:
    """Raises `Interrupted` when no host of the target lets us in, `TimedOut` when none answered within `timeout_s`."""
    conninfo = target.conninfo(statement_timeout_s)
    failure = "no address"
    with trio.move_on_after(timeout_s):
        for attempt in await _attempts(conninfo):
            try:
                connection = await _drive_pairs(Connection._connect_gen(attempt))
            except psycopg.Error as error:
                failure = str(error)
                continue
            connection._autocommit = True
            connection.prepare_threshold = None if target.pooled else 5
            connection.patience_s = statement_timeout_s + GRACE_S
            return connection
        raise Interrupted("The database is not available; please try again in a moment") from ConnectionError(failure)
    raise TimedOut("The database cannot be reached; please try again in a moment")


async def _attempts(conninfo: str) -> list[str]:
    """One libpq text for each address of each host, in order; names are resolved here because libpq would block."""
    parameters = conninfo_to_dict(conninfo)
    hosts = str(parameters.get("host") or "").split(",")
    ports = str(parameters.get("port") or "5432").split(",")
    found = []
    for number, host in enumerate(hosts):
        port = ports[min(number, len(ports) - 1)] or "5432"
        if not host or host.startswith(("/", "@")) or parameters.get("hostaddr"):
            found.append(make_conninfo(conninfo, host=host or None, port=port))
            continue
        with suppress(OSError):
            for *_, address in await trio.socket.getaddrinfo(host, port, type=trio.socket.SOCK_STREAM):
                found.append(make_conninfo(conninfo, host=host, port=port, hostaddr=str(address[0])))
    return found


async def _drive(gen: Generator[int, int, Result], fd: int) -> Result:
    try:
        wanted = next(gen)
        while True:
            wanted = gen.send(await _until_ready(fd, wanted))
    except StopIteration as stop:
        result: Result = stop.value
        return result


async def _drive_pairs(gen: Generator[tuple[int, int], int, Result]) -> Result:
    try:
        fd, wanted = next(gen)
        while True:
            fd, wanted = gen.send(await _until_ready(fd, wanted))
    except StopIteration as stop:
        result: Result = stop.value
        return result


async def _until_ready(fd: int, wanted: int) -> int:
    if wanted == READ:
        await trio.lowlevel.wait_readable(fd)
        return READ
    if ready := _ready_now(fd, wanted):  # a socket that cannot be written to is rare
        return ready
    if wanted == WRITE:
        await trio.lowlevel.wait_writable(fd)
        return WRITE
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_first, trio.lowlevel.wait_readable, fd, nursery.cancel_scope)
        nursery.start_soon(_first, trio.lowlevel.wait_writable, fd, nursery.cancel_scope)
    return _ready_now(fd, wanted)


async def _first(wait: Any, fd: int, scope: trio.CancelScope) -> None:
    await wait(fd)
    scope.cancel()


def _ready_now(fd: int, wanted: int) -> int:
    poll = select.poll()
    poll.register(fd, (select.POLLIN if wanted & READ else 0) | (select.POLLOUT if wanted & WRITE else 0))
    found = 0
    for _, event in poll.poll(0):
        found |= READ if event & ~select.POLLOUT and wanted & READ else 0
        found |= WRITE if event & ~select.POLLIN and wanted & WRITE else 0
    return found


def aware(moment: datetime) -> datetime:
    """A time as the seed's columns hold it, UTC without a zone, as ours: with one."""
    return moment.replace(tzinfo=UTC)


def naive(moment: datetime) -> datetime:
    """A time of ours as the seed's columns hold it. PostgreSQL must not convert: a session behind a pooler may have any zone."""
    return moment.astimezone(UTC).replace(tzinfo=None)
