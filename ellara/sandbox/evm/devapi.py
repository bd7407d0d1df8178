"""The dev chain's dev_ methods: what a test or a curious person does to it.

Called by server.py, in the chain's thread; dev_fault and dev_clearFaults are server.py's own. They exist in the sandbox only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ellara.sandbox.evm.jsonrpc import INVALID_PARAMS, Json, Params, RpcError, parse_quantity, quantity
from ellara.sandbox.evm.node import Node
from ellara.sandbox.evm.orders import PAYMENTS_PER_BLOCK, OrderBook

MINE_MAX = 1_000

Method = Callable[[Node, OrderBook, Params], Json]


def mine(node: Node, book: OrderBook, params: Params) -> Json:
    """`[blocks = 1]` → the new head's number. The first takes what the pool holds, and so on."""
    blocks = 1 if params.optional(0) is None else params.quantity(0)
    if blocks > MINE_MAX:
        raise RpcError(f"at most {MINE_MAX} blocks at once", INVALID_PARAMS)
    for _ in range(blocks):
        book.note(node.mine().block)
    return quantity(node.engine.head.block_number)


def set_automine(node: Node, _book: OrderBook, params: Params) -> Json:
    """`[on]`: false: blocks come by dev_mine alone."""
    node.automine = params.flag(0)
    return True


def reorg(node: Node, book: OrderBook, params: Params) -> Json:
    """`[blocks, keep = false]`: the last are replaced by as many empty ones; keep: their transactions go back to the pool."""
    blocks = params.quantity(0)
    node.rewind(blocks, keep=params.flag(1))
    for _ in range(blocks):
        node.mine_these([])
    book.reload()
    return quantity(node.engine.head.block_number)


def drop(node: Node, _book: OrderBook, params: Params) -> Json:
    """`[hash]` → whether it was in the pool; no trace of it is left there."""
    return node.pool.drop(params.data(0, 32))


def set_balance(node: Node, _book: OrderBook, params: Params) -> Json:
    """`[address, wei]`, in a block of its own."""
    node.set_balances({params.data(0, 20): params.quantity(1)})
    return True


def set_base_fee(node: Node, _book: OrderBook, params: Params) -> Json:
    """`[wei]`, of the next block."""
    node.engine.set_base_fee(params.quantity(0))
    return True


def set_finality(node: Node, _book: OrderBook, params: Params) -> Json:
    """`[safe, finalized]`: how many blocks the tags lie behind the head."""
    node.finality.safe_depth, node.finality.finalized_depth = params.quantity(0), params.quantity(1)
    return True


def pay_order(_node: Node, book: OrderBook, params: Params) -> Json:
    """`[{native = false, count?}]`: pays new orders, in a block of their own → the order's hash; a list of them with `count`."""
    fields = params.object(0) if params.optional(0) is not None else {}
    count = parse_quantity(fields.get("count", 1), "count")
    if not 1 <= count <= PAYMENTS_PER_BLOCK:
        raise RpcError(f"count must be 1 to {PAYMENTS_PER_BLOCK}", INVALID_PARAMS)
    hashes: list[Json] = [order.order_hash for order in book.pay([fields.get("native") is True] * count)]
    return hashes if "count" in fields else hashes[0]


def pay_again(_node: Node, book: OrderBook, params: Params) -> Json:
    """`[orderHash]`: the same bill once more, in a block of its own → the hash."""
    try:
        book.pay_again(params.data(0, 32))
    except KeyError:
        raise RpcError("the sandbox's payer has never paid this order", INVALID_PARAMS) from None
    return params.required(0)


METHODS: Mapping[str, Method] = {
    "dev_mine": mine,
    "dev_setAutomine": set_automine,
    "dev_reorg": reorg,
    "dev_drop": drop,
    "dev_setBalance": set_balance,
    "dev_setBaseFee": set_base_fee,
    "dev_setFinality": set_finality,
    "dev_payOrder": pay_order,
    "dev_payAgain": pay_again,
}
