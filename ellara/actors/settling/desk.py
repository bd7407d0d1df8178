"""What the parts of the settler share: one open round in memory with those who wait for it, and the chain they work on.

Everything here can be built again from storage; what cannot (who waits) is told that the request was interrupted.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import attrs
import trio

from ellara.actors.heads import Heads
from ellara.chain.contract import PaymentInfo, Unsigned, payment_info_call, read_payment_info, settle_call
from ellara.chain.fees import Fees
from ellara.chain.rpc import Rpc
from ellara.errors import EllaraError, Unavailable
from ellara.mailbox import Call
from ellara.metrics import SETTLEMENTS
from ellara.model import Address, Attempt, Mined, OrderHash, Settlement, SettlementState
from ellara.settings import Chain
from ellara.storage.pool import Pool
from ellara.storage.settlements import Ledger

if TYPE_CHECKING:
    from ellara.chain.signing import Signer

Found = TypeVar("Found")

MINED_STATES = (SettlementState.MINED, SettlementState.SETTLED)
IN_FLIGHT_STATES = (SettlementState.SIGNED, SettlementState.SENT, SettlementState.LOST)

SHORT_OF_GAS = "The settlement account is short of gas money; the settlement goes on once it is funded"
TOO_DEAR = "Gas costs more than the configured ceiling at the moment; the settlement goes on once it is cheaper"

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 4.0


@attrs.define(eq=False, kw_only=True)
class Settle(Call[Settlement]):
    """Settle this order for this beneficiary."""

    order: OrderHash
    beneficiary: Address
    user_id: str
    wait_mined: bool
    """Answered when it is in a block; else once a node has taken it."""
    deadline_s: float
    """Until when somebody waits; trio's clock."""
    known: Settlement | None = None
    """What is stored of it so far, for a caller whose time is up."""
    trouble: str = ""
    """What holds it up at the moment."""


@attrs.define(eq=False)
class OpenRound:
    """Changed by the settler alone; each change wakes those who wait."""

    settlement: Settlement
    attempts: list[Attempt] = attrs.field(factory=list)
    mined: Mined | None = None
    gas: int = 0
    accepted: bool = False
    """A node has the newest bytes."""
    stuck: bool = False
    """The node refuses the newest bytes: no further nonce is taken before that is over."""
    ended: bool = False
    """Final, or rejected: no longer open."""
    error: EllaraError | None = None
    """What those who wait now are refused with."""
    trouble: str = ""
    lowest_since: int | None = None
    """From which block on it has been the lowest nonce in flight."""
    looked_at_s: float = 0.0
    """When a node last had the newest bytes, or was last asked; trio's clock."""
    looks_missing: int = 0
    """How often in a row its nonce was used up and no receipt found."""
    lost_at_s: float = 0.0
    """When that was taken for a loss; trio's clock."""
    _changed: trio.Event = attrs.field(factory=trio.Event, init=False)

    @property
    def newest(self) -> Attempt:
        return self.attempts[-1]

    @property
    def in_flight(self) -> bool:
        """Signed and in no block: one of those whose number is limited."""
        return self.settlement.state in IN_FLIGHT_STATES

    def move(self, state: SettlementState, reason: str | None = None) -> None:
        """Follows what storage has by now."""
        if state != self.settlement.state:
            SETTLEMENTS.labels(state=state.value).inc()
            self.error = None
        tx_hash = self.mined.tx_hash if self.mined else self.newest.tx_hash if self.attempts else None
        block_number = self.mined.block_number if self.mined else None
        self.settlement = attrs.evolve(self.settlement, state=state, reason=reason, tx_hash=tx_hash, block_number=block_number)
        self.tell()

    def accept(self) -> None:
        """A node has the newest bytes."""
        self.accepted, self.stuck, self.error, self.trouble = True, False, None, ""
        self.looked_at_s = trio.current_time()
        self.tell()

    def refuse(self, error: EllaraError) -> None:
        """Answers all who wait now; the settlement itself goes on unless it has ended."""
        self.error, self.trouble = error, error.message
        self.tell()

    def hinder(self, trouble: str) -> None:
        """Remembers what holds it up, for callers whose time runs out."""
        self.trouble = trouble
        self.tell()

    def tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def answer_to(self, call: Settle) -> Settlement:
        """Waits until this call can be answered. Raises what it was refused with."""
        while True:
            call.known, call.trouble = self.settlement, self.trouble
            if self.error is not None:
                raise self.error
            if self.settlement.state in MINED_STATES or (self.accepted and self.in_flight and not call.wait_mined):
                return self.settlement
            await self._changed.wait()

    async def end(self) -> None:
        """Waits until it is no longer open."""
        while not self.ended:
            await self._changed.wait()


@attrs.frozen
class Desk:
    """What the settler works with, once it knows which chain the node is on."""

    rpc: Rpc
    pool: Pool
    heads: Heads
    settings: Chain
    ledger: Ledger
    signer: Signer

    def sign(self, settlement: Settlement, nonce: int, gas: int, fees: Fees, block_number: int) -> Attempt:
        """The bytes that settle it. To be stored before anyone sees them."""
        assert settlement.native is not None, "the order's token was read before a nonce was taken"
        data = settle_call(settlement.order, settlement.beneficiary, native=settlement.native)
        signed = self.signer.sign(Unsigned(self.settings.chain_id, nonce, self.ledger.contract, data, gas, fees))
        return Attempt(nonce, 1, signed.tx_hash, signed.raw, fees.cap_wei, fees.tip_wei, gas, block_number)

    def sign_again(self, last: Attempt, fees: Fees, block_number: int) -> Attempt:
        """The same call with the same nonce and gas, for more money: of the two at most one is mined."""
        signed = self.signer.sign(attrs.evolve(self.signer.decode(last.raw), fees=fees))
        return Attempt(last.nonce, last.seq + 1, signed.tx_hash, signed.raw, fees.cap_wei, fees.tip_wei, last.gas, block_number)

    async def payment_info(self, order: OrderHash, block_number: int | None = None) -> PaymentInfo:
        """What was paid and paid out, at the newest block or at one. Raises `Invalid` when there is no such contract."""
        answer = await self.rpc.call(self.ledger.contract, payment_info_call(order), block_number=block_number)
        return read_payment_info(answer)


def unheard(_trouble: str) -> None:
    """For `insist`, where nobody waits."""


async def insist(ask: Callable[[], Awaitable[Found]], hinder: Callable[[str], None] = unheard) -> Found:
    """Asks until there is an answer, with pauses that double up to 4 s; `hinder` hears what is wrong meanwhile."""
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            return await ask()
        except Unavailable as error:
            hinder(error.message)
        await trio.sleep(pause_s * random.uniform(0.5, 1.0))
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


async def at_once(asks: Sequence[Callable[[], Awaitable[Found]]]) -> list[Found]:
    """Asks all at the same time; the answers in order. Raises the first `Unavailable` alone, not a group."""
    answers: dict[int, Found] = {}
    faults: list[Unavailable] = []

    async def one(number: int) -> None:
        try:
            answers[number] = await asks[number]()
        except Unavailable as error:
            faults.append(error)
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for number in range(len(asks)):
            nursery.start_soon(one, number)
    if faults:
        raise faults[0]
    return [answers[number] for number in range(len(asks))]
