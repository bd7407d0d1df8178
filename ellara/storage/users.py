"""The seed's users. Written by the ledger alone; read by whoever holds a connection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from psycopg.rows import TupleRow

from ellara.errors import Invalid
from ellara.model import Role, User
from ellara.storage.connection import Connection, naive

UNKNOWN = "User not found"

FIND_USER = "SELECT id, public_key, role FROM ellara.users WHERE id = %(user_id)s"


async def find_user(connection: Connection, user_id: str) -> User | None:
    row = await connection.row(FIND_USER, user_id=user_id)
    return _user(row) if row else None


async def known_user(connection: Connection, user_id: str) -> User:
    """Raises `Invalid` for a user that is not there: a token outlives its user."""
    found = await find_user(connection, user_id)
    if found is None:
        raise Invalid(UNKNOWN)
    return found


FIND_BY_KEYS = """
SELECT id, public_key, role FROM ellara.users WHERE lower(public_key) = ANY(%(lowered)s) ORDER BY created_at, id
"""


async def find_by_keys(connection: Connection, public_keys: Iterable[str]) -> Mapping[str, User]:
    """By each key that has a user: the one with exactly this key, else the oldest that differs in letter case alone."""
    wanted = list(public_keys)
    rows = await connection.rows(FIND_BY_KEYS, lowered=[key.lower() for key in wanted])
    return _match(wanted, [_user(row) for row in rows])


def _match(public_keys: Iterable[str], users: Sequence[User]) -> Mapping[str, User]:
    exact = {user.public_key: user for user in users}
    oldest = {user.public_key.lower(): user for user in reversed(users)}
    found = {key: exact.get(key) or oldest.get(key.lower()) for key in public_keys}
    return {key: user for key, user in found.items() if user is not None}


SIGN_UP_ALONE = "SELECT pg_advisory_xact_lock(%(number)s)"
SIGN_UP_NUMBER = 0x656C6C617262

ADD_USERS = """
INSERT INTO ellara.users (id, public_key, role, created_at, updated_at)
SELECT id, public_key, 'USER'::ellara.user_role, %(now)s, %(now)s
FROM unnest(%(ids)s::text[], %(public_keys)s::text[]) AS wanted (id, public_key)
ON CONFLICT DO NOTHING
"""


async def sign_in(connection: Connection, wanted: Mapping[str, str], now: datetime) -> Mapping[str, User]:
    """The user of each public key, made if there is none. `wanted`: key → the id that a new user would get.

    Runs in the caller's transaction. First logins are let through one after the other, over all daemons: two of one key in two
    letter cases must find each other.
    """
    found = await find_by_keys(connection, wanted)
    if len(found) == len(wanted):
        return found
    await connection.run(SIGN_UP_ALONE, number=SIGN_UP_NUMBER)
    found = await find_by_keys(connection, wanted)
    new = {key.lower(): key for key in reversed(list(wanted)) if key not in found}
    keys = list(new.values())
    await connection.run(ADD_USERS, ids=[wanted[key] for key in keys], public_keys=keys, now=naive(now))
    return await find_by_keys(connection, wanted)


def _user(row: TupleRow) -> User:
    user_id, public_key, role = row
    return User(user_id, public_key, Role(role))
