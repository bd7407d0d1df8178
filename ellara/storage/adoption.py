"""Whether a database is empty, holds the seed's tables (in either form of their names), or is somebody else's.

Decided once, by migrate.py, from the catalogue alone. `judge` is pure; it says all differences at once.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs
from psycopg import sql

from ellara.errors import CannotStart
from ellara.storage.connection import Connection

TEXT, TIME, AMOUNT = (
    ("text", "character varying"),
    ("timestamp(3) without", "timestamp without"),
    ("integer", "bigint", "numeric"),
)


@attrs.frozen
class Expected:
    """A table of the seed: its two names, its columns' types (prefixes that will do, or an enum's labels), which are unique."""

    names: tuple[str, str]
    columns: Mapping[str, tuple[str, ...]]
    enums: Mapping[str, tuple[str, frozenset[str]]] = attrs.field(factory=dict)
    """Column → our name for its type, and the labels it must have."""
    unique: tuple[str, ...] = ("id",)


SEED = {
    "user": Expected(
        ("User", "users"),
        {"id": TEXT, "publicKey": TEXT, "createdAt": TIME, "updatedAt": TIME},
        {"role": ("user_role", frozenset({"USER", "MERCHANT"}))},
        ("id", "publicKey"),
    ),
    "chat": Expected(
        ("Chat", "chats"),
        {"id": TEXT, "userId": TEXT, "title": TEXT, "openaiThreadId": TEXT, "createdAt": TIME, "updatedAt": TIME},
        unique=("id", "openaiThreadId"),
    ),
    "message": Expected(("Message", "messages"), {"id": TEXT, "chatId": TEXT, "role": TEXT, "content": TEXT, "createdAt": TIME}),
    "transaction": Expected(
        ("Transaction", "transactions"),
        {"id": TEXT, "userId": TEXT, "amount": AMOUNT, "txHash": TEXT, "createdAt": TIME},
        {
            "type": ("transaction_type", frozenset({"NATIVE", "USDT"})),
            "status": ("transaction_status", frozenset({"PENDING", "SUCCESS", "FAILED"})),
        },
        ("id", "txHash"),
    ),
}


@attrs.frozen
class Column:
    type: str
    type_name: str
    """Of the type, qualified and quoted."""
    labels: frozenset[str]
    unique: bool
    needed: bool
    """Must be given a value on insertion."""


Tables = Mapping[str, Mapping[str, Column]]

SURVEY = """
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), quote_ident(tn.nspname) || '.' || quote_ident(t.typname),
       ARRAY(SELECT e.enumlabel::text FROM pg_enum e WHERE e.enumtypid = t.oid),
       EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
               AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum),
       a.attnotnull AND NOT a.atthasdef AND a.attidentity = ''
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = %(schema)s
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_namespace tn ON tn.oid = t.typnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
"""


async def survey(connection: Connection, schema: str) -> Tables:
    """All tables and views of a schema but those of extensions."""
    found: dict[str, dict[str, Column]] = {}
    for table, name, kind, type_name, labels, unique, needed in await connection.rows(SURVEY, schema=schema):
        columns = found.setdefault(table, {})
        if name is not None:
            columns[name] = Column(kind, type_name, frozenset(labels), unique, needed)
    return found


def judge(tables: Tables, schema: str) -> Mapping[str, str] | None:
    """What `@…@` in a migration stands for, or None for an empty schema. Raises `CannotStart` with every difference."""
    if not tables:
        return None
    found = [_differences(tables, form) for form in (0, 1)]
    fitting = [form for form in (0, 1) if not found[form]]
    if len(fitting) == 1:
        return _words(tables, schema, fitting[0])
    if fitting:
        raise CannotStart(f'Schema {schema} holds the seed\'s tables twice, as "User"… and as users…: remove one set')
    form = max((0, 1), key=lambda form: sum(each.names[form] in tables for each in SEED.values()))
    if not any(each.names[form] in tables for each in SEED.values()):
        raise CannotStart(
            f"Schema {schema} of the database belongs to something else (it holds {', '.join(sorted(tables)[:5])}): "
            "give an empty database, or the one of the old backend"
        )
    raise CannotStart("The database differs from the old backend's: " + "; ".join(found[form]))


def fresh_words(schema: str) -> Mapping[str, str]:
    """The names that 0001_baseline.sql gives."""
    types = {"user_role": "UserRole", "transaction_type": "TransactionType", "transaction_status": "TransactionStatus"}
    tables = {name: expected.names[0] for name, expected in SEED.items()}
    return {"schema": _quoted(schema)} | {word: _quoted(schema, name) for word, name in (types | tables).items()}


def _words(tables: Tables, schema: str, form: int) -> Mapping[str, str]:
    words = {"schema": _quoted(schema)}
    for name, expected in SEED.items():
        words[name] = _quoted(schema, expected.names[form])
        columns = tables[expected.names[form]]
        words |= {word: columns[column].type_name for column, (word, _) in expected.enums.items()}
    return words


def _differences(tables: Tables, form: int) -> list[str]:
    found = []
    for expected in SEED.values():
        table = expected.names[form]
        if table not in tables:
            found.append(f"table {table} is missing")
            continue
        columns = tables[table]
        for name, kinds in expected.columns.items():
            if name not in columns:
                found.append(f"{table}.{name} is missing")
            elif not columns[name].type.startswith(kinds):
                found.append(f"{table}.{name} is {columns[name].type}, not {kinds[0]}")
        for name, (_, labels) in expected.enums.items():
            if name not in columns:
                found.append(f"{table}.{name} is missing")
            elif not labels <= columns[name].labels:
                found.append(f"{table}.{name} is {columns[name].type}, not an enum of {', '.join(sorted(labels))}")
        found += [f"{table}.{name} is not unique" for name in expected.unique if name in columns and not columns[name].unique]
        ours = expected.columns.keys() | expected.enums.keys()
        found += [f"{table}.{name} must be given, we do not know what" for name in columns.keys() - ours if columns[name].needed]
    return found


def _quoted(*names: str) -> str:
    return sql.Identifier(*names).as_string(None)
