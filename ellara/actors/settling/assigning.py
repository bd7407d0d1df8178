"""Gives nonces to the rounds that are ready: signature and bytes, stored in one transaction. Part of settler.py.

Takes as many at once as there is room for. No nonce is taken while the node refuses one that was taken already, nor without the
gas money for all that is in flight.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import trio

from ellara.actors.settling.desk import SHORT_OF_GAS, TOO_DEAR, Desk, OpenRound
from ellara.actors.settling.purse import Purse
from ellara.chain.fees import Fees
from ellara.errors import Unavailable
from ellara.log import get_logger
from ellara.mailbox import Bell
from ellara.model import SettlementState
from ellara.storage import settlements
from ellara.storage.connection import CommitUnclear

log = get_logger(__name__)


class Assigner:
    """Owns the rounds that wait for a nonce. `ring` when there may be room or money again."""

    def __init__(
        self, desk: Desk, purse: Purse, in_flight: Callable[[], Sequence[OpenRound]], send: Callable[[OpenRound], None]
    ) -> None:
        self._desk, self._purse = desk, purse
        self._in_flight, self._send = in_flight, send
        self._ready: deque[OpenRound] = deque()
        self._bell = Bell()
        self._turned_away_for = ""

    def add(self, ready: OpenRound) -> None:
        self._ready.append(ready)
        self._bell.ring()

    def ring(self) -> None:
        if self._ready:
            self._bell.ring()

    async def run(self) -> None:
        while True:
            await self._bell.heard()
            try:
                while await self._assign():
                    pass
                await self._write_down_who_waits()
            except CommitUnclear:
                raise  # a crash: the next incarnation reads what was committed
            except Unavailable as error:
                for waiting in self._ready:
                    waiting.hinder(error.message)
                await trio.sleep(self._desk.settings.poll_interval_s)
                self._bell.ring()

    async def _assign(self) -> bool:
        """One batch. False: nothing to do, or nothing possible now."""
        flying = self._in_flight()
        room = self._desk.settings.in_flight_max - len(flying)
        if not self._ready or room <= 0 or any(each.stuck for each in flying):
            return False
        fees = await self._purse.suggest()
        if fees is None:
            self._turn_away(TOO_DEAR)
            return False
        batch = self._purse.paid_for(list(self._ready)[:room], flying, fees)
        if not batch:
            self._turn_away(SHORT_OF_GAS)
            return False
        await self._sign(batch, fees)
        self._turned_away_for = ""
        return True

    async def _write_down_who_waits(self) -> None:
        waiting = [each for each in self._ready if each.settlement.state is SettlementState.RECEIVED]
        if not waiting:
            return
        async with self._desk.pool.connection() as connection:
            await settlements.mark_ready(connection, [each.settlement for each in waiting])
        for each in waiting:
            if each.settlement.state is SettlementState.RECEIVED:
                each.move(SettlementState.READY)

    async def _sign(self, batch: list[OpenRound], fees: Fees) -> None:
        """Nonces, bytes and hashes are committed before anyone sees them; a crash before that leaves no trace of them."""
        desk = self._desk
        async with desk.pool.transaction() as connection:
            first = await settlements.take_nonces(connection, desk.ledger, len(batch))
            signed = [
                (each.settlement, desk.sign(each.settlement, nonce, each.gas, fees, desk.heads.number))
                for nonce, each in enumerate(batch, first)
            ]
            if not await settlements.mark_signed(connection, desk.ledger, signed):
                raise RuntimeError("a round was signed that did not wait for a nonce")  # a crash: built again from storage
        for each, (_, attempt) in zip(batch, signed, strict=True):
            self._ready.remove(each)
            each.attempts.append(attempt)
            each.move(SettlementState.SIGNED)
            self._send(each)

    def _turn_away(self, why: str) -> None:
        if why != self._turned_away_for:
            log.error("no settlement can be sent", why=why, waiting=len(self._ready))
        self._turned_away_for = why
        for waiting in self._ready:
            waiting.refuse(Unavailable(why, retry_after_s=30.0))
