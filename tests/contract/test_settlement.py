"""Settlement over the published interface, with the dev chain as the judge."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import attrs
import httpx2
import pytest

from tests.running import RunningDaemon
from tests.wire.node import run_script


@attrs.frozen
class Merchant:
    """Signed in, with an eye on the chain."""

    http: httpx2.Client
    rpc_url: str
    contract: str

    def rpc(self, method: str, *params: object) -> Any:
        call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer = httpx2.post(self.rpc_url, json=call, trust_env=False, timeout=30.0).json()
        assert "error" not in answer, answer
        return answer["result"]

    def new_order(self, *, native: bool = False) -> str:
        paid: str = self.rpc("dev_payOrder", {"native": native})
        return paid

    def settle(self, order: str, beneficiary: str, wait: str = "?wait=mined") -> httpx2.Response:
        body = {"beneficiary": beneficiary, "orderHash": order}
        return self.http.post("/settlement/settle" + wait, json=body)

    def receipt(self, tx_hash: str) -> dict[str, Any]:
        return dict(self.rpc("eth_getTransactionReceipt", tx_hash))


@pytest.fixture
def merchant(daemon: RunningDaemon) -> Iterator[Merchant]:
    chain = json.loads((daemon.folder / "state" / "orders.json").read_text())
    with httpx2.Client(base_url=daemon.url + "/api/v1", trust_env=False, timeout=70.0) as http:
        token = http.post("/auth/me", json={"publicKey": wallet()}).json()["token"]
        http.headers["authorization"] = f"Bearer {token}"
        yield Merchant(http, chain["rpcUrl"], chain["contract"])


def wallet() -> str:
    return "0x" + secrets.token_hex(20)


@pytest.mark.parametrize("native", [False, True], ids=["token", "native"])
def test_success_is_told_with_the_hash_and_happened_on_chain(merchant: Merchant, native: bool) -> None:
    """`{"success": true, "txHash": "0x...", "message": "Order settled successfully"}`; native orders settle too."""
    beneficiary = wallet()
    answer = merchant.settle(merchant.new_order(native=native), beneficiary)
    assert answer.status_code == 200
    assert answer.json() == {"success": True, "txHash": answer.json()["txHash"], "message": "Order settled successfully"}
    receipt = merchant.receipt(answer.json()["txHash"])
    assert (receipt["status"], receipt["to"].lower()) == ("0x1", merchant.contract.lower())
    assert any(beneficiary[2:] in topic for log in receipt["logs"] for topic in log["topics"])


def test_without_waiting_it_answers_once_the_rpc_took_it(merchant: Merchant) -> None:
    tx_hash = merchant.settle(merchant.new_order(), wallet(), wait="").json()["txHash"]
    assert merchant.rpc("eth_getTransactionByHash", tx_hash)["hash"] == tx_hash


def test_sixteen_at_once_all_settle_with_consecutive_nonces(merchant: Merchant) -> None:
    orders = [merchant.new_order(native=number % 4 == 3) for number in range(16)]
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda order: merchant.settle(order, wallet()), orders))
    assert [answer.status_code for answer in answers] == [200] * 16
    hashes = [answer.json()["txHash"] for answer in answers]
    assert {merchant.receipt(tx_hash)["status"] for tx_hash in hashes} == {"0x1"}
    nonces = sorted(int(merchant.rpc("eth_getTransactionByHash", tx_hash)["nonce"], 16) for tx_hash in hashes)
    assert nonces == list(range(nonces[0], nonces[0] + 16))


def test_the_same_order_sixteen_times_at_once_is_one_transaction(merchant: Merchant) -> None:
    """Same order and beneficiary: 200 with the same `txHash` (a retry is safe)."""
    order, beneficiary = merchant.new_order(), wallet()
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda _: merchant.settle(order, beneficiary), range(16)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["txHash"] for answer in answers}) == 1
    assert merchant.settle(order.upper().replace("0X", "0x"), beneficiary).json() == answers[0].json()


def test_another_beneficiary_is_a_conflict_or_already_paid(merchant: Merchant) -> None:
    """Other beneficiary while it is open: 409."""
    order = merchant.new_order()
    merchant.rpc("dev_setAutomine", False)
    try:
        assert merchant.settle(order, wallet(), wait="").status_code == 200
        refused = merchant.settle(order, wallet(), wait="")
    finally:
        merchant.rpc("dev_setAutomine", True)
    assert refused.status_code == 409
    assert refused.json()["message"].startswith("Failed to settle order: ")


def test_an_unknown_order_is_refused_with_the_contracts_reason(merchant: Merchant) -> None:
    answer = merchant.settle("0x" + secrets.token_hex(32), wallet())
    assert answer.status_code == 400
    assert answer.json() == {"message": "Failed to settle order: Order does not exist"}


def test_an_order_paid_again_is_settled_again(merchant: Merchant) -> None:
    """Paid again since (something outstanding): a new settlement."""
    order, beneficiary = merchant.new_order(), wallet()
    first = merchant.settle(order, beneficiary).json()["txHash"]
    merchant.rpc("dev_payAgain", order)
    merchant.rpc("dev_mine", 3)
    second = merchant.settle(order, beneficiary).json()["txHash"]
    assert second != first
    assert merchant.receipt(second)["status"] == "0x1"


def test_where_an_order_stands_is_told(merchant: Merchant) -> None:
    order, beneficiary = merchant.new_order(), wallet()
    tx_hash = merchant.settle(order, beneficiary).json()["txHash"]
    state = merchant.http.get(f"/settlement/{order}").json()
    assert (state["orderHash"], state["txHash"], state["beneficiary"]) == (order, tx_hash, beneficiary)
    assert state["state"] in ("mined", "settled")
    assert state["blockNumber"] == int(merchant.receipt(tx_hash)["blockNumber"], 16)


@pytest.mark.parametrize("native", [False, True], ids=["token", "native"])
def test_viem_sees_the_settlement(merchant: Merchant, native: bool) -> None:
    """Blockchain Library: Viem 2.x. Network: Sepolia testnet (chain ID: 11155111)."""
    order, beneficiary = merchant.new_order(native=native), wallet()
    tx_hash = merchant.settle(order, beneficiary).json()["txHash"]
    told = json.loads(run_script("settlement.mjs", merchant.rpc_url, merchant.contract, tx_hash, order))
    assert told["beneficiary"].lower() == beneficiary
    assert {name: told[name] for name in ("chainId", "status", "order", "outstanding")} == {
        "chainId": 11_155_111,
        "status": "success",
        "order": order,
        "outstanding": "0",
    }
