"""One daemon for all of these tests, as an operator would run it: a process, in the sandbox, with its own state folder."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx2
import pytest

from tests.contract.frontend import Client, address
from tests.running import RunningDaemon, open_folder

JWT_SECRET = "a secret of 48 characters, as the contract's tests"


@pytest.fixture(scope="session")
def jwt_secret() -> str:
    """What the daemon signs its tokens with."""
    return JWT_SECRET


@pytest.fixture(scope="session")
def daemon() -> Iterator[RunningDaemon]:
    with open_folder() as folder, RunningDaemon(folder, "[openai]\nretry_pause_ms = 1", JWT_SECRET=JWT_SECRET) as running:
        yield running


@pytest.fixture(scope="session")
def base_url(daemon: RunningDaemon) -> str:
    """Where it listens, without a slash at the end."""
    return daemon.url


@pytest.fixture
async def visitor(base_url: str) -> AsyncIterator[Client]:
    async with httpx2.AsyncClient(base_url=base_url, timeout=10, trust_env=False) as http:
        yield Client(http)


@pytest.fixture
async def merchant(visitor: Client) -> Client:
    answer = await visitor.post("/api/v1/auth/me", {"publicKey": address()})
    return Client(visitor.http, answer.json()["token"])
