"""What is paid for gas."""

from __future__ import annotations

import attrs
from hypothesis import given
from hypothesis import strategies as st

from ellara.chain.fees import TOTAL_MAX_WEI, Fees, History, Limits, affordable, bump, suggest

GWEI = 10**9
LIMITS = Limits(cap_wei=200 * GWEI, tip_floor_wei=GWEI, tip_cap_wei=50 * GWEI, gas_max=300_000)

wei = st.integers(0, 500 * GWEI)
histories = st.builds(History, wei, st.lists(wei, max_size=15))
fees = st.builds(lambda tip, more: Fees(tip + more, tip), st.integers(1, 100 * GWEI), wei)


def test_the_cap_outlasts_five_full_blocks() -> None:
    suggested = suggest(History(8 * GWEI, [2 * GWEI]), LIMITS)
    assert suggested == Fees(cap_wei=18 * GWEI, tip_wei=2 * GWEI)
    assert suggested.cap_wei > 8 * GWEI * 1.125**5


def test_the_tip_is_the_median_within_its_bounds() -> None:
    assert suggest(History(0, [3 * GWEI, 9 * GWEI, 5 * GWEI]), LIMITS).tip_wei == 5 * GWEI
    assert suggest(History(0, []), LIMITS).tip_wei == GWEI
    assert suggest(History(0, [900 * GWEI]), LIMITS).tip_wei == 50 * GWEI


@given(histories)
def test_nothing_ever_passes_the_ceiling_and_the_tip_never_the_cap(history: History) -> None:
    suggested = suggest(history, LIMITS)
    assert suggested.tip_wei <= suggested.cap_wei <= LIMITS.ceiling_wei
    assert affordable(suggested, history) == (suggested.cap_wei >= history.next_base_wei)


@given(fees, fees)
def test_a_raise_is_taken_by_every_known_node(highest: Fees, suggested: Fees) -> None:
    raised = bump(highest, suggested, LIMITS)
    if raised is None:
        return
    for old, new in ((highest.cap_wei, raised.cap_wei), (highest.tip_wei, raised.tip_wei)):
        assert new > old
        assert new * 1000 >= old * 1125  # geth, reth, besu and erigon want 10 %
    assert raised.tip_wei <= raised.cap_wei <= LIMITS.ceiling_wei


def test_at_the_ceiling_there_is_no_raise() -> None:
    assert bump(Fees(190 * GWEI, GWEI), Fees(10 * GWEI, GWEI), LIMITS) is None


def test_no_transaction_may_cost_an_ether() -> None:
    greedy = attrs.evolve(LIMITS, cap_wei=10**15, gas_max=16_000_000)
    assert suggest(History(10**14, []), greedy).cap_wei * 16_000_000 <= TOTAL_MAX_WEI
