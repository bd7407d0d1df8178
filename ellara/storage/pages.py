"""What the lists of users have in common: a page in a fixed choice of orders, its total, and an unknown user told apart,
all in one statement."""

from __future__ import annotations

from collections.abc import Mapping
from typing import LiteralString

from psycopg.rows import TupleRow

from ellara.errors import Invalid
from ellara.model import Page
from ellara.storage.connection import Connection
from ellara.storage.users import UNKNOWN

SKIP_MAX = 2**62
"""More rows than any table has, and still a bigint."""

LIST = """
SELECT head.known, head.total, listed.*
FROM (SELECT EXISTS (SELECT FROM ellara.users WHERE id = %(user_id)s) AS known,
             (SELECT count(*) FROM @from@ WHERE user_id = %(user_id)s AND @match@) AS total) AS head
LEFT JOIN LATERAL (SELECT @columns@ FROM @from@ WHERE user_id = %(user_id)s AND @match@
                   ORDER BY @order@ LIMIT %(take)s OFFSET %(skip)s) AS listed ON true
ORDER BY @order@
"""


def statements(
    table: LiteralString, columns: LiteralString, match: LiteralString, sorts: Mapping[str, LiteralString]
) -> Mapping[tuple[str, bool], LiteralString]:
    """A statement for each way to sort: (its name on the wire, whether descending). Ties are broken by the id."""
    whole = LIST.replace("@from@", table).replace("@columns@", columns).replace("@match@", match)
    return {
        (name, descending): whole.replace("@order@", f"{key} {direction}, id {direction}")
        for name, key in sorts.items()
        for descending, direction in ((False, "ASC"), (True, "DESC"))
    }


async def list_page(
    connection: Connection, choice: Mapping[tuple[str, bool], LiteralString], user_id: str, page: Page
) -> tuple[list[TupleRow], int]:
    """The rows of a page and the total of all. Raises `Invalid` for an unknown user or way to sort."""
    statement = choice.get((page.sort_by, page.descending))
    if statement is None:
        raise Invalid(f"sortBy must be one of {', '.join(dict.fromkeys(name for name, _ in choice))}")
    skip = min((page.page - 1) * page.take, SKIP_MAX)
    pattern = part_of(page.search) if page.search else None
    rows = await connection.rows(statement, user_id=user_id, pattern=pattern, take=page.take, skip=skip)
    known, total, *_ = rows[0]
    if not known:
        raise Invalid(UNKNOWN)
    return [row[2:] for row in rows if row[2] is not None], total


def part_of(text: str) -> str:
    """A LIKE pattern for what holds `text`, in which nothing is special."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
