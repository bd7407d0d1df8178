"""The dev chain over its JSON-RPC server: what a sender meets."""

from __future__ import annotations

import httpx2
import pytest
import trio

from ellara.sandbox.evm.server import DevChain
from tests.devchain import BENEFICIARY, GWEI, Rpc, RpcFailure, owner_of, settlement_data, signed

STRANGER = "0x" + "22" * 20
NOBODY = "0x" + "00" * 31 + "07"


async def next_nonce(rpc: Rpc, chain: DevChain, tag: str = "pending") -> int:
    return await rpc.number("eth_getTransactionCount", owner_of(chain).address, tag)


async def refusal(rpc: Rpc, method: str, *params: object) -> RpcFailure:
    with pytest.raises(RpcFailure) as caught:
        await rpc(method, *params)
    return caught.value


async def test_a_settlement_is_mined_then_confirmed_then_final(dev_chain: DevChain, rpc: Rpc) -> None:
    order, nonce = dev_chain.orders[0], await next_nonce(rpc, dev_chain)
    raw = signed(owner_of(dev_chain), nonce, to=dev_chain.payment_address, data=settlement_data(order.order_hash))
    receipt = await rpc.mined(await rpc("eth_sendRawTransaction", raw))
    assert (receipt["status"], len(receipt["logs"])) == ("0x1", 2)
    mined_at = int(receipt["blockNumber"], 16)
    await rpc.reached(mined_at + 2)
    assert (await rpc("eth_getBlockByNumber", "finalized", False))["number"] == receipt["blockNumber"]
    assert (await rpc("eth_getBlockByNumber", "safe", False))["number"] == hex(mined_at + 1)


async def test_a_native_order_is_paid_out_in_the_native_coin(dev_chain: DevChain, rpc: Rpc) -> None:
    order = next(order for order in dev_chain.orders if order.native)
    data = settlement_data(order.order_hash, native=True)
    raw = signed(owner_of(dev_chain), await next_nonce(rpc, dev_chain), to=dev_chain.payment_address, data=data)
    assert (await rpc.mined(await rpc("eth_sendRawTransaction", raw)))["status"] == "0x1"
    assert await rpc.number("eth_getBalance", BENEFICIARY, "latest") == order.amount


async def test_transactions_that_arrive_together_share_a_block(dev_chain: DevChain, rpc: Rpc) -> None:
    await rpc("dev_setAutomine", False)
    first = await next_nonce(rpc, dev_chain)
    hashes = [await rpc("eth_sendRawTransaction", signed(owner_of(dev_chain), first + at)) for at in range(5)]
    await rpc("dev_setAutomine", True)
    receipts = [await rpc.mined(tx_hash) for tx_hash in hashes]
    assert {receipt["blockNumber"] for receipt in receipts} == {receipts[0]["blockNumber"]}
    assert [receipt["transactionIndex"] for receipt in receipts] == ["0x0", "0x1", "0x2", "0x3", "0x4"]


async def test_a_pending_transaction_is_known_without_a_block(dev_chain: DevChain, rpc: Rpc) -> None:
    await rpc("dev_setAutomine", False)
    nonce = await next_nonce(rpc, dev_chain)
    tx_hash = await rpc("eth_sendRawTransaction", signed(owner_of(dev_chain), nonce))
    pending = await rpc("eth_getTransactionByHash", tx_hash)
    assert (pending["blockNumber"], pending["blockHash"], pending["nonce"]) == (None, None, hex(nonce))
    assert await rpc("eth_getTransactionReceipt", tx_hash) is None
    assert await next_nonce(rpc, dev_chain) == nonce + 1
    assert await next_nonce(rpc, dev_chain, "latest") == nonce
    assert (await rpc("eth_getBlockByNumber", "pending", False))["transactions"] == [tx_hash]


async def test_a_better_paying_attempt_takes_the_slot(dev_chain: DevChain, rpc: Rpc) -> None:
    await rpc("dev_setAutomine", False)
    nonce, owner = await next_nonce(rpc, dev_chain), owner_of(dev_chain)
    first = await rpc("eth_sendRawTransaction", signed(owner, nonce))
    second = signed(owner, nonce, maxFeePerGas=22 * GWEI, maxPriorityFeePerGas=GWEI * 11 // 10)
    replacing = await rpc("eth_sendRawTransaction", second)
    await rpc("dev_mine")
    assert (await rpc("eth_getTransactionReceipt", replacing))["status"] == "0x1"
    assert await rpc("eth_getTransactionByHash", first) is None
    assert (await refusal(rpc, "eth_sendRawTransaction", signed(owner, nonce))).message.startswith("nonce too low: next nonce")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"chainId": 1}, "invalid sender: invalid chain id for signer: have 1 want 11155111"),
        ({"gas": 20_000}, "intrinsic gas too low: gas 20000, minimum needed 21000"),
        ({"value": 10**30}, "insufficient funds for gas * price + value"),
        ({"maxPriorityFeePerGas": 21 * GWEI}, "max priority fee per gas higher than max fee per gas"),
        ({"nonce": 0}, "nonce too low: next nonce 6, tx nonce 0"),
    ],
)
async def test_a_wrong_transaction_is_refused_as_by_geth(
    dev_chain: DevChain, rpc: Rpc, fields: dict[str, int], message: str
) -> None:
    raw = signed(owner_of(dev_chain), fields.pop("nonce", 6), **fields)
    failure = await refusal(rpc, "eth_sendRawTransaction", raw)
    assert failure.code == -32000
    assert failure.message.startswith(message)


async def test_a_transaction_for_every_chain_is_refused(dev_chain: DevChain, rpc: Rpc) -> None:
    legacy = {"nonce": 6, "gas": 21_000, "gasPrice": GWEI, "to": BENEFICIARY, "value": 1}
    raw = "0x" + bytes(owner_of(dev_chain).sign_transaction(legacy).raw_transaction).hex()  # type: ignore[arg-type]  # its stubs want one value type
    assert "only replay-protected (EIP-155)" in (await refusal(rpc, "eth_sendRawTransaction", raw)).message


@pytest.mark.parametrize("raw", ["0x", "0x00", "0x02", "0xc0", "0x02c0", "0xff" * 3, "0x" + "ab" * 200])
async def test_bytes_that_are_no_transaction_are_refused(rpc: Rpc, raw: str) -> None:
    assert (await refusal(rpc, "eth_sendRawTransaction", raw)).code in (-32000, -32602)


async def test_a_fee_cap_below_the_base_fee_waits_for_its_block(dev_chain: DevChain, rpc: Rpc) -> None:
    await rpc("dev_setBaseFee", hex(50 * GWEI))
    tx_hash = await rpc("eth_sendRawTransaction", signed(owner_of(dev_chain), await next_nonce(rpc, dev_chain)))
    await rpc("dev_mine", "0x1")
    assert await rpc("eth_getTransactionReceipt", tx_hash) is None
    await rpc("dev_setBaseFee", hex(10 * GWEI))
    receipt = await rpc.mined(tx_hash)
    assert int(receipt["effectiveGasPrice"], 16) == 11 * GWEI


@pytest.mark.parametrize(
    ("sender", "order", "native", "reason"),
    [
        (STRANGER, NOBODY, False, "Only friendly bot"),
        (None, NOBODY, False, "Order does not exist"),
        (None, NOBODY, True, "Order does not exist"),
        (None, None, True, "Token mismatch"),
    ],
)
async def test_a_revert_carries_the_contracts_reason(
    dev_chain: DevChain, rpc: Rpc, sender: str | None, order: str | None, native: bool, reason: str
) -> None:
    call = {
        "from": sender or owner_of(dev_chain).address,
        "to": dev_chain.payment_address,
        "data": settlement_data(order or dev_chain.orders[0].order_hash, native=native),
    }
    for method in ("eth_call", "eth_estimateGas"):
        failure = await refusal(rpc, method, call)
        assert (failure.code, failure.message) == (3, f"execution reverted: {reason}")
        assert failure.data == "0x08c379a0" + (32).to_bytes(32, "big").hex() + len(reason).to_bytes(32, "big").hex() + (
            reason.encode().ljust(32, b"\0").hex()
        )


async def test_a_second_settlement_reverts_and_costs_its_nonce(dev_chain: DevChain, rpc: Rpc) -> None:
    nonce, data = await next_nonce(rpc, dev_chain), settlement_data(dev_chain.orders[0].order_hash)
    raws = [signed(owner_of(dev_chain), nonce + at, to=dev_chain.payment_address, data=data) for at in range(2)]
    hashes = [await rpc("eth_sendRawTransaction", raw) for raw in raws]
    assert [(await rpc.mined(tx_hash))["status"] for tx_hash in hashes] == ["0x1", "0x0"]
    call = {"from": owner_of(dev_chain).address, "to": dev_chain.payment_address, "data": data}
    assert (await refusal(rpc, "eth_call", call)).message == "execution reverted: Already paid in full"


async def test_an_estimate_is_enough_and_not_much_more(dev_chain: DevChain, rpc: Rpc) -> None:
    data = settlement_data(dev_chain.orders[0].order_hash)
    estimate = await rpc.number(
        "eth_estimateGas", {"from": owner_of(dev_chain).address, "to": dev_chain.payment_address, "data": data}
    )
    nonce = await next_nonce(rpc, dev_chain)
    raw = signed(owner_of(dev_chain), nonce, to=dev_chain.payment_address, data=data, gas=estimate)
    receipt = await rpc.mined(await rpc("eth_sendRawTransaction", raw))
    assert receipt["status"] == "0x1"
    assert int(receipt["gasUsed"], 16) <= estimate <= int(receipt["gasUsed"], 16) * 1.3


async def test_a_bad_request_leaves_the_server_well(dev_chain: DevChain, rpc: Rpc) -> None:
    for body in (b"", b"{", b"[]", b"null", b"[" * 100_000, b'{"a":' * 100_000, b'{"id":1,"method":5}', b"\xff\xfe"):
        answer = (await rpc.http.post(dev_chain.rpc_url, content=body)).json()
        assert (answer[0] if isinstance(answer, list) else answer)["error"]["code"] in (-32700, -32600)
    assert (await refusal(rpc, "eth_nothing")).code == -32601
    assert (await refusal(rpc, "eth_getBalance")).code == -32602
    assert (await refusal(rpc, "eth_getBalance", STRANGER, "0x0f")).code == -32602
    assert (await refusal(rpc, "eth_getBalance", STRANGER, "0xffff")).message == "header not found"
    assert await rpc("eth_chainId") == "0xaa36a7"


async def test_a_batch_is_answered_call_by_call(rpc: Rpc) -> None:
    calls = [{"jsonrpc": "2.0", "id": "a", "method": "eth_chainId"}, {"jsonrpc": "2.0", "method": "eth_chainId"}, 5]
    answers = await rpc.post([*calls, {"jsonrpc": "2.0", "id": 2, "method": "eth_nothing"}])
    assert [answer["id"] for answer in answers] == ["a", None, 2]
    assert [answer.get("result", answer.get("error", {}).get("code")) for answer in answers] == ["0xaa36a7", -32600, -32601]


async def test_logs_are_found_by_contract_topic_and_range(dev_chain: DevChain, rpc: Rpc) -> None:
    every = await rpc("eth_getLogs", {"fromBlock": "0x0", "toBlock": "latest", "address": dev_chain.payment_address})
    assert {log["topics"][3] for log in every} == {order.order_hash for order in dev_chain.orders}
    one = await rpc("eth_getLogs", {"fromBlock": "earliest", "topics": [None, None, None, [every[2]["topics"][3]]]})
    assert one == [every[2]]
    assert await rpc("eth_getLogs", {"blockHash": every[0]["blockHash"], "address": [dev_chain.payment_address]}) == every
    assert await rpc("eth_getLogs", {"fromBlock": "0xff", "toBlock": "0xfff"}) == []


async def test_fee_history_knows_the_next_base_fee(dev_chain: DevChain, rpc: Rpc) -> None:
    history = await rpc("eth_feeHistory", "0x400", "latest", [50])
    assert history["oldestBlock"] == "0x0"
    assert len(history["baseFeePerGas"]) == len(history["gasUsedRatio"]) + 1 == len(history["reward"]) + 1
    assert history["reward"][0] == ["0x0"]  # the genesis is empty
    assert history["reward"][-1] == [hex(GWEI)]
    await rpc("dev_mine", 1)
    assert (await rpc("eth_getBlockByNumber", "latest", False))["baseFeePerGas"] == history["baseFeePerGas"][-1]


async def test_a_dropped_transaction_leaves_no_trace_and_can_be_sent_again(dev_chain: DevChain, rpc: Rpc) -> None:
    await rpc("dev_setAutomine", False)
    raw = signed(owner_of(dev_chain), await next_nonce(rpc, dev_chain))
    tx_hash = await rpc("eth_sendRawTransaction", raw)
    assert (await refusal(rpc, "eth_sendRawTransaction", raw)).message == "already known"
    assert await rpc("dev_drop", tx_hash) is True
    assert await rpc("eth_getTransactionByHash", tx_hash) is None
    assert await rpc("eth_sendRawTransaction", raw) == tx_hash


@pytest.mark.parametrize("keep", [True, False])
async def test_a_reorganisation_takes_a_settlement_back(dev_chain: DevChain, rpc: Rpc, keep: bool) -> None:
    nonce, data = await next_nonce(rpc, dev_chain), settlement_data(dev_chain.orders[0].order_hash)
    raw = signed(owner_of(dev_chain), nonce, to=dev_chain.payment_address, data=data)
    receipt = await rpc.mined(tx_hash := await rpc("eth_sendRawTransaction", raw))
    await rpc("dev_setAutomine", False)
    depth = await rpc.number("eth_blockNumber") - int(receipt["blockNumber"], 16) + 1
    await rpc("dev_reorg", depth, keep)
    assert (await rpc("eth_getBlockByNumber", receipt["blockNumber"], False))["hash"] != receipt["blockHash"]
    assert await rpc("eth_getTransactionReceipt", tx_hash) is None
    assert (await rpc("eth_getTransactionByHash", tx_hash) is not None) is keep
    if not keep:
        await rpc("eth_sendRawTransaction", raw)
    await rpc("dev_mine")
    assert (await rpc("eth_getTransactionReceipt", tx_hash))["status"] == "0x1"


async def test_planned_faults_happen_once_and_in_their_way(dev_chain: DevChain, rpc: Rpc) -> None:
    await rpc("dev_fault", {"method": "eth_chainId", "kind": "error", "code": -32005, "message": "daily request count exceeded"})
    assert (await refusal(rpc, "eth_chainId")).message == "daily request count exceeded"
    await rpc("dev_fault", {"method": "eth_chainId", "kind": "429"})
    answer = await rpc.http.post(dev_chain.rpc_url, json={"jsonrpc": "2.0", "id": 1, "method": "eth_chainId"})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    await rpc("dev_fault", {"method": "eth_chainId", "kind": "null"})
    assert await rpc("eth_chainId") is None
    await rpc("dev_fault", {"method": "eth_chainId", "kind": "delay", "delayMs": 50})
    before = trio.current_time()
    assert await rpc("eth_chainId") == "0xaa36a7"
    assert trio.current_time() - before >= 0.05


@pytest.mark.parametrize(("kind", "pooled"), [("close-before", False), ("close-after", True)])
async def test_a_cut_connection_tells_nothing_about_the_send(dev_chain: DevChain, rpc: Rpc, kind: str, pooled: bool) -> None:
    await rpc("dev_setAutomine", False)
    nonce = await next_nonce(rpc, dev_chain)
    await rpc("dev_fault", {"method": "eth_sendRawTransaction", "kind": kind})
    with pytest.raises(httpx2.TransportError):
        await rpc("eth_sendRawTransaction", signed(owner_of(dev_chain), nonce))
    assert await next_nonce(rpc, dev_chain) == nonce + pooled


async def test_a_lost_send_is_answered_with_its_hash_and_known_to_nobody(dev_chain: DevChain, rpc: Rpc) -> None:
    await rpc("dev_fault", {"method": "eth_sendRawTransaction", "kind": "lost"})
    raw = signed(owner_of(dev_chain), await next_nonce(rpc, dev_chain))
    tx_hash = await rpc("eth_sendRawTransaction", raw)
    assert await rpc("eth_getTransactionByHash", tx_hash) is None
    assert await rpc("eth_sendRawTransaction", raw) == tx_hash
