"""Brings a database to this program's version: `migrate`, at every start and by `ellara migrate`.

Numbered SQL files (migrations/README.md) in alembic's order and bookkeeping, under an advisory lock, on `direct_url`. An empty
database is set up, the old backend's is taken as it is, anything else is refused. When nothing is to do, which is nearly always,
one query says so and alembic is not even imported.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import trio

from ellara.errors import CannotStart
from ellara.log import get_logger
from ellara.settings import Database
from ellara.storage.adoption import judge, survey
from ellara.storage.connection import Connection, connect
from ellara.storage.target import Target

log = get_logger(__name__)

FOLDER = Path(__file__).with_name("migrations")
LOCK_NUMBER = 0x656C6C617261  # "ellara"
LOCK_WAIT_S, LOCK_PAUSE_S = 120.0, 0.1
OLDEST_MAJOR = 12
"""Of PostgreSQL: what the old backend asked for. All our SQL keeps to it."""

STATE = """
SELECT version_num, obj_description('ellara'::regnamespace, 'pg_namespace') FROM ellara.alembic_version
"""
TRY_LOCK = "SELECT pg_try_advisory_lock(%(number)s)"


async def migrate(settings: Database) -> list[str]:
    """The names of the files that were run, usually none. Raises `CannotStart` when the database is refused or a file fails,
    `Unavailable` when it cannot be reached."""
    target = Target.parse((settings.direct_url or settings.url).reveal())
    async with _connected(target, settings) as connection:
        if not await _pending(connection, target):
            return []
        if target.pooled:
            raise CannotStart("database.direct_url: expected a URL without pgbouncer=true, the database must be migrated")
        await _lock(connection)
        pending = await _pending(connection, target)
        if pending:
            adopted = judge(await survey(connection, target.schema), target.schema)
            await trio.to_thread.run_sync(_upgrade, target, adopted)
            log.info("database migrated", schema=target.schema, files=pending)
        return pending


async def pending_migrations(settings: Database) -> list[str]:
    """The names of the files that `migrate` would run. Changes nothing."""
    target = Target.parse((settings.direct_url or settings.url).reveal())
    async with _connected(target, settings) as connection:
        return await _pending(connection, target)


def files() -> dict[str, Path]:
    """By number, in order."""
    return {path.name.partition("_")[0]: path for path in sorted(FOLDER.glob("[0-9]*.sql"))}


def expect_new_enough(server_version: int) -> None:
    """`server_version`: as libpq writes it, 150004 for 15.4. Raises `CannotStart`."""
    major = server_version // 10_000
    if major < OLDEST_MAJOR:
        raise CannotStart(f"The database is PostgreSQL {major}, expected {OLDEST_MAJOR} or newer")


@asynccontextmanager
async def _connected(target: Target, settings: Database) -> AsyncIterator[Connection]:
    connection = await connect(target, timeout_s=settings.connect_timeout_s, statement_timeout_s=settings.statement_timeout_s)
    try:
        expect_new_enough(connection.pgconn.server_version)
        yield connection
    finally:
        connection.drop()  # the lock ends with the session


async def _pending(connection: Connection, target: Target) -> list[str]:
    known = list(files())
    try:
        found = await connection.row(STATE)
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        found = None
    if found is None:
        return [path.name for path in files().values()]
    version, schema = found
    if version not in known:
        raise CannotStart(f"The database is of a newer Ellara ({version}, this one knows {known[-1]}): install that one")
    if schema != target.schema:
        raise CannotStart(f"The database's schema ellara belongs to the tables in schema {schema}, not {target.schema}")
    return [path.name for number, path in files().items() if number > version]


async def _lock(connection: Connection) -> None:
    """Asked for again and again rather than waited for: CREATE INDEX CONCURRENTLY would wait for the waiting session."""
    with trio.move_on_after(LOCK_WAIT_S):
        while (await connection.row(TRY_LOCK, number=LOCK_NUMBER)) != (True,):  # noqa: ASYNC110 - the other is another process
            await trio.sleep(LOCK_PAUSE_S)
        return
    raise CannotStart(f"Another process has been migrating this database for {LOCK_WAIT_S:g} s: see what it waits for")


def _upgrade(target: Target, adopted: Mapping[str, str] | None) -> None:
    from ellara.storage.upgrade import upgrade  # here: alembic and SQLAlchemy take 0.4 s to import

    upgrade(target, files(), adopted)
