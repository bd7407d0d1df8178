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
    def stamp(self) -> str:
        """`t`, which the clients make anew for each request of polling."""
        return self.query.get("t", "")

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


class Stamps:
    """The last `stamp` of each method in one session: whether a request is a repetition.

    An HTTP client sends a request again by itself when a connection that it used before breaks without an answer. Whether the
    first one arrived it does not know: what was polled is lost with it, and what was posted must not be heard twice.
    """

    __slots__ = ("_changes", "_last")

    def __init__(self, stamp: str) -> None:
        """`stamp`: the handshake's."""
        self._last = {"GET": stamp}
        self._changes = 0

    def repeats(self, method: str, stamp: str) -> bool:
        """Who sends the same one always, or none, says nothing by it."""
        self._changes += stamp not in self._last.values()
        is_repeated = self._changes > 1 and stamp != "" and self._last.get(method) == stamp
        self._last[method] = stamp
        return is_repeated
