"""/health in the shape of the old backend's; /ready for a load balancer; /metrics for Prometheus. None needs a token."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import trio
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from quart import Blueprint
from quart_trio.wrappers import TrioResponse as Response

from ellara import __version__
from ellara.model import iso, utc_now
from ellara.storage.pool import Pool

STATM = Path("/proc/self/statm")
PAGE_BYTES = resource.getpagesize()


def routes(pool: Pool, started_at: float) -> Blueprint:
    """`started_at`: when the daemon started, by trio's clock."""
    health = Blueprint("health", __name__)

    @health.get("/health")
    async def state() -> dict[str, Any]:
        return {
            "status": "ok",
            "timestamp": iso(utc_now()),
            "version": __version__,  # the seed's 1.0.0 is an example: who looks wants to know what runs here
            "uptime": round(trio.current_time() - started_at, 3),
            "memoryUsage": memory_usage(),
            "cpuUsage": cpu_usage(),
        }

    @health.get("/ready")
    async def ready() -> dict[str, Any]:
        async with pool.connection() as connection:
            await connection.run("SELECT 1")
        return {"status": "ready"}

    @health.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(), content_type=CONTENT_TYPE_LATEST)

    return health


def memory_usage() -> dict[str, int]:
    """Bytes, under Node's names.

    Python keeps no account of a heap: `heapTotal` and `heapUsed` are both the private memory that is resident, `external` is the
    rest of it (code and libraries, mapped from files), and `arrayBuffers` have no like. Source: proc(5), `statm`.
    """
    _, resident, shared, *_ = (int(pages) * PAGE_BYTES for pages in STATM.read_text(encoding="ascii").split())
    private = resident - shared
    return {"rss": resident, "heapTotal": private, "heapUsed": private, "external": shared, "arrayBuffers": 0}


def cpu_usage() -> dict[str, int]:
    """Microseconds since the process began."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {"user": round(used.ru_utime * 1e6), "system": round(used.ru_stime * 1e6)}
