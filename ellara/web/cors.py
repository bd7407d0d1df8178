"""Which origins a browser may come from: one rule for all answers, those of the routes, of Socket.IO and of the server itself."""

from __future__ import annotations

Headers = list[tuple[bytes, bytes]]


def allow_origin(allowed: tuple[str, ...], origin: str) -> Headers:
    """For the answer to a request with this `Origin` ("": it has none). `allowed` are the setting's; "*" is any."""
    if "*" in allowed:
        return [(b"access-control-allow-origin", b"*")]
    if origin not in allowed:
        return [(b"vary", b"Origin")]
    named = (b"access-control-allow-origin", origin.encode("latin-1"))
    return [named, (b"access-control-allow-credentials", b"true"), (b"vary", b"Origin")]
