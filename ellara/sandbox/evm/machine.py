"""The dev chain whole, without loop or sockets: node, order book and files, behind the calls that server.py makes.

In one thread at a time; everything here blocks. Importing it imports py-evm.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from eth_utils.address import to_checksum_address

from ellara.sandbox.evm import devapi, ethapi
from ellara.sandbox.evm.engine import Engine
from ellara.sandbox.evm.jsonrpc import Call, Json, Params, data
from ellara.sandbox.evm.node import Node
from ellara.sandbox.evm.orders import BALANCES_WEI, OWNER, PAYMENT, TOKEN, OrderBook, write_orders
from ellara.sandbox.evm.server import DevChain
from ellara.settings import Secret

CONFIRMING_BLOCKS = 2
"""Empty ones after the last with transactions: `chain.confirmations` as it is by default, and what `finalized` lies behind."""


class Machine:
    """Owns the state folder's `chain/` and `orders.json`."""

    def __init__(self, state_dir: Path, chain_id: int, orders: int, now_s: Callable[[], float]) -> None:
        """Raises `CannotStart` when the folder holds another chain, `OSError` when it cannot be written."""
        folder = state_dir / "chain"
        folder.mkdir(parents=True, exist_ok=True)
        self._engine = Engine(folder, chain_id, BALANCES_WEI)
        self._node = Node(self._engine, chain_id, now_s)
        self._book = OrderBook(self._node)
        self._book.set_up()
        self._book.top_up(orders)
        self._file = state_dir / "orders.json"
        self._rpc_url = ""
        self._listed = -1

    def close(self) -> None:
        self._engine.close()

    def publish(self, rpc_url: str) -> DevChain:
        """Writes the orders' file, now that the URL is known."""
        self._rpc_url = rpc_url
        self._list_orders()
        return DevChain(
            rpc_url=rpc_url,
            payment_address=to_checksum_address(PAYMENT),
            token_address=to_checksum_address(TOKEN),
            owner_key=Secret(OWNER.to_hex()),
            orders=self._book.open,
            orders_file=self._file,
            genesis_hash=data(self._engine.genesis_hash),
        )

    def knows(self, method: str) -> bool:
        return method in ethapi.METHODS or method in devapi.METHODS

    def answer(self, call: Call) -> Json:
        """The result of a known method. Raises `RpcError`."""
        if call.method in ethapi.METHODS:
            return ethapi.METHODS[call.method](self._node, Params(call.params))
        try:
            return devapi.METHODS[call.method](self._node, self._book, Params(call.params))
        finally:
            self._list_orders()

    def hash_of(self, call: Call) -> Json:
        """What a send would be answered with. Raises `RpcError`."""
        return data(self._node.pooled(Params(call.params).data(0)).hash)

    def mine_pooled(self) -> bool:
        """Blocks until the pool has nothing executable; whether empty ones are owed to the last transactions."""
        while self._node.automine and self._node.executable():
            self._mine()
        head = self._engine.head.block_number
        recent = range(max(1, head - CONFIRMING_BLOCKS + 1), head + 1)
        return self._node.automine and any(self._engine.header(number).gas_used for number in recent)

    def mine_one(self) -> None:
        """One block, be it empty."""
        if self._node.automine:
            self._mine()

    def _mine(self) -> None:
        self._book.note(self._node.mine().block)
        self._list_orders()

    def _list_orders(self) -> None:
        if self._rpc_url and self._book.changes != self._listed:
            self._listed = self._book.changes
            write_orders(self._file, self._book.open, self._node.chain_id, self._rpc_url)
