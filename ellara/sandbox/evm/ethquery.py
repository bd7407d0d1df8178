"""The dev chain's questions over many blocks: which block is meant, fee history, logs.

Called by ethapi.py. Source: go-ethereum eth/gasprice/feehistory.go, eth/filters/filter.go. Blocks that have no log of the
contracts asked for are passed over by their bloom filter.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate

from eth.abc import BlockHeaderAPI

from ellara.sandbox.evm.ethjson import base_fee_of, gas_used_of, logs_json, may_log
from ellara.sandbox.evm.jsonrpc import INVALID_PARAMS, Json, Params, RpcError, data, parse_data, parse_quantity, quantity
from ellara.sandbox.evm.node import Node

FEE_HISTORY_MAX_BLOCKS = 1_024
TAGS = ("latest", "pending", "safe", "finalized", "earliest")


def header_at(node: Node, value: Json) -> BlockHeaderAPI:
    """Of a tag, a number, or EIP-1898's object. Raises `LookupError` for one that is not there, `RpcError` for nonsense."""
    if isinstance(value, dict):
        if "blockHash" in value:
            return node.engine.header_by_hash(parse_data(value["blockHash"], "blockHash", 32))
        value = value.get("blockNumber")
    if isinstance(value, str) and value in TAGS:
        return node.tagged(value)
    number = parse_quantity(value, "block number")
    if number > node.engine.head.block_number:
        raise LookupError(number)
    return node.engine.header(number)


def state_header_at(node: Node, value: Json) -> BlockHeaderAPI:
    """The same for questions about a state, where latest is the default. Raises `RpcError`."""
    try:
        return header_at(node, "latest" if value is None else value)
    except LookupError:
        raise RpcError("header not found") from None


def fee_history(node: Node, params: Params) -> Json:
    """Base fees of the blocks and of the one after; the rewards of an empty block are 0, as with geth."""
    newest = state_header_at(node, params.required(1)).block_number
    count = min(params.quantity(0), newest + 1, FEE_HISTORY_MAX_BLOCKS)
    percentiles = _percentiles(params.optional(2))
    headers = [node.engine.header(number) for number in range(newest - count + 1, newest + 1)]
    following = node.engine.next_base_fee_wei
    if newest < node.engine.head.block_number:
        following = base_fee_of(node.engine.header(newest + 1))
    answer: dict[str, Json] = {
        "oldestBlock": quantity(newest - count + 1 if count else 0),
        "baseFeePerGas": [quantity(fee) for fee in [*map(base_fee_of, headers), following]],
        "gasUsedRatio": [header.gas_used / header.gas_limit for header in headers],
        "baseFeePerBlobGas": [quantity(1)] * (count + 1),
        "blobGasUsedRatio": [0.0] * count,
    }
    if percentiles:
        answer["reward"] = [_rewards(node, header, percentiles) for header in headers]
    return answer


def logs(node: Node, params: Params) -> Json:
    wanted = params.object(0)
    addresses = [data(each) for each in _addresses(wanted.get("address"))]
    topics = _topics(wanted.get("topics"))
    return [
        log
        for header in _log_headers(node, wanted)
        for log in _logs_of(node, header, addresses)
        if _topics_match(log["topics"], topics)
    ]


def _percentiles(value: Json) -> list[float]:
    found = [each for each in value if isinstance(each, int | float) and 0 <= each <= 100] if isinstance(value, list) else []
    if isinstance(value, list) and (len(found) < len(value) or sorted(found) != found):
        raise RpcError("invalid reward percentile: expected ascending numbers from 0 to 100", INVALID_PARAMS)
    return [float(each) for each in found]


def _rewards(node: Node, header: BlockHeaderAPI, percentiles: list[float]) -> list[Json]:
    """The tips that so many per cent of the block's gas paid at most."""
    block = node.engine.block(header)
    receipts = node.engine.receipts(block)
    base_fee_wei = base_fee_of(header)
    paid = sorted(
        (min(tx.max_priority_fee_per_gas, tx.max_fee_per_gas - base_fee_wei), gas_used_of(receipts, index))
        for index, tx in enumerate(block.transactions)
    )
    rewards: list[Json] = []
    for percentile in percentiles:
        needed_gas = header.gas_used * percentile / 100
        reached = (tip for (tip, _), gas in zip(paid, accumulate(gas for _, gas in paid), strict=True) if gas >= needed_gas)
        rewards.append(quantity(next(reached, 0)))
    return rewards


def _log_headers(node: Node, wanted: Mapping[str, Json]) -> list[BlockHeaderAPI]:
    if wanted.get("blockHash") is not None:
        try:
            return [node.engine.header_by_hash(parse_data(wanted["blockHash"], "blockHash", 32))]
        except LookupError:
            raise RpcError("unknown block") from None
    first, last = (_number(node, wanted.get(name)) for name in ("fromBlock", "toBlock"))
    if first > last:
        raise RpcError("invalid block range params", INVALID_PARAMS)
    return [node.engine.header(number) for number in range(first, min(last, node.engine.head.block_number) + 1)]


def _number(node: Node, value: Json) -> int:
    """A range may reach beyond the head."""
    if value is None or value in TAGS:
        return header_at(node, value or "latest").block_number
    return parse_quantity(value, "block number")


def _logs_of(node: Node, header: BlockHeaderAPI, addresses: list[str]) -> list[dict[str, Json]]:
    if header.bloom == 0 or (addresses and not any(may_log(header, bytes.fromhex(each[2:])) for each in addresses)):
        return []
    block = node.engine.block(header)
    return [log for log in logs_json(block, node.engine.receipts(block)) if not addresses or log["address"] in addresses]


def _addresses(value: Json) -> list[bytes]:
    values = value if isinstance(value, list) else [] if value is None else [value]
    return [parse_data(each, "address", 20) for each in values]


def _topics(value: Json) -> list[list[str]]:
    """Per position the topics that match; none there: every topic does."""
    positions = value if isinstance(value, list) else []
    return [
        [data(parse_data(each, "topic", 32)) for each in (position if isinstance(position, list) else [position])]
        if position is not None
        else []
        for position in positions
    ]


def _topics_match(topics: Json, wanted: list[list[str]]) -> bool:
    assert isinstance(topics, list)
    return len(wanted) <= len(topics) and all(not choice or topics[at] in choice for at, choice in enumerate(wanted))
