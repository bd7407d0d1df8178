"""Looks at the chain on each new head: which nonces are in a block, which are final, which must go out again. Part of settler.py.

A look gathers the facts of every open nonce, `chain/attempts.py` decides, and one transaction writes it all down; only then does
memory follow. A look that fails is repeated: it changes nothing before its commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Protocol, assert_never

import attrs
import trio

from ellara.actors.settling.assigning import Assigner
from ellara.actors.settling.desk import TOO_DEAR, Desk, OpenRound, at_once
from ellara.actors.settling.purse import Purse
from ellara.actors.settling.sending import Sender
from ellara.chain.attempts import Facts, Next, decide
from ellara.chain.contract import settle_call
from ellara.chain.rpc import Head
from ellara.errors import ChainUnavailable, Refused, Reverted, Unavailable
from ellara.log import get_logger
from ellara.model import Hash32, Mined, Settlement, SettlementState
from ellara.storage import settlements

log = get_logger(__name__)

FAILED_ON_CHAIN = "The transaction failed on chain without giving a reason"


@attrs.define
class Look:
    """One open nonce, as one look at the chain found it."""

    round: OpenRound
    facts: Facts
    next: Next
    count: int
    """The signer's transactions on chain."""
    ended: Settlement | None = None
    """As it will be, when its end is final."""


class Rounds(Protocol):
    """The settler, as far as the watcher knows it."""

    def signed(self) -> Sequence[OpenRound]: ...

    def prepare_soon(self, order_round: OpenRound) -> None: ...

    def forget(self, order_round: OpenRound) -> None: ...


class Watcher:
    """The only writer of rows that are signed; reads the settler's rounds and moves them."""

    def __init__(self, desk: Desk, purse: Purse, assigner: Assigner, sender: Sender, rounds: Rounds) -> None:
        self._desk, self._purse = desk, purse
        self._assigner, self._sender, self._rounds = assigner, sender, rounds
        self._seen: Head | None = None
        self._blind = False

    async def run(self) -> None:
        """A look at each new head, and at least one an interval while bytes of ours are in no block."""
        while True:
            with trio.move_on_after(self._desk.settings.poll_interval_s):
                await self._desk.heads.changed()
            head = self._desk.heads.head
            if head is None:
                continue
            try:
                await self._sender.write_down()
                await self._look(head)
                self._blind = False
            except Unavailable as error:
                if not self._blind:
                    log.warning("the chain cannot be looked at", error=error.message)
                self._blind = True
            self._assigner.ring()

    async def _look(self, head: Head) -> None:
        rounds = sorted(self._rounds.signed(), key=lambda each: each.newest.nonce)
        if not rounds or (head == self._seen and not any(each.in_flight for each in rounds)):
            return
        looks = await self._gather(rounds, head)
        await self._write_down(looks)
        for look in looks:
            self._follow(look)
        for look in looks:
            if look.next is Next.RAISE and not self._sender.has(look.round):  # which may be raising them itself
                await self._raise(look.round)
        self._seen = head

    async def _gather(self, rounds: Sequence[OpenRound], head: Head) -> list[Look]:
        rpc, ledger, confirmations = self._desk.rpc, self._desk.ledger, self._desk.settings.confirmations
        count = await rpc.count(ledger.signer)
        final_count = 0
        if any(each.settlement.state is SettlementState.LOST for each in rounds):
            final_count = await rpc.count(ledger.signer, max(head.number - confirmations + 1, 0))
        mined = await at_once([partial(self._mined, each, count) for each in rounds])
        hashes = await self._hashes({its.block_number for its in mined if its is not None}, head)
        known = await at_once([partial(self._known, each, count) for each in rounds])
        lowest = next((each for each in rounds if each.in_flight and each.newest.nonce >= count), None)
        looks = []
        for each, its, has in zip(rounds, mined, known, strict=True):
            facts = Facts(
                state=each.settlement.state,
                mined=its if its and hashes[its.block_number] == its.block_hash else None,
                confirmations=max(head.number - its.block_number + 1, 1) if its else 0,
                used_up=each.newest.nonce < count,
                used_up_finally=each.newest.nonce < final_count,
                looks_missing=each.looks_missing + 1 if its is None and each.newest.nonce < count else 0,
                lost_for_s=trio.current_time() - each.lost_at_s,
                known=has,
                blocks_waiting=self._blocks_waiting(each, head) if each is lowest else 0,
                affordable=not each.accepted or each.newest.fee_cap_wei >= head.base_fee_wei,
            )
            looks.append(Look(each, facts, decide(facts, confirmations), count))
        return looks

    async def _mined(self, each: OpenRound, count: int) -> Mined | None:
        """As recorded; else the receipt of whichever attempt has one: an older, cheaper one can win."""
        if each.mined is not None or each.newest.nonce >= count:
            return each.mined
        receipts = [await self._desk.rpc.receipt(attempt.tx_hash) for attempt in reversed(each.attempts)]
        return next((receipt for receipt in receipts if receipt is not None), None)

    async def _hashes(self, numbers: set[int], head: Head) -> dict[int, Hash32 | None]:
        """Which block the chain has at each height."""
        found: dict[int, Hash32 | None] = {head.number: head.hash, head.number - 1: head.parent}
        asked = sorted(numbers - found.keys())
        blocks = await at_once([partial(self._desk.rpc.block, number) for number in asked])
        return found | {number: block.hash if block else None for number, block in zip(asked, blocks, strict=True)}

    async def _known(self, each: OpenRound, count: int) -> bool | None:
        """Whether the node has the newest bytes. Asked at most once an interval, and not while the sender is at it."""
        due = trio.current_time() - each.looked_at_s >= self._desk.settings.poll_interval_s
        if not due or not each.in_flight or each.newest.nonce < count or self._sender.has(each):
            return None
        each.looked_at_s = trio.current_time()
        return each.accepted and await self._desk.rpc.knows(each.newest.tx_hash)

    def _blocks_waiting(self, lowest: OpenRound, head: Head) -> int:
        if lowest.lowest_since is None:
            lowest.lowest_since = head.number
        if not lowest.accepted:
            return 0
        return head.number - max(lowest.newest.created_block, lowest.lowest_since)

    async def _write_down(self, looks: Sequence[Look]) -> None:
        """All that this look found, in one transaction."""
        for look in looks:
            if look.next is Next.FINAL:
                look.ended = await self._ended(look)
        chosen = {choice: [look for look in looks if look.next is choice] for choice in Next}
        mined = [
            look.facts.mined for look in chosen[Next.MINED] + chosen[Next.FINAL] if look.facts.mined and not look.round.mined
        ]
        if not mined and not any(chosen[choice] for choice in (Next.UNMINED, Next.FINAL, Next.LOST, Next.FREE)):
            return
        ledger = self._desk.ledger
        async with self._desk.pool.transaction() as connection:
            if mined:
                await settlements.mark_mined(connection, ledger, mined)
            if ended := [look.ended for look in chosen[Next.FINAL] if look.ended]:
                await settlements.mark_final(connection, ended)
            if unmined := chosen[Next.UNMINED]:
                await settlements.mark_unmined(connection, [look.round.settlement for look in unmined])
            if lost := chosen[Next.LOST]:
                await settlements.mark_lost(connection, [look.round.settlement for look in lost])
                await settlements.adopt_signer(connection, ledger, lost[0].count)
            if free := chosen[Next.FREE]:
                await settlements.give_up_slots(connection, [look.round.settlement for look in free])

    async def _ended(self, look: Look) -> Settlement:
        """How a round ended whose block can no longer go. A failed transaction: the contract's state tells why."""
        settlement, mined = look.round.settlement, look.facts.mined
        assert mined is not None
        if mined.succeeded:
            return attrs.evolve(settlement, state=SettlementState.SETTLED, reason=None)
        try:
            outstanding = (await self._desk.payment_info(settlement.order)).outstanding
        except Refused as error:  # it is there: it has just used our gas
            raise ChainUnavailable("The blockchain node does not find the contract; please try again in a moment") from error
        state = SettlementState.FAILED if outstanding else SettlementState.SETTLED_ELSEWHERE
        return attrs.evolve(settlement, state=state, reason=await self._reason(settlement, mined))

    async def _reason(self, settlement: Settlement, mined: Mined) -> str:
        """The call again on the state that its block left: what stood in its way mostly still does. Old states nodes forget."""
        data = settle_call(settlement.order, settlement.beneficiary, native=bool(settlement.native))
        try:
            await self._desk.rpc.call(
                self._desk.ledger.contract, data, sender=self._desk.ledger.signer, block_number=mined.block_number
            )
        except Reverted as error:
            return error.message
        except Unavailable:
            pass
        return FAILED_ON_CHAIN

    def _follow(self, look: Look) -> None:
        """Memory, after storage."""
        each, facts = look.round, look.facts
        each.looks_missing = facts.looks_missing
        match look.next:
            case Next.MINED:
                each.mined = facts.mined
                each.move(SettlementState.MINED if facts.mined and facts.mined.succeeded else SettlementState.REVERTED)
            case Next.FINAL:
                assert look.ended is not None
                each.mined, each.ended = facts.mined, True
                each.move(look.ended.state, look.ended.reason)
                if look.ended.state is not SettlementState.SETTLED:
                    each.refuse(Reverted(look.ended.reason or FAILED_ON_CHAIN))
                self._rounds.forget(each)
            case Next.UNMINED:
                each.mined, each.accepted = None, False
                each.move(SettlementState.SENT)
                log.warning("a settlement left the chain again", order=str(each.settlement.order), nonce=each.newest.nonce)
                self._sender.add(each)
            case Next.SEND:
                self._sender.add(each)
            case Next.LOST:
                each.lost_at_s, each.accepted = trio.current_time(), False
                each.move(SettlementState.LOST)
                log.error("a nonce was used by another hand", order=str(each.settlement.order), nonce=each.newest.nonce)
            case Next.FREE:
                self._sender.drop(each)
                each.attempts.clear()
                each.mined, each.accepted, each.stuck = None, False, False
                each.move(SettlementState.RECEIVED)
                self._rounds.prepare_soon(each)
            case Next.WAIT | Next.RAISE:
                pass
            case never:
                assert_never(never)

    async def _raise(self, stale: OpenRound) -> None:
        if await self._purse.raise_fees(stale):
            self._sender.add(stale)
        elif stale.trouble != TOO_DEAR:
            log.error("gas costs more than the ceiling", order=str(stale.settlement.order), nonce=stale.newest.nonce)
            stale.hinder(TOO_DEAR)
