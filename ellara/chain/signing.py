"""A settlement's transaction → signed bytes and hash. Here alone the key is held; no I/O. Loaded late: eth_account takes 0.4 s.

eth_account signs what it is given (a missing chain id becomes 0), so the bytes are decoded again and compared before anyone sees
them. Signing is deterministic (RFC 6979), but what is sent again are always the stored bytes, never newly signed ones.
"""

from __future__ import annotations

import attrs
import rlp
from eth_account import Account
from eth_keys.backends import get_backend
from eth_keys.backends.coincurve import CoinCurveECCBackend
from eth_utils.address import to_checksum_address

from ellara.chain.contract import Unsigned
from ellara.chain.fees import Fees
from ellara.errors import CannotStart
from ellara.log import get_logger
from ellara.model import Address, TxHash
from ellara.settings import Secret

log = get_logger(__name__)

DYNAMIC_FEE = 2
"""The type byte of EIP-1559 transactions."""


@attrs.frozen
class Signed:
    raw: bytes
    tx_hash: TxHash


class Signer:
    """The contract owner's key."""

    def __init__(self, key: Secret) -> None:
        """With or without 0x. Raises `CannotStart` on a number that is no key."""
        try:
            self._account = Account.from_key("0x" + key.reveal().removeprefix("0x"))
        except ValueError:
            raise CannotStart("CONTRACT_OWNER_PRIVATE_KEY is not a private key") from None
        self.address = Address.parse(self._account.address)
        if not isinstance(get_backend(), CoinCurveECCBackend):
            log.warning("signing without coincurve: 16 times slower")

    def sign(self, transaction: Unsigned) -> Signed:
        """About 0.6 ms with coincurve, half of it the check."""
        signed = self._account.sign_transaction(
            {
                "type": DYNAMIC_FEE,
                "chainId": transaction.chain_id,
                "nonce": transaction.nonce,
                "to": to_checksum_address(transaction.to.raw),
                "data": transaction.data,
                "value": 0,
                "gas": transaction.gas,
                "maxFeePerGas": transaction.fees.cap_wei,
                "maxPriorityFeePerGas": transaction.fees.tip_wei,
            }
        )
        raw = bytes(signed.raw_transaction)
        if self.decode(raw) != transaction or Address.parse(Account.recover_transaction(raw)) != self.address:
            raise RuntimeError("the signed bytes are not what was to be signed")  # no assert: it must hold under -O as well
        return Signed(raw, TxHash(bytes(signed.hash)))

    @staticmethod
    def decode(raw: bytes) -> Unsigned:
        """Reads signed bytes back. Raises `ValueError` on anything but a type-2 call without value or access list."""
        if raw[:1] != bytes([DYNAMIC_FEE]):
            raise ValueError(f"transaction type {raw[:1].hex()}, expected {DYNAMIC_FEE:02x}")
        chain_id, nonce, tip, cap, gas, to, value, data, access_list, *_signature = rlp.decode(raw[1:])
        if value or access_list:
            raise ValueError("a value or an access list, expected neither")
        return Unsigned(_int(chain_id), _int(nonce), Address(to), data, _int(gas), Fees(_int(cap), _int(tip)))

    def __repr__(self) -> str:
        return f"Signer({self.address})"


def _int(field: bytes) -> int:
    return int.from_bytes(field, "big")
