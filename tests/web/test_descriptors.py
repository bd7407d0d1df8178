"""How many files may be open, and what that leaves for connections."""

from __future__ import annotations

import subprocess
import sys

import attrs
import pytest
from structlog.testing import capture_logs

from ellara.errors import CannotStart
from ellara.settings import Database, OpenAI, Secret, Server, Settings
from ellara.web.descriptors import within

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
    shell = f'ulimit -Sn 256; ulimit -Hn 900; exec {sys.executable} -c "{code}"'
    assert subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=True).stdout == "900\n"
