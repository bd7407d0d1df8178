"""One daemon for all of these tests, as an operator would run it: a process, in the sandbox, with its own state folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

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
