"""What the connections are for: what sessions call when something comes in. Types alone; the daemon gives the functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import attrs

from ellara.actors.client import Client

Ack: TypeAlias = Callable[..., None]
"""Answers the client's acknowledgement callback; only the first call counts."""


@attrs.frozen
class Application:
    """None of these may block: they are called within a session's turn."""

    authenticate: Callable[[Mapping[str, object]], str | None]
    """The handshake's auth → user id, or None without a token. Refuses with an `EllaraError`, whose text the client reads."""
    on_event: Callable[[Client, str, list[object], Ack | None], None]
    """Called for every event, with its name and arguments."""
    on_excess: Callable[[Client, Ack | None], None]
    """An event came too fast and is not dispatched: tell the client."""
    on_leave: Callable[[Client], None]
    """The client is gone for good. Must not raise."""
