"""Where a database is, and what PostgreSQL's errors become."""

from __future__ import annotations

import pytest
import trio
from psycopg.conninfo import conninfo_to_dict

from ellara.errors import CannotStart, Invalid, Unavailable
from ellara.storage.connection import Dangling, Interrupted, Taken, connect
from ellara.storage.pool import Pool
from ellara.storage.target import Target

PLAIN = "postgresql://user:p%40ss@db.example:6432/shop"
ADD_USER = "INSERT INTO ellara.users VALUES (%(id)s, %(id)s, 'USER', '2024-01-01', '2024-01-01')"


def libpq(text: str) -> dict[str, object]:
    return dict(conninfo_to_dict(Target.parse(text).conninfo(15.0)))


def test_prismas_parameters_are_taken_off() -> None:
    target = Target.parse(
        PLAIN + "?schema=toko&pgbouncer=true&connection_limit=3&pool_timeout=10&socket_timeout=5&connect_timeout=9"
    )
    assert (target.schema, target.pooled, target.connections_max) == ("toko", True, 3)
    assert target.parameters == {"user": "user", "password": "p@ss", "host": "db.example", "port": "6432", "dbname": "shop"}


def test_without_them_the_schema_is_public_and_the_session_ours() -> None:
    target = Target.parse(PLAIN)
    assert (target.schema, target.pooled, target.connections_max) == ("public", False, None)
    assert "-c TimeZone=UTC -c statement_timeout=15000" in str(libpq(PLAIN)["options"])


def test_a_transaction_pooler_is_asked_for_no_session_state() -> None:
    assert "options" not in libpq(PLAIN + "?pgbouncer=true")


@pytest.mark.parametrize(
    ("query", "name", "value"),
    [
        ("sslmode=require", "sslmode", "require"),
        ("sslaccept=strict", "sslmode", "verify-full"),
        ("sslaccept=strict", "sslrootcert", "system"),
        ("sslaccept=accept_invalid_certs", "sslmode", None),
        ("sslcert=ca.pem&sslaccept=strict", "sslrootcert", "ca.pem"),
        ("sslcert=me.pem&sslkey=me.key", "sslcert", "me.pem"),
        ("host=/var/run/postgresql", "host", "/var/run/postgresql"),
        ("options=-c%20geqo%3Doff", "options", "-c geqo=off -c TimeZone=UTC"),
    ],
)
def test_what_libpq_knows_is_kept_and_tls_is_translated(query: str, name: str, value: str | None) -> None:
    found = libpq(f"{PLAIN}?{query}").get(name)
    assert found is None if value is None else str(found).startswith(value)


@pytest.mark.parametrize("text", ["postgresql://host:port/x", "postgresql://x/y?sslidentity=me.p12", "colour=blue"])
def test_what_is_no_address_is_refused_without_its_password(text: str) -> None:
    with pytest.raises(CannotStart, match=r"database\.url") as caught:
        Target.parse(text)
    assert "p@ss" not in caught.value.message


def test_a_password_is_not_printed() -> None:
    assert "p@ss" not in repr(Target.parse(PLAIN))


async def test_the_next_host_is_tried_when_one_refuses(postgres: str) -> None:
    folder = conninfo_to_dict(postgres)["host"]
    target = Target.parse(f"host=127.0.0.1,{folder} port=1,5432 user=ellara dbname=ellara")
    connection = await connect(target, timeout_s=2.0, statement_timeout_s=5.0)
    assert await connection.row("SELECT 1") == (1,)
    connection.drop()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "no-such-host.invalid"])
async def test_a_database_that_cannot_be_reached_is_unavailable(host: str) -> None:
    with pytest.raises(Unavailable), trio.fail_after(5.0):
        await connect(Target.parse(f"postgresql://user@{host}:1/x"), timeout_s=2.0, statement_timeout_s=1.0)


async def test_a_taken_value_names_its_index(pool: Pool) -> None:
    async with pool.connection() as connection:
        await connection.run(ADD_USER, id="a")
        with pytest.raises(Taken) as caught:
            await connection.run(ADD_USER, id="a")
    assert caught.value.constraint == "User_pkey"


async def test_a_reference_to_nothing_is_dangling(pool: Pool) -> None:
    async with pool.connection() as connection:
        with pytest.raises(Dangling):
            await connection.run("INSERT INTO ellara.messages VALUES ('m', 'no chat', 'user', 'x', '2024-01-01')")


@pytest.mark.parametrize("text", ["nul \x00", "half \ud800"])
async def test_a_text_postgresql_cannot_hold_is_invalid(pool: Pool, text: str) -> None:
    async with pool.connection() as connection:
        with pytest.raises(Invalid):
            await connection.run(ADD_USER, id=text)
        assert connection.idle


async def test_a_large_statement_is_sent_while_the_answer_comes(pool: Pool) -> None:
    text = "x" * 20_000_000
    async with pool.connection() as connection:
        row = await connection.row("SELECT length(%(text)s), %(text)s", text=text)
    assert row == (len(text), text)


async def test_a_statement_prepared_before_its_table_changed_is_prepared_anew(pool: Pool) -> None:
    async with pool.connection() as connection, pool.connection() as other:
        await other.run("CREATE TABLE changing AS SELECT 1 AS n")
        for _ in range(7):
            await connection.row("SELECT * FROM changing")
        await other.run("ALTER TABLE changing ALTER n TYPE numeric")
        with pytest.raises(Interrupted):
            await connection.row("SELECT * FROM changing")
    async with pool.connection() as connection:
        assert await connection.row("SELECT * FROM changing") == (1,)
