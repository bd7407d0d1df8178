"""What tests of several rooms need of the dev chain: the fixture `dev_chain`, a bare JSON-RPC client, a signed settlement.

A room's conftest.py makes the fixture its own by importing it: `from tests.devchain import dev_chain`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import attrs
import httpx2
import pytest
import trio
from eth_account import Account
from eth_account.signers.local import LocalAccount

from ellara.sandbox.evm.server import DevChain, run_chain
from ellara.settings import Sandbox

CHAIN_ID = 11_155_111
BENEFICIARY = "0x" + "11" * 20
SETTLE, SETTLE_NATIVE = "0x2d3be275", "0x799216cc"
GWEI = 10**9
WAIT_S = 10


class RpcFailure(Exception):
    """The server answered with an error."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["message"])
        self.code, self.message, self.data = error["code"], error["message"], error.get("data")


@attrs.define
class Rpc:
    """Calls a JSON-RPC server; nothing is retried."""

    url: str
    http: httpx2.AsyncClient

    async def __call__(self, method: str, *params: object) -> Any:
        answer = await self.post({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        if "error" in answer:
            raise RpcFailure(answer["error"])
        return answer["result"]

    async def post(self, content: object) -> Any:
        return (await self.http.post(self.url, json=content)).json()

    async def number(self, method: str, *params: object) -> int:
        return int(await self(method, *params), 16)

    async def mined(self, tx_hash: str) -> Any:
        """Its receipt, as soon as there is one."""
        return await self._until(lambda receipt: receipt is not None, "eth_getTransactionReceipt", tx_hash)

    async def reached(self, number: int) -> None:
        """Returns once the head is that high."""
        await self._until(lambda head: int(head, 16) >= number, "eth_blockNumber")

    async def _until(self, enough: Callable[[Any], bool], method: str, *params: object) -> Any:
        """Asks again and again: over HTTP there is no event to wait for."""
        with trio.fail_after(WAIT_S):
            while True:
                result = await self(method, *params)
                if enough(result):
                    return result
                await trio.sleep(0.005)


def owner_of(chain: DevChain) -> LocalAccount:
    account: LocalAccount = Account.from_key(chain.owner_key.reveal())
    return account


def signed(account: LocalAccount, nonce: int, **fields: int | str) -> str:
    """A type-2 transaction as hex: a transfer to `BENEFICIARY`, unless `fields` say otherwise."""
    transaction: dict[str, Any] = {
        "type": 2,
        "chainId": CHAIN_ID,
        "nonce": nonce,
        "to": BENEFICIARY,
        "value": 0,
        "gas": 150_000,
        "maxFeePerGas": 20 * GWEI,
        "maxPriorityFeePerGas": GWEI,
    }
    return "0x" + bytes(account.sign_transaction(transaction | fields).raw_transaction).hex()


def settlement_data(order_hash: str, *, native: bool = False) -> str:
    return (SETTLE_NATIVE if native else SETTLE) + "00" * 12 + BENEFICIARY[2:] + order_hash[2:]


@pytest.fixture
async def dev_chain(tmp_path: Path, nursery: trio.Nursery) -> DevChain:
    """A chain of this test's own, with four open orders (the fourth in the native coin)."""
    chain: DevChain = await nursery.start(run_chain, Sandbox(orders=4), CHAIN_ID, tmp_path)
    return chain


@pytest.fixture
async def rpc(dev_chain: DevChain) -> AsyncIterator[Rpc]:
    async with httpx2.AsyncClient(timeout=WAIT_S) as http:
        yield Rpc(dev_chain.rpc_url, http)
