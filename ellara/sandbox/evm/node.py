"""The dev chain's node: engine and pool as a sender sees them. Decides what enters the pool and what the next block holds.

Called by ethapi.py, devapi.py and server.py, always in the chain's one thread. When a block is mined is server.py's decision.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import rlp
from eth.abc import BlockHeaderAPI, SignedTransactionAPI
from eth.exceptions import PyEVMError
from eth.vm.forks.prague.constants import STANDARD_TOKEN_COST, TOTAL_COST_FLOOR_PER_TOKEN
from eth_keys.exceptions import BadSignature
from eth_utils.exceptions import ValidationError

from ellara.sandbox.evm.engine import GAS_LIMIT, Engine, Mined
from ellara.sandbox.evm.ethjson import ACCESS_LIST, DYNAMIC_FEE, LEGACY, SET_CODE, chain_id_of, kind_of
from ellara.sandbox.evm.jsonrpc import RpcError
from ellara.sandbox.evm.txpool import Account, PooledTx, TxPool

TX_GAS = 21_000
MALFORMED = (rlp.exceptions.RLPException, ValidationError, PyEVMError, ValueError, TypeError, IndexError, OverflowError)
"""What decoding a stranger's bytes raises, as found by feeding it garbage."""


@attrs.define
class Finality:
    """How many blocks the tags lie behind the head: near enough for a person to see a settlement become final."""

    safe_depth: int = 1
    finalized_depth: int = 2


class Node:
    """One chain, one pool."""

    def __init__(self, engine: Engine, chain_id: int, now_s: Callable[[], float]) -> None:
        self.engine, self.chain_id = engine, chain_id
        self.pool = TxPool()
        self.finality = Finality()
        self.automine = True
        self._now_s = now_s

    def send_raw(self, raw: bytes) -> bytes:
        """Takes a signed transaction into the pool; its hash. Raises `RpcError` with geth's text."""
        tx = self.pooled(raw)
        self.pool.add(tx, self.engine.account(tx.sender), GAS_LIMIT)
        return tx.hash

    def pooled(self, raw: bytes) -> PooledTx:
        """Decodes and recovers the sender. Raises `RpcError`."""
        signed = self._decode(raw)
        zeros = signed.data.count(0)
        tokens = zeros + STANDARD_TOKEN_COST * (len(signed.data) - zeros)
        return PooledTx(
            hash=signed.hash,
            sender=_sender_of(signed),
            nonce=signed.nonce,
            gas=signed.gas,
            intrinsic_gas=signed.intrinsic_gas,
            floor_gas=TX_GAS + TOTAL_COST_FLOOR_PER_TOKEN * tokens,
            fee_cap_wei=signed.max_fee_per_gas,
            tip_cap_wei=signed.max_priority_fee_per_gas,
            value_wei=signed.value,
            raw=raw,
        )

    def executable(self) -> list[PooledTx]:
        """What the next block would hold."""
        return self.pool.select(self._accounts(), self.engine.next_base_fee_wei, GAS_LIMIT)

    def mine(self) -> Mined:
        """One block of what is executable, be it nothing."""
        return self.mine_these([self.engine.decode(tx.raw) for tx in self.executable()])

    def mine_these(self, transactions: list[SignedTransactionAPI]) -> Mined:
        """One block of exactly these, past the pool: the sandbox's own."""
        mined = self.engine.mine(transactions, self.now_s())
        for tx_hash in mined.refused:
            self.pool.drop(tx_hash)
        self.pool.advance(self._accounts())
        return mined

    def set_balances(self, balances_wei: dict[bytes, int]) -> None:
        """By decree, in a block of its own."""
        self.engine.mine([], self.now_s(), balances_wei)
        self.pool.advance(self._accounts())

    def rewind(self, blocks: int, *, keep: bool) -> None:
        """Takes the last blocks back. `keep`: their transactions are pooled again, as real nodes do. Raises `RpcError`."""
        lost = self.engine.rewind(blocks)
        for signed in lost if keep else ():
            tx = self.pooled(signed.encode())
            if self.pool.get(tx.hash) is None:
                self.pool.add(tx, self.engine.account(tx.sender), GAS_LIMIT)

    def nonce(self, sender: bytes) -> int:
        """The count with what is pending."""
        return self.pool.next_nonce(sender, self.engine.account(sender))

    def tagged(self, tag: str) -> BlockHeaderAPI:
        """The header of a block tag; `pending` is the head, whose state the next block starts from. Raises `LookupError`."""
        head = self.engine.head.block_number
        depth = {
            "latest": 0,
            "pending": 0,
            "safe": self.finality.safe_depth,
            "finalized": self.finality.finalized_depth,
            "earliest": head,
        }[tag]
        return self.engine.header(max(0, head - depth))

    def now_s(self) -> int:
        return int(self._now_s())

    def _accounts(self) -> dict[bytes, Account]:
        return {sender: self.engine.account(sender) for sender in self.pool.senders()}

    def _decode(self, raw: bytes) -> SignedTransactionAPI:
        try:
            signed = self.engine.decode(raw)
            signed.validate()
        except MALFORMED as error:
            raise RpcError(f"rlp: failed to decode the transaction: {error}") from None
        if kind_of(signed) not in (LEGACY, ACCESS_LIST, DYNAMIC_FEE, SET_CODE):
            raise RpcError("transaction type not supported")
        chain_id = chain_id_of(signed)
        if chain_id is None:
            raise RpcError("only replay-protected (EIP-155) transactions allowed over RPC")
        if chain_id != self.chain_id:
            raise RpcError(f"invalid sender: invalid chain id for signer: have {chain_id} want {self.chain_id}")
        return signed


def _sender_of(signed: SignedTransactionAPI) -> bytes:
    try:
        return signed.sender
    except (BadSignature, ValidationError) as error:
        raise RpcError(f"invalid sender: {error}") from None
