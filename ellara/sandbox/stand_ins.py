"""Fills in what the settings leave empty: a database, an assistant, a chain, a JWT secret, all inside one state folder.

Each is started only where its real one is missing, so the daemon above sees nothing but complete settings. The folder belongs to
one daemon at a time. Nothing here is reached by another way than the real service would be.
"""

from __future__ import annotations

import secrets
from functools import partial
from pathlib import Path

import attrs
import trio

from ellara.sandbox.assistant.server import run_assistant
from ellara.sandbox.evm.server import run_chain
from ellara.sandbox.postgres import hold_state_folder, run_postgres
from ellara.settings import Secret, Settings
from ellara.supervision import RestartLimit, supervise

ORDERS_SHOWN = 4


def wanted(settings: Settings) -> bool:
    """Whether anything must stand in: production never has a stand-in."""
    given = (settings.database.url, settings.openai.api_key, settings.chain.rpc_url, settings.auth.jwt_secret)
    return settings.profile == "sandbox" and not all(given)


async def start(nursery: trio.Nursery, settings: Settings, state_dir: Path) -> tuple[Settings, list[str]]:
    """Starts what is missing in `nursery`, side by side; answers complete settings and a line for each stand-in.

    Raises `CannotStart` when another daemon holds the folder, or a stand-in cannot be set up.
    """
    if not wanted(settings):
        return settings, []
    hold_state_folder(state_dir)  # until the process ends
    filler = _Filler(nursery, settings, state_dir)
    async with trio.open_nursery() as starting:
        if not settings.database.url:
            starting.start_soon(filler.database)
        if not settings.openai.api_key:
            starting.start_soon(filler.assistant)
        if not settings.chain.rpc_url:
            starting.start_soon(filler.chain)
    if not settings.auth.jwt_secret:
        filler.jwt_secret()
    return filler.settings, [line for part in sorted(filler.lines) for line in filler.lines[part]]


class _Filler:
    """Collects what the stand-ins answer once they run."""

    def __init__(self, nursery: trio.Nursery, settings: Settings, state_dir: Path) -> None:
        self.settings = settings
        self.lines: dict[str, list[str]] = {}
        self._nursery, self._state_dir = nursery, state_dir

    async def database(self) -> None:
        limit = RestartLimit(self.settings.supervision.restarts_max, self.settings.supervision.period_s)
        url = await self._nursery.start(supervise, partial(run_postgres, self._state_dir), "postgres", limit)
        self.settings = attrs.evolve(self.settings, database=attrs.evolve(self.settings.database, url=Secret(url)))
        self._say(
            "database", f"stand-in: the database is a PostgreSQL of its own in {self._state_dir} (DATABASE_URL replaces it)"
        )

    async def assistant(self) -> None:
        key = "sk-sandbox-" + secrets.token_hex(8)
        url = await self._nursery.start(run_assistant, key, self.settings.sandbox.word_delay_ms)
        openai = attrs.evolve(self.settings.openai, api_key=Secret(key), base_url=url)
        self.settings = attrs.evolve(self.settings, openai=openai)
        self._say("assistant", f"stand-in: the assistant is a look-alike at {url}, no model (OPENAI_API_KEY replaces it)")

    async def chain(self) -> None:
        run = partial(run_chain, self.settings.sandbox, self.settings.chain.chain_id, self._state_dir)
        dev = await self._nursery.start(run)
        chain = attrs.evolve(
            self.settings.chain,
            rpc_url=Secret(dev.rpc_url),
            payment_address=dev.payment_address,
            owner_key=dev.owner_key,
        )
        self.settings = attrs.evolve(self.settings, chain=chain)
        self._say("chain", f"stand-in: the chain is a dev chain at {dev.rpc_url}, its money is play money (RPC_URL replaces it)")
        shown = f"; the first {ORDERS_SHOWN}:" if len(dev.orders) > ORDERS_SHOWN else ""
        self._say(
            "chain", f"          {len(dev.orders)} paid orders wait to be settled, see {self._state_dir / 'orders.json'}{shown}"
        )
        for order in dev.orders[:ORDERS_SHOWN]:
            self._say("chain", f"          {order.order_hash} {'native' if order.native else 'token'}")

    def jwt_secret(self) -> None:
        """Made once and kept, so that tokens outlive a restart."""
        file = self._state_dir / "jwt_secret"
        if not file.exists() or not file.stat().st_size:  # empty: a daemon died between the next two lines
            file.touch(mode=0o600)
            file.write_text(secrets.token_urlsafe(32), encoding="ascii")
        auth = attrs.evolve(self.settings.auth, jwt_secret=Secret(file.read_text(encoding="ascii")))
        self.settings = attrs.evolve(self.settings, auth=auth)
        self._say("tokens", f"stand-in: tokens are signed with a secret kept in {file} (JWT_SECRET replaces it)")

    def _say(self, part: str, line: str) -> None:
        self.lines.setdefault(part, []).append(line)
