"""What tests of several files share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio

from tests.web.peer import Peer, serving
from tests.web.site import Application, Site, serve


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async with serving() as peer:
        yield peer


@pytest.fixture
async def site(nursery: trio.Nursery) -> AsyncIterator[Site]:
    site = Site(0, Application(), trio.Event(), trio.Event())
    url = await nursery.start(serve, site)
    site.port = int(url.rpartition(":")[2])
    yield site
    nursery.cancel_scope.cancel()
