"""Signed bytes say exactly what was to be signed."""

from __future__ import annotations

import pytest
import rlp
from eth_account import Account
from eth_keys.backends import get_backend
from eth_keys.backends.coincurve import CoinCurveECCBackend, is_coincurve_available
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from ellara.chain.contract import Unsigned
from ellara.chain.fees import Fees
from ellara.chain.signing import Signer
from ellara.errors import CannotStart
from ellara.model import Address
from ellara.settings import Secret

KEY = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
OWNER = Address.parse("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266")
SIGNER = Signer(Secret(KEY))

amounts = st.integers(1, 2**63)
transactions = st.builds(
    Unsigned,
    chain_id=st.integers(1, 2**53),
    nonce=st.integers(0, 2**64 - 2),
    to=st.binary(min_size=20, max_size=20).map(Address),
    data=st.binary(max_size=100),
    gas=st.integers(21_000, 2**63),
    fees=st.builds(lambda tip, more: Fees(tip + more, tip), amounts, amounts),
)


@given(transactions)
def test_what_was_signed_is_read_back(transaction: Unsigned) -> None:
    signed = SIGNER.sign(transaction)
    assert SIGNER.decode(signed.raw) == transaction
    assert Address.parse(Account.recover_transaction(signed.raw)) == OWNER
    assert signed.tx_hash.raw == keccak(signed.raw)


@given(transactions)
def test_signing_again_gives_the_same_bytes(transaction: Unsigned) -> None:
    assert SIGNER.sign(transaction) == SIGNER.sign(transaction)


def test_the_key_is_taken_with_and_without_0x_and_never_shown() -> None:
    signer = Signer(Secret("0x" + KEY))
    assert signer.address == SIGNER.address == OWNER
    assert KEY not in repr(signer)
    assert KEY not in str(vars(signer))


def test_a_number_that_is_no_key_cannot_start() -> None:
    with pytest.raises(CannotStart, match="CONTRACT_OWNER_PRIVATE_KEY") as raised:
        Signer(Secret("0" * 64))
    assert "0" * 64 not in str(raised.value)


def test_other_kinds_of_transactions_are_not_read() -> None:
    with pytest.raises(ValueError, match="type"):
        SIGNER.decode(b"\x01\xc0")
    with_value = [b"\x01", b"", b"", b"", b"", bytes(20), b"\x05", b"", [], b"", b"", b""]
    with pytest.raises(ValueError, match="value"):
        SIGNER.decode(b"\x02" + rlp.encode(with_value))


@pytest.mark.skipif(not is_coincurve_available(), reason="no wheel for this Python")
def test_signing_is_done_by_the_fast_library() -> None:
    assert isinstance(get_backend(), CoinCurveECCBackend)
