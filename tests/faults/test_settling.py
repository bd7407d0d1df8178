"""Killed while sixteen clients settle: every accepted order is settled on chain exactly once. The chain is the judge."""

from __future__ import annotations

import json
import os
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import attrs
import httpx2
import pytest

from tests.actors.settling import ORDER_SETTLED
from tests.running import RunningDaemon, open_folder

CLIENTS = 16
PATIENCE_S = 60.0
KILLED_AFTER = (1, 8)
"""So many further answers; two thirds of the orders are on their way then."""


@attrs.frozen
class Accepted:
    order: str
    beneficiary: str
    tx_hash: str


class Crowd:
    """Each client asks until its order is accepted; whoever meets a closed door waits until it is open again."""

    def __init__(self, daemon: RunningDaemon) -> None:
        self.daemon = daemon
        self.http = httpx2.Client(trust_env=False, timeout=PATIENCE_S)
        key = {"publicKey": "0x" + secrets.token_hex(20)}
        token = self.http.post(f"{daemon.url}/api/v1/auth/me", json=key).json()["token"]
        self.http.headers["authorization"] = f"Bearer {token}"
        self.open = threading.Event()
        self.open.set()
        self.answered = threading.Semaphore(0)

    def settle(self, order: str) -> Accepted:
        body = {"orderHash": order, "beneficiary": "0x" + secrets.token_hex(20)}
        give_up_at = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up_at:
            self.open.wait(PATIENCE_S)
            with suppress(httpx2.TransportError):
                answer = self.http.post(f"{self.daemon.url}/api/v1/settlement/settle?wait=mined", json=body)
                if answer.status_code == 200:
                    self.answered.release()
                    return Accepted(order, body["beneficiary"], answer.json()["txHash"])
                assert answer.status_code == 503, answer.text
        raise TimeoutError(order)

    def kill_daemon(self) -> None:
        self.open.clear()
        self.daemon.stop(signal.SIGKILL)
        self.daemon.start()
        self.open.set()

    def kill_postgresql(self) -> None:
        """The one that runs: after the kill before it may not be there yet."""
        give_up_at = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up_at:
            with suppress(FileNotFoundError, IndexError, ValueError, ProcessLookupError):
                os.kill(int((self.daemon.folder / "state/postgres/postmaster.pid").read_text().splitlines()[0]), signal.SIGKILL)
                return
        raise TimeoutError("no PostgreSQL to kill")

    @property
    def chain(self) -> dict[str, Any]:
        """As told now: each start has another port."""
        return dict(json.loads((self.daemon.folder / "state" / "orders.json").read_text()))

    def rpc(self, method: str, *params: object) -> Any:
        call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer = self.http.post(self.chain["rpcUrl"], json=call).json()
        assert "error" not in answer, answer
        return answer["result"]

    def payouts(self) -> dict[str, list[dict[str, Any]]]:
        """What the contract says of each order's settlements."""
        found: dict[str, list[dict[str, Any]]] = {}
        for log in self.rpc("eth_getLogs", {"fromBlock": "0x0", "toBlock": "latest", "address": self.chain["contract"]}):
            if log["topics"][0] == ORDER_SETTLED:
                found.setdefault("0x" + log["data"][-64:], []).append(log)
        return found


@pytest.fixture(scope="module")
def crowd() -> Iterator[Crowd]:
    with open_folder() as folder, RunningDaemon(folder) as running:
        yield Crowd(running)


@pytest.mark.parametrize("kill", [Crowd.kill_daemon, Crowd.kill_postgresql])
def test_whatever_is_killed_each_order_is_paid_out_once_without_a_gap(crowd: Crowd, kill: Callable[[Crowd], None]) -> None:
    orders = [order for native in (False, True) for order in crowd.rpc("dev_payOrder", {"native": native, "count": 12})]
    crowd.rpc("dev_fault", {"method": "eth_sendRawTransaction", "kind": "close-after", "skip": 2, "count": 4})
    with ThreadPoolExecutor(CLIENTS) as clients:
        asked = [clients.submit(crowd.settle, order) for order in orders]
        for count in KILLED_AFTER:
            assert all(crowd.answered.acquire(timeout=PATIENCE_S) for _ in range(count))
            kill(crowd)
        accepted = [each.result() for each in asked]
    judge(crowd, accepted)


def judge(crowd: Crowd, accepted: list[Accepted]) -> None:
    payouts = crowd.payouts()
    assert {each.order: len(payouts.get(each.order, [])) for each in accepted} == {each.order: 1 for each in accepted}
    for each in accepted:
        (payout,) = payouts[each.order]
        assert (payout["transactionHash"], payout["topics"][1][-40:]) == (each.tx_hash, each.beneficiary[2:])
    nonces = sorted(int(crowd.rpc("eth_getTransactionByHash", each.tx_hash)["nonce"], 16) for each in accepted)
    assert nonces == list(range(nonces[0], nonces[0] + len(accepted)))
