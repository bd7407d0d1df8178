"""Bucket, and Buckets by key: how often something may happen. Pure: the time is handed in, in seconds of any clock.

Source: the token bucket of RFC 2697, without colours.
"""

from __future__ import annotations

BURST_S = 10.0
"""So many seconds' worth may come at once: people and reconnecting pages come in bursts."""


SWEEP_FROM = 1_000
"""Keys at which the full ones are looked for; then again whenever twice as many are left."""


class Bucket:
    """Holds at most `BURST_S` seconds' worth of tokens, and starts full. `per_s` 0: never empty."""

    __slots__ = ("_at", "_per_s", "_tokens")

    def __init__(self, per_s: float, now: float) -> None:
        self._per_s, self._tokens, self._at = per_s, _most(per_s), now

    def take(self, now: float) -> bool:
        """False: too often. What is refused costs a token too, down to a burst of debt: who never pauses gets nothing at all."""
        if not self._per_s:
            return True
        most = _most(self._per_s)
        filled = min(self._tokens + (now - self._at) * self._per_s, most)
        self._tokens, self._at = max(filled - 1, -most), now
        return self._tokens >= 0

    @property
    def is_overdrawn(self) -> bool:
        """The last one was refused."""
        return self._tokens < 0

    @property
    def in_debt(self) -> bool:
        """As many were refused as the burst allows."""
        return self._per_s > 0 and self._tokens <= -_most(self._per_s)

    def is_full(self, now: float) -> bool:
        """As good as new: it need not be remembered."""
        return self._tokens + (now - self._at) * self._per_s >= _most(self._per_s)


class Buckets:
    """One for each key: an address, a user. Those that are full again are forgotten, so only who was busy just now takes room."""

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._buckets: dict[str, Bucket] = {}
        self._sweep_at = SWEEP_FROM

    def take(self, key: str, now: float) -> bool:
        """As `Bucket.take`."""
        if not self._per_s:
            return True
        bucket = self._buckets.get(key)
        if bucket is None:
            self._sweep(now)
            bucket = self._buckets[key] = Bucket(self._per_s, now)
        return bucket.take(now)

    @property
    def longest_wait_s(self) -> float:
        """From the deepest debt to the next token."""
        return (_most(self._per_s) + 1) / self._per_s

    def __len__(self) -> int:
        return len(self._buckets)

    def _sweep(self, now: float) -> None:
        if len(self._buckets) >= self._sweep_at:
            self._buckets = {key: bucket for key, bucket in self._buckets.items() if not bucket.is_full(now)}
            self._sweep_at = max(2 * len(self._buckets), SWEEP_FROM)


def _most(per_s: float) -> float:
    return max(per_s * BURST_S, 1.0)
