"""Structured logging: a constant event and its fields, to standard error. Console lines for people, JSON lines for machines.

Error: wake someone. Warning: look today. Info: a business fact. A field named like a secret, token, key or URL is masked.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import Literal

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

_SECRET = re.compile(r"secret|token|password|authorization|signature|(^|_)key$|(^|_)url$", re.IGNORECASE)


def mask_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {name: "***" if _SECRET.search(name) else value for name, value in event.items()}


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
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")


def get_logger(name: str) -> FilteringBoundLogger:
    logger: FilteringBoundLogger = structlog.get_logger(room=name.removeprefix("ellara."))
    return logger
