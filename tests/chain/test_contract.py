"""Our bytes are those of the published interface."""

from __future__ import annotations

import json
from importlib.resources import files

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from ellara.chain.contract import (
    GET_PAYMENT_INFO,
    NATIVE_COIN,
    SETTLE_NATIVE,
    SETTLE_TOKEN,
    payment_info_call,
    read_payment_info,
    settle_call,
)
from ellara.errors import Invalid
from ellara.model import Address, OrderHash

ABI = json.loads(files("ellara.chain").joinpath("abi/payment.json").read_text(encoding="utf-8"))


def selector(name: str) -> bytes:
    entry = next(entry for entry in ABI if entry["name"] == name)
    return keccak(text=f"{name}({','.join(field['type'] for field in entry['inputs'])})")[:4]


def test_selectors_are_the_interfaces() -> None:
    assert selector("getPaymentInfo") == GET_PAYMENT_INFO
    assert selector("settleQROrder") == SETTLE_TOKEN
    assert selector("settleQROrderNative") == SETTLE_NATIVE


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=20, max_size=20), st.booleans())
def test_calls_are_encoded_as_the_abi_says(order: bytes, beneficiary: bytes, native: bool) -> None:
    arguments = encode(["address", "bytes32"], [beneficiary, order])
    function = SETTLE_NATIVE if native else SETTLE_TOKEN
    assert settle_call(OrderHash(order), Address(beneficiary), native=native) == function + arguments
    assert payment_info_call(OrderHash(order)) == GET_PAYMENT_INFO + encode(["bytes32"], [order])


@given(st.binary(min_size=20, max_size=20), *[st.integers(0, 2**256 - 1)] * 3)
def test_payment_info_is_decoded_as_the_abi_says(token: bytes, total: int, rupiah: int, issued: int) -> None:
    info = read_payment_info(encode(["(address,uint256,uint256,uint256)"], [(token, total, rupiah, issued)]))
    assert (info.token, info.total, info.issued, info.outstanding) == (Address(token), total, issued, total - issued)


def test_the_native_coin_and_no_token_are_told_apart() -> None:
    native = read_payment_info(encode(["address", "uint256", "uint256", "uint256"], [NATIVE_COIN.raw, 5, 1, 0]))
    absent = read_payment_info(bytes(128))
    assert (native.native, native.exists, absent.native, absent.exists) == (True, True, False, False)


@pytest.mark.parametrize("answer", [b"", bytes(127)])
def test_an_address_without_the_contract_is_refused(answer: bytes) -> None:
    with pytest.raises(Invalid, match="no QR payment contract"):
        read_payment_info(answer)
