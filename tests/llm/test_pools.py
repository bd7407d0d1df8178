from __future__ import annotations

from contextlib import ExitStack

import httpx2
import pytest
import trio

from ellara.llm.pools import STREAMS_PER_POOL, Pools
from ellara.sandbox.assistant.server import run_assistant


async def peers(pools: Pools, url: str, open_streams: int) -> set[object]:
    """Our end of the connections that three requests take, one after the other, while so many streams are open."""
    found: set[object] = set()
    with ExitStack() as streams:
        for _ in range(open_streams):
            streams.enter_context(pools.one_more())
        for _ in range(3):
            response = await pools.handle_async_request(httpx2.Request("GET", f"{url}/models"))
            found.add(response.extensions["network_stream"].get_extra_info("client_addr"))
            await response.aread()
            await response.aclose()
    return found


@pytest.fixture
async def url(nursery: trio.Nursery) -> str:
    base_url: str = await nursery.start(run_assistant, "sk-test", 0)
    return base_url


async def test_at_low_load_one_connection_is_used_again(url: str, nursery: trio.Nursery) -> None:
    async with Pools(httpx2.Limits()) as pools:
        assert len(await peers(pools, url, 0) | await peers(pools, url, STREAMS_PER_POOL - 1)) == 1
    nursery.cancel_scope.cancel()


async def test_streams_past_a_pools_share_go_to_the_next(url: str, nursery: trio.Nursery) -> None:
    async with Pools(httpx2.Limits()) as pools:
        assert len(await peers(pools, url, 0) | await peers(pools, url, STREAMS_PER_POOL)) == 2
    nursery.cancel_scope.cancel()


async def test_more_streams_than_all_pools_share_are_served_too(url: str, nursery: trio.Nursery) -> None:
    async with Pools(httpx2.Limits()) as pools:
        assert await peers(pools, url, 10_000)
    nursery.cancel_scope.cancel()
