"""The node over real HTTP: what it answers as our values, what it fails to answer as the right kind of error."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import attrs
import pytest
import trio

from ellara.chain import rpc as chain_rpc
from ellara.chain.answers import NotSent, Outcome, RpcError, Unanswered
from ellara.chain.contract import NATIVE_COIN, payment_info_call, read_payment_info, settle_call
from ellara.errors import ChainUnavailable, Reverted
from ellara.model import Address, Hash32, OrderHash, TxHash
from ellara.sandbox.evm.server import DevChain
from ellara.sandbox.http import Request, Response, serve
from ellara.settings import Chain, Secret
from tests.devchain import CHAIN_ID, Rpc, owner_of, signed

SETTINGS = Chain(connect_timeout_s=1.0, read_timeout_s=1.0, send_timeout_s=1.0)
NOBODY = TxHash(bytes(32))
ADDRESS = Address(bytes([1]) * 20)


@pytest.fixture
async def node(dev_chain: DevChain) -> AsyncIterator[chain_rpc.Rpc]:
    node = await chain_rpc.open_rpc(Secret(dev_chain.rpc_url), SETTINGS)
    yield node
    await node.close()


async def lying(nursery: trio.Nursery, status: int, body: bytes) -> chain_rpc.Rpc:
    """A node that gives every request the same answer."""

    async def handle(_request: Request, response: Response) -> None:
        await response.send(status, body)

    port = await nursery.start(serve, handle)
    return await chain_rpc.open_rpc(Secret(f"http://127.0.0.1:{port}"), SETTINGS)


async def test_what_the_chain_is(node: chain_rpc.Rpc, dev_chain: DevChain) -> None:
    assert await node.chain_id() == CHAIN_ID
    assert await node.genesis_hash() == Hash32.parse(dev_chain.genesis_hash)
    head = await node.latest()
    assert (await node.block_number(), await node.block(head.number)) == (head.number, head)
    assert await node.block(head.number + 1_000) is None


async def test_an_accounts_count_and_balance(node: chain_rpc.Rpc, dev_chain: DevChain) -> None:
    owner = Address.parse(owner_of(dev_chain).address)
    assert await node.count(owner) == await node.pending_count(owner) > await node.count(owner, 0) == 0
    assert await node.balance_wei(owner) > 0


async def test_the_fee_history_leaves_empty_blocks_out(node: chain_rpc.Rpc, rpc: Rpc) -> None:
    await rpc("dev_mine", 20)
    history = await node.fee_history()
    assert history.next_base_wei > 0
    assert list(history.tips_wei) == []


async def test_orders_are_read_and_reverts_explained(node: chain_rpc.Rpc, dev_chain: DevChain) -> None:
    contract, native = Address.parse(dev_chain.payment_address), dev_chain.orders[3]
    order = OrderHash.parse(native.order_hash)
    info = read_payment_info(await node.call(contract, payment_info_call(order)))
    assert (info.token, info.outstanding) == (NATIVE_COIN, native.amount)
    owner = Address.parse(owner_of(dev_chain).address)
    assert await node.estimate_gas(owner, contract, settle_call(order, ADDRESS, native=True)) > 21_000
    for sender, is_native, reason in ((owner, False, "Token mismatch"), (ADDRESS, True, "Only friendly bot")):
        with pytest.raises(Reverted, match=reason):
            await node.estimate_gas(sender, contract, settle_call(order, ADDRESS, native=is_native))
        with pytest.raises(Reverted, match=reason):
            await node.call(contract, settle_call(order, ADDRESS, native=is_native), sender=sender)


async def test_a_transaction_from_the_pool_into_a_block(node: chain_rpc.Rpc, dev_chain: DevChain, rpc: Rpc) -> None:
    await rpc("dev_setAutomine", False)
    owner = owner_of(dev_chain)
    raw = bytes.fromhex(signed(owner, await node.count(Address.parse(owner.address)))[2:])
    tx_hash = TxHash.parse(await rpc("eth_sendRawTransaction", "0x" + raw.hex()))
    assert (await node.send(raw, tx_hash)).outcome is Outcome.ALREADY_KNOWN
    assert (await node.knows(tx_hash), await node.receipt(tx_hash)) == (True, None)
    await rpc("dev_mine", 1)
    mined, head = await node.receipt(tx_hash), await node.latest()
    assert mined
    assert (mined.tx_hash, mined.block_number, mined.block_hash, mined.succeeded) == (tx_hash, head.number, head.hash, True)
    assert (await node.send(raw, tx_hash)).outcome is Outcome.NONCE_TOO_LOW


async def test_an_unknown_transaction_is_unknown(node: chain_rpc.Rpc) -> None:
    assert (await node.knows(NOBODY), await node.receipt(NOBODY)) == (False, None)


async def test_what_surely_never_left_is_told_apart() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()
    node = await chain_rpc.open_rpc(Secret(f"http://user:key@127.0.0.1:{port}/v2/key"), SETTINGS)
    with pytest.raises(NotSent) as raised:
        await node.block_number()
    assert "key" not in repr(raised.value) + str(raised.value.__cause__)
    assert (await node.send(b"raw", NOBODY)).outcome is Outcome.NOT_SENT


@pytest.mark.parametrize("kind", ["close-before", "close-after"])
async def test_a_broken_connection_may_have_delivered_it(node: chain_rpc.Rpc, rpc: Rpc, kind: str) -> None:
    await rpc("dev_fault", {"method": "eth_blockNumber", "kind": kind})
    with pytest.raises(Unanswered):
        await node.block_number()
    await rpc("dev_fault", {"method": "eth_sendRawTransaction", "kind": "close-before"})
    assert (await node.send(b"raw", NOBODY)).outcome is Outcome.UNKNOWN


async def test_a_silent_node_has_a_deadline(dev_chain: DevChain, rpc: Rpc) -> None:
    settings = attrs.evolve(SETTINGS, read_timeout_s=0.1)
    node = await chain_rpc.open_rpc(Secret(dev_chain.rpc_url), settings)
    await rpc("dev_fault", {"method": "*", "kind": "delay", "delayMs": 60_000})
    with trio.fail_after(1), pytest.raises(Unanswered):
        await node.block_number()
    assert await node.block_number()


CALLS: list[Callable[[chain_rpc.Rpc], Awaitable[object]]] = [
    lambda node: node.chain_id(),
    lambda node: node.block_number(),
    lambda node: node.latest(),
    lambda node: node.count(ADDRESS),
    lambda node: node.balance_wei(ADDRESS),
    lambda node: node.fee_history(),
    lambda node: node.call(ADDRESS, b""),
    lambda node: node.estimate_gas(ADDRESS, ADDRESS, b""),
    lambda node: node.receipt(NOBODY),
    lambda node: node.block(5),
]
GARBAGE = [
    b"",
    b"<html>",
    b"[]",
    b"null",
    b'{"jsonrpc":"2.0","id":1}',
    b'{"result":"zz"}',
    b'{"result":[]}',
    b'{"result":{}}',
    b'{"result":{"number":"0x1"}}',
    b'{"result":true}',
    b'{"result":-1.5}',
    b'{"error":"a bare text"}',
    b'{"error":{"code":"x","message":7,"data":[1]}}',
]


@pytest.mark.parametrize("body", GARBAGE)
async def test_garbage_is_never_believed_and_never_crashes(nursery: trio.Nursery, body: bytes) -> None:
    node = await lying(nursery, 200, body)
    for call in CALLS:
        try:
            answer = await call(node)
        except ChainUnavailable:
            continue
        assert answer is None or isinstance(answer, int | bytes), answer
    assert (await node.send(b"raw", NOBODY)).outcome is Outcome.UNKNOWN
    nursery.cancel_scope.cancel()


async def test_a_null_result_is_no_number(nursery: trio.Nursery) -> None:
    node = await lying(nursery, 200, b'{"result":null}')
    for call in CALLS[:-2]:
        with pytest.raises(ChainUnavailable):
            await call(node)
    assert (await node.send(b"raw", NOBODY)).outcome is Outcome.UNKNOWN
    nursery.cancel_scope.cancel()


async def test_another_hash_than_ours_is_unclear(nursery: trio.Nursery) -> None:
    node = await lying(nursery, 200, b'{"result":"0x' + b"ab" * 32 + b'"}')
    assert (await node.send(b"raw", NOBODY)).outcome is Outcome.UNKNOWN
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("status", "outcome"), [(429, Outcome.RATE_LIMITED), (502, Outcome.TRANSIENT), (404, Outcome.UNKNOWN)])
async def test_a_status_without_json_is_an_answer_too(nursery: trio.Nursery, status: int, outcome: Outcome) -> None:
    node = await lying(nursery, status, b"<html>")
    with pytest.raises(RpcError) as raised:
        await node.block_number()
    assert raised.value.http_status == status
    assert (await node.send(b"raw", NOBODY)).outcome is outcome
    nursery.cancel_scope.cancel()
