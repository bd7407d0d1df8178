"""The seed's payment transactions. Written by the ledger alone; read by whoever holds a connection."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import LiteralString

import attrs
from psycopg.rows import TupleRow

from ellara.errors import Conflict
from ellara.model import Listing, Page, Transaction, TransactionStatus, TransactionType
from ellara.storage.connection import Connection, Taken, aware, naive
from ellara.storage.pages import list_page, part_of, statements

UNKNOWN = "Transaction not found"

COLUMNS: LiteralString = "id, user_id, amount, type, status, tx_hash, created_at"
HASH_MATCHES: LiteralString = '(%(pattern)s::text IS NULL OR tx_hash COLLATE "C" ILIKE %(pattern)s)'

SORTS: Mapping[str, LiteralString] = {
    "createdAt": "created_at",
    "amount": "amount",
    "type": "type",  # as the enums are declared: NATIVE, USDT; PENDING, SUCCESS, FAILED
    "status": "status",
    "txHash": 'tx_hash COLLATE "C"',  # by code point: the same on every server; those without a hash are greatest
    "id": 'id COLLATE "C"',
}
"""By the names on the wire."""

LISTS = statements("ellara.transactions", COLUMNS, HASH_MATCHES, SORTS)


async def list_transactions(connection: Connection, user_id: str, page: Page) -> Listing[Transaction]:
    """`search` is part of the hash, in any case. Raises `Invalid` for an unknown user or way to sort."""
    rows, total = await list_page(connection, LISTS, user_id, page)
    return Listing([_transaction(row) for row in rows], total)


FIND_TRANSACTIONS = """
SELECT id, user_id, amount, type, status, tx_hash, created_at FROM ellara.transactions
WHERE user_id = %(user_id)s AND (%(pattern)s::text IS NULL OR tx_hash COLLATE "C" ILIKE %(pattern)s)
  AND (%(status)s::text IS NULL OR status::text = %(status)s)
ORDER BY created_at DESC, id DESC LIMIT %(take)s
"""


async def find_transactions(
    connection: Connection, user_id: str, take: int, status: TransactionStatus | None, search: str | None
) -> list[Transaction]:
    """The user's newest, at most `take`; `search` is part of the hash, in any case."""
    pattern = part_of(search) if search else None
    rows = await connection.rows(FIND_TRANSACTIONS, user_id=user_id, status=status and status.value, pattern=pattern, take=take)
    return [_transaction(row) for row in rows]


AMOUNT_TYPE = """
SELECT format_type(atttypid, atttypmod) FROM pg_attribute
WHERE attrelid = 'ellara.transactions'::regclass AND attname = 'amount'
"""


async def amount_max(connection: Connection) -> int:
    """The greatest amount that the column holds: INTEGER in the seed's schema, NUMERIC(78,0) once it was widened."""
    row = await connection.row(AMOUNT_TYPE)
    assert row is not None
    return largest(row[0])


def largest(column_type: str) -> int:
    """Of a column type as PostgreSQL writes it; that of a uint256 where the type sets no limit."""
    if found := re.fullmatch(r"numeric\((\d+),(\d+)\)", column_type):
        return int(10 ** (int(found[1]) - int(found[2]))) - 1
    return {"integer": 2**31 - 1, "bigint": 2**63 - 1}.get(column_type, 2**256 - 1)


ADD_TRANSACTIONS = """
INSERT INTO ellara.transactions (id, user_id, amount, type, status, created_at)
SELECT id, user_id, amount, type::ellara.transaction_type, status::ellara.transaction_status, created_at
FROM unnest(%(ids)s::text[], %(user_ids)s::text[], %(amounts)s::numeric[], %(types)s::text[], %(statuses)s::text[],
            %(times)s::timestamp[]) AS wanted (id, user_id, amount, type, status, created_at)
WHERE EXISTS (SELECT FROM ellara.users WHERE users.id = wanted.user_id)
RETURNING id
"""


async def add_transactions(connection: Connection, transactions: Sequence[Transaction]) -> set[str]:
    """Answers the ids of those whose user exists."""
    rows = await connection.rows(
        ADD_TRANSACTIONS,
        ids=[each.id for each in transactions],
        user_ids=[each.user_id for each in transactions],
        amounts=[each.amount for each in transactions],
        types=[each.type.value for each in transactions],
        statuses=[each.status.value for each in transactions],
        times=[naive(each.created_at) for each in transactions],
    )
    return {row[0] for row in rows}


@attrs.frozen
class Change:
    """What is to become of a user's transaction; None stays as it is."""

    user_id: str
    status: TransactionStatus | None
    tx_hash: str | None


CHANGE_TRANSACTIONS = """
UPDATE ellara.transactions
SET status = coalesce(wanted.status::ellara.transaction_status, transactions.status),
    tx_hash = coalesce(wanted.tx_hash, transactions.tx_hash)
FROM unnest(%(ids)s::text[], %(user_ids)s::text[], %(statuses)s::text[], %(hashes)s::text[])
    AS wanted (id, user_id, status, tx_hash)
WHERE transactions.id = wanted.id AND transactions.user_id = wanted.user_id
RETURNING transactions.id
"""


async def change_transactions(connection: Connection, changes: Mapping[str, Change]) -> set[str]:
    """By id. Answers the ids of those that are there and the user's. Raises `Conflict` when a hash is another's already."""
    try:
        rows = await connection.rows(
            CHANGE_TRANSACTIONS,
            ids=list(changes),
            user_ids=[change.user_id for change in changes.values()],
            statuses=[change.status and change.status.value for change in changes.values()],
            hashes=[change.tx_hash for change in changes.values()],
        )
    except Taken:
        raise Conflict("txHash belongs to another transaction") from None
    return {row[0] for row in rows}


def _transaction(row: TupleRow) -> Transaction:
    transaction_id, user_id, amount, kind, status, tx_hash, created_at = row
    return Transaction(
        transaction_id, user_id, int(amount), TransactionType(kind), TransactionStatus(status), tx_hash, aware(created_at)
    )
