"""What the settler may pay: fees of the day, gas money at hand, the raise of a stale nonce's fees. Part of settler.py."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from ellara.actors.settling.desk import Desk, OpenRound
from ellara.chain import fees
from ellara.log import get_logger
from ellara.storage import settlements

log = get_logger(__name__)

FRESH_S = 2.0
"""How long fees and balance are believed: a cap is good for five full blocks."""


class Purse:
    """Owns what is known of fees and balance."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        settings = desk.settings
        self._limits = fees.Limits(settings.fee_cap_wei, settings.tip_floor_wei, settings.tip_cap_wei, settings.gas_max)
        self._history = fees.History(0, ())
        self._balance_wei = 0
        self._read_at_s = -FRESH_S

    async def suggest(self) -> fees.Fees | None:
        """For a new transaction. None: it would cost more than the ceiling."""
        await self._refresh()
        suggested = fees.suggest(self._history, self._limits)
        return suggested if fees.affordable(suggested, self._history) else None

    def paid_for(self, waiting: Sequence[OpenRound], flying: Sequence[OpenRound], each_at: fees.Fees) -> list[OpenRound]:
        """As many of those waiting as there is gas money for: nodes add up what all pending transactions may cost."""
        left_wei = self._balance_wei - sum(each.newest.gas * each.newest.fee_cap_wei for each in flying)
        paid = []
        for each in waiting:
            left_wei -= each.gas * each_at.cap_wei
            if left_wei < 0:
                break
            paid.append(each)
        return paid

    async def raise_fees(self, stale: OpenRound) -> bool:
        """Signs and stores bytes that replace all earlier ones of its nonce. False: the ceiling allows no more."""
        await self._refresh()
        highest = fees.Fees(max(each.fee_cap_wei for each in stale.attempts), max(each.tip_wei for each in stale.attempts))
        raised = fees.bump(highest, fees.suggest(self._history, self._limits), self._limits)
        if raised is None:
            return False
        attempt = self._desk.sign_again(stale.newest, raised, self._desk.heads.number)
        async with self._desk.pool.transaction() as connection:
            await settlements.add_attempts(connection, self._desk.ledger, [attempt])
        stale.attempts.append(attempt)
        stale.accepted = False
        log.warning("fees raised", order=str(stale.settlement.order), nonce=attempt.nonce, fee_cap_wei=attempt.fee_cap_wei)
        return True

    async def _refresh(self) -> None:
        if trio.current_time() - self._read_at_s < FRESH_S:
            return
        self._history = await self._desk.rpc.fee_history()
        self._balance_wei = await self._desk.rpc.balance_wei(self._desk.ledger.signer)
        self._read_at_s = trio.current_time()
