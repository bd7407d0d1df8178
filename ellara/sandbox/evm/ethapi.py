"""The dev chain's eth_ methods: parse the arguments, ask the node, write the answer as geth does.

Called by server.py, in the chain's thread. Source: ethereum/execution-apis; texts and codes: go-ethereum internal/ethapi.
Absent: subscriptions and filters (there is no WebSocket here: poll), traces, proofs, accounts held by the node.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from eth_typing import Address

from ellara.sandbox.evm.engine import GAS_LIMIT, Message
from ellara.sandbox.evm.ethjson import block_json, receipt_json, tx_json
from ellara.sandbox.evm.ethquery import fee_history, header_at, logs, state_header_at
from ellara.sandbox.evm.jsonrpc import Json, Params, data, parse_data, parse_quantity, quantity
from ellara.sandbox.evm.node import Node

CLIENT_VERSION = "Ellara-sandbox/1/py-evm"
TIP_WEI = 1_000_000_000

Method = Callable[[Node, Params], Json]


def block_by_number(node: Node, params: Params) -> Json:
    tag = params.required(0)
    if tag == "pending":
        return _pending_block(node, full=params.flag(1))
    try:
        return block_json(node.engine.block(header_at(node, tag)), full=params.flag(1))
    except LookupError:
        return None


def block_by_hash(node: Node, params: Params) -> Json:
    try:
        header = node.engine.header_by_hash(params.data(0, 32))
    except LookupError:
        return None
    return block_json(node.engine.block(header), full=params.flag(1))


def balance(node: Node, params: Params) -> Json:
    return quantity(node.engine.state(state_header_at(node, params.optional(1))).get_balance(Address(params.data(0, 20))))


def code(node: Node, params: Params) -> Json:
    return data(node.engine.state(state_header_at(node, params.optional(1))).get_code(Address(params.data(0, 20))))


def storage_at(node: Node, params: Params) -> Json:
    state = node.engine.state(state_header_at(node, params.optional(2)))
    slot = params.required(1)
    position = int.from_bytes(params.data(1), "big") if isinstance(slot, str) and len(slot) == 66 else params.quantity(1)
    return data(state.get_storage(Address(params.data(0, 20)), position).to_bytes(32, "big"))


def transaction_count(node: Node, params: Params) -> Json:
    address = params.data(0, 20)
    if params.optional(1) == "pending":
        return quantity(node.nonce(address))
    return quantity(node.engine.state(state_header_at(node, params.optional(1))).get_nonce(Address(address)))


def gas_price(node: Node, _params: Params) -> Json:
    return quantity(TIP_WEI + node.engine.next_base_fee_wei)


def call(node: Node, params: Params) -> Json:
    return data(node.engine.call(_message(params), state_header_at(node, params.optional(1))))


def estimate_gas(node: Node, params: Params) -> Json:
    return quantity(node.engine.estimate_gas(_message(params), state_header_at(node, params.optional(1))))


def send_raw_transaction(node: Node, params: Params) -> Json:
    return data(node.send_raw(params.data(0)))


def transaction_by_hash(node: Node, params: Params) -> Json:
    tx_hash = params.data(0, 32)
    pooled = node.pool.get(tx_hash)
    if pooled is not None:
        return tx_json(node.engine.decode(pooled.raw))
    try:
        block, index = node.engine.locate(tx_hash)
    except LookupError:
        return None
    return tx_json(block.transactions[index], block.header, index)


def transaction_receipt(node: Node, params: Params) -> Json:
    try:
        block, index = node.engine.locate(params.data(0, 32))
    except LookupError:
        return None
    return receipt_json(block, node.engine.receipts(block), index)


def pool_status(node: Node, _params: Params) -> Json:
    pending = sum(len(node.pool.pending(sender, node.engine.account(sender))) for sender in node.pool.senders())
    return {"pending": quantity(pending), "queued": quantity(len(node.pool) - pending)}


METHODS: Mapping[str, Method] = {
    "web3_clientVersion": lambda _node, _params: CLIENT_VERSION,
    "net_version": lambda node, _params: str(node.chain_id),
    "net_listening": lambda _node, _params: True,
    "eth_chainId": lambda node, _params: quantity(node.chain_id),
    "eth_syncing": lambda _node, _params: False,
    "eth_accounts": lambda _node, _params: [],
    "eth_blockNumber": lambda node, _params: quantity(node.engine.head.block_number),
    "eth_maxPriorityFeePerGas": lambda _node, _params: quantity(TIP_WEI),
    "eth_gasPrice": gas_price,
    "eth_feeHistory": fee_history,
    "eth_getBlockByNumber": block_by_number,
    "eth_getBlockByHash": block_by_hash,
    "eth_getBalance": balance,
    "eth_getCode": code,
    "eth_getStorageAt": storage_at,
    "eth_getTransactionCount": transaction_count,
    "eth_call": call,
    "eth_estimateGas": estimate_gas,
    "eth_sendRawTransaction": send_raw_transaction,
    "eth_getTransactionByHash": transaction_by_hash,
    "eth_getTransactionReceipt": transaction_receipt,
    "eth_getLogs": logs,
    "txpool_status": pool_status,
}


def _pending_block(node: Node, *, full: bool) -> Json:
    head = node.engine.head
    chosen = [node.engine.decode(tx.raw) for tx in node.executable()]
    block = block_json(node.engine.block(head), full=False)
    return block | {
        "number": quantity(head.block_number + 1),
        "hash": None,
        "parentHash": data(head.hash),
        "nonce": None,
        "miner": None,
        "logsBloom": None,
        "gasUsed": quantity(0),
        "timestamp": quantity(max(node.now_s(), head.timestamp + 1)),
        "baseFeePerGas": quantity(node.engine.next_base_fee_wei),
        "transactions": [tx_json(tx) if full else data(tx.hash) for tx in chosen],
    }


def _message(params: Params) -> Message:
    fields = params.object(0)
    for name in ("maxFeePerGas", "maxPriorityFeePerGas", "gasPrice", "nonce"):
        if fields.get(name) is not None:
            parse_quantity(fields[name], name)  # must be well-formed; the call itself is free of charge
    content = fields.get("input") if fields.get("input") is not None else fields.get("data")
    gas = fields.get("gas")
    return Message(
        sender=parse_data(fields.get("from") or "0x" + "00" * 20, "from", 20),
        to=None if fields.get("to") is None else parse_data(fields["to"], "to", 20),
        data=b"" if content is None else parse_data(content, "input"),
        value_wei=parse_quantity(fields.get("value") or 0, "value"),
        gas=None if gas is None else min(parse_quantity(gas, "gas"), GAS_LIMIT),
    )
