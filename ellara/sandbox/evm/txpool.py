"""The dev chain's transaction pool, with geth's rules and geth's texts. Pure: transactions and accounts in, verdicts out.

Called by node.py. Stricter than other dev chains on purpose, so that a sender's mistakes show here: 10 % more on both fees
replaces; a gap in the nonces is queued; a fee cap below the base fee waits; the funds must cover all that the sender has pending.
Source: go-ethereum, core/txpool/validation.go, core/txpool/legacypool/{legacypool,list}.go. Absent: eviction by price, lifetimes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs

from ellara.sandbox.evm.jsonrpc import RpcError

PRICE_BUMP_PERCENT = 10
QUEUED_MAX = 64
"""Transactions of one sender behind a gap; those with the highest nonces are cut without a word."""
POOL_MAX = 5_120
TX_MAX_BYTES = 128 * 1024
NONCE_MAX = 2**64 - 1
TOTAL_FEE_MAX_WEI = 10**18
"""geth's `rpc.txfeecap`."""


@attrs.frozen
class Account:
    """What the head's state says of a sender."""

    nonce: int
    balance_wei: int


@attrs.frozen
class PooledTx:
    """A signed transaction, decoded; `intrinsic_gas` and `floor_gas` are what the fork asks of it at least."""

    hash: bytes
    sender: bytes
    nonce: int
    gas: int
    intrinsic_gas: int
    floor_gas: int
    fee_cap_wei: int
    tip_cap_wei: int
    value_wei: int
    raw: bytes = attrs.field(repr=False)

    @property
    def cost_wei(self) -> int:
        """The most it can take from its sender."""
        return self.gas * self.fee_cap_wei + self.value_wei

    def tip_wei(self, base_fee_wei: int) -> int:
        """What a block's builder earns by it per gas; negative: the fee cap is below the base fee."""
        return min(self.tip_cap_wei, self.fee_cap_wei - base_fee_wei)

    def fits(self, base_fee_wei: int, gas: int) -> bool:
        return self.fee_cap_wei >= base_fee_wei and self.gas <= gas

    def replaces(self, other: PooledTx) -> bool:
        """geth: both fees above the old ones, and each at least 10 % (rounded down) above."""

        def enough(new: int, old: int) -> bool:
            return new > old and new >= old * (100 + PRICE_BUMP_PERCENT) // 100

        return enough(self.fee_cap_wei, other.fee_cap_wei) and enough(self.tip_cap_wei, other.tip_cap_wei)


class TxPool:
    """Every transaction known and not mined, by sender and nonce. Holds at most `POOL_MAX`."""

    def __init__(self) -> None:
        self._senders: dict[bytes, dict[int, PooledTx]] = {}
        self._by_hash: dict[bytes, PooledTx] = {}

    def __len__(self) -> int:
        return len(self._by_hash)

    def __iter__(self) -> Iterator[PooledTx]:
        """In order of arrival."""
        return iter(list(self._by_hash.values()))

    def get(self, tx_hash: bytes) -> PooledTx | None:
        return self._by_hash.get(tx_hash)

    def add(self, tx: PooledTx, account: Account, gas_limit: int) -> None:
        """Takes it in, which may replace another or cut the queue. Raises `RpcError` with geth's text."""
        if tx.hash in self._by_hash:
            raise RpcError("already known")
        check_alone(tx, gas_limit)
        self._check_against_state(tx, account)
        replaced = self._senders.get(tx.sender, {}).get(tx.nonce)
        if replaced is not None:
            if not tx.replaces(replaced):
                raise RpcError("replacement transaction underpriced")
            self._forget(replaced)
        elif len(self) >= POOL_MAX:
            raise RpcError("txpool is full")
        self._senders.setdefault(tx.sender, {})[tx.nonce] = tx
        self._by_hash[tx.hash] = tx
        self._cut_queue(tx.sender, account)

    def drop(self, tx_hash: bytes) -> bool:
        """Whether it was there. What follows it in nonce order waits behind the gap."""
        tx = self._by_hash.get(tx_hash)
        if tx is not None:
            self._forget(tx)
        return tx is not None

    def next_nonce(self, sender: bytes, account: Account) -> int:
        """The sender's count with its pending ones: the first nonce from the state's on that nothing here has."""
        return account.nonce + len(self.pending(sender, account))

    def pending(self, sender: bytes, account: Account) -> list[PooledTx]:
        """Its transactions without a gap from the state's nonce on, in nonce order. The others of the sender are queued."""
        mine = self._senders.get(sender, {})
        nonce = account.nonce
        while nonce in mine:
            nonce += 1
        return [mine[each] for each in range(account.nonce, nonce)]

    def select(self, accounts: Mapping[bytes, Account], base_fee_wei: int, gas_limit: int) -> list[PooledTx]:
        """The next block's: best tip first, each sender's in nonce order; one that does not fit holds up its sender."""
        lines = [self.pending(sender, account) for sender, account in accounts.items()]
        chosen: list[PooledTx] = []
        while heads := [line for line in lines if line and line[0].fits(base_fee_wei, gas_limit)]:
            best = max(heads, key=lambda line: line[0].tip_wei(base_fee_wei))
            chosen.append(best.pop(0))
            gas_limit -= chosen[-1].gas
        return chosen

    def senders(self) -> list[bytes]:
        return list(self._senders)

    def advance(self, accounts: Mapping[bytes, Account]) -> None:
        """After a new head: forgets what its state has passed, and what its sender can no longer pay."""
        for sender, account in accounts.items():
            for tx in list(self._senders.get(sender, {}).values()):
                if tx.nonce < account.nonce or tx.cost_wei > account.balance_wei:
                    self._forget(tx)

    def _check_against_state(self, tx: PooledTx, account: Account) -> None:
        if tx.nonce < account.nonce:
            raise RpcError(f"nonce too low: next nonce {account.nonce}, tx nonce {tx.nonce}")
        short = f"insufficient funds for gas * price + value: balance {account.balance_wei}"
        over = tx.cost_wei - account.balance_wei
        if over > 0:
            raise RpcError(f"{short}, tx cost {tx.cost_wei}, overshot {over}")
        pending = self.pending(tx.sender, account)
        spent = sum(each.cost_wei for each in pending)
        replaced = [each.cost_wei for each in pending if each.nonce == tx.nonce]
        more = tx.cost_wei - sum(replaced)
        over = spent + more - account.balance_wei
        if over > 0:
            what = "tx bumped" if replaced else "tx cost"
            raise RpcError(f"{short}, queued cost {spent}, {what} {more}, overshot {over}")

    def _cut_queue(self, sender: bytes, account: Account) -> None:
        mine = self._senders[sender]
        first = self.next_nonce(sender, account)
        for nonce in sorted(nonce for nonce in mine if nonce > first)[QUEUED_MAX:]:
            self._forget(mine[nonce])

    def _forget(self, tx: PooledTx) -> None:
        del self._by_hash[tx.hash]
        mine = self._senders[tx.sender]
        del mine[tx.nonce]
        if not mine:
            del self._senders[tx.sender]


def check_alone(tx: PooledTx, gas_limit: int) -> None:
    """The rules that need no state. Raises `RpcError` with geth's text."""
    if tx.gas * tx.fee_cap_wei > TOTAL_FEE_MAX_WEI:
        raise RpcError(f"tx fee ({tx.gas * tx.fee_cap_wei / 1e18:.2f} ether) exceeds the configured cap (1.00 ether)")
    if len(tx.raw) > TX_MAX_BYTES:
        raise RpcError(f"oversized data: transaction size {len(tx.raw)}, limit {TX_MAX_BYTES}")
    if tx.gas > gas_limit:
        raise RpcError("exceeds block gas limit")
    if tx.tip_cap_wei > tx.fee_cap_wei:
        raise RpcError("max priority fee per gas higher than max fee per gas")
    if tx.nonce >= NONCE_MAX:
        raise RpcError("nonce has max value")
    if tx.gas < tx.intrinsic_gas:
        raise RpcError(f"intrinsic gas too low: gas {tx.gas}, minimum needed {tx.intrinsic_gas}")
    if tx.gas < tx.floor_gas:
        raise RpcError(f"insufficient gas for floor data gas cost: gas {tx.gas}, minimum needed {tx.floor_gas}")
    if tx.tip_cap_wei < 1:
        raise RpcError(f"transaction underpriced: gas tip cap {tx.tip_cap_wei}, minimum needed 1")
