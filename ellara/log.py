"""Structured logging: a constant event and its fields, to standard error. Console lines for people, JSON lines for machines.

Error: wake someone. Warning: look today. Info: a business fact. A field named like a secret, token, key or URL is masked.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from typing import Literal

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

_SECRET = re.compile(r"secret|token|password|authorization|signature|(^|_)key$|(^|_)url$", re.IGNORECASE)


SILENCE_S = 10.0


def mask_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {name: "***" if _SECRET.search(name) else value for name, value in event.items()}


class Sparing(logging.Filter):
    """A line now and then, without its trace: of what says the same ten times a second until somebody does something."""

    def __init__(self) -> None:
        super().__init__()
        self._silent_until = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now < self._silent_until:
            return False
        self._silent_until = now + SILENCE_S
        record.exc_info = None
        return True


def configure(level: str, style: Literal["console", "json"]) -> None:
    """Once, by `cli`, before anything logs. `level`: debug, info, warning or error."""
    if style == "json":
        tail: list[structlog.typing.Processor] = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        tail = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            mask_secrets,
            *tail,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.getLogger("trio.serve_listeners").addFilter(Sparing())  # out of file descriptors
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")


def get_logger(name: str) -> FilteringBoundLogger:
    logger: FilteringBoundLogger = structlog.get_logger(room=name.removeprefix("ellara."))
    return logger
