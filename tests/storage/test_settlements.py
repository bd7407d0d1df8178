"""The keys of the settlement ledger: what they refuse, whatever code above them believes."""

from __future__ import annotations

import attrs
import psycopg
import pytest

from ellara.errors import Conflict
from ellara.model import Address, Attempt, Hash32, Mined, OrderHash, Settlement, SettlementState, TxHash, utc_now
from ellara.storage import settlements
from ellara.storage.connection import Connection
from ellara.storage.pool import Pool
from ellara.storage.settlements import Ledger, Sending

ORDER, OTHER_ORDER = OrderHash(bytes([1]) * 32), OrderHash(bytes([2]) * 32)
MERCHANT, SOMEONE = Address(bytes([3]) * 20), Address(bytes([4]) * 20)
GENESIS = Hash32(bytes([5]) * 32)


async def adopted(connection: Connection, genesis: Hash32 = GENESIS) -> Ledger:
    chain = await settlements.adopt_chain(connection, 11_155_111, genesis)
    ledger = Ledger(chain, Address(bytes([6]) * 20), Address(bytes([7]) * 20))
    await settlements.adopt_signer(connection, ledger, 10)
    return ledger


def attempt(nonce: int, seq: int = 1) -> Attempt:
    return Attempt(nonce, seq, TxHash(bytes([nonce, seq]) * 16), b"\x02raw", 2 * 10**20, 10**9, 100_000, 5)


async def received(connection: Connection, ledger: Ledger, order: OrderHash = ORDER) -> Settlement:
    row = await settlements.receive(connection, ledger, order, MERCHANT, "user")
    return attrs.evolve(row, native=False)


async def signed(connection: Connection, ledger: Ledger, row: Settlement) -> Attempt:
    bytes_ = attempt(await settlements.take_nonces(connection, ledger, 1))
    assert await settlements.mark_signed(connection, ledger, [(row, bytes_)])
    return bytes_


def mined(bytes_: Attempt, *, succeeded: bool = True) -> Mined:
    return Mined(bytes_.tx_hash, 8, Hash32(bytes([8]) * 32), succeeded)


async def state(connection: Connection, order: OrderHash = ORDER) -> SettlementState:
    return (await settlements.find_settlements(connection, order))[0].state


async def test_the_first_to_ask_decides_the_beneficiary(pool: Pool) -> None:
    async with pool.connection() as connection:
        ledger = await adopted(connection)
        first = await settlements.receive(connection, ledger, ORDER, MERCHANT, "user")
        second = await settlements.receive(connection, ledger, ORDER, SOMEONE, "other")
    assert second == first
    assert (first.beneficiary, first.user_id, first.round, first.native) == (MERCHANT, "user", 1, None)


async def test_a_second_round_is_refused_while_the_first_is_open(pool: Pool) -> None:
    async with pool.connection() as connection:
        ledger = await adopted(connection)
        first = await received(connection, ledger)
        second = await settlements.receive(connection, ledger, ORDER, MERCHANT, "user", round_number=2)
    assert (second.id, second.round) == (first.id, 1)


async def test_the_whole_way_of_a_round_and_the_next(pool: Pool) -> None:
    async with pool.connection() as connection:
        ledger = await adopted(connection)
        row = await received(connection, ledger)
        bytes_ = await signed(connection, ledger, row)
        now = utc_now()
        await settlements.mark_sent(connection, ledger, [Sending(bytes_.tx_hash, now, now, "accepted", None, "")])
        assert await state(connection) is SettlementState.SENT
        await settlements.mark_mined(connection, ledger, [mined(bytes_)])
        assert await state(connection) is SettlementState.MINED
        await settlements.mark_final(connection, [attrs.evolve(row, state=SettlementState.SETTLED)])
        second = await settlements.receive(connection, ledger, ORDER, MERCHANT, "user", round_number=2)
        rounds = await settlements.find_settlements(connection, ORDER)
    assert [(each.round, each.state.value, each.block_number) for each in rounds] == [(2, "received", None), (1, "settled", 8)]
    assert rounds[0].id == second.id


async def test_a_settlement_never_has_two_live_nonces(pool: Pool) -> None:
    async with pool.connection() as connection:
        ledger = await adopted(connection)
        row = await received(connection, ledger)
        await signed(connection, ledger, row)
        with pytest.raises(Conflict):
            await signed(connection, ledger, row)


async def test_a_nonce_is_never_used_twice(pool: Pool) -> None:
    async with pool.connection() as connection:
        ledger = await adopted(connection)
        rows = [await received(connection, ledger, order) for order in (ORDER, OTHER_ORDER)]
        await settlements.mark_signed(connection, ledger, [(rows[0], attempt(10))])
        with pytest.raises(Conflict):
            await settlements.mark_signed(connection, ledger, [(rows[1], attempt(10, seq=2))])


async def test_a_nonce_that_was_not_committed_leaves_no_gap(pool: Pool) -> None:
    async with pool.connection() as connection:
        ledger = await adopted(connection)
        await connection.begin()
        assert await settlements.take_nonces(connection, ledger, 3) == 10
    async with pool.connection() as connection:
        assert await settlements.take_nonces(connection, ledger, 1) == 10


@pytest.mark.parametrize(
    "statement", ["UPDATE ellara.attempt SET raw = 'x'", "DELETE FROM ellara.attempt", "DELETE FROM ellara.slot"]
)
async def test_signed_bytes_are_never_changed_and_never_deleted(pool: Pool, statement: str) -> None:
    async with pool.connection() as connection:
        ledger = await adopted(connection)
        await signed(connection, ledger, await received(connection, ledger))
        with pytest.raises(psycopg.errors.RaiseException, match="never allowed"):
            await connection.run(statement)


async def test_it_is_found_by_any_attempts_hash_and_told_with_the_newest_or_the_mined(pool: Pool) -> None:
    async with pool.connection() as connection:
        ledger = await adopted(connection)
        first = await signed(connection, ledger, await received(connection, ledger))
        second = attempt(first.nonce, seq=2)
        await settlements.add_attempts(connection, ledger, [second])
        before = await settlements.find_by_tx_hash(connection, first.tx_hash)
        await settlements.mark_mined(connection, ledger, [mined(first)])
        after = await settlements.find_by_tx_hash(connection, second.tx_hash)
        assert before is not None
        assert after is not None
        assert (before.tx_hash, after.tx_hash) == (second.tx_hash, first.tx_hash)
        assert await settlements.find_by_tx_hash(connection, TxHash(bytes(32))) is None


async def test_what_left_the_chain_is_sent_again_and_what_was_lost_gets_another_nonce(pool: Pool) -> None:
    async with pool.connection() as connection:
        ledger = await adopted(connection)
        row = await received(connection, ledger)
        bytes_ = await signed(connection, ledger, row)
        await settlements.mark_mined(connection, ledger, [mined(bytes_, succeeded=False)])
        assert await state(connection) is SettlementState.REVERTED
        await settlements.mark_unmined(connection, [row])
        assert await state(connection) is SettlementState.SENT
        await settlements.mark_lost(connection, [row])
        await settlements.give_up_slots(connection, [row])
        assert await state(connection) is SettlementState.RECEIVED
        assert (await signed(connection, ledger, row)).nonce == bytes_.nonce + 1


async def test_a_final_round_does_not_move_any_more(pool: Pool) -> None:
    async with pool.connection() as connection:
        ledger = await adopted(connection)
        row = await received(connection, ledger)
        bytes_ = await signed(connection, ledger, row)
        await settlements.mark_mined(connection, ledger, [mined(bytes_)])
        await settlements.mark_final(connection, [attrs.evolve(row, state=SettlementState.SETTLED)])
        await settlements.mark_unmined(connection, [row])
        await settlements.mark_mined(connection, ledger, [mined(bytes_, succeeded=False)])
        assert await state(connection) is SettlementState.SETTLED
        assert await settlements.take_up(connection, ledger) == []


async def test_open_rows_are_taken_up_with_all_their_bytes(pool: Pool) -> None:
    async with pool.connection() as connection:
        ledger = await adopted(connection)
        waiting = await received(connection, ledger, OTHER_ORDER)
        first = await signed(connection, ledger, await received(connection, ledger))
        second = attempt(first.nonce, seq=2)
        await settlements.add_attempts(connection, ledger, [second])
        await settlements.mark_mined(connection, ledger, [mined(first)])
        opened = await settlements.take_up(connection, ledger)
    assert opened[0].settlement.id == waiting.id
    assert (opened[1].attempts, opened[1].mined) == ((first, second), mined(first))


async def test_a_rejected_round_may_be_tried_again_for_another(pool: Pool) -> None:
    async with pool.connection() as connection:
        ledger = await adopted(connection)
        row = await received(connection, ledger)
        assert await settlements.mark_rejected(connection, row, "Order does not exist")
        assert (await received(connection, ledger)).reason == "Order does not exist"
        assert await settlements.try_again(connection, row, SOMEONE, "other")
        assert not await settlements.try_again(connection, row, MERCHANT, "user")
        again = (await settlements.find_settlements(connection, ORDER))[0]
    assert (again.state, again.beneficiary, again.reason) == (SettlementState.RECEIVED, SOMEONE, None)


async def test_another_chain_of_the_same_id_has_a_ledger_of_its_own(pool: Pool) -> None:
    async with pool.connection() as connection:
        old = await adopted(connection)
        await signed(connection, old, await received(connection, old))
        assert await settlements.has_other_genesis(connection, 11_155_111, Hash32(bytes(32)))
        new = await adopted(connection, Hash32(bytes(32)))
        assert await settlements.find_settlements(connection, ORDER) == []
        assert await settlements.take_nonces(connection, new, 1) == 10


async def test_the_next_nonce_is_never_lowered(pool: Pool) -> None:
    async with pool.connection() as connection:
        ledger = await adopted(connection)
        assert [await settlements.adopt_signer(connection, ledger, count) for count in (12, 3)] == [12, 12]
