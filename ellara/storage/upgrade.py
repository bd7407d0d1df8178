"""Runs numbered SQL files through alembic, blocking: called by migrate.py in a thread, and imported only then."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

import psycopg
from alembic.runtime.migration import MigrationContext, RevisionStep
from alembic.script.base import Script, ScriptDirectory
from sqlalchemy import Connection, NullPool, create_engine
from sqlalchemy.exc import DBAPIError

from ellara.errors import CannotStart
from ellara.storage.adoption import fresh_words
from ellara.storage.target import Target

BASELINE = "0001"
DIVIDER = "-- then, in one transaction:\n"
VERSION_TABLE = {"version_table": "alembic_version", "version_table_schema": "ellara"}
CONNECT_TIMEOUT_S = 10


class SqlFiles(ScriptDirectory):
    """alembic's revisions, one after the other, each made of one file instead of a Python module."""

    def __init__(self, files: Mapping[str, Path], words: Mapping[str, str]) -> None:
        super().__init__(next(iter(files.values())).parent)
        self._files = files
        self._words = words
        self.context: MigrationContext

    def _load_revisions(self) -> Iterator[Script]:
        previous = None
        for number, path in self._files.items():
            module = ModuleType(path.stem, path.name)
            module.__dict__.update(revision=number, down_revision=previous, upgrade=lambda path=path, **_: self._run(path))
            yield Script(module, number, path)
            previous = number

    def _run(self, path: Path) -> None:
        text = path.read_text(encoding="utf-8")
        for word, name in self._words.items():
            text = text.replace(f"@{word}@", name)
        alone, divider, together = text.partition(DIVIDER)
        try:
            if divider:
                with self.context.autocommit_block():
                    for statement in alone.split(";\n\n"):
                        _execute(self.context, statement)
            _execute(self.context, together if divider else alone)
        except psycopg.Error as error:
            raise CannotStart(f"Migration {path.name} failed: {error}") from error


def upgrade(target: Target, files: Mapping[str, Path], adopted: Mapping[str, str] | None) -> None:
    """`adopted`: the names in a database that has the seed's tables; None sets up an empty one. Raises `CannotStart`."""
    scripts = SqlFiles(files, adopted or fresh_words(target.schema))
    conninfo = target.conninfo(statement_timeout_s=0)
    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(conninfo, connect_timeout=CONNECT_TIMEOUT_S),
        poolclass=NullPool,
    )
    try:
        with engine.connect() as connection:
            _prepare(connection, target.schema)
            if adopted is not None and not _context(connection, scripts).get_current_heads():
                _context(connection, scripts).stamp(scripts, BASELINE)
                connection.commit()
            _context(connection, scripts).run_migrations()
    except (DBAPIError, psycopg.Error) as error:
        raise CannotStart(f"The database cannot be migrated: {error}") from error


def _prepare(connection: Connection, schema: str) -> None:
    with connection.begin():
        raw = connection.connection.driver_connection
        assert isinstance(raw, psycopg.Connection)
        with raw.cursor() as cursor:
            cursor.execute("CREATE SCHEMA IF NOT EXISTS ellara")
            cursor.execute(psycopg.sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(psycopg.sql.Identifier(schema)))
            cursor.execute(psycopg.sql.SQL("COMMENT ON SCHEMA ellara IS {}").format(psycopg.sql.Literal(schema)))


def _context(connection: Connection, scripts: SqlFiles) -> MigrationContext:
    def steps(revision: tuple[str, ...], _context: MigrationContext) -> list[RevisionStep]:
        return scripts._upgrade_revs("head", revision[0] if revision else "base")

    options = {"fn": steps, "transaction_per_migration": True, **VERSION_TABLE}
    scripts.context = MigrationContext.configure(connection, opts=options)
    return scripts.context


def _execute(context: MigrationContext, text: str) -> None:
    """Past SQLAlchemy, which would read `%` and `:` in it."""
    assert context.connection is not None
    raw = context.connection.connection.driver_connection
    assert isinstance(raw, psycopg.Connection)
    raw.execute(text.encode())
