"""What tests of several rooms share: a real PostgreSQL for the session, and a fresh migrated database for each test."""

from __future__ import annotations

import os
import queue
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs
import psycopg
import pytest
import trio

from ellara.sandbox.postgres import run_postgres
from ellara.settings import Database, Secret
from ellara.storage.migrate import migrate
from ellara.storage.pool import Pool
from tests.line import Line


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Under continuous integration (CI=true) a skipped test is a failure: nothing may be passed over in silence."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def database_url(server_url: str, name: str) -> str:
    return server_url.replace("/ellara?", f"/{name}?")


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a running embedded server, or of the one in ELLARA_TEST_DATABASE (`postgresql://user@/ellara?host=…`).

    Its trio lives in a thread of its own: the server dies with that thread.
    """
    if given := os.environ.get("ELLARA_TEST_DATABASE"):
        yield given
        return
    answers: queue.SimpleQueue[str | trio.lowlevel.TrioToken | BaseException] = queue.SimpleQueue()
    with TemporaryDirectory(prefix="ellara-tests-") as folder:
        os.chmod(folder, 0o755)  # the server's account must be able to enter it
        thread = threading.Thread(target=_serve, args=(Path(folder), answers))
        thread.start()
        scope, url = answers.get(), answers.get()
        assert isinstance(url, str), url
        with psycopg.connect(url, autocommit=True) as connection:  # killed processes are survived without it, and each test's
            connection.execute("ALTER SYSTEM SET fsync = off")  # database is made five times as fast
            connection.execute("SELECT pg_reload_conf()")
        yield url
        assert isinstance(scope, trio.lowlevel.TrioToken)
        scope.run_sync_soon(_stops.pop(scope).cancel)
        thread.join()


_stops: dict[trio.lowlevel.TrioToken, trio.CancelScope] = {}


def _serve(folder: Path, answers: queue.SimpleQueue[str | trio.lowlevel.TrioToken | BaseException]) -> None:
    async def main() -> None:
        token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as nursery:
            _stops[token] = nursery.cancel_scope
            answers.put(token)
            answers.put(await nursery.start(run_postgres, folder))

    try:
        trio.run(main)
    except Exception as error:
        answers.put(error)
        raise


@pytest.fixture(scope="session")
def template(postgres: str) -> str:
    """The name of a migrated, empty database."""
    name = "migrated"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name}".encode())
        connection.execute(f"CREATE DATABASE {name}".encode())
    trio.run(migrate, Database(url=Secret(database_url(postgres, name))))
    return name


@pytest.fixture
def empty_database(postgres: str) -> Iterator[Database]:
    """The settings of a database in which nothing is yet."""
    yield from fresh_database(postgres, "template1")


@pytest.fixture
def other_database(postgres: str) -> Iterator[Database]:
    """One more."""
    yield from fresh_database(postgres, "template1")


@pytest.fixture
def database(postgres: str, template: str) -> Iterator[Database]:
    """The settings of a migrated database of this test's own."""
    yield from fresh_database(postgres, template)


def fresh_database(postgres: str, template: str) -> Iterator[Database]:
    """Made, and dropped when its user is done."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy".encode())
        yield Database(url=Secret(database_url(postgres, name)))
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[Pool]:
    """A pool on a database of this test's own."""
    pool = Pool(attrs.evolve(database, pool_wait_s=2.0))
    yield pool
    pool.close()


@pytest.fixture
def line(database: Database) -> Line:
    return Line(database)


@pytest.fixture
async def far_pool(line: Line, nursery: trio.Nursery) -> AsyncIterator[Pool]:
    """A pool whose connections go over `line`."""
    settings = await nursery.start(line.run)
    pool = Pool(attrs.evolve(settings, pool_size=2, pool_wait_s=1.0, connect_timeout_s=1.0))
    yield pool
    pool.close()
    nursery.cancel_scope.cancel()
