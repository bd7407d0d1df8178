"""The sandbox's contracts and paid orders: deployed once, topped up at each start, listed in a file for a newcomer to settle.

Called by machine.py and devapi.py. The contracts are contracts/UMKMQRPayment.sol, compiled into contracts.json beside it.
Addresses and order hashes are the same in every sandbox: they follow from the keys below and from counting.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import attrs
import msgspec
from eth._utils.address import generate_contract_address
from eth.abc import BlockAPI, ReceiptAPI, SignedTransactionAPI
from eth.vm.forks.prague.transactions import PragueTransactionBuilder
from eth_abi import abi
from eth_hash.auto import keccak
from eth_keys.datatypes import PrivateKey
from eth_typing import Address
from eth_utils.address import to_checksum_address

from ellara.sandbox.evm.jsonrpc import RpcError
from ellara.sandbox.evm.node import Node

ARTEFACT = Path(__file__).parent / "contracts" / "contracts.json"
NATIVE = bytes.fromhex("ee" * 20)
USDT_SUPPLY = 10**9 * 10**6
USDT_RATE = 16_250 * 10**18
"""Rupiah, with 18 decimals, per whole token."""
NATIVE_RATE = 48_750_000 * 10**18
RUPIAH = 10**18
DEPLOY_GAS, PAY_GAS = 3_000_000, 250_000
FEE_CAP_WEI, TIP_WEI = 100 * 10**9, 10**9
PAYMENTS_PER_BLOCK = 100
ACCOUNT_WEI = 10**6 * 10**18

PAYMENT_RECEIVED = keccak(b"PaymentReceived(address,string,string,address,uint256,uint256,bytes32)")
ORDER_SETTLED = keccak(b"OrderSettled(address,address,uint256,uint256,bytes32)")


def _key(name: str) -> PrivateKey:
    return PrivateKey(keccak(f"ellara sandbox {name}".encode()))


OWNER, PAYER = _key("owner"), _key("payer")
"""Known to everyone who can read this: of use on the sandbox's own chain, and nowhere else."""


def _deployed(nonce: int) -> bytes:
    return generate_contract_address(Address(OWNER.public_key.to_canonical_address()), nonce)


TOKEN, ORACLE, PAYMENT = _deployed(0), _deployed(1), _deployed(2)

BALANCES_WEI = {key.public_key.to_canonical_address(): ACCOUNT_WEI for key in (OWNER, PAYER)}


@attrs.frozen
class PaidOrder:
    """An order that the payer has paid and nobody has settled."""

    order_hash: str
    order_id: str
    reference: str
    native: bool
    rupiah: int
    amount: int
    """In the smallest unit of the token or of the native coin."""


@attrs.frozen
class _Draft:
    """A transaction of the sandbox's own accounts, not signed yet."""

    key: PrivateKey
    nonce: int
    to: bytes
    """Empty: a deployment."""
    content: bytes
    gas: int = PAY_GAS
    value_wei: int = 0

    def signed(self, chain_id: int) -> SignedTransactionAPI:
        unsigned = PragueTransactionBuilder.new_unsigned_dynamic_fee_transaction(
            chain_id=chain_id,
            nonce=self.nonce,
            max_priority_fee_per_gas=TIP_WEI,
            max_fee_per_gas=FEE_CAP_WEI,
            gas=self.gas,
            to=Address(self.to),
            value=self.value_wei,
            data=self.content,
            access_list=(),
        )
        return unsigned.as_signed_transaction(self.key)


class OrderBook:
    """Knows the open orders from the contract's logs; pays new ones."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._open: dict[bytes, PaidOrder] = {}
        self._known: dict[bytes, PaidOrder] = {}
        """Every order ever paid, as it was paid last."""
        self.changes = 0
        """Grows whenever the open orders change."""
        self.reload()

    @property
    def open(self) -> list[PaidOrder]:
        """In order of payment."""
        return list(self._open.values())

    def reload(self) -> None:
        """From the whole chain: at start, and after a reorganisation."""
        self._open, self._known, self.changes = {}, {}, self.changes + 1
        engine = self._node.engine
        for number in range(engine.head.block_number + 1):
            header = engine.header(number)
            if header.bloom:
                self._note(engine.receipts(engine.block(header)))

    def note(self, block: BlockAPI) -> None:
        """Takes up a mined block."""
        if block.header.bloom:
            self._note(self._node.engine.receipts(block))

    def set_up(self) -> None:
        """Contracts and rates, if they are not there yet: in one block, so all of it or nothing."""
        if not self._node.engine.state(self._node.engine.head).get_code(Address(PAYMENT)):
            self._mine(_deployment())

    def top_up(self, orders: int) -> None:
        """Pays new orders until that many are open; every fourth in the native coin."""
        paid = len(self._known)
        missing = [number % 4 == 3 for number in range(paid, paid + orders - len(self._open))]
        for start in range(0, len(missing), PAYMENTS_PER_BLOCK):
            self.pay(missing[start : start + PAYMENTS_PER_BLOCK])

    def pay(self, natives: Sequence[bool]) -> list[PaidOrder]:
        """Pays a new order for each, at most `PAYMENTS_PER_BLOCK`, in one block; True: in the native coin."""
        nonce, known = self._payer_nonce(), len(self._open)
        number = len(self._known) + 1
        self._mine([_payment(nonce + at, *_bill(number + at), native) for at, native in enumerate(natives)])
        return self.open[known:]

    def pay_again(self, order_hash: bytes) -> None:
        """The same bill once more, in a block of its own. Raises `KeyError` for an order that the payer never paid."""
        order = self._known[order_hash]
        self._mine([_payment(self._payer_nonce(), order.order_id, order.reference, order.rupiah, order.native)])

    def _payer_nonce(self) -> int:
        return self._node.engine.account(PAYER.public_key.to_canonical_address()).nonce

    def _mine(self, drafts: list[_Draft]) -> None:
        """Raises `RpcError`: whoever steers the chain left the payer too little, or made gas too dear for it."""
        mined = self._node.mine_these([draft.signed(self._node.chain_id) for draft in drafts])
        receipts = self._node.engine.receipts(mined.block)
        self._note(receipts)
        if mined.refused or any(receipt.state_root != b"\x01" for receipt in receipts):
            raise RpcError("the sandbox's payer cannot pay: see dev_setBalance and dev_setBaseFee")

    def _note(self, receipts: Sequence[ReceiptAPI]) -> None:
        for log in (log for receipt in receipts for log in receipt.logs if log.address == PAYMENT):
            self.changes += 1
            topic = log.topics[0].to_bytes(32, "big")
            if topic == PAYMENT_RECEIVED:
                self._received(log.topics[2], log.topics[3].to_bytes(32, "big"), log.data)
            elif topic == ORDER_SETTLED:
                self._open.pop(abi.decode(["uint256", "uint256", "bytes32"], log.data)[2], None)

    def _received(self, token: int, order_hash: bytes, content: bytes) -> None:
        order_id, reference, amount, rupiah = abi.decode(["string", "string", "uint256", "uint256"], content)
        native = token.to_bytes(20, "big") == NATIVE
        paid = PaidOrder("0x" + order_hash.hex(), order_id, reference, native, rupiah // RUPIAH, amount)
        before = self._open.get(order_hash)
        if before is not None:  # paid again before it was settled: both are outstanding
            paid = attrs.evolve(paid, rupiah=paid.rupiah + before.rupiah, amount=paid.amount + before.amount)
        self._known[order_hash] = self._open[order_hash] = paid


def write_orders(file: Path, orders: Sequence[PaidOrder], chain_id: int, rpc_url: str) -> None:
    """The list for people and for `ellara try`; written beside and moved into place, so that no reader meets half a file."""
    content = {
        "note": "Paid and open, on the sandbox's own chain: POST /api/v1/settlement/settle {beneficiary, orderHash} settles one.",
        "chainId": chain_id,
        "rpcUrl": rpc_url,
        "contract": to_checksum_address(PAYMENT),
        "token": to_checksum_address(TOKEN),
        "orders": [
            {
                "orderHash": order.order_hash,
                "orderId": order.order_id,
                "reference": order.reference,
                "kind": "native" if order.native else "token",
                "rupiah": order.rupiah,
                "amount": str(order.amount),
            }
            for order in orders
        ],
    }
    beside = file.with_suffix(".new")
    beside.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")
    os.replace(beside, file)


@cache
def bytecode(contract: str) -> bytes:
    artefact = msgspec.json.decode(ARTEFACT.read_bytes())
    return bytes.fromhex(artefact["contracts"][contract]["bytecode"][2:])


def _deployment() -> list[_Draft]:
    payer = PAYER.public_key.to_canonical_address()
    return [
        _Draft(OWNER, 0, b"", bytecode("TestUSDT") + abi.encode(["uint256"], [USDT_SUPPLY]), DEPLOY_GAS),
        _Draft(OWNER, 1, b"", bytecode("RateOracle"), DEPLOY_GAS),
        _Draft(OWNER, 2, b"", bytecode("UMKMQRPayment") + abi.encode(["address"], [ORACLE]), DEPLOY_GAS),
        _Draft(OWNER, 3, ORACLE, _call("setRate(address,uint256)", TOKEN, USDT_RATE)),
        _Draft(OWNER, 4, ORACLE, _call("setRate(address,uint256)", NATIVE, NATIVE_RATE)),
        _Draft(OWNER, 5, TOKEN, _call("transfer(address,uint256)", payer, USDT_SUPPLY // 2)),
        _Draft(PAYER, 0, TOKEN, _call("approve(address,uint256)", PAYMENT, 2**256 - 1)),
    ]


def _bill(number: int) -> tuple[str, str, int]:
    """Order id, reference, and Rp 15.000 to Rp 112.500, as a stall's bills are."""
    return f"QR-{number:04}", f"INV/2026/{number:04}", 15_000 + 2_500 * (number * 7 % 40)


def _payment(nonce: int, order_id: str, reference: str, rupiah: int, native: bool) -> _Draft:
    price = rupiah * RUPIAH
    if native:
        content = _call("payQRNative(string,string,uint256)", order_id, reference, price)
        return _Draft(PAYER, nonce, PAYMENT, content, value_wei=-(-price * 10**18 // NATIVE_RATE))
    content = _call("payQR(address,uint256,string,string)", TOKEN, price, order_id, reference)
    return _Draft(PAYER, nonce, PAYMENT, content)


def _call(signature: str, *arguments: object) -> bytes:
    kinds = signature.partition("(")[2][:-1].split(",")
    return keccak(signature.encode())[:4] + abi.encode(kinds, arguments)
