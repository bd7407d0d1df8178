"""`python -m tests.soak --sessions 2000 --minutes 5 [--url URL --pid PID]`: the soak, against its own daemon unless given one.

Exits with 1 when an answer did not come whole, once, to the page that asked, or when the daemon's memory goes on growing.
"""

from __future__ import annotations

import argparse
import sys

from tests.running import RunningDaemon, open_folder
from tests.soak.soak import Plan, Report, soak

# Some cuts a JavaScript client notices by the heartbeat alone: while it changes from polling to WebSocket.
TOML = """
[log]
level = "warning"
[openai]
runs_max = 10000
[socket]
ping_interval_s = 5.0
ping_timeout_s = 5.0
"""

STEADY_MINUTES = 2.0
"""The first answers, logs and pools still fill what a shorter run has."""
GROWTH_MAX = 1.1


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--sessions", type=int, default=2_000)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--chunks", type=int, default=25, help="of one answer")
    parser.add_argument("--delay-ms", type=int, default=1_000, help="between two chunks")
    parser.add_argument("--pause-s", type=float, default=100.0, help="between an answer and the next question, on average")
    parser.add_argument("--cut-share", type=float, default=0.1, help="of the lines, cut at once")
    parser.add_argument("--cut-every-s", type=float, default=1.0)
    parser.add_argument("--processes", type=int, default=2, help="of JavaScript clients")
    parser.add_argument("--url", help="of a running daemon on loopback")
    parser.add_argument("--pid", type=int, help="its process")
    given = parser.parse_args()
    seconds = given.minutes * 60
    cuts = given.cut_share, given.cut_every_s
    plan = Plan(given.sessions, seconds, given.chunks, given.delay_ms, *cuts, pause_s=given.pause_s, processes=given.processes)
    report = soak(given.url, plan, given.pid) if given.url else _soak_own(plan)
    for line in report.lines():
        print(line)
    is_flat = given.minutes < STEADY_MINUTES or report.growth <= GROWTH_MAX
    return 0 if is_flat and not report.unfinished else 1


def _soak_own(plan: Plan) -> Report:
    with open_folder() as folder, RunningDaemon(folder, TOML) as daemon:
        return soak(daemon.url, plan, daemon.process.pid)


sys.exit(main())
