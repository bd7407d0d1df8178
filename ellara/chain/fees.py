"""What to pay for gas: caps from the recent fee history, the raise that replaces a pending transaction. Pure; all in wei per gas.

The next block's base fee is known exactly and rises by at most 12.5 % a block, so a cap of twice that stays good for five full
blocks. Sources: EIP-1559; geth `txpool.pricebump` (10 % on both fields), which we round up to 12.5 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median_low

import attrs

TOTAL_MAX_WEI = 10**18
"""Nodes refuse to broadcast a transaction that may cost more than one ether (geth, `rpc.txfeecap`)."""


@attrs.frozen
class Fees:
    """The two fee fields of a type-2 transaction."""

    cap_wei: int
    tip_wei: int


@attrs.frozen
class Limits:
    """What the operator is ready to pay."""

    cap_wei: int
    tip_floor_wei: int
    tip_cap_wei: int
    gas_max: int

    @property
    def ceiling_wei(self) -> int:
        return min(self.cap_wei, TOTAL_MAX_WEI // self.gas_max)


@attrs.frozen
class History:
    """Of eth_feeHistory: the base fee of the next block; what each recent block's median transaction tipped, if it had any."""

    next_base_wei: int
    tips_wei: Sequence[int]


def suggest(history: History, limits: Limits) -> Fees:
    """For a new transaction. Below the ceiling always; `affordable` tells whether that is enough."""
    tip = median_low(history.tips_wei) if history.tips_wei else limits.tip_floor_wei
    tip = min(max(tip, limits.tip_floor_wei), limits.tip_cap_wei, limits.ceiling_wei)
    return Fees(min(2 * history.next_base_wei + tip, limits.ceiling_wei), tip)


def affordable(fees: Fees, history: History) -> bool:
    """Whether the next block may take it. If not, it would only wait in the pools."""
    return fees.cap_wei >= history.next_base_wei


def bump(highest: Fees, suggested: Fees, limits: Limits) -> Fees | None:
    """Replaces every earlier attempt of a slot. `highest`: the most ever signed for it. None: the ceiling allows no raise."""
    cap = max(suggested.cap_wei, _raised(highest.cap_wei))
    tip = max(suggested.tip_wei, _raised(highest.tip_wei))
    if cap > limits.ceiling_wei or tip > cap:
        return None
    return Fees(cap, tip)


def _raised(fee_wei: int) -> int:
    """12.5 % more, rounded up, and at least one wei: nodes want 10 % on both fields, each rounding in its own way."""
    return max(-(-fee_wei * 9 // 8), fee_wei + 1)
