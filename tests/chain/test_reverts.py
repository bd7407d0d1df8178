"""Revert data wherever nodes put it, decoded to one sentence."""

from __future__ import annotations

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from ellara.chain.answers import RpcError
from ellara.chain.reverts import NO_REASON, REASON_MAX_CHARS, decode_revert, revert_data, revert_reason

ERROR = bytes.fromhex("08c379a0") + encode(["string"], ["Order does not exist"])
ERROR_HEX = "0x" + ERROR.hex()
ORDER = bytes(range(32))


@pytest.mark.parametrize(
    "data",
    [
        ERROR_HEX,
        "Reverted " + ERROR_HEX,
        {"data": ERROR_HEX},
        {"originalError": {"data": ERROR_HEX}},
        {"0xabc": {"error": "revert", "return": ERROR_HEX}},
        {"message": "VM Exception", "txHash": "0x12", "data": ERROR_HEX},
    ],
)
def test_the_data_is_found_wherever_nodes_put_it(data: object) -> None:
    assert revert_reason(RpcError("execution reverted", 3, data)) == "Order does not exist"


@pytest.mark.parametrize("data", [None, "", "no hex", "0x123", {"data": 5}, {"data": {"x": 1}}, [], 7])
def test_what_is_not_revert_data_is_none(data: object) -> None:
    assert revert_data(data) is None


def test_without_data_the_reason_in_the_text_is_taken() -> None:
    assert revert_reason(RpcError("execution reverted: Already paid in full", -32000)) == "Already paid in full"
    assert revert_reason(RpcError("execution reverted", -32000)) == NO_REASON
    assert revert_reason(RpcError("execution reverted: revert", 3, "0x")) == NO_REASON


def test_a_panic_is_explained() -> None:
    assert decode_revert(bytes.fromhex("4e487b71") + encode(["uint256"], [0x11])) == (
        "The contract failed: arithmetic overflow (panic 0x11)"
    )
    assert "panic 0x99" in decode_revert(bytes.fromhex("4e487b71") + encode(["uint256"], [0x99]))


@pytest.mark.parametrize(
    ("signature", "types", "values", "sentence"),
    [
        ("NotOwner()", [], [], "Not owner"),
        ("OrderAlreadySettled(bytes32)", ["bytes32"], [ORDER], f"Order already settled (order 0x{ORDER.hex()})"),
        (
            "ERC20InsufficientBalance(address,uint256,uint256)",
            ["address", "uint256", "uint256"],
            ["0x" + "ab" * 20, 5, 10],
            f"ERC20 insufficient balance (sender 0x{'ab' * 20}, balance 5, needed 10)",
        ),
    ],
)
def test_a_known_custom_error_is_named(signature: str, types: list[str], values: list[object], sentence: str) -> None:
    assert decode_revert(keccak(text=signature)[:4] + encode(types, values)) == sentence


def test_an_unknown_custom_error_is_told_by_its_selector() -> None:
    assert decode_revert(bytes.fromhex("deadbeef")) == "The contract refused with error 0xdeadbeef"


def test_a_cut_custom_error_still_has_its_name() -> None:
    assert decode_revert(keccak(text="OrderNotFound(bytes32)")[:4] + b"cut") == "Order not found"


@given(st.text())
def test_any_reason_becomes_one_short_printable_line(reason: str) -> None:
    told = decode_revert(bytes.fromhex("08c379a0") + encode(["string"], [reason.encode("utf-8", "replace").decode()]))
    assert told.isprintable()
    assert 0 < len(told) <= REASON_MAX_CHARS


@given(st.binary())
def test_any_data_has_an_explanation(data: bytes) -> None:
    assert decode_revert(data)
