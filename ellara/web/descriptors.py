"""File descriptors: as many as the settings may need, known at the start rather than when a client is turned away.

Called by the daemon before anything is opened. Source of the numbers: what each room says of its own connections.
"""

from __future__ import annotations

import resource
from contextlib import suppress

import attrs

from ellara.errors import CannotStart
from ellara.log import get_logger
from ellara.settings import Settings
from ellara.web.serve import REFUSED_MAX

log = get_logger(__name__)

RESERVE = 200
"""Listeners, the loop's own, the log, look-ups in threads, connections to the chain, files being read."""

PER_RUN = 2
"""An answer, and its title beside it."""


def raise_limit(settings: Settings) -> int:
    """Raises this process's soft limit to the hard one, where that is infinite to what is needed; says how many there may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(_beside(settings) + settings.server.connections_max, soft) if hard == resource.RLIM_INFINITY else hard
    with suppress(OSError, ValueError):  # a kernel may have a limit of its own
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def within(settings: Settings, limit: int) -> Settings:
    """The settings, with no more connections than fit into `limit` descriptors.

    In production fewer than `server.connections_max` are a `CannotStart`: the operator asked for them. A sandbox starts; its
    connections get a quarter at least, as it will hardly have all its answers under way.
    """
    asked, beside = settings.server.connections_max, _beside(settings)
    fit = limit - beside
    if fit >= asked:
        return settings
    text = (
        f"server.connections_max = {asked} needs {asked + beside} file descriptors, {beside} of them for all else, and this "
        f"process may have {limit}: raise the limit (LimitNOFILE= in the systemd unit, ulimit -n in a shell) or lower the setting"
    )
    if settings.profile == "production":
        raise CannotStart(text)
    fit = max(fit, limit // 4)
    log.warning("fewer connections than configured", connections_max=fit, reason=text)
    return attrs.evolve(settings, server=attrs.evolve(settings.server, connections_max=fit))


def _beside(settings: Settings) -> int:
    """What may be open beside the clients' connections."""
    upstream = PER_RUN * settings.openai.runs_max * (1 if settings.openai.api_key else 2)  # the stand-in is in this process
    return RESERVE + REFUSED_MAX + settings.database.pool_size + upstream
