"""Who is let in: connections and sessions in all, of one address, and new sessions a second. Pure: the time is handed in.

`Places` is asked by `serve` for each connection, `Admission` by the Socket.IO shell for each new session. UNKNOWN as address is
under the limits of all alone.
"""

from __future__ import annotations

from collections import Counter
from math import ceil

import attrs

from ellara.metrics import SESSIONS_REFUSED
from ellara.rates import Buckets
from ellara.settings import Socket
from ellara.web.addresses import limit_key

FULL_RETRY_S = 5
"""A client of Socket.IO is back after 1 to 5 s by itself."""


@attrs.frozen
class Refusal:
    """`reason` is for the counters, `message` for the client."""

    status: int
    reason: str
    message: str
    retry_after_s: int

    @property
    def retry_after(self) -> tuple[bytes, bytes]:
        """The header."""
        return b"retry-after", b"%d" % self.retry_after_s


class Places:
    """So many at once, and of them so many from one address (0: no limit). `things`: what they are, in the plural."""

    def __init__(self, most: int, per_address_max: int, things: str) -> None:
        self._most = most
        self._per_address_max = per_address_max
        self._full = Refusal(
            503, "full", f"The server has as many {things} as it can serve; please try again later", FULL_RETRY_S
        )
        self._crowded = Refusal(429, "address", f"Too many {things} from your address; please close one first", FULL_RETRY_S)
        self._taken = 0
        self._by_key = Counter[str]()

    def take(self, address: str) -> Refusal | None:
        """None: it has one, until it is released."""
        if self._taken >= self._most:
            return self._full
        if self._per_address_max and address:
            key = limit_key(address)
            if self._by_key[key] >= self._per_address_max:
                return self._crowded
            self._by_key[key] += 1
        self._taken += 1
        return None

    def release(self, address: str) -> None:
        """`address`: as it was taken for."""
        self._taken -= 1
        if self._per_address_max and address:
            key = limit_key(address)
            self._by_key[key] -= 1
            if not self._by_key[key]:
                del self._by_key[key]

    def __len__(self) -> int:
        return self._taken


class Admission:
    """For new Engine.IO sessions."""

    def __init__(self, settings: Socket) -> None:
        self._places = Places(settings.sessions_max, settings.sessions_per_address_max, "sessions")
        self._buckets = Buckets(settings.handshakes_per_address_per_s)

    def admit(self, address: str, now: float) -> Refusal | None:
        """None: let in; `release` it when it is over. `address`: the client's, or UNKNOWN. `now`: seconds of any clock."""
        refusal = self._too_often(address, now) or self._places.take(address)
        if refusal is not None:
            SESSIONS_REFUSED.labels(reason=refusal.reason).inc()
        return refusal

    def release(self, address: str) -> None:
        """`address`: as it was admitted with."""
        self._places.release(address)

    def _too_often(self, address: str, now: float) -> Refusal | None:
        if not address or self._buckets.take(limit_key(address), now):
            return None
        return Refusal(
            429, "rate", "Too many new sessions from your address; please try again later", ceil(self._buckets.longest_wait_s)
        )
