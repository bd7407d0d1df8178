"""JSON-RPC's forms: what is taken, what is refused, and that nothing else than a refusal comes out of garbage."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ellara.sandbox.evm.faults import FaultPlan
from ellara.sandbox.evm.jsonrpc import (
    Call,
    Json,
    Params,
    RpcError,
    data,
    parse_calls,
    parse_data,
    parse_quantity,
    quantity,
)

ANY_JSON: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["id", "method", "params", "x"]), inner),
    max_leaves=8,
)


def test_a_call_and_a_batch_are_told_apart() -> None:
    call = {"jsonrpc": "2.0", "id": 7, "method": "eth_chainId"}
    assert parse_calls(json.dumps(call).encode()) == ([Call(7, "eth_chainId", [])], False)
    assert parse_calls(json.dumps([call]).encode()) == ([Call(7, "eth_chainId", [])], True)


@pytest.mark.parametrize(
    ("body", "code"), [(b"", -32700), (b"{", -32700), (b"[]", -32600), (b"[1" + b",1" * 1_000 + b"]", -32600)]
)
def test_a_request_that_is_none_is_refused_whole(body: bytes, code: int) -> None:
    with pytest.raises(RpcError) as caught:
        parse_calls(body)
    assert caught.value.code == code


@given(st.binary(max_size=60) | ANY_JSON.map(lambda value: json.dumps(value).encode()))
def test_garbage_gives_refusals_and_nothing_else(body: bytes) -> None:
    try:
        calls, _ = parse_calls(body)
    except RpcError:
        return
    assert all(isinstance(call, Call | RpcError) for call in calls)


@given(st.integers(0, 2**256 - 1))
def test_a_quantity_is_read_as_it_is_written(number: int) -> None:
    assert parse_quantity(quantity(number), "n") == number


@pytest.mark.parametrize("wrong", ["0x", "0x01", "1", "", "0xg", "-0x1", "0x1 ", -1, True, None, [], "0x" + "1" * 65])
def test_what_is_no_quantity_is_refused(wrong: Json) -> None:
    with pytest.raises(RpcError, match="hex quantity"):
        parse_quantity(wrong, "n")


@given(st.binary(max_size=40))
def test_data_is_read_as_it_is_written(content: bytes) -> None:
    assert parse_data(data(content), "d") == content


@pytest.mark.parametrize("wrong", ["", "0x0", "0xzz", "00", "0x 00", 1, None])
def test_what_is_no_data_is_refused(wrong: Json) -> None:
    with pytest.raises(RpcError, match="hex digits"):
        parse_data(wrong, "d")


def test_a_missing_argument_is_named_by_its_place() -> None:
    with pytest.raises(RpcError, match="missing value for required argument 1"):
        Params(["0x"]).required(1)


def test_a_fault_hits_after_those_it_lets_pass_and_as_often_as_planned() -> None:
    plan = FaultPlan()
    plan.add({"method": "eth_call", "kind": "null", "skip": 1, "count": 2})
    hits = [plan.take(method) is not None for method in ("eth_call", "eth_chainId", "eth_call", "eth_call", "eth_call")]
    assert hits == [False, False, True, True, False]


def test_a_fault_for_any_method_spares_the_controls() -> None:
    plan = FaultPlan()
    plan.add({"method": "*", "kind": "null"})
    assert plan.take("dev_mine") is None
    assert plan.take("eth_call") is not None


@pytest.mark.parametrize("wrong", [{}, {"method": "m", "kind": "x"}, {"method": 1, "kind": "null"}, {"method": "m", "kind": []}])
def test_a_fault_that_says_nothing_is_refused(wrong: dict[str, Json]) -> None:
    with pytest.raises(RpcError):
        FaultPlan().add(wrong)
