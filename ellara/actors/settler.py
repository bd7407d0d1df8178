"""Settles orders: the only holder of the signing key and of the next nonce. `settle` is what the web room calls.

A call becomes a row, is simulated on chain, gets a nonce and signed bytes (settling/assigning.py), is broadcast
(settling/sending.py) and watched until final (settling/watching.py). Rows and bytes are stored before anything is sent; whatever
is open is taken up again at start.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import attrs
import trio

from ellara.actors.heads import Heads
from ellara.actors.settling.assigning import Assigner
from ellara.actors.settling.desk import Desk, OpenRound, Settle, insist
from ellara.actors.settling.purse import Purse
from ellara.actors.settling.sending import Sender
from ellara.actors.settling.watching import Watcher
from ellara.chain.contract import PaymentInfo, settle_call
from ellara.chain.rpc import Rpc
from ellara.errors import Busy, CannotStart, ChainUnavailable, Conflict, Invalid, Refused, Reverted, TimedOut, Unavailable
from ellara.log import get_logger
from ellara.mailbox import Mailbox
from ellara.model import Address, OrderHash, Settlement, SettlementState
from ellara.settings import Chain, Secret
from ellara.storage import settlements
from ellara.storage.pool import Pool
from ellara.storage.settlements import Ledger, OpenSettlement

if TYPE_CHECKING:
    from ellara.chain.signing import Signer

log = get_logger(__name__)

MAILBOX_SIZE = 256
ACCEPTED_MAX = 256
"""Calls being worked on; further ones stay in the mailbox until that is full."""

OPEN_MAX = 10_000
"""Rounds in memory; they pile up only while the node is away. Past it new orders are refused as `Busy`."""

START_WAIT_S = 3.0
"""How long the daemon's start waits for the node; past that it goes on without, and settles once the node is there."""

GAS_MARGIN = 1.3
"""Over the estimate: the state may be another when it is mined."""

WAITING_STATES = (SettlementState.RECEIVED, SettlementState.READY)
ENDED_STATES = (SettlementState.SETTLED, SettlementState.SETTLED_ELSEWHERE, SettlementState.FAILED)


async def settle(
    mailbox: Mailbox[Settle], order: OrderHash, beneficiary: Address, user_id: str, *, wait_mined: bool, timeout_s: float
) -> Settlement:
    """Pays out what is outstanding for the order, once; asking again is safe and gives the same transaction.

    Answers when a node has the stored transaction, or with `wait_mined` when it is in a block. Raises `Reverted` with the
    contract's reason, `Conflict` for another beneficiary while it is open, `Invalid`; `Unavailable` when the time is up: then it
    goes on by itself.
    """
    deadline_s = trio.current_time() + timeout_s
    call = Settle(order=order, beneficiary=beneficiary, user_id=user_id, wait_mined=wait_mined, deadline_s=deadline_s)
    mailbox.post(call)
    with trio.move_on_at(deadline_s):
        return await call.reply()
    raise _time_is_up(call)


def _time_is_up(call: Settle) -> Unavailable:
    because = f" ({call.trouble})" if call.trouble else ""
    if call.known is None:
        return ChainUnavailable(f"The settlement could not be begun in time{because}; please try again in a moment")
    if call.known.tx_hash is None:
        return ChainUnavailable(f"The settlement is recorded and goes on by itself{because}; ask again for its transaction")
    return TimedOut(f"The settlement goes on by itself{because}; its transaction is {call.known.tx_hash}")


class Settler:
    """Owns the open rounds. Mailbox: 256 calls, then `Busy`; 256 more are being worked on, of which 16 have a nonce at once."""

    def __init__(
        self, mailbox: Mailbox[Settle], pool: Pool, rpc: Rpc, settings: Chain, heads: Heads, *, new_chain_allowed: bool
    ) -> None:
        """`new_chain_allowed`: a chain of the same id but another first block begins a ledger of its own; else it is refused."""
        self._mailbox, self._pool, self._rpc = mailbox, pool, rpc
        self._settings, self._heads = settings, heads
        self._new_chain_allowed = new_chain_allowed

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Raises `CannotStart` when the node is on another chain than configured."""
        if missing := self._missing():
            log.warning("settlements are refused", reason=missing)
            task_status.started()
            async for call in self._mailbox:
                call.refuse(Invalid(missing))
            return
        self._rounds: dict[OrderHash, OpenRound] = {}
        self._signed_by_others: set[OrderHash] = set()
        self._taken_up = trio.Event()
        found = await self._taken_up_at_start()
        task_status.started()
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._work, found)
            await self._serve()
            nursery.cancel_scope.cancel()

    def _missing(self) -> str:
        if not self._settings.owner_key:
            return "CONTRACT_OWNER_PRIVATE_KEY is not set"
        return "" if self._settings.payment_address else "QR_PAYMENT_ADDRESS is not set"

    # taking up

    async def _taken_up_at_start(self) -> tuple[Desk, list[OpenSettlement]] | None:
        """None: the node or the database is away, and must not hold up everything else."""
        try:
            with trio.move_on_after(START_WAIT_S):
                return await self._take_up()
            trouble = "no answer"
        except Unavailable as error:
            trouble = error.message
        log.warning("settlements wait for the blockchain node", reason=trouble)
        return None

    async def _take_up(self) -> tuple[Desk, list[OpenSettlement]]:
        """Which chain it is, the next nonce, and every row that is not at its end."""
        signer = await trio.to_thread.run_sync(_load_signer, self._settings.owner_key)
        chain_id, genesis = await self._rpc.chain_id(), await self._rpc.genesis_hash()
        if chain_id != self._settings.chain_id:
            raise CannotStart(f"The RPC is on chain {chain_id}, expected {self._settings.chain_id} (CHAIN_ID)")
        counted = max(await self._rpc.count(signer.address), await self._rpc.pending_count(signer.address))
        async with self._pool.transaction() as connection:
            if not self._new_chain_allowed and await settlements.has_other_genesis(connection, chain_id, genesis):
                raise CannotStart(f"The RPC's chain {chain_id} begins with another block than the one that was settled on")
            row = await settlements.adopt_chain(connection, chain_id, genesis)
            ledger = Ledger(row, Address.parse(self._settings.payment_address), signer.address)
            next_nonce = await settlements.adopt_signer(connection, ledger, counted)
            opened = await settlements.take_up(connection, ledger)
        lowest = min((each.attempts[0].nonce for each in opened if each.attempts), default=next_nonce)
        if counted < lowest:
            log.error("the node is behind our own ledger", counted=counted, lowest_open_nonce=lowest)
            raise ChainUnavailable("The blockchain node is behind; please try again in a moment")
        log.info("settlements taken up", open=len(opened), next_nonce=next_nonce, signer=str(signer.address))
        return Desk(self._rpc, self._pool, self._heads, self._settings, ledger, signer), opened

    async def _work(self, found: tuple[Desk, list[OpenSettlement]] | None) -> None:
        """Everything behind the calls: first what is open from before."""
        desk, opened = found if found is not None else await insist(self._take_up)
        purse = Purse(desk)
        sender = Sender(desk, purse)
        assigner = Assigner(desk, purse, self.in_flight, sender.add)
        watcher = Watcher(desk, purse, assigner, sender, self)
        self._desk, self._assigner = desk, assigner
        for each in opened:
            self._resume(each, sender)
        for loop in (assigner.run, sender.run, watcher.run):
            self._nursery.start_soon(loop)
        self._taken_up.set()

    def _resume(self, row: OpenSettlement, sender: Sender) -> None:
        settlement = row.settlement
        if settlement.state not in WAITING_STATES and not row.attempts:
            log.error("a settlement was signed with another key: finish it with that one", order=str(settlement.order))
            self._signed_by_others.add(settlement.order)
            return
        order_round = self._rounds[settlement.order] = OpenRound(settlement, list(row.attempts), row.mined)
        if settlement.state in WAITING_STATES:
            self.prepare_soon(order_round)
        elif settlement.state in (SettlementState.SIGNED, SettlementState.SENT):
            sender.add(order_round)

    def in_flight(self) -> Sequence[OpenRound]:
        return [order_round for order_round in self._rounds.values() if order_round.in_flight]

    def signed(self) -> Sequence[OpenRound]:
        return [order_round for order_round in self._rounds.values() if order_round.attempts]

    def forget(self, order_round: OpenRound) -> None:
        if self._rounds.get(order_round.settlement.order) is order_round:
            del self._rounds[order_round.settlement.order]

    # calls

    async def _serve(self) -> None:
        """Answers calls, many at a time, until the mailbox is closed and all are answered."""
        limiter = trio.CapacityLimiter(ACCEPTED_MAX)
        async with trio.open_nursery() as calls:
            async for call in self._mailbox:
                await limiter.acquire_on_behalf_of(call)
                calls.start_soon(self._answer, call, limiter)
            if not self._taken_up.is_set():
                calls.cancel_scope.cancel()

    async def _answer(self, call: Settle, limiter: trio.CapacityLimiter) -> None:
        try:
            with call, trio.move_on_at(call.deadline_s):
                await self._taken_up.wait()
                call.answer(await self._settle(call))
        finally:
            limiter.release_on_behalf_of(call)

    async def _settle(self, call: Settle) -> Settlement:
        if call.order in self._signed_by_others:
            raise Conflict("This order is being settled with a former key of the settlement account; the operator must finish it")
        round_number = 1
        while True:
            found = self._rounds.get(call.order) or await self._write_down(call, round_number)
            if isinstance(found, OpenRound):
                if found.settlement.beneficiary != call.beneficiary:
                    raise Conflict(f"This order is being settled for another beneficiary, {found.settlement.beneficiary}")
                if found.settlement.state is not SettlementState.MINED or not await self._outstanding(found.settlement, call):
                    return await found.answer_to(call)
                await found.end()
            elif found is not None:
                if not await self._outstanding(found, call):
                    return await self._nothing_outstanding(found, call)
                if found.state is SettlementState.FAILED:  # though simulated first: each further try could cost gas again
                    raise Reverted(f"{found.reason}; it failed on chain, and is not tried again before the operator has looked")
                round_number = found.round + 1

    async def _write_down(self, call: Settle, round_number: int) -> OpenRound | Settlement | None:
        """The row, opened; or the last round, which has ended; or None: look again. Not to be cut short: a row has its round."""
        if len(self._rounds) >= OPEN_MAX:
            raise Busy("Too many settlements wait for the blockchain node; please try again later", retry_after_s=30.0)
        with trio.CancelScope(shield=True):
            async with self._pool.connection() as connection:
                row = await settlements.receive(
                    connection, self._desk.ledger, call.order, call.beneficiary, call.user_id, round_number=round_number
                )
                again = row.state is SettlementState.REJECTED and await settlements.try_again(
                    connection, row, call.beneficiary, call.user_id
                )
        if again:
            row = attrs.evolve(
                row, state=SettlementState.RECEIVED, reason=None, beneficiary=call.beneficiary, user_id=call.user_id
            )
        if call.order in self._rounds:
            return self._rounds[call.order]
        if row.state in ENDED_STATES:
            return row
        if row.state in WAITING_STATES:
            self._rounds[row.order] = OpenRound(row)
            self.prepare_soon(self._rounds[row.order])
            return self._rounds[row.order]
        return None

    async def _outstanding(self, last: Settlement, call: Settle) -> int:
        """What the contract owes for the order, read at or after the block that finished its last round."""

        async def read() -> PaymentInfo:
            number = await self._rpc.block_number()
            if number < (last.block_number or 0):
                raise ChainUnavailable("The blockchain node is behind; please try again in a moment")
            return await self._desk.payment_info(call.order, number)

        def hinder(trouble: str) -> None:
            call.trouble = trouble

        return (await insist(read, hinder)).outstanding

    async def _nothing_outstanding(self, last: Settlement, call: Settle) -> Settlement:
        """Settled by us for this beneficiary: the recorded answer. Else the contract's own words."""
        if last.state is SettlementState.SETTLED and last.beneficiary == call.beneficiary:
            return last
        data = settle_call(call.order, call.beneficiary, native=bool(last.native))
        await self._rpc.estimate_gas(self._desk.ledger.signer, self._desk.ledger.contract, data)
        raise Reverted("Nothing is outstanding for this order")

    # reading and simulating

    def prepare_soon(self, order_round: OpenRound) -> None:
        self._nursery.start_soon(self._prepare, order_round)

    async def _prepare(self, order_round: OpenRound) -> None:
        """received → ready, or rejected: what would revert costs no nonce."""
        try:
            native, gas = await insist(partial(self._simulate, order_round.settlement), order_round.hinder)
        except Refused as error:
            await insist(partial(self._reject, order_round, error.message), order_round.hinder)
            self.forget(order_round)
            order_round.ended = True
            order_round.move(SettlementState.REJECTED, error.message)
            order_round.refuse(error)
            return
        order_round.gas, order_round.settlement = gas, attrs.evolve(order_round.settlement, native=native)
        self._assigner.add(order_round)

    async def _simulate(self, settlement: Settlement) -> tuple[bool, int]:
        """Which function, and how much gas. Raises `Reverted` and `Invalid`."""
        info = await self._desk.payment_info(settlement.order)
        data = settle_call(settlement.order, settlement.beneficiary, native=info.native)
        estimate = await self._rpc.estimate_gas(self._desk.ledger.signer, self._desk.ledger.contract, data)
        if estimate > self._settings.gas_max:
            raise Reverted(f"The settlement needs {estimate} gas, more than the limit of {self._settings.gas_max}")
        return info.native, min(math.ceil(estimate * GAS_MARGIN), self._settings.gas_max)

    async def _reject(self, order_round: OpenRound, reason: str) -> bool:
        async with self._pool.connection() as connection:
            return await settlements.mark_rejected(connection, order_round.settlement, reason)


def _load_signer(key: Secret) -> Signer:
    from ellara.chain.signing import Signer  # 0.4 s: in a thread, beside whatever else starts

    return Signer(key)
