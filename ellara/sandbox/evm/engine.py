"""The dev chain itself: py-evm's Prague rules over the journal. Blocks and accounts in memory, each block on disk once mined.

Called by node.py, ethapi.py and orders.py, in one thread: everything here blocks. Importing it costs half a second, so only what
`run_chain` starts does. It mines what it is given, whoever sent it: pool rules are txpool.py's, JSON is ethjson.py's.
Absent: uncles, blobs, withdrawals, validation of foreign blocks.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
from eth.abc import BlockAPI, BlockHeaderAPI, ComputationAPI, ReceiptAPI, SignedTransactionAPI, StateAPI
from eth.chains.base import MiningChain
from eth.constants import CREATE_CONTRACT_ADDRESS, POST_MERGE_DIFFICULTY, POST_MERGE_NONCE, ZERO_ADDRESS, ZERO_HASH32
from eth.db.atomic import AtomicDB
from eth.db.backends.memory import MemoryDB
from eth.exceptions import HeaderNotFound, OutOfGas, Revert, TransactionNotFound
from eth.typing import AccountDetails, HeaderParams
from eth.vm.forks.london.headers import calculate_expected_base_fee_per_gas
from eth.vm.forks.prague import PragueVM
from eth.vm.forks.prague.transactions import PragueTransactionBuilder
from eth.vm.spoof import SpoofTransaction
from eth_abi import abi
from eth_abi.exceptions import DecodingError
from eth_typing import Address, BlockNumber, Hash32
from eth_utils.exceptions import ValidationError

from ellara.errors import CannotStart
from ellara.sandbox.evm.journal import Journal
from ellara.sandbox.evm.jsonrpc import EXECUTION_REVERTED, RpcError, data
from ellara.sandbox.evm.txpool import Account

GAS_LIMIT = 30_000_000
GENESIS_TIME_S = 1_767_225_600  # 2026-01-01: fixed, so that every sandbox has the same genesis
CALL_STIPEND = 2_300
ERROR_SELECTOR = bytes.fromhex("08c379a0")
ESTIMATE_TOLERANCE = 0.015
"""geth's: an estimate may lie that far above the least gas that works."""


@attrs.frozen
class Message:
    """What eth_call and eth_estimateGas try out; `gas` None: as much as a block holds."""

    sender: bytes
    to: bytes | None
    data: bytes
    value_wei: int
    gas: int | None


@attrs.frozen
class Mined:
    block: BlockAPI
    refused: list[bytes]
    """Hashes of transactions that the state does not allow; they are in no block."""


class _DevVM(PragueVM):
    @classmethod
    def validate_gas(cls, header: BlockHeaderAPI, parent_header: BlockHeaderAPI) -> None:
        """The base fee may be set by decree."""


class _DevChain(MiningChain):
    vm_configuration = ((BlockNumber(0), _DevVM),)


class Engine:
    """Owns the chain's state. The head is the last block mined; there is one branch."""

    def __init__(self, folder: Path, chain_id: int, balances_wei: Mapping[bytes, int]) -> None:
        """Takes up the folder's chain or begins one. Raises `CannotStart` when the folder holds another chain."""
        try:
            self._journal = Journal(folder / "chain.journal")
        except ValueError as error:
            raise CannotStart(f"{error}; remove {folder} to begin a new one") from None
        self._chain_id = chain_id
        self._base_fee_wei: int | None = None
        genesis = _begin(AtomicDB(), chain_id, balances_wei)
        if len(self._journal) == 0:
            _begin(self._database(), chain_id, balances_wei)
            self._journal.commit(undoable=False)
        self._take_up()
        self.genesis_hash = self.header(0).hash
        if self.genesis_hash != genesis.hash:
            raise CannotStart(f"{folder} holds a chain with another id or of another version; remove it to begin a new one")

    def close(self) -> None:
        self._journal.close()

    # what there is

    @property
    def head(self) -> BlockHeaderAPI:
        return self._head

    @property
    def next_base_fee_wei(self) -> int:
        """By EIP-1559 from the head, unless it was set for the next block."""
        if self._base_fee_wei is not None:
            return self._base_fee_wei
        return calculate_expected_base_fee_per_gas(self._head)

    def header(self, number: int) -> BlockHeaderAPI:
        """Raises `LookupError` for a block that is not there."""
        try:
            return self._chain.get_canonical_block_header_by_number(BlockNumber(number))
        except HeaderNotFound:
            raise LookupError(number) from None

    def header_by_hash(self, block_hash: bytes) -> BlockHeaderAPI:
        """Raises `LookupError` for a block that is not there."""
        try:
            return self._chain.get_block_header_by_hash(Hash32(block_hash))
        except HeaderNotFound:
            raise LookupError(block_hash.hex()) from None

    def block(self, header: BlockHeaderAPI) -> BlockAPI:
        return self._chain.get_block_by_header(header)

    def receipts(self, block: BlockAPI) -> Sequence[ReceiptAPI]:
        return block.get_receipts(self._chain.chaindb)

    def locate(self, tx_hash: bytes) -> tuple[BlockAPI, int]:
        """The block that holds it, and its place there. Raises `LookupError` when none does."""
        try:
            number, index = self._chain.get_canonical_transaction_index(Hash32(tx_hash))
        except TransactionNotFound:
            raise LookupError(tx_hash.hex()) from None
        return self.block(self.header(number)), index

    def state(self, header: BlockHeaderAPI) -> StateAPI:
        return self._chain.get_vm(header).state

    def account(self, address: bytes) -> Account:
        """At the head."""
        state = self.state(self._head)
        return Account(state.get_nonce(Address(address)), state.get_balance(Address(address)))

    def decode(self, raw: bytes) -> SignedTransactionAPI:
        """Raises what py-evm and rlp raise, of several families."""
        return PragueTransactionBuilder.decode(raw)

    # what changes it

    def mine(
        self, transactions: Sequence[SignedTransactionAPI], now_s: int, balances_wei: Mapping[bytes, int] | None = None
    ) -> Mined:
        """One block of those that the state allows, in this order; on disk when this returns. `balances_wei`: set by decree."""
        self._journal.discard()  # what a block that failed half-way has left
        mined = self._build(transactions, now_s, balances_wei or {})
        self._journal.commit()
        self._head, self._base_fee_wei = mined.block.header, None
        return mined

    def set_base_fee(self, base_fee_wei: int) -> None:
        """Of the next block; those after it follow from it."""
        self._base_fee_wei = base_fee_wei

    def rewind(self, blocks: int) -> list[SignedTransactionAPI]:
        """Takes the last blocks back as if they had never been; their transactions. Raises `RpcError` past the last start."""
        numbers = range(max(1, self._head.block_number - blocks + 1), self._head.block_number + 1)
        lost = [tx for number in numbers for tx in self.block(self.header(number)).transactions]
        try:
            self._journal.undo(blocks)
        except ValueError as error:
            raise RpcError(str(error)) from None
        self._take_up()
        return lost

    # what would happen

    def call(self, message: Message, header: BlockHeaderAPI) -> bytes:
        """Its output. Raises `RpcError` as geth does, with the revert's data."""
        computation = self._try(message, header, message.gas or GAS_LIMIT)
        if computation.is_error:
            raise _execution_error(computation)
        return computation.output

    def estimate_gas(self, message: Message, header: BlockHeaderAPI) -> int:
        """geth's search: the least gas limit that works, within 1.5 %. Raises `RpcError` as `call`."""
        high = min(message.gas or GAS_LIMIT, GAS_LIMIT)
        computation = self._try(message, header, high)
        if isinstance(computation.error if computation.is_error else None, OutOfGas):
            raise RpcError(f"gas required exceeds allowance ({high})")
        if computation.is_error:
            raise _execution_error(computation)
        low = high - computation.get_gas_remaining() - 1
        guess = (low + 1 + computation.get_gas_refund() + CALL_STIPEND) * 64 // 63
        while low + 1 < high and (high - low) / high > ESTIMATE_TOLERANCE:
            middle = guess if low < guess < high else min((low + high) // 2, low * 2)
            guess = 0
            if self._works(message, header, middle):
                high = middle
            else:
                low = middle
        return high

    def _works(self, message: Message, header: BlockHeaderAPI, gas: int) -> bool:
        try:
            return not self._try(message, header, gas).is_error
        except RpcError:  # less than the intrinsic gas
            return False

    def _try(self, message: Message, header: BlockHeaderAPI, gas: int) -> ComputationAPI:
        """Runs it on the state after `header`, free of charge, and forgets what it did."""
        vm = self._chain.get_vm(header)
        sender = Address(message.sender)
        with vm.in_costless_state() as state:
            unsigned = PragueTransactionBuilder.new_unsigned_dynamic_fee_transaction(
                chain_id=self._chain.chain_id,
                nonce=state.get_nonce(sender),
                max_priority_fee_per_gas=0,
                max_fee_per_gas=0,
                gas=gas,
                to=Address(message.to) if message.to is not None else CREATE_CONTRACT_ADDRESS,
                value=message.value_wei,
                data=message.data,
                access_list=(),
            )
            if message.value_wei > (balance := state.get_balance(sender)):
                raise RpcError(
                    f"insufficient funds for gas * price + value: address {data(sender)} have {balance} want {message.value_wei}"
                )
            if gas < unsigned.intrinsic_gas:
                raise RpcError(f"intrinsic gas too low: have {gas}, want {unsigned.intrinsic_gas}")
            try:
                return state.apply_transaction(SpoofTransaction(unsigned, from_=sender))  # type: ignore[arg-type]  # as py-evm itself
            except ValidationError as error:  # such as init code beyond its limit
                raise RpcError(str(error)) from None

    def _build(self, transactions: Sequence[SignedTransactionAPI], now_s: int, balances_wei: Mapping[bytes, int]) -> Mined:
        header = self._chain.create_header_from_parent(
            self._head,
            timestamp=max(now_s, self._head.timestamp + 1),
            gas_limit=GAS_LIMIT,
            coinbase=ZERO_ADDRESS,
            mix_hash=os.urandom(32),  # so that a block mined again after a reorganisation has another hash
        ).copy(base_fee_per_gas=self.next_base_fee_wei)
        vm = self._chain.get_vm(header)
        for address, balance_wei in balances_wei.items():
            vm.state.set_balance(Address(address), balance_wei)
        taken: list[SignedTransactionAPI] = []
        receipts: list[ReceiptAPI] = []
        refused: list[bytes] = []
        for tx in transactions:
            try:
                receipt, _ = vm.apply_transaction(header, tx)
            except ValidationError:
                refused.append(tx.hash)
            else:
                header = vm.add_receipt_to_header(header, receipt)
                taken.append(tx)
                receipts.append(receipt)
        filled = vm.set_block_transactions_and_withdrawals(vm.get_block(), header, taken, receipts)
        block = vm.mine_block(filled).block
        self._chain.persist_block(block, perform_validation=False)
        return Mined(block, refused)

    def _database(self) -> AtomicDB:
        return AtomicDB(MemoryDB(self._journal))  # type: ignore[arg-type]  # says dict, any mutable mapping does

    def _take_up(self) -> None:
        self._chain = _DevChain(self._database())
        self._chain.chain_id = self._chain_id
        self._head = self._chain.get_canonical_head()


def _begin(database: AtomicDB, chain_id: int, balances_wei: Mapping[bytes, int]) -> BlockHeaderAPI:
    """Writes block 0 into an empty database; its header."""
    parameters: dict[str, HeaderParams] = {
        "coinbase": ZERO_ADDRESS,
        "difficulty": POST_MERGE_DIFFICULTY,
        "extra_data": f"ellara sandbox {chain_id}".encode()[:32],  # another chain id is another genesis
        "gas_limit": GAS_LIMIT,
        "mix_hash": ZERO_HASH32,
        "nonce": POST_MERGE_NONCE,
        "timestamp": GENESIS_TIME_S,
    }
    accounts = {
        Address(address): AccountDetails(balance=wei, nonce=0, code=b"", storage={}) for address, wei in balances_wei.items()
    }
    return _DevChain.from_genesis(database, parameters, accounts).get_canonical_head()


def _execution_error(computation: ComputationAPI) -> RpcError:
    error = computation.error
    if isinstance(error, Revert):
        return RpcError("execution reverted" + _reason(computation.output), EXECUTION_REVERTED, data(computation.output))
    if isinstance(error, OutOfGas):
        return RpcError("out of gas")
    return RpcError(f"{type(error).__name__}: {error}")


def _reason(output: bytes) -> str:
    """`: text` of an Error(string); nothing of what is no such."""
    if not output.startswith(ERROR_SELECTOR):
        return ""
    try:
        (text,) = abi.decode(["string"], output[len(ERROR_SELECTOR) :])
    except (DecodingError, UnicodeDecodeError):
        return ""
    return f": {text}"
