"""The soak, small: what `python -m tests.soak` does with thousands for minutes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.running import RunningDaemon, open_folder
from tests.soak.soak import Plan, soak

TOML = "[socket]\nping_interval_s = 1.0\nping_timeout_s = 1.0"  # some cuts a client of polling notices by that alone
PLAN = Plan(sessions=100, seconds=3.0, chunks=20, delay_ms=50, cut_share=0.1, cut_every_s=0.5, unheard_s=2.0)


@pytest.fixture
def daemon() -> Iterator[RunningDaemon]:
    with open_folder() as folder, RunningDaemon(folder, TOML) as running:
        yield running


def test_every_answer_comes_whole_and_once_though_lines_are_cut_all_the_time(daemon: RunningDaemon) -> None:
    report = soak(daemon.url, PLAN, daemon.process.pid)
    print(*report.lines(), sep="\n")
    assert report.faults == []
    assert report.unfinished == 0
    assert report.counts["whole"] == report.counts["asked"] - report.counts["lostOnTheWayUp"]
    assert report.counts["asked"] >= PLAN.sessions
    assert report.counts["recovered"] > 0
    assert report.counts["fresh"] == 0
