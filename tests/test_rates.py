"""Token buckets, by a clock that the test turns. The rates are powers of two, so that no float is rounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ellara.rates import BURST_S, SWEEP_FROM, Bucket, Buckets

BURST = int(2 * BURST_S)
"""Of a bucket that takes two a second."""


def emptied(per_s: float = 2.0, now: float = 0.0) -> Bucket:
    bucket = Bucket(per_s, now)
    for _ in range(max(int(per_s * BURST_S), 1)):
        assert bucket.take(now)
    return bucket


def test_a_burst_may_come_at_once_and_no_more() -> None:
    assert not emptied().take(0.0)


def test_then_the_rate_itself_may_go_on_for_ever() -> None:
    bucket = emptied()
    assert all(bucket.take(second / 2) for second in range(1, 1_000))


def test_a_pause_fills_it_to_one_burst_at_most() -> None:
    bucket = emptied()
    assert [bucket.take(3_600.0) for _ in range(BURST + 1)] == [True] * BURST + [False]


@pytest.mark.parametrize("per_s", [1 / 16, 1 / 1024])
def test_a_rate_of_less_than_one_a_burst_still_lets_one_through(per_s: float) -> None:
    bucket = emptied(per_s)
    assert not bucket.take(0.0)
    assert bucket.take(2 / per_s)


def test_who_never_pauses_gets_nothing_at_all() -> None:
    bucket = emptied()
    assert not any(bucket.take(tick / 4) for tick in range(1, 1_000))


def test_what_is_refused_must_be_paid_back() -> None:
    bucket = emptied()
    for _ in range(4):
        bucket.take(0.0)
    assert not bucket.take(2.0)
    assert bucket.take(3.0)


def test_the_debt_ends_at_a_burst() -> None:
    bucket = emptied()
    for number in range(BURST):
        assert bucket.in_debt is False, number
        bucket.take(0.0)
    assert bucket.in_debt
    for _ in range(1_000):
        bucket.take(0.0)
    assert bucket.take((BURST + 1) / 2)
    assert not bucket.in_debt


def test_a_rate_of_nothing_is_no_limit() -> None:
    bucket, buckets = Bucket(0.0, 0.0), Buckets(0.0)
    assert all(bucket.take(0.0) and buckets.take("a", 0.0) for _ in range(10_000))
    assert not bucket.in_debt
    assert len(buckets) == 0


@given(st.lists(st.floats(0.0, 20.0)))
def test_never_more_than_a_burst_and_the_rate(pauses: list[float]) -> None:
    bucket, now, taken = Bucket(2.0, 0.0), 0.0, 0
    for pause in pauses:
        now += pause
        taken += bucket.take(now)
        assert taken <= BURST + 2.0 * now + 1e-6


def test_each_key_has_its_own() -> None:
    buckets = Buckets(2.0)
    assert [buckets.take("a", 0.0) for _ in range(BURST + 1)] == [True] * BURST + [False]
    assert buckets.take("b", 0.0)


def test_who_was_quiet_for_long_enough_is_forgotten_and_nobody_else() -> None:
    buckets = Buckets(2.0)
    for number in range(SWEEP_FROM - 1):
        buckets.take(str(number), 0.0)
    for _ in range(2 * BURST):
        buckets.take("busy", 1.0)
    assert len(buckets) == SWEEP_FROM
    buckets.take("new", 1.0)
    assert len(buckets) == 2
    assert not buckets.take("busy", 1.0)


def test_who_comes_at_a_sweep_is_counted_like_all_others() -> None:
    buckets = Buckets(2.0)
    for number in range(SWEEP_FROM):
        buckets.take(str(number), 0.0)
    assert sum(buckets.take("new", 0.0) for _ in range(BURST + 2)) == BURST


def test_a_crowd_of_busy_keys_is_not_gone_through_for_each_newcomer() -> None:
    buckets = Buckets(1 / 1024)
    for number in range(2 * SWEEP_FROM):
        buckets.take(str(number), 0.0)
    assert len(buckets) == 2 * SWEEP_FROM
