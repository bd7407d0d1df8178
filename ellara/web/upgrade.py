"""Upgrade: a request for a WebSocket, as it is taken over from hypercorn together with its connection.

Made by `hypercorn_guard`, passed on by `serve` to whoever serves WebSockets. From there on nothing of hypercorn is involved.
"""

from __future__ import annotations

import attrs


@attrs.frozen
class Upgrade:
    """The head of the request. It has no body, and nothing has been answered yet."""

    target: bytes
    """Path and query, as they came."""
    headers: list[tuple[bytes, bytes]]
    """Names in lower case."""
    early: bytes
    """What came behind the head: the client need not wait for the 101."""
    client: str
    """The client's address; believed of a trusted proxy."""
