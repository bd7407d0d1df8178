"""What an Engine.IO request asks for, and what is wrong with it: pure, from the query and the headers. Used by `socketio` alone.

Statuses, codes and headers: the 4.8 reference, with `cors: {origin: …}`.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from urllib.parse import parse_qsl

import attrs

from ellara.web.cors import Headers, allow_origin

MESSAGES = (
    "Transport unknown",
    "Session ID unknown",
    "Bad handshake method",
    "Bad request",
    "Forbidden",
    "Unsupported protocol version",
)
"""By the code that stands beside them in the body of a 400."""


_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
"""What no header may have in it, as the reference sees it."""


@attrs.frozen
class Request:
    """What the query and the headers say."""

    method: str
    query: Mapping[str, str]
    headers: Mapping[bytes, bytes]
    cors_origins: tuple[str, ...]

    @classmethod
    def of(cls, method: str, query: bytes, headers: Headers, cors_origins: tuple[str, ...]) -> Request:
        return cls(method, dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True)), dict(headers), cors_origins)

    @property
    def sid(self) -> str:
        return self.query.get("sid", "")

    @property
    def takes_gzip(self) -> bool:
        offers = self.headers.get(b"accept-encoding", b"").replace(b" ", b"").split(b",")
        return any(offer.partition(b";")[0] == b"gzip" and not offer.endswith((b";q=0", b";q=0.0")) for offer in offers)

    def fault(self, known: Container[str], *, upgrade: bool) -> int | None:
        """The code of the 400 that it deserves, checked in the reference's order. `upgrade`: it asks for a WebSocket."""
        transport, revision = self.query.get("transport"), self.query.get("EIO")
        if transport not in (("websocket",) if upgrade else ("polling", "websocket")):
            return 0
        if _CONTROL.search(self.headers.get(b"origin", b"")):
            return 3
        if self.sid and self.sid not in known:
            return 1
        if not self.sid and self.method != "GET":
            return 2
        if transport == "websocket" and not upgrade:
            return 3
        if revision != "4":
            return 3 if self.sid else 5
        return None

    def cors(self) -> Headers:
        return allow_origin(self.cors_origins, self.headers.get(b"origin", b"").decode("latin-1"))

    def preflight(self) -> Headers:
        asked = self.headers.get(b"access-control-request-headers")
        return [
            *self.cors(),
            (b"access-control-allow-methods", b"GET,HEAD,PUT,PATCH,POST,DELETE"),
            (b"vary", b"Access-Control-Request-Headers"),
            *([(b"access-control-allow-headers", asked)] if asked else []),
        ]
