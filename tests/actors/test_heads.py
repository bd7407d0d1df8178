"""The newest block, soon when something is expected, and without hammering a node that is away."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing

from ellara.actors.heads import Heads
from ellara.chain.rpc import open_rpc
from ellara.sandbox.evm.server import DevChain
from ellara.settings import Chain, Secret
from tests.devchain import Rpc


@pytest.fixture
async def heads(dev_chain: DevChain, nursery: trio.Nursery) -> AsyncIterator[Heads]:
    settings = Chain(poll_interval_s=0.05)
    node = await open_rpc(Secret(dev_chain.rpc_url), settings)
    heads = Heads(node, settings)
    await nursery.start(heads.run)
    yield heads
    heads.stop()


async def test_a_new_block_wakes_the_reader(heads: Heads, rpc: Rpc) -> None:
    await rpc("dev_setAutomine", False)
    with trio.fail_after(5):
        await heads.changed()
        before = heads.number
        await rpc("dev_mine", 1)
        while heads.number == before:
            await heads.changed()
    assert heads.number == before + 1


async def test_only_the_newest_is_kept_for_who_was_away(heads: Heads, rpc: Rpc) -> None:
    await rpc("dev_setAutomine", False)
    await rpc("dev_mine", 5)
    newest = await rpc.number("eth_blockNumber")
    with trio.fail_after(5):
        while heads.number < newest:
            await heads.changed()


async def test_a_reorganisation_of_the_same_height_is_a_new_head(heads: Heads, rpc: Rpc) -> None:
    await rpc("dev_setAutomine", False)
    await rpc("dev_mine", 1)
    number = await rpc.number("eth_blockNumber")
    with trio.fail_after(5):
        while heads.number < number:
            await heads.changed()
        replaced = heads.head
        await rpc("dev_reorg", 1)
        while heads.head == replaced:
            await heads.changed()
    assert heads.number == number


async def test_it_goes_on_when_the_node_is_back(heads: Heads, rpc: Rpc) -> None:
    await rpc("dev_setAutomine", False)
    with trio.fail_after(10):
        await heads.changed()
        before = heads.number
        await rpc("dev_fault", {"method": "eth_getBlockByNumber", "kind": "close-before", "count": 3})
        await rpc("dev_mine", 1)
        while heads.number == before:
            await heads.changed()


async def test_stopped_it_returns_at_once_also_while_the_node_says_nothing(dev_chain: DevChain, rpc: Rpc) -> None:
    settings = Chain(poll_interval_s=60.0)
    heads = Heads(await open_rpc(Secret(dev_chain.rpc_url), settings), settings)
    await rpc("dev_fault", {"method": "eth_getBlockByNumber", "kind": "delay", "delayMs": 60_000})
    with trio.fail_after(2):
        async with trio.open_nursery() as nursery:
            await nursery.start(heads.run)
            await trio.testing.wait_all_tasks_blocked(0.05)
            heads.stop()
