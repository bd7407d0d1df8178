"""UMKMQRPayment: the calls we make of it and what it answers. Pure: bytes in, bytes out; who sends them is elsewhere.

All arguments are one 32-byte word each, so the encoding is written out here; the tests hold it against `abi/payment.json`.
"""

from __future__ import annotations

import attrs

from ellara.chain.fees import Fees
from ellara.errors import Invalid
from ellara.model import Address, OrderHash

GET_PAYMENT_INFO = bytes.fromhex("a75e9b19")
SETTLE_TOKEN = bytes.fromhex("2d3be275")
SETTLE_NATIVE = bytes.fromhex("799216cc")

NATIVE_COIN = Address(bytes.fromhex("ee" * 20))
"""What an order paid in the chain's own coin has for a token."""

NO_TOKEN = Address(bytes(20))

WORD = 32


@attrs.frozen
class PaymentInfo:
    """What was paid for an order and what was paid out, in the token's smallest unit."""

    token: Address
    total: int
    issued: int

    @property
    def exists(self) -> bool:
        return self.token != NO_TOKEN

    @property
    def native(self) -> bool:
        return self.token == NATIVE_COIN

    @property
    def outstanding(self) -> int:
        return self.total - self.issued


@attrs.frozen
class Unsigned:
    """A call as the signer commits to it; its value is always 0."""

    chain_id: int
    nonce: int
    to: Address
    data: bytes
    gas: int
    fees: Fees


def payment_info_call(order: OrderHash) -> bytes:
    return GET_PAYMENT_INFO + order.raw


def read_payment_info(answer: bytes) -> PaymentInfo:
    """From (token, token total, rupiah total, token issued). Raises `Invalid` when what answered is not the payment contract."""
    if len(answer) < 4 * WORD:
        raise Invalid("There is no QR payment contract at QR_PAYMENT_ADDRESS")
    token, total, _rupiah, issued = (answer[at : at + WORD] for at in range(0, 4 * WORD, WORD))
    return PaymentInfo(Address(token[12:]), int.from_bytes(total, "big"), int.from_bytes(issued, "big"))


def settle_call(order: OrderHash, beneficiary: Address, *, native: bool) -> bytes:
    """Pays the beneficiary what is outstanding. A native order through the token function reverts, and the other way round."""
    return (SETTLE_NATIVE if native else SETTLE_TOKEN) + bytes(WORD - 20) + beneficiary.raw + order.raw
