"""What tests of several files share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.web.peer import Peer, serving
from tests.web.site import Site
from tests.web.site import serving as serving_site


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async with serving() as peer:
        yield peer


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serving_site() as site:
        yield site
