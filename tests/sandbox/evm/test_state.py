"""What of the dev chain outlives the process, what is always the same, and the orders on it."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import httpx2
import pytest
import trio
from eth_account import Account

from ellara.errors import CannotStart
from ellara.sandbox.evm.machine import Machine
from ellara.sandbox.evm.orders import ARTEFACT, OWNER
from ellara.sandbox.evm.server import DevChain, run_chain
from ellara.settings import Sandbox
from tests.devchain import CHAIN_ID, Rpc, owner_of, settlement_data, signed

SERVE = """
import sys, trio
from pathlib import Path
from ellara.log import configure
from ellara.sandbox.evm.server import run_chain
from ellara.settings import Sandbox
configure("error", "console")
async def main():
    async with trio.open_nursery() as nursery:
        chain = await nursery.start(run_chain, Sandbox(orders=4), int(sys.argv[2]), Path(sys.argv[1]))
        print(chain.rpc_url, flush=True)
trio.run(main)
"""


def listed(chain: DevChain) -> list[str]:
    return [order["orderHash"] for order in json.loads(chain.orders_file.read_text())["orders"]]


async def settle(rpc: Rpc, chain: DevChain, order_hash: str) -> str:
    nonce = await rpc.number("eth_getTransactionCount", owner_of(chain).address, "pending")
    raw = signed(owner_of(chain), nonce, to=chain.payment_address, data=settlement_data(order_hash))
    tx_hash: str = await rpc("eth_sendRawTransaction", raw)
    assert (await rpc.mined(tx_hash))["status"] == "0x1"
    return tx_hash


async def test_a_killed_chain_forgets_nothing_that_it_showed(tmp_path: Path, nursery: trio.Nursery) -> None:
    command = [sys.executable, "-c", SERVE, str(tmp_path), str(CHAIN_ID)]
    process = await nursery.start(partial(trio.run_process, command, stdout=subprocess.PIPE, check=False))
    url = (await process.stdout.receive_some()).decode().strip()
    async with httpx2.AsyncClient() as http:
        account = Account.from_key(OWNER.to_hex())
        tx_hash = await Rpc(url, http)("eth_sendRawTransaction", signed(account, 6))
        receipt = await Rpc(url, http).mined(tx_hash)
        process.send_signal(signal.SIGKILL)
        await process.wait()
        chain = await nursery.start(run_chain, Sandbox(orders=4), CHAIN_ID, tmp_path)
        assert await Rpc(chain.rpc_url, http)("eth_getTransactionReceipt", tx_hash) == receipt
        assert len(chain.orders) == 4


async def test_orders_are_listed_until_they_are_settled(dev_chain: DevChain, rpc: Rpc) -> None:
    assert listed(dev_chain) == [order.order_hash for order in dev_chain.orders]
    await settle(rpc, dev_chain, dev_chain.orders[0].order_hash)
    assert listed(dev_chain) == [order.order_hash for order in dev_chain.orders[1:]]
    more = await rpc("dev_payOrder", {"native": True, "count": 2})
    assert listed(dev_chain)[3:] == more
    kinds = [order["kind"] for order in json.loads(dev_chain.orders_file.read_text())["orders"]]
    assert kinds == ["token", "token", "native", "native", "native"]


async def test_the_file_says_all_that_is_needed_to_settle_one(dev_chain: DevChain, rpc: Rpc) -> None:
    content = json.loads(dev_chain.orders_file.read_text())
    assert (content["chainId"], content["rpcUrl"]) == (CHAIN_ID, dev_chain.rpc_url)
    assert (content["contract"], content["token"]) == (dev_chain.payment_address, dev_chain.token_address)
    assert content["orders"][0].items() >= {"orderId": "QR-0001", "reference": "INV/2026/0001", "kind": "token"}.items()
    info = await rpc("eth_call", {"to": content["contract"], "data": "0xa75e9b19" + content["orders"][0]["orderHash"][2:]})
    token, amount, rupiah, issued = (int(info[2 + at : 66 + at], 16) for at in range(0, 256, 64))
    assert (token, amount) == (int(content["token"], 16), int(content["orders"][0]["amount"]))
    assert (rupiah, issued) == (content["orders"][0]["rupiah"] * 10**18, 0)


async def test_an_order_paid_again_owes_the_new_amount(dev_chain: DevChain, rpc: Rpc) -> None:
    order = dev_chain.orders[0]
    await settle(rpc, dev_chain, order.order_hash)
    paid = await rpc("dev_payAgain", order.order_hash)
    assert listed(dev_chain)[-1] == paid == order.order_hash
    await settle(rpc, dev_chain, order.order_hash)


async def test_each_start_tops_up_the_open_orders(tmp_path: Path) -> None:
    first = Machine(tmp_path, CHAIN_ID, 3, time.time)
    before = first.publish("http://x").orders
    first.close()
    second = Machine(tmp_path, CHAIN_ID, 5, time.time)
    after = second.publish("http://x").orders
    second.close()
    assert after[:3] == before
    assert [order.order_id for order in after] == ["QR-0001", "QR-0002", "QR-0003", "QR-0004", "QR-0005"]


async def test_every_sandbox_has_the_same_genesis_contracts_and_orders(dev_chain: DevChain, tmp_path: Path) -> None:
    other = Machine(tmp_path / "other", CHAIN_ID, 4, time.time)
    twin = other.publish("http://x")
    other.close()
    assert (twin.genesis_hash, twin.payment_address, twin.orders) == (
        dev_chain.genesis_hash,
        dev_chain.payment_address,
        dev_chain.orders,
    )
    assert dev_chain.payment_address == "0x01191213051AdD21153C2C785fbc7118Ee942D8f"


def test_a_folder_of_another_chain_is_refused(tmp_path: Path) -> None:
    Machine(tmp_path, CHAIN_ID, 0, time.time).close()
    with pytest.raises(CannotStart, match="another id or of another version; remove it"):
        Machine(tmp_path, 1337, 0, time.time)


def test_after_a_transaction_two_empty_blocks_are_owed_and_then_none(tmp_path: Path) -> None:
    machine = Machine(tmp_path, CHAIN_ID, 1, time.time)
    owed = []
    for _ in range(3):
        owed.append(machine.mine_pooled())
        machine.mine_one()
    machine.close()
    assert owed == [True, True, False]


async def test_the_owners_key_does_not_print(dev_chain: DevChain) -> None:
    assert dev_chain.owner_key.reveal() not in repr(dev_chain)


def test_the_artefact_was_compiled_from_the_source() -> None:
    """If not: the second line of contracts/compile.mjs."""
    source = ARTEFACT.with_name("UMKMQRPayment.sol").read_bytes()
    assert json.loads(ARTEFACT.read_text())["sourceSha256"] == hashlib.sha256(source).hexdigest()


async def test_at_intervals_blocks_come_without_transactions(tmp_path: Path, nursery: trio.Nursery) -> None:
    chain = await nursery.start(run_chain, Sandbox(orders=0, block_time_ms=10), CHAIN_ID, tmp_path)
    async with httpx2.AsyncClient() as http:
        await Rpc(chain.rpc_url, http).reached(10)
