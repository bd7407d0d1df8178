"""What a database becomes: an empty one is set up, the old backend's is adopted, anything else is refused."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime

import attrs
import psycopg
import pytest
import trio

from ellara.errors import CannotStart, Unavailable
from ellara.model import Chat, Message, Page, Speaker, Transaction, TransactionStatus, TransactionType
from ellara.settings import Database, Secret
from ellara.storage import chats, transactions, users
from ellara.storage.migrate import expect_new_enough, files, migrate, pending_migrations
from ellara.storage.pool import Pool

NOW = datetime(2024, 1, 1, tzinfo=UTC)

SEED = """
CREATE TYPE "UserRole" AS ENUM ('USER', 'MERCHANT');
CREATE TYPE "TransactionType" AS ENUM ('NATIVE', 'USDT');
CREATE TYPE "TransactionStatus" AS ENUM ('PENDING', 'SUCCESS', 'FAILED');
CREATE TABLE "User" ("id" TEXT NOT NULL, "publicKey" TEXT NOT NULL, "role" "UserRole" NOT NULL DEFAULT 'USER',
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, "updatedAt" TIMESTAMP(3) NOT NULL,
    CONSTRAINT "User_pkey" PRIMARY KEY ("id"));
CREATE TABLE "Chat" ("id" TEXT NOT NULL, "userId" TEXT NOT NULL, "title" TEXT NOT NULL, "openaiThreadId" TEXT NOT NULL,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, "updatedAt" TIMESTAMP(3) NOT NULL,
    CONSTRAINT "Chat_pkey" PRIMARY KEY ("id"));
CREATE TABLE "Message" ("id" TEXT NOT NULL, "chatId" TEXT NOT NULL, "role" TEXT NOT NULL, "content" TEXT NOT NULL,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP, CONSTRAINT "Message_pkey" PRIMARY KEY ("id"));
CREATE TABLE "Transaction" ("id" TEXT NOT NULL, "userId" TEXT NOT NULL, "amount" INTEGER NOT NULL,
    "type" "TransactionType" NOT NULL DEFAULT 'NATIVE', "status" "TransactionStatus" NOT NULL DEFAULT 'PENDING',
    "txHash" TEXT, "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT "Transaction_pkey" PRIMARY KEY ("id"));
CREATE UNIQUE INDEX "User_publicKey_key" ON "User"("publicKey");
CREATE UNIQUE INDEX "Chat_openaiThreadId_key" ON "Chat"("openaiThreadId");
CREATE UNIQUE INDEX "Transaction_txHash_key" ON "Transaction"("txHash");
ALTER TABLE "Chat" ADD CONSTRAINT "Chat_userId_fkey" FOREIGN KEY ("userId") REFERENCES "User"("id")
    ON DELETE RESTRICT ON UPDATE CASCADE;
ALTER TABLE "Message" ADD CONSTRAINT "Message_chatId_fkey" FOREIGN KEY ("chatId") REFERENCES "Chat"("id")
    ON DELETE RESTRICT ON UPDATE CASCADE;
ALTER TABLE "Transaction" ADD CONSTRAINT "Transaction_userId_fkey" FOREIGN KEY ("userId") REFERENCES "User"("id")
    ON DELETE RESTRICT ON UPDATE CASCADE;
"""
"""What `prisma migrate` makes of the seed's schema."""

MAPPED = (
    SEED.replace('"User"', '"users"').replace('"Chat"', '"chats"').replace('"Message"', '"messages"')
    .replace('"Transaction"', '"transactions"').replace("ON DELETE RESTRICT", "ON DELETE CASCADE")
)  # fmt: skip
"""The same with `@@map`."""

OLD_USER = "INSERT INTO {} VALUES ('u1', '0xAb', 'MERCHANT', '2024-01-01 00:00:00.123', '2024-01-01')"

CATALOGUE = """
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid), NULL
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
UNION ALL SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), NULL, NULL, NULL FROM pg_constraint
WHERE connamespace = 'public'::regnamespace AND contype <> 'n'
UNION ALL SELECT tablename, indexname, indexdef, NULL, NULL, NULL FROM pg_indexes
WHERE schemaname = 'public' AND indexname NOT LIKE 'ellara%'
UNION ALL SELECT typname, enumlabel, enumsortorder::text, NULL, NULL, NULL FROM pg_enum JOIN pg_type t ON t.oid = enumtypid
ORDER BY 1, 2, 3
"""


def run(database: Database, statements: str) -> None:
    with psycopg.connect(database.url.reveal(), autocommit=True) as connection:
        connection.execute(statements.encode())


def catalogue(database: Database) -> list[tuple[object, ...]]:
    with psycopg.connect(database.url.reveal(), options="-c search_path=public") as connection:
        return connection.execute(CATALOGUE.encode()).fetchall()


def with_query(database: Database, query: str) -> Database:
    return attrs.evolve(database, url=Secret(f"{database.url.reveal()}&{query}"))


async def use(database: Database, key: str = "0xAb") -> str:
    """Signs in, opens a chat, records a transaction; answers the user's id."""
    pool = Pool(database)
    page = Page(take=10, page=1, sort_by="id", descending=False, search=None)
    async with pool.transaction() as connection:
        user = (await users.sign_in(connection, {key: "new"}, NOW))[key]
        made = Transaction("t", user.id, 5, TransactionType.USDT, TransactionStatus.PENDING, None, NOW)
        assert await transactions.add_transactions(connection, [made]) == {"t"}
        assert (await transactions.list_transactions(connection, user.id, page)).rows == [made]
        chat = Chat("c", user.id, "t", "thread", NOW, NOW)
        await chats.open_chats(connection, [(chat, Message("m", "c", Speaker.USER, "q", NOW))], NOW)
        assert await chats.delete_chats(connection, {"c": user.id}) == {"c"}
    pool.close()
    return user.id


async def test_an_empty_database_gets_exactly_what_prisma_would_make(empty_database: Database, other_database: Database) -> None:
    run(other_database, SEED)
    assert await migrate(empty_database) == [path.name for path in files().values()]
    assert catalogue(empty_database) == catalogue(other_database)


@pytest.mark.parametrize(("schema", "table"), [(SEED, '"User"'), (MAPPED, "users")])
async def test_the_old_backends_database_is_adopted_in_either_form_of_its_names(
    empty_database: Database, schema: str, table: str
) -> None:
    run(empty_database, schema)
    run(empty_database, OLD_USER.format(table))
    before = catalogue(empty_database)
    await migrate(empty_database)
    assert catalogue(empty_database) == before
    assert await use(empty_database) == "u1"


async def test_the_schema_of_the_url_is_honoured(empty_database: Database) -> None:
    run(empty_database, 'CREATE SCHEMA "Toko Bu"; SET search_path TO "Toko Bu";' + SEED + OLD_USER.format('"User"'))
    database = with_query(empty_database, "schema=Toko%20Bu")
    await migrate(database)
    assert await use(database) == "u1"


async def test_a_schema_that_is_not_there_is_made(empty_database: Database) -> None:
    database = with_query(empty_database, "schema=toko")
    await migrate(database)
    assert await use(database) == "new"


async def test_another_schema_than_the_adopted_one_is_refused(database: Database) -> None:
    with pytest.raises(CannotStart, match="belongs to the tables in schema public, not toko"):
        await migrate(with_query(database, "schema=toko"))


async def test_nothing_is_done_twice(database: Database) -> None:
    assert await migrate(database) == []
    assert await pending_migrations(database) == []


async def test_what_is_pending_is_told_without_a_change(empty_database: Database) -> None:
    assert await pending_migrations(empty_database) == [path.name for path in files().values()]
    assert catalogue(empty_database) == []


async def test_several_daemons_at_once_migrate_once(empty_database: Database) -> None:
    done: list[list[str]] = []

    async def one() -> None:
        done.append(await migrate(empty_database))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(one)
    assert sorted(len(names) for names in done) == [0, 0, len(files())]


@pytest.mark.parametrize(
    ("statements", "message"),
    [
        ("CREATE TABLE accounts (n int)", "belongs to something else"),
        (SEED + 'DROP TABLE "Message"', "table Message is missing"),
        (SEED + 'ALTER TABLE "User" DROP "role"', "User.role is missing"),
        (SEED + 'ALTER TABLE "Chat" ALTER "createdAt" TYPE timestamptz', "Chat.createdAt is timestamp with time zone"),
        (SEED + 'ALTER TABLE "Transaction" ADD "shop" text NOT NULL', "Transaction.shop must be given"),
        (SEED + 'DROP INDEX "User_publicKey_key"', "User.publicKey is not unique"),
    ],
)
async def test_any_other_database_is_refused_with_the_differences(
    empty_database: Database, statements: str, message: str
) -> None:
    run(empty_database, statements)
    before = catalogue(empty_database)
    with pytest.raises(CannotStart, match=message):
        await migrate(empty_database)
    assert catalogue(empty_database) == before
    assert len(await pending_migrations(empty_database)) == len(files())


async def test_a_database_of_a_newer_ellara_is_refused(database: Database) -> None:
    run(database, "UPDATE ellara.alembic_version SET version_num = '9999'")
    with pytest.raises(CannotStart, match="newer Ellara"):
        await migrate(database)


def test_a_server_older_than_the_old_backend_took_is_refused() -> None:
    expect_new_enough(120_000)
    with pytest.raises(CannotStart, match="PostgreSQL 11, expected 12 or newer"):
        expect_new_enough(110_022)


async def test_a_pooler_is_not_migrated_through(empty_database: Database, database: Database) -> None:
    with pytest.raises(CannotStart, match=r"database\.direct_url"):
        await migrate(with_query(empty_database, "pgbouncer=true"))
    assert await migrate(with_query(database, "pgbouncer=true")) == []


async def test_migrations_go_over_the_direct_url(empty_database: Database) -> None:
    direct = attrs.evolve(empty_database, url=Secret("postgresql://nobody@127.0.0.1:1/x"), direct_url=empty_database.url)
    assert await migrate(direct)


async def test_a_database_that_is_away_is_unavailable(empty_database: Database) -> None:
    with pytest.raises(Unavailable):
        await migrate(attrs.evolve(empty_database, url=Secret("postgresql://nobody@127.0.0.1:1/x")))


async def test_what_an_interrupted_index_left_behind_is_made_anew(empty_database: Database) -> None:
    run(empty_database, SEED + 'CREATE INDEX ellara_chat_user ON "Chat" ("userId")')
    run(empty_database, "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ellara_chat_user'::regclass")
    await migrate(empty_database)
    with psycopg.connect(empty_database.url.reveal()) as connection:
        assert connection.execute("SELECT count(*) FROM pg_index WHERE NOT indisvalid").fetchone() == (0,)


def test_nothing_to_do_costs_no_import_of_alembic(database: Database) -> None:
    code = (
        "import sys, trio\nfrom ellara.settings import Database, Secret\nfrom ellara.storage.migrate import migrate\n"
        f"trio.run(migrate, Database(url=Secret({database.url.reveal()!r})))\n"
        "assert not {'alembic', 'sqlalchemy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
