"""Broadcasts stored bytes, in the order of their nonces, until a node has them. Part of settler.py.

Sending the same bytes again is always safe and never a new nonce; so whatever is unclear is sent again.
"""

from __future__ import annotations

import random
from collections import deque
from datetime import datetime

import trio

from ellara.actors.settling.desk import FIRST_PAUSE_S, LONGEST_PAUSE_S, SHORT_OF_GAS, Desk, OpenRound
from ellara.actors.settling.purse import Purse
from ellara.chain.answers import Answer, Outcome
from ellara.chain.attempts import AFTER_SENDING, Sent
from ellara.errors import Unavailable
from ellara.log import get_logger
from ellara.mailbox import Bell
from ellara.model import Attempt, SettlementState, utc_now
from ellara.storage import settlements
from ellara.storage.settlements import Sending

log = get_logger(__name__)

LOG_MAX = 1_000
"""So many broadcasts may wait to be written down while the database is away; then the oldest are forgotten."""
TEXT_MAX_CHARS = 500

REFUSED = {
    Outcome.INSUFFICIENT_FUNDS: SHORT_OF_GAS,
    Outcome.POOL_FULL: "The blockchain node's pool is full; the settlement goes on by itself",
}
REFUSED_OTHERWISE = "The blockchain node refuses the transaction; the settlement is kept and the operator was told"


class Sender:
    """Owns the bytes that are to go out."""

    def __init__(self, desk: Desk, purse: Purse) -> None:
        self._desk, self._purse = desk, purse
        self._waiting: dict[int, OpenRound] = {}
        self._bell = Bell()
        self._unlogged: deque[Sending] = deque(maxlen=LOG_MAX)
        self._pause_s = FIRST_PAUSE_S

    def add(self, signed: OpenRound) -> None:
        """Its newest bytes go out when it is their turn."""
        self._waiting[signed.newest.nonce] = signed
        self._bell.ring()

    def has(self, signed: OpenRound) -> bool:
        return signed.newest.nonce in self._waiting

    def drop(self, lost: OpenRound) -> None:
        """Its nonce is someone else's for ever: its bytes need not go out any more."""
        self._waiting.pop(lost.newest.nonce, None)

    async def run(self) -> None:
        while True:
            await self._bell.heard()
            while self._waiting:
                nonce = min(self._waiting)
                if await self._send(self._waiting[nonce]):
                    await trio.sleep(self._pause_s * random.uniform(0.5, 1.0))
                    self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
                else:
                    self._pause_s = FIRST_PAUSE_S
                    self._waiting.pop(nonce, None)

    async def write_down(self) -> None:
        """signed → sent, and the log: by the watcher, so that two never lock the same rows in different orders.

        Nothing is lost with what is not written down: signed bytes are sent again anyway. Raises what storage raises.
        """
        if batch := list(self._unlogged):
            async with self._desk.pool.connection() as connection:
                await settlements.mark_sent(connection, self._desk.ledger, batch)
            for _ in batch:
                self._unlogged.popleft()

    async def _send(self, signed: OpenRound) -> bool:
        """One broadcast. True: it is still this one's turn."""
        attempt, started_at = signed.newest, utc_now()
        answer = await self._desk.rpc.send(attempt.raw, attempt.tx_hash)
        self._note(signed, attempt, answer, started_at)
        self._desk.heads.hurry()
        match AFTER_SENDING[answer.outcome]:
            case Sent.ACCEPTED:
                signed.accept()
            case Sent.LOOK:
                return await self._look(signed, attempt, answer)
            case Sent.AGAIN:
                signed.hinder("The blockchain node did not confirm that it has the transaction; it is sent again")
                return True
            case Sent.RAISE:
                return await self._raise(signed, attempt)
            case Sent.WAIT:
                self._give_way(signed, attempt, answer)
        return False

    async def _look(self, signed: OpenRound, sent: Attempt, answer: Answer) -> bool:
        """The node says that it has these bytes, or others for this nonce: both can be our own of before."""
        try:
            for attempt in reversed(signed.attempts):
                if await self._desk.rpc.knows(attempt.tx_hash):
                    signed.accept()
                    return False
        except Unavailable as error:
            signed.hinder(error.message)
            return True
        self._give_way(signed, sent, answer)
        return False

    async def _raise(self, signed: OpenRound, sent: Attempt) -> bool:
        try:
            if await self._purse.raise_fees(signed):
                return True
        except Unavailable as error:
            signed.hinder(error.message)
            return True
        self._give_way(signed, sent, Answer(Outcome.FEE_TOO_LOW, text="the ceiling allows no higher fee"))
        return False

    def _give_way(self, signed: OpenRound, sent: Attempt, answer: Answer) -> None:
        """Sending it again now would not help: the watcher brings it back, or finds what has become of its nonce."""
        if not signed.stuck:
            log.error(
                "the node refuses a settlement",
                order=str(signed.settlement.order),
                nonce=sent.nonce,
                outcome=answer.outcome.value,
                text=answer.text,
            )
        signed.stuck, signed.looked_at_s = True, trio.current_time()
        if AFTER_SENDING[answer.outcome] is Sent.LOOK:
            signed.hinder("Another transaction has taken its place in the account's order")
        else:
            signed.refuse(Unavailable(REFUSED.get(answer.outcome, REFUSED_OTHERWISE), retry_after_s=10.0))

    def _note(self, signed: OpenRound, attempt: Attempt, answer: Answer, started_at: datetime) -> None:
        text = answer.text.replace("\0", "")[:TEXT_MAX_CHARS]
        self._unlogged.append(Sending(attempt.tx_hash, started_at, utc_now(), answer.outcome.value, answer.code, text))
        if signed.settlement.state == SettlementState.SIGNED:
            signed.move(SettlementState.SENT)
