"""What tests of several files share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.web.peer import Peer, serving


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async with serving() as peer:
        yield peer
