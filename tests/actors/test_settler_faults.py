"""Crashes, lost answers, vanishing blocks: an accepted order is executed once, or not yet, and never twice."""

from __future__ import annotations

from contextlib import suppress

import attrs
import pytest
import trio

from ellara.actors.settling import purse
from ellara.chain import attempts
from ellara.errors import ChainUnavailable, Conflict, Reverted, Unavailable
from ellara.model import SettlementState
from ellara.sandbox.evm.server import DevChain
from ellara.settings import Secret
from ellara.storage.pool import Pool
from tests.actors.settling import Running
from tests.devchain import Rpc, owner_of, settlement_data, signed
from tests.line import Line

SIGNED, SENT, MINED, SETTLED = (
    SettlementState.SIGNED,
    SettlementState.SENT,
    SettlementState.MINED,
    SettlementState.SETTLED,
)
SEND = "eth_sendRawTransaction"
OUTSIDE_CALLS = 16
"""More than one settlement makes, start included."""


@pytest.fixture
async def running(dev_chain: DevChain, rpc: Rpc, pool: Pool, nursery: trio.Nursery) -> Running:
    settler = Running(dev_chain, rpc, pool, nursery)
    await settler.start()
    return settler


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the time for which a balance is believed, and for which a lost nonce is watched."""
    monkeypatch.setattr(purse, "FRESH_S", purse.FRESH_S / 10)
    monkeypatch.setattr(attempts, "LOST_S", attempts.LOST_S / 10)


async def ask_in_vain(running: Running, order: str) -> None:
    """Asks, and gives up soon."""
    with pytest.raises(Unavailable):
        await running.settle(order, timeout_s=0.5)


async def test_bytes_stored_and_never_sent_go_out_after_a_restart(running: Running) -> None:
    (order,) = await running.new_orders(1)
    await running.fault(SEND, "close-before", count=1000)
    await ask_in_vain(running, order)
    stored = await running.until(order, lambda row: row.tx_hash is not None)
    await running.crash()
    await running.rpc("dev_clearFaults")
    await running.start()
    assert (await running.reached(order, SETTLED)).tx_hash == stored.tx_hash
    assert await running.executions(order) == 1


async def test_a_crash_after_the_node_took_it_executes_it_once(running: Running) -> None:
    (order,) = await running.new_orders(1)
    await running.fault(SEND, "delay", delayMs=60_000)
    await running.fault(SEND, "close-after", skip=0)
    await ask_in_vain(running, order)
    await running.crash()
    await running.start()
    assert (await running.settle(order)).tx_hash == (await running.rows(order))[0].tx_hash
    assert await running.executions(order) == 1


@pytest.mark.parametrize("kind", ["close-before", "close-after", "lost", "null", "429", "error"])
async def test_an_unclear_answer_sends_the_same_bytes_again(running: Running, kind: str) -> None:
    (order,) = await running.new_orders(1)
    await running.fault(SEND, kind, count=2)
    answer = await running.settle(order)
    assert await running.executions(order) == 1
    assert len({row.tx_hash for row in await running.rows(order)} | {answer.tx_hash}) == 1


async def test_a_node_that_goes_away_and_comes_back(running: Running) -> None:
    (order,) = await running.new_orders(1)
    await running.fault("*", "close-before", count=100_000)
    with pytest.raises(ChainUnavailable, match="node"):
        await running.settle(order, timeout_s=0.5)
    await running.rpc("dev_clearFaults")
    assert (await running.reached(order, SETTLED)).tx_hash
    assert await running.executions(order) == 1


async def test_a_dead_node_does_not_hold_up_the_start(dev_chain: DevChain, rpc: Rpc, pool: Pool, nursery: trio.Nursery) -> None:
    running = Running(dev_chain, rpc, pool, nursery)
    (order,) = await running.new_orders(1)
    await running.fault("*", "close-before", count=100_000)
    with trio.fail_after(3):
        await running.start()
    await ask_in_vain(running, order)
    await running.rpc("dev_clearFaults")
    assert (await running.settle(order)).state in (MINED, SETTLED)


async def test_a_crash_at_any_state_is_resumed_without_a_word_from_anyone(running: Running) -> None:
    orders = await running.new_orders(12)
    async with trio.open_nursery() as nursery:
        for order in orders:
            nursery.start_soon(answered_or_interrupted, running, order)
        for _ in range(6):
            await trio.sleep(0.05)
            await running.crash()
            await running.start()
    for order in orders:
        await running.settle(order)
    assert [await running.executions(order) for order in orders] == [1] * len(orders)


async def answered_or_interrupted(running: Running, order: str) -> None:
    """What a caller meets when the settler crashes under it: an answer, or a clear word to try again."""
    with suppress(Unavailable):
        await running.settle(order)


@pytest.mark.parametrize("kind", ["close-before", "close-after", "error"])
async def test_whichever_outside_call_fails_it_is_settled_once(running: Running, kind: str) -> None:
    orders = await running.new_orders(OUTSIDE_CALLS)
    for n, order in enumerate(orders):
        await running.crash()
        await running.fault("*", kind, skip=n)
        await running.start()
        await running.settle(order)
        await running.rpc("dev_clearFaults")
    assert [await running.executions(order) for order in orders] == [1] * OUTSIDE_CALLS


async def test_a_settlement_that_left_the_chain_goes_out_again_with_the_same_bytes(running: Running) -> None:
    (order,) = await running.new_orders(1)
    await running.rpc("dev_setAutomine", False)
    first = await running.settle(order, mined=False)
    await running.rpc("dev_mine", 1)
    await running.reached(order, MINED)
    await running.rpc("dev_reorg", 1)
    assert (await running.reached(order, SENT)).tx_hash == first.tx_hash
    final = await running.mine_until(order, SETTLED)
    assert (final.tx_hash, await running.executions(order)) == (first.tx_hash, 1)


async def test_a_transaction_that_the_pool_dropped_is_sent_again(running: Running) -> None:
    (order,) = await running.new_orders(1)
    await running.rpc("dev_setAutomine", False)
    answer = await running.settle(order, mined=False)
    assert await running.rpc("dev_drop", str(answer.tx_hash))
    final = await running.mine_until(order, SETTLED)
    assert (final.tx_hash, await running.executions(order)) == (answer.tx_hash, 1)


@pytest.mark.usefixtures("quick")
async def test_without_gas_money_it_waits_says_so_and_goes_on_once_funded(running: Running) -> None:
    (order,) = await running.new_orders(1)
    owner = owner_of(running.chain).address
    await running.rpc("dev_setBalance", owner, "0x0")
    with pytest.raises(Unavailable, match="short of gas money"):
        await running.settle(order)
    assert [row.tx_hash for row in await running.rows(order)] == [None]
    await running.rpc("dev_setBalance", owner, hex(10**20))
    await running.reached(order, SETTLED)
    assert await running.executions(order) == 1


@pytest.mark.usefixtures("quick")
async def test_gas_money_that_ran_out_after_the_nonce_was_taken(running: Running) -> None:
    first, second = await running.new_orders(2)
    await running.settle(first)
    owner = owner_of(running.chain).address
    await running.rpc("dev_setBalance", owner, "0x0")
    with pytest.raises(Unavailable, match="short of gas money"):
        await running.settle(second)
    stored = await running.until(second, lambda row: row.tx_hash is not None)
    await running.rpc("dev_setBalance", owner, hex(10**20))
    assert (await running.reached(second, SETTLED)).tx_hash == stored.tx_hash


async def test_a_fee_ceiling_below_the_market_waits_and_says_so(
    dev_chain: DevChain, rpc: Rpc, pool: Pool, nursery: trio.Nursery
) -> None:
    running = Running(dev_chain, rpc, pool, nursery, fee_cap_wei=1, tip_floor_wei=0)
    await running.start()
    (order,) = await running.new_orders(1)
    with pytest.raises(Unavailable, match="ceiling"):
        await running.settle(order)
    assert (await running.reached(order, SettlementState.READY)).tx_hash is None


@pytest.mark.usefixtures("quick")
async def test_a_nonce_used_by_another_hand_is_noticed_and_the_order_gets_a_new_one(running: Running) -> None:
    (order,) = await running.new_orders(1)
    foreign = signed(owner_of(running.chain), await running.owner_count())
    await running.rpc.mined(await running.rpc(SEND, foreign))
    final = await running.settle(order)
    assert await running.executions(order) == 1
    assert final.state in (MINED, SETTLED)


async def test_a_settlement_that_reverts_on_chain_is_explained_by_the_contracts_state(
    dev_chain: DevChain, rpc: Rpc, pool: Pool, nursery: trio.Nursery
) -> None:
    running = Running(dev_chain, rpc, pool, nursery)
    (order,) = await running.new_orders(1)
    await rpc("dev_setAutomine", False)
    foreign = signed(owner_of(dev_chain), await running.owner_count(), to=dev_chain.payment_address, data=settlement_data(order))
    await rpc(SEND, foreign)
    await running.start()
    await running.settle(order, mined=False)
    async with trio.open_nursery() as callers:
        callers.start_soon(refused, running, order)
        final = await running.mine_until(order, SettlementState.SETTLED_ELSEWHERE, SettlementState.FAILED)
    assert (final.state, final.reason) == (SettlementState.SETTLED_ELSEWHERE, "Already paid in full")
    assert await running.executions(order) == 1


async def test_what_failed_on_chain_is_not_tried_again_without_the_operator(running: Running) -> None:
    (order,) = await running.new_orders(1, native=True)
    contract = running.chain.payment_address
    held_wei = await running.rpc("eth_getBalance", contract, "latest")
    await running.rpc("dev_setAutomine", False)
    await running.settle(order, mined=False)
    await running.rpc("dev_setBalance", contract, "0x0")
    await running.mine_until(order, SettlementState.FAILED)
    await running.rpc("dev_setBalance", contract, held_wei)
    with pytest.raises(Reverted, match="operator"):
        await running.settle(order)
    assert [row.state for row in await running.rows(order)] == [SettlementState.FAILED]


async def test_after_a_change_of_key_what_the_former_one_signed_is_left_to_it(running: Running) -> None:
    before, after = await running.new_orders(2)
    await running.rpc("dev_setAutomine", False)
    await running.settle(before, mined=False)
    await running.crash()
    running.settings = attrs.evolve(running.settings, owner_key=Secret("11" * 32))
    await running.start()
    with pytest.raises(Conflict, match="former key"):
        await running.settle(before)
    with pytest.raises(Reverted, match="Only friendly bot"):
        await running.settle(after)


@pytest.mark.usefixtures("quick")
async def test_a_hash_that_another_hand_has_displaced_is_no_answer(running: Running) -> None:
    (order,) = await running.new_orders(1)
    await running.rpc("dev_setAutomine", False)
    nonce = await running.owner_count()
    first = await running.settle(order, mined=False)
    await running.rpc("dev_drop", str(first.tx_hash))
    await running.rpc(SEND, signed(owner_of(running.chain), nonce))
    await running.rpc("dev_mine", 1)
    await running.reached(order, SettlementState.LOST)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(running.mine_until, order, SETTLED)
        again = await running.settle(order, mined=False)
    assert again.tx_hash != first.tx_hash
    assert await running.executions(order) == 1


async def refused(running: Running, order: str) -> None:
    with pytest.raises(Reverted, match="Already paid in full"):
        await running.settle(order)


@pytest.mark.parametrize("fault", ["cut_at", "lose_answer_to"])
@pytest.mark.parametrize(
    "statement",
    [b"INSERT INTO ellara.settlement", b"SET next_nonce", b"INSERT INTO ellara.attempt", b"COMMIT", b"ellara.send_log"],
)
async def test_a_database_that_is_cut_off_at_any_statement(
    dev_chain: DevChain, rpc: Rpc, far_pool: Pool, line: Line, fault: str, statement: bytes
) -> None:
    async with trio.open_nursery() as nursery:
        running = Running(dev_chain, rpc, far_pool, nursery)
        (order,) = await running.new_orders(1)
        await running.start()
        setattr(line, fault, statement)
        with suppress(Unavailable):
            await running.settle(order, timeout_s=0.5)
        setattr(line, fault, None)
        await running.settle(order)
        assert await running.executions(order) == 1
        await running.crash()
