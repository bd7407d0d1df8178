"""Many pages ask and hear for minutes while a share of their lines is cut all the time: is every answer whole, is memory flat?

The pages are real JavaScript clients (tests/wire/crowd.mjs) in processes of their own, behind a `BadNet`.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import attrs
import httpx2

from tests.badnet import BadNet
from tests.wire.node import FOLDER, install, programs

LINE_S = 60.0
"""For a crowd to be ready, or to say how its last answers ended beyond the time that an answer takes."""

QUESTION = "Bagaimana cara menghitung harga jual kue? [chunks:{chunks}] [delay:{delay_ms}]"
WORST = ("latestChunkMs", "longestAwayMs")
"""The counts of which the largest counts; the others are summed."""


@attrs.frozen
class Plan:
    sessions: int
    seconds: float
    chunks: int
    delay_ms: int
    """Between two chunks of an answer."""
    cut_share: float
    """Of the lines, cut at once."""
    cut_every_s: float
    pause_s: float = 0.0
    """Between an answer and the next question, on average."""
    unheard_s: float = 10.0
    """A question of which nothing was heard so long after a cut, and that is not stored, was lost on its way up."""
    processes: int = 1
    steady: int = 2
    """Pages of each process whose lines are spared: they tell how late chunks come."""
    seed: int = 0


@attrs.frozen
class Sample:
    """What the daemon's process has used so far: its stand-ins that live in it are among it, PostgreSQL is not."""

    at: float
    rss_mb: float
    cpu_s: float
    health_ms: float
    """How long one request took, a new connection included."""


@attrs.frozen
class Report:
    counts: dict[str, int]
    faults: list[Any]
    """Of the first broken answers, what was heard and what is stored."""
    cut: int
    recoveries: dict[str, int]
    """By outcome, as the daemon counts them."""
    samples: list[Sample]

    @property
    def unfinished(self) -> int:
        """Answers that did not come whole to the page that asked, or more than once."""
        return sum(self.counts[name] for name in ("broken", "stray", "failed", "missing", "abandoned"))

    @property
    def growth(self) -> float:
        """The daemon's memory in the last quarter of the time, over that in the quarter before: about 1 if it is flat."""
        quarters = self._resident_mb()
        return quarters[-1] / quarters[-2] if len(quarters) > 1 else 1.0

    def _resident_mb(self) -> list[float]:
        return [round(statistics.median(each.rss_mb for each in part), 1) for part in _quarters(self.samples)]

    def lines(self) -> Iterator[str]:
        yield "  ".join(f"{name} {count}" for name, count in self.counts.items())
        yield f"lines cut {self.cut}  recoveries {self.recoveries}"
        if len(self.samples) > 1:
            first, last = self.samples[0], self.samples[-1]
            share = (last.cpu_s - first.cpu_s) / (last.at - first.at)
            waits_ms = sorted(round(each.health_ms) for each in self.samples)
            yield f"daemon: {share:.0%} of a core; resident MB, median of each quarter of the time: {self._resident_mb()}"
            yield f"GET /health: median {waits_ms[len(waits_ms) // 2]} ms, longest {waits_ms[-1]} ms"
        yield from (json.dumps(fault, ensure_ascii=False)[:2_000] for fault in self.faults)


class Crowd:
    """One Node process of pages; a context manager ends it."""

    def __init__(self, url: str, line: str, pages: int, plan: Plan) -> None:
        question = QUESTION.format(chunks=plan.chunks, delay_ms=plan.delay_ms)
        options = {"url": url, "line": line, "pages": pages, "steady": plan.steady, "question": question}
        options |= {"chunks": plan.chunks, "delayMs": plan.delay_ms}
        options |= {"pauseMs": round(plan.pause_s * 1000), "unheardMs": round(plan.unheard_s * 1000)}
        self._patience_s = LINE_S + plan.chunks * plan.delay_ms / 1000
        command = [*programs()[0], str(FOLDER / "crowd.mjs"), json.dumps(options)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def hear(self) -> Any:
        """Its next line. A crowd that says nothing for too long fails."""
        assert self._process.stdout is not None
        watchdog = threading.Timer(self._patience_s, self._process.kill)
        watchdog.start()
        line = self._process.stdout.readline()
        watchdog.cancel()
        assert line, "the crowd's process ended"
        return json.loads(line)

    def stop(self) -> None:
        """It asks no more, and says its counts once the running answers have ended."""
        assert self._process.stdin is not None
        self._process.stdin.write("stop\n")
        self._process.stdin.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()


def soak(url: str, plan: Plan, pid: int | None = None) -> Report:
    """Against the daemon at `url`; `pid`: its process, to be watched."""
    install()
    port = urlsplit(url).port
    assert port is not None
    before = _recoveries(url)
    with BadNet(port, plan.seed) as net, ExitStack() as stack:
        pages = plan.sessions // plan.processes
        crowds = [stack.enter_context(Crowd(url, net.url, pages, plan)) for _ in range(plan.processes)]
        for crowd in crowds:
            assert crowd.hear() == "ready"
        cut, samples = _cut_and_watch(net, url, plan, pid)
        for crowd in crowds:
            crowd.stop()
        told = [crowd.hear() for crowd in crowds]
    faults = [fault for each in told for fault in each.pop("faults")]
    counts = {name: (max if name in WORST else sum)(each[name] for each in told) for name in told[0]}
    return Report(counts, faults, cut, dict(_recoveries(url) - before), samples)


def _cut_and_watch(net: BadNet, url: str, plan: Plan, pid: int | None) -> tuple[int, list[Sample]]:
    """→ how many lines were cut, and what the daemon used."""
    cut, samples = 0, []
    started = time.monotonic()
    with httpx2.Client(base_url=url, trust_env=False, timeout=LINE_S, limits=httpx2.Limits(max_keepalive_connections=0)) as http:
        while (passed_s := time.monotonic() - started) < plan.seconds:
            time.sleep(plan.cut_every_s - passed_s % plan.cut_every_s)
            cut += net.cut(plan.cut_share)
            if pid is not None:
                samples.append(_sample(pid, http))
    return cut, samples


def _sample(pid: int, http: httpx2.Client) -> Sample:
    """Source: proc(5)."""
    asked = time.monotonic()
    http.get("/health").raise_for_status()
    health_ms = (time.monotonic() - asked) * 1000
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    cpu_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return Sample(time.monotonic(), int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 2**20, cpu_s, health_ms)


def _recoveries(url: str) -> Counter[str]:
    text = httpx2.get(url + "/metrics", trust_env=False, timeout=LINE_S).text
    return Counter(
        {outcome: int(float(count)) for outcome, count in re.findall(r'ellara_recoveries_total{outcome="([^"]+)"} (\S+)', text)}
    )


def _quarters(samples: list[Sample]) -> list[list[Sample]]:
    size = max(1, len(samples) // 4)
    return [samples[start : start + size] for start in range(0, size * 4, size) if samples[start : start + size]]
