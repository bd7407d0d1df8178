"""Where a database is: from a URL of the old backend, with Prisma's own parameters in it, to what libpq reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self
from urllib.parse import parse_qsl, urlsplit

import attrs
import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ellara.errors import CannotStart

IDLE_IN_TRANSACTION_S = 60
"""The server's own limit, should we ever forget a transaction."""


@attrs.frozen
class Target:
    """Where a database is. Made of a URL or a libpq text by `parse`; Prisma's parameters are understood and taken off."""

    parameters: Mapping[str, str] = attrs.field(repr=False)
    """libpq's."""
    schema: str
    """Where the seed's tables are."""
    pooled: bool
    """Behind a pooler that changes the server connection at each transaction: no prepared statements, no session state."""
    connections_max: int | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises `CannotStart` when it is no database address. What neither libpq nor Prisma knows is ignored, as Prisma does."""
        text, asked = _without_query(text) if "://" in text else (text, {})
        known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
        try:
            parameters = {name: str(value) for name, value in conninfo_to_dict(text).items()}
        except psycopg.ProgrammingError as error:
            raise CannotStart(f"database.url is not a PostgreSQL address: {error}") from None
        if not all(port.isdigit() for port in parameters.get("port", "").split(",") if port):
            raise CannotStart("database.url is not a PostgreSQL address: its port is not a number")
        parameters |= {name: value for name, value in _security(asked).items() if name in known}
        limit = asked.get("connection_limit", "")
        return cls(
            parameters,
            schema=asked.get("schema") or "public",
            pooled=asked.get("pgbouncer") == "true",
            connections_max=max(1, int(limit)) if limit.isascii() and limit.isdigit() else None,
        )

    def conninfo(self, statement_timeout_s: float) -> str:
        """libpq's text, with the session's settings in it: no statement is needed to make them."""
        parameters = {"application_name": "ellara", "client_encoding": "UTF8", "gssencmode": "disable"} | dict(self.parameters)
        parameters |= {"keepalives_idle": "30", "keepalives_interval": "10", "keepalives_count": "3"}
        if not self.pooled:
            session = {
                "TimeZone": "UTC",
                "statement_timeout": f"{statement_timeout_s * 1000:.0f}",
                "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_S * 1000),
            }
            ours = " ".join(f"-c {name}={value}" for name, value in session.items())
            parameters["options"] = f"{parameters.get('options', '')} {ours}".strip()
        return make_conninfo("", **parameters)


def _without_query(url: str) -> tuple[str, dict[str, str]]:
    parts = urlsplit(url)
    return parts._replace(query="").geturl(), dict(parse_qsl(parts.query))


def _security(asked: Mapping[str, str]) -> dict[str, str]:
    """Prisma's words for TLS in libpq's. Source: Prisma, "PostgreSQL connection URL"; its `sslcert` is the server's authority."""
    if "sslidentity" in asked:
        raise CannotStart("database.url: sslidentity (PKCS 12) cannot be read: give sslcert and sslkey in PEM")
    translated = {name: value for name, value in asked.items() if name != "connect_timeout"}
    if "sslcert" in asked and "sslkey" not in asked:
        translated["sslrootcert"] = translated.pop("sslcert")
    if asked.get("sslaccept") == "strict":
        translated["sslmode"] = "verify-full"
        translated.setdefault("sslrootcert", "system")
    return translated
