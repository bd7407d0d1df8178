"""The pool and its transactions, against a real server and a line that breaks."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress

import attrs
import psycopg
import pytest
import trio
import trio.testing

from ellara.errors import Busy, Stopping, TimedOut
from ellara.settings import Database
from ellara.storage import connection as connection_module
from ellara.storage import pool as pool_module
from ellara.storage.connection import CommitUnclear, Interrupted, Taken
from ellara.storage.pool import Pool
from tests.line import Line

ADD = "INSERT INTO ellara.users VALUES (%(id)s, %(id)s, 'USER', '2024-01-01', '2024-01-01')"
COUNT = "SELECT count(*) FROM ellara.users"
PID = "SELECT pg_backend_pid()"
SLEEP = "SELECT pg_sleep(30)"


async def count(pool: Pool) -> int:
    async with pool.connection() as connection:
        row = await connection.row(COUNT)
    assert row is not None
    return int(row[0])


async def add(pool: Pool, before_commit: Callable[[], object] = lambda: None) -> None:
    async with pool.transaction() as connection:
        await connection.run(ADD, id="a")
        before_commit()


async def backend(pool: Pool) -> int:
    async with pool.connection() as connection:
        row = await connection.row(PID)
    assert row is not None
    return int(row[0])


async def test_a_connection_answers_in_utc(pool: Pool) -> None:
    async with pool.connection() as connection:
        assert await connection.row("SELECT 1 + %(one)s, current_setting('TimeZone')", one=1) == (2, "UTC")


async def test_a_connection_is_used_again(pool: Pool) -> None:
    assert await backend(pool) == await backend(pool)


async def test_a_cancelled_query_ends_on_the_server_and_the_connection_stays_good(pool: Pool) -> None:
    before = await backend(pool)
    with trio.fail_after(1.0):
        async with pool.connection() as connection:
            with trio.move_on_after(0.05) as scope:
                await connection.run(SLEEP)
            assert scope.cancelled_caught
            assert await connection.row(PID) == (before,)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the time for a server to obey a cancellation, and to end a statement of its own accord."""
    monkeypatch.setattr(connection_module, "CANCEL_S", connection_module.CANCEL_S / 10)
    monkeypatch.setattr(connection_module, "GRACE_S", connection_module.GRACE_S / 10)


@pytest.mark.usefixtures("impatient")
async def test_a_backend_that_does_not_obey_a_cancellation_is_left_within_twice_its_time(pool: Pool) -> None:
    hung = await backend(pool)
    started = trio.current_time()
    os.kill(hung, signal.SIGSTOP)
    try:
        with trio.move_on_after(0.05):
            async with pool.connection() as connection:
                await connection.run(SLEEP)
        assert trio.current_time() - started < 1.0
        assert await backend(pool) != hung
    finally:
        os.kill(hung, signal.SIGCONT)


async def test_a_backend_killed_while_it_rested_is_replaced_unseen(pool: Pool, database: Database) -> None:
    before = await backend(pool)
    with psycopg.connect(database.url.reveal()) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", (before,))  # waits until it is gone
    assert await backend(pool) != before


async def test_a_backend_killed_during_a_query_interrupts_it(pool: Pool) -> None:
    async with pool.connection() as connection:
        with pytest.raises(Interrupted):
            await connection.run("SELECT pg_terminate_backend(pg_backend_pid())")
    assert await count(pool) == 0


async def test_what_a_block_leaves_open_is_rolled_back(pool: Pool) -> None:
    async with pool.connection() as connection:
        await connection.begin()
        await connection.run(ADD, id="a")
    async with pool.connection() as again:
        assert again is connection
        assert await again.row(COUNT) == (0,)


def fail() -> None:
    raise ZeroDivisionError


async def test_a_transaction_whose_block_raises_is_rolled_back(pool: Pool) -> None:
    with pytest.raises(ZeroDivisionError):
        await add(pool, fail)
    assert await count(pool) == 0


async def test_a_block_that_swallows_an_error_of_its_transaction_does_not_pass_for_committed(pool: Pool) -> None:
    async def swallow() -> None:
        async with pool.transaction() as connection:
            await connection.run(ADD, id="a")
            with suppress(Taken):
                await connection.run(ADD, id="a")

    with pytest.raises(RuntimeError):
        await swallow()
    assert await count(pool) == 0


async def test_cancelled_before_commit_means_nothing_stands(pool: Pool) -> None:
    with trio.CancelScope() as scope:
        async with pool.transaction() as connection:
            await connection.run(ADD, id="a")
            scope.cancel()
            await trio.lowlevel.checkpoint()
    assert await count(pool) == 0


async def test_cancelled_at_commit_means_committed(pool: Pool) -> None:
    with trio.CancelScope() as scope:
        await add(pool, scope.cancel)
    assert await count(pool) == 1


async def test_a_commit_whose_answer_is_lost_is_found_to_be_committed(line: Line, far_pool: Pool) -> None:
    line.lose_answer_to = b"COMMIT"
    await add(far_pool)
    line.lose_answer_to = None
    assert await count(far_pool) == 1


async def test_a_commit_that_never_arrived_is_found_to_be_aborted(line: Line, far_pool: Pool) -> None:
    line.cut_at = b"COMMIT"
    with pytest.raises(Interrupted):
        await add(far_pool)
    assert await count(far_pool) == 0


async def test_a_commit_nobody_can_be_asked_about_is_unclear(line: Line, far_pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "VERDICT_S", 0.2)
    line.cut_at = b"COMMIT"
    with pytest.raises(CommitUnclear):
        await add(far_pool, line.refuse)


async def test_a_pool_outlives_its_database(line: Line, far_pool: Pool) -> None:
    assert await count(far_pool) == 0
    line.refusing = True
    line.cut()
    with pytest.raises(Interrupted):
        await count(far_pool)
    line.refusing = False
    assert await count(far_pool) == 0


async def test_a_database_that_takes_the_connection_and_says_nothing_is_given_up(line: Line, nursery: trio.Nursery) -> None:
    settings = await nursery.start(line.run)
    line.silent = True
    with pytest.raises(TimedOut), trio.fail_after(1.0):
        await count(Pool(attrs.evolve(settings, connect_timeout_s=0.1)))
    nursery.cancel_scope.cancel()


@pytest.mark.usefixtures("impatient")
async def test_a_server_that_falls_silent_during_a_query_is_given_up(line: Line, nursery: trio.Nursery) -> None:
    settings = await nursery.start(line.run)
    pool = Pool(attrs.evolve(settings, statement_timeout_s=0.1))
    async with pool.connection() as connection:
        line.silent = True
        with pytest.raises(TimedOut), trio.fail_after(1.0):
            await connection.run("SELECT 1")
    assert connection.closed
    pool.close()
    nursery.cancel_scope.cancel()


async def test_the_server_ends_a_statement_that_takes_too_long(database: Database) -> None:
    pool = Pool(attrs.evolve(database, statement_timeout_s=0.1))
    async with pool.connection() as connection:
        with pytest.raises(TimedOut):
            await connection.run(SLEEP)
    assert await count(pool) == 0
    pool.close()


async def test_who_waits_too_long_for_a_connection_is_told_so(database: Database) -> None:
    pool = Pool(attrs.evolve(database, pool_size=2, pool_wait_s=0.1))
    async with pool.connection(), pool.connection():
        with pytest.raises(Busy):
            await count(pool)
    assert await count(pool) == 0
    pool.close()


async def test_connections_are_given_out_in_the_order_of_asking(database: Database) -> None:
    pool, served = Pool(attrs.evolve(database, pool_size=2)), list[int]()

    async def ask(number: int) -> None:
        async with pool.connection():
            served.append(number)

    async with pool.connection(), trio.open_nursery() as nursery, pool.connection():
        for number in range(5):
            nursery.start_soon(ask, number)
            await trio.testing.wait_all_tasks_blocked()
    assert served == [0, 1, 2, 3, 4]
    pool.close()


async def test_a_closed_pool_gives_nothing_out(pool: Pool) -> None:
    async with pool.connection() as connection:
        pool.close()
    assert connection.closed
    with pytest.raises(Stopping):
        await count(pool)
