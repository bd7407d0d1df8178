"""Orders are settled exactly once: the real chain, the real database, and the chain is asked at the end."""

from __future__ import annotations

import re

import pytest
import trio
import trio.testing

from ellara.errors import Busy, CannotStart, Conflict, Invalid, Reverted, TimedOut
from ellara.model import Address, Settlement, SettlementState
from ellara.sandbox.evm.server import DevChain
from ellara.settings import Secret
from ellara.storage.pool import Pool
from ellara.storage.settlements import find_by_tx_hash
from tests.actors.settling import MERCHANT, Running
from tests.devchain import GWEI, Rpc, owner_of, settlement_data, signed

SOMEONE = Address.parse("0x" + "22" * 20)
UNKNOWN_ORDER = "0x" + "ab" * 32

MINED, SETTLED, REJECTED = SettlementState.MINED, SettlementState.SETTLED, SettlementState.REJECTED


@pytest.fixture
async def running(dev_chain: DevChain, rpc: Rpc, pool: Pool, nursery: trio.Nursery) -> Running:
    settler = Running(dev_chain, rpc, pool, nursery)
    await settler.start()
    return settler


async def all_at_once(running: Running, orders: list[str]) -> list[Settlement]:
    answers: list[Settlement] = []

    async def one(order: str) -> None:
        answers.append(await running.settle(order))

    async with trio.open_nursery() as nursery:
        for order in orders:
            nursery.start_soon(one, order)
    return answers


async def test_sixteen_at_once_are_all_settled_with_consecutive_nonces(running: Running) -> None:
    orders = await running.new_orders(16)
    before = await running.owner_count()
    answers = await all_at_once(running, orders)
    transactions = [await running.rpc("eth_getTransactionByHash", str(answer.tx_hash)) for answer in answers]
    assert sorted(int(each["nonce"], 16) for each in transactions) == list(range(before, before + 16))
    assert [await running.executions(order) for order in orders] == [1] * 16


async def test_token_and_native_orders_are_settled_by_their_own_function(running: Running) -> None:
    (token,), (native,) = await running.new_orders(1), await running.new_orders(1, native=True)
    answers = [await running.settle(token), await running.settle(native)]
    assert [answer.native for answer in answers] == [False, True]
    assert await running.rpc.number("eth_getBalance", str(MERCHANT), "latest") > 0
    assert [await running.executions(order) for order in (token, native)] == [1, 1]


async def test_it_is_final_after_the_confirmations(running: Running) -> None:
    (order,) = await running.new_orders(1)
    answer = await running.settle(order)
    final = await running.reached(order, SETTLED)
    assert (final.tx_hash, final.block_number) == (answer.tx_hash, answer.block_number)


async def test_an_unknown_order_is_refused_with_the_contracts_reason_and_costs_no_nonce(running: Running) -> None:
    before = await running.owner_count()
    with pytest.raises(Reverted, match="Order does not exist"):
        await running.settle(UNKNOWN_ORDER)
    assert [row.state for row in await running.rows(UNKNOWN_ORDER)] == [REJECTED]
    assert await running.owner_count() == before


async def test_an_order_settled_by_someone_else_is_refused_with_the_reason(running: Running) -> None:
    (order,) = await running.new_orders(1)
    raw = signed(
        owner_of(running.chain), await running.owner_count(), to=running.chain.payment_address, data=settlement_data(order)
    )
    await running.rpc.mined(await running.rpc("eth_sendRawTransaction", raw))
    with pytest.raises(Reverted, match="Already paid in full"):
        await running.settle(order)


async def test_a_rejected_order_may_be_tried_again(running: Running) -> None:
    (order,) = await running.new_orders(1)
    await running.settle(order)
    await running.reached(order, SETTLED)
    with pytest.raises(Reverted, match="Already paid in full"):
        await running.settle(order, SOMEONE)
    await running.rpc("dev_payAgain", order)
    assert (await running.settle(order, SOMEONE)).beneficiary == SOMEONE


async def test_an_order_asked_again_gets_the_same_transaction(running: Running) -> None:
    (order,) = await running.new_orders(1)
    first, *others = await all_at_once(running, [order] * 5)
    await running.reached(order, SETTLED)
    others.append(await running.settle(order))
    assert {other.tx_hash for other in others} == {first.tx_hash}
    assert await running.executions(order) == 1


async def test_another_beneficiary_is_refused_while_it_is_open(running: Running) -> None:
    (order,) = await running.new_orders(1)
    await running.rpc("dev_setAutomine", False)
    await running.settle(order, mined=False)
    with pytest.raises(Conflict, match=str(MERCHANT)):
        await running.settle(order, SOMEONE)


async def test_an_order_paid_again_gets_a_second_round(running: Running) -> None:
    (order,) = await running.new_orders(1)
    first = await running.settle(order)
    await running.rpc("dev_payAgain", order)
    second = await running.settle(order)
    assert (first.round, second.round) == (1, 2)
    assert first.tx_hash != second.tx_hash
    assert await running.executions(order) == 2


async def test_more_at_once_than_may_be_in_flight_wait_and_are_settled(
    dev_chain: DevChain, rpc: Rpc, pool: Pool, nursery: trio.Nursery
) -> None:
    running = Running(dev_chain, rpc, pool, nursery, in_flight_max=4)
    await running.start()
    orders = await running.new_orders(14)
    await all_at_once(running, orders)
    assert [await running.executions(order) for order in orders] == [1] * 14


async def test_whose_time_is_up_is_told_the_transaction_and_it_goes_on(running: Running) -> None:
    (order,) = await running.new_orders(1)
    await running.rpc("dev_setAutomine", False)
    with pytest.raises(TimedOut) as raised:
        await running.settle(order, timeout_s=0.7)
    found = re.search("0x[0-9a-f]{64}", raised.value.message)
    await running.rpc("dev_mine", 1)
    assert found
    assert str((await running.reached(order, MINED, SETTLED)).tx_hash) == found.group()


async def test_a_full_mailbox_says_busy(dev_chain: DevChain, rpc: Rpc, pool: Pool, nursery: trio.Nursery) -> None:
    stopped = Running(dev_chain, rpc, pool, nursery)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as callers:
            for _ in range(256):
                callers.start_soon(stopped.settle, UNKNOWN_ORDER)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(Busy):
                await stopped.settle(UNKNOWN_ORDER)
            scope.cancel()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"owner_key": Secret()}, "CONTRACT_OWNER_PRIVATE_KEY is not set"),
        ({"payment_address": ""}, "QR_PAYMENT_ADDRESS is not set"),
    ],
)
async def test_without_key_or_contract_it_runs_and_says_what_is_missing(
    dev_chain: DevChain, rpc: Rpc, pool: Pool, nursery: trio.Nursery, changed: dict[str, object], message: str
) -> None:
    running = Running(dev_chain, rpc, pool, nursery, **changed)
    await running.start()
    with pytest.raises(Invalid, match=message):
        await running.settle(UNKNOWN_ORDER)


async def test_a_wrong_contract_is_named(dev_chain: DevChain, rpc: Rpc, pool: Pool, nursery: trio.Nursery) -> None:
    running = Running(dev_chain, rpc, pool, nursery, payment_address=str(SOMEONE))
    await running.start()
    with pytest.raises(Invalid, match="QR_PAYMENT_ADDRESS"):
        await running.settle(UNKNOWN_ORDER)


async def test_the_wrong_chain_refuses_to_start(dev_chain: DevChain, rpc: Rpc, pool: Pool) -> None:
    with pytest.RaisesGroup(CannotStart, match=None, flatten_subgroups=True):
        async with trio.open_nursery() as nursery:
            await Running(dev_chain, rpc, pool, nursery, chain_id=1).start()


async def test_a_chain_that_began_anew_is_refused_unless_allowed(running: Running) -> None:
    await running.crash()
    async with running.pool.connection() as connection:
        await connection.run(
            "INSERT INTO ellara.chain (chain_id, genesis_hash) VALUES (11155111, decode(repeat('ab', 32), 'hex'))"
        )
    with pytest.RaisesGroup(CannotStart, match=None, flatten_subgroups=True):
        async with trio.open_nursery() as nursery:
            await Running(running.chain, running.rpc, running.pool, nursery).start(new_chain_allowed=False)


async def test_closing_the_mailbox_ends_it_once_all_are_answered(running: Running) -> None:
    (order,) = await running.new_orders(1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(running.settle, order)
        await trio.testing.wait_all_tasks_blocked()
        running.mailbox.close()
    with trio.fail_after(5):
        await running.ended.wait()


async def test_fees_are_raised_when_the_base_fee_outgrows_the_cap(running: Running) -> None:
    (order,) = await running.new_orders(1)
    await running.rpc("dev_setAutomine", False)
    first = await running.settle(order, mined=False)
    await running.rpc("dev_setBaseFee", hex(40 * GWEI))
    await running.rpc("dev_mine", 1)
    await running.until(order, lambda row: row.tx_hash != first.tx_hash)
    mined = await running.mine_until(order, MINED, SETTLED)
    async with running.pool.connection() as connection:
        assert first.tx_hash is not None
        replaced = await find_by_tx_hash(connection, first.tx_hash)
    assert replaced is not None
    assert (replaced.id, replaced.tx_hash) == (mined.id, mined.tx_hash)
    assert await running.executions(order) == 1
