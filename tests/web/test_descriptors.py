"""How many files may be open, and what that leaves for connections."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import attrs
import pytest
from structlog.testing import capture_logs

from ellara.errors import CannotStart
from ellara.settings import Database, OpenAI, Secret, Server, Settings
from ellara.web.descriptors import within
from tests.running import without_seed_variables

SANDBOX = Settings(server=Server(connections_max=1_000), database=Database(pool_size=10), openai=OpenAI(runs_max=100))
REAL = attrs.evolve(SANDBOX, openai=attrs.evolve(SANDBOX.openai, api_key=Secret("x")))
PRODUCTION = attrs.evolve(REAL, profile="production")
BESIDE = 200 + 100 + 10


@pytest.mark.parametrize(("settings", "upstream"), [(SANDBOX, 400), (REAL, 200), (PRODUCTION, 200)])
def test_what_fits_is_left_as_it_is(settings: Settings, upstream: int) -> None:
    assert within(settings, BESIDE + upstream + 1_000) is settings


def test_a_sandbox_takes_as_many_connections_as_fit_and_says_so() -> None:
    with capture_logs() as logged:
        found = within(SANDBOX, 1_024)
    assert found == attrs.evolve(SANDBOX, server=Server(connections_max=1_024 - BESIDE - 400))
    assert [(event["log_level"], event["connections_max"]) for event in logged] == [("warning", 314)]


def test_production_refuses_to_start_and_says_what_to_do() -> None:
    with pytest.raises(CannotStart) as refused:
        within(PRODUCTION, 1_024)
    assert refused.value.message == (
        "server.connections_max = 1000 needs 1510 file descriptors, 510 of them for all else, and this process may have 1024: "
        "raise the limit (LimitNOFILE= in the systemd unit, ulimit -n in a shell) or lower the setting"
    )


def test_a_sandbox_starts_with_what_little_there_is() -> None:
    assert within(SANDBOX, 256).server.connections_max == 64


def test_the_soft_limit_becomes_the_hard_one() -> None:
    code = "from ellara.settings import Settings; from ellara.web.descriptors import raise_limit; print(raise_limit(Settings()))"
    assert limited("-c", code).stdout == "900\n"


def test_the_daemon_raises_its_limit_and_does_not_start_in_production_with_what_is_still_too_low(tmp_path: Path) -> None:
    toml = tmp_path / "ellara.toml"
    toml.write_text("""
        profile = "production"
        server = {connections_max = 1000}
        database = {url = "postgresql://u@127.0.0.1:9/d", pool_size = 10}
        auth = {jwt_secret = "a secret of more than 32 characters, as it should be"}
        openai = {api_key = "sk-1", runs_max = 100}
        chain = {rpc_url = "http://127.0.0.1:9", owner_key = "1111111111111111111111111111111111111111111111111111111111111111"}
    """)
    ended = limited("-m", "ellara", "serve", "--config", str(toml))
    assert ended.returncode == 1
    assert ended.stderr.startswith(
        "ellara: server.connections_max = 1000 needs 1510 file descriptors, 510 of them for all else, "
    )
    assert "this process may have 900: raise the limit" in ended.stderr.splitlines()[-1]


def limited(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Python, with 256 files at first and at most 900."""
    shell = 'ulimit -Sn 256; ulimit -Hn 900; exec "$@"'
    command = ["sh", "-c", shell, "sh", sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=without_seed_variables(), timeout=60, check=False)
