"""No arguments, however wrong, get anything out of the dev chain but an answer or a JSON-RPC error."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ellara.sandbox.evm import devapi, ethapi
from ellara.sandbox.evm.jsonrpc import Call, Json, RpcError
from ellara.sandbox.evm.machine import Machine
from ellara.sandbox.evm.orders import ORACLE, OWNER, PAYER, PAYMENT
from tests.devchain import CHAIN_ID

ACCOUNTS = st.sampled_from(["0x" + each.hex() for each in (PAYMENT, ORACLE, PAYER.public_key.to_canonical_address())])
ADDRESS = "0x" + PAYER.public_key.to_canonical_address().hex()
QUANTITIES = st.integers(0, 2**256 - 1).map(hex) | st.sampled_from(["0x0", "0x1", "0x5208", "0x", "0x00"])
BLOCKS = st.sampled_from(["latest", "earliest", "pending", "safe", "finalized", "0x1", "0x2", "0xff"])
DATA = st.binary(max_size=40).map(lambda content: "0x" + content.hex())
MESSAGE_FIELDS = st.sampled_from(["from", "to", "data", "input", "value", "gas", "gasPrice"])
OTHER_FIELDS = st.sampled_from(["fromBlock", "toBlock", "blockHash", "blockNumber", "address", "topics", "native", "count"])
VALUES: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 300) | st.floats() | st.text(max_size=4) | ACCOUNTS | QUANTITIES | BLOCKS | DATA,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(MESSAGE_FIELDS | OTHER_FIELDS, inner, max_size=5),
    max_leaves=10,
)
METHODS = sorted({*ethapi.METHODS, *devapi.METHODS} - {"dev_mine", "dev_reorg"})  # those two take what they are told


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    machine = Machine(tmp_path_factory.mktemp("chain"), CHAIN_ID, 2, time.time)
    yield machine
    machine.close()


def answer(machine: Machine, method: str, params: list[Json]) -> None:
    with suppress(RpcError):
        machine.answer(Call(1, method, params))


@given(st.sampled_from(METHODS), st.lists(VALUES, max_size=3))
@settings(max_examples=600, deadline=None)
def test_random_arguments(machine: Machine, method: str, params: list[Json]) -> None:
    answer(machine, method, params)


@given(
    st.sampled_from(["eth_call", "eth_estimateGas"]),
    st.fixed_dictionaries({}, optional={"from": ACCOUNTS, "to": ACCOUNTS, "value": QUANTITIES, "gas": QUANTITIES, "data": DATA}),
    BLOCKS,
)
@settings(max_examples=200, deadline=None)
def test_random_messages(machine: Machine, method: str, message: dict[str, Json], block: str) -> None:
    answer(machine, method, [message, block])


@given(st.binary(max_size=60) | st.binary(max_size=60).map(lambda tail: b"\x02\xf8" + tail))
@settings(deadline=None)
def test_random_bytes_for_a_transaction(machine: Machine, raw: bytes) -> None:
    answer(machine, "eth_sendRawTransaction", ["0x" + raw.hex()])


def test_a_call_from_a_contract_works(machine: Machine) -> None:
    """geth asks nothing of a call's sender; a test may look through the contract's eyes."""
    owner = "0x8da5cb5b"
    message: dict[str, Json] = {"from": "0x" + ORACLE.hex(), "to": "0x" + ORACLE.hex(), "data": owner}
    result = machine.answer(Call(1, "eth_call", [message]))
    assert result == "0x" + OWNER.public_key.to_canonical_address().rjust(32, b"\0").hex()


@pytest.mark.parametrize(
    ("spoil", "mend"),
    [(["dev_setBalance", ADDRESS, "0x0"], ["dev_setBalance", ADDRESS, hex(10**24)]), (["dev_setBaseFee", hex(10**30)], [])],
    ids=["no money", "dear gas"],
)
def test_a_payer_that_cannot_pay_is_an_error(tmp_path: Path, spoil: list[Json], mend: list[Json]) -> None:
    machine = Machine(tmp_path, CHAIN_ID, 2, time.time)
    machine.answer(Call(1, str(spoil[0]), spoil[1:]))
    with pytest.raises(RpcError, match="cannot pay"):
        machine.answer(Call(1, "dev_payOrder", [{"native": True}]))
    if mend:
        machine.answer(Call(1, str(mend[0]), mend[1:]))
        assert machine.answer(Call(1, "dev_payOrder", []))
    machine.close()
