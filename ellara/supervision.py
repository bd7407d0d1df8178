"""supervise(): an actor that crashes is started again, within intensity and period; past that the process ends.

contained(): a task that must not take its siblings along (an answer, a connection): its crash is logged and told to `on_crash`.
An actor knows nothing of its supervisor. A crash before the first `started()` ends the boot. One log line per crash.
Source of intensity and period: Erlang/OTP, Supervisor Behaviour.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, Protocol, TypeVar

import attrs
import trio

from ellara.errors import GaveUp
from ellara.log import get_logger
from ellara.metrics import ACTOR_CRASHES

log = get_logger(__name__)

UNHEARD: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED
Value = TypeVar("Value")
Started_co = TypeVar("Started_co", covariant=True)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 2.0


class Run(Protocol[Started_co]):
    """An actor's loop: calls `started()` once its state is rebuilt, returns when its mailbox is closed and empty."""

    async def __call__(self, *, task_status: trio.TaskStatus[Started_co]) -> None: ...


@attrs.frozen
class RestartLimit:
    """At most `intensity` restarts within `period_s`."""

    intensity: int
    period_s: float

    def allows(self, crashes: deque[float], now: float) -> bool:
        """Counts a crash at `now` (seconds, any clock) into `crashes` and says whether one more start is within the limit."""
        crashes.append(now)
        while crashes[0] <= now - self.period_s:
            crashes.popleft()
        return len(crashes) <= self.intensity

    def pause_s(self, crashes: deque[float]) -> float:
        """How long to wait before the next start: doubles with every crash still counted."""
        return min(FIRST_PAUSE_S * 2.0 ** (len(crashes) - 1), LONGEST_PAUSE_S)


class _OnceStarted(Generic[Value]):
    """The supervisor's caller hears `started` once, however often the actor starts."""

    def __init__(self, task_status: trio.TaskStatus[Value]) -> None:
        self._task_status = task_status
        self.reached = False

    def started(self, value: Any = None) -> None:
        if not self.reached:
            self.reached = True
            self._task_status.started(value)


async def supervise(run: Run[Value], name: str, limit: RestartLimit, *, task_status: trio.TaskStatus[Value] = UNHEARD) -> None:
    """Runs an actor until it returns. Raises `GaveUp` past the limit, and whatever it raised if it never started."""
    crashes: deque[float] = deque()
    once = _OnceStarted(task_status)
    while True:
        try:
            await run(task_status=once)
        except Exception as error:
            if not once.reached:
                raise
            ACTOR_CRASHES.labels(actor=name).inc()
            log.exception("actor crashed", actor=name)
            if not limit.allows(crashes, trio.current_time()):
                raise GaveUp(f"{name} crashed {len(crashes)} times within {limit.period_s:g} s: {innermost(error)!r}") from error
        else:
            return
        await trio.sleep(limit.pause_s(crashes))


@contextmanager
def contained(name: str, on_crash: Callable[[], None] | None = None) -> Iterator[None]:
    """A crash in here is logged and told to `on_crash` (which must not raise), and goes no further. Cancelling passes."""
    try:
        yield
    except Exception:
        ACTOR_CRASHES.labels(actor=name).inc()
        log.exception("task crashed", actor=name)
        if on_crash is not None:
            on_crash()


def innermost(error: BaseException) -> BaseException:
    """The first real error inside nested exception groups: what a person wants to read."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
