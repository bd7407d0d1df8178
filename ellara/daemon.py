"""The composition root: makes mailboxes and actors, starts them in order, stops them in reverse.

Knows every room and does no work of its own. Started from below: stand-ins, database, ledger, chain, answers, sessions, and the
front last, once all that it serves is there. Stopped from above: no new questions, running answers end, sockets are closed at the
transport, the front closes, settler and ledger empty their mailboxes; cancellation is the deadline behind each step.
"""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import trio

from ellara.actors import ledger, runs, settler
from ellara.actors.application import Application
from ellara.actors.heads import Heads
from ellara.actors.ledger import Ledger
from ellara.actors.runs import Runs
from ellara.actors.settler import Settler
from ellara.actors.settling.desk import Settle
from ellara.auth.tokens import Tokens
from ellara.chain.rpc import open_rpc
from ellara.errors import CannotStart
from ellara.llm.assistant import Assistant
from ellara.llm.client import open_client
from ellara.llm.tools import cek_transaksi
from ellara.log import get_logger
from ellara.mailbox import Mailbox
from ellara.model import Transaction, TransactionStatus, utc_now
from ellara.sandbox import stand_ins
from ellara.settings import Settings
from ellara.storage.migrate import migrate, pending_migrations
from ellara.storage.pool import Pool
from ellara.storage.transactions import find_transactions
from ellara.supervision import RestartLimit, Run, supervise
from ellara.web import descriptors
from ellara.web.app import SOCKET_PATH, Parts, build
from ellara.web.serve import WebSockets, serve_http
from ellara.web.socketio import SocketIO

log = get_logger(__name__)

Say = Callable[[str], None]

SHIPPED_PROMPT = Path(__file__).parent.parent / "config" / "prompt.md"

RECURSION_MAX = 12_000
"""py_ecc, which comes with web3, raises it to 100 000 when imported: JSON nested so deep then overflows the decoder's C stack."""


async def run(settings: Settings, home: Path, say: Say) -> None:
    """Serves until SIGTERM or SIGINT; a second signal cuts short. Relative paths in `settings` start at `home`.

    Raises `CannotStart` when it cannot be served with these settings, `GaveUp` when an actor keeps crashing.
    """
    settings = descriptors.within(settings, descriptors.raise_limit(settings))
    prompt = _prompt(home, settings.openai.prompt_file)
    state_dir = home / settings.sandbox.state_dir
    stop = trio.Event()
    async with trio.open_nursery() as lowest:
        await lowest.start(_watch_signals, stop, lowest.cancel_scope)
        complete, lines = await stand_ins.start(lowest, settings, state_dir)
        await _serve(complete, prompt, stop, lambda url: _announce(say, url, lines))
        lowest.cancel_scope.cancel()


async def migrate_only(settings: Settings, only_tell: bool, say: Say) -> None:
    """For `ellara migrate`. Raises `CannotStart` when no database is configured, or the one there is refused."""
    if not settings.database.url:
        raise CannotStart("database.url: expected the URL of a database; the sandbox migrates its own when it starts")
    names = await pending_migrations(settings.database) if only_tell else await migrate(settings.database)
    verb = "to run" if only_tell else "ran"
    say("\n".join(f"{verb}: {name}" for name in names) or "nothing to do: the database is of this version")


async def _serve(settings: Settings, prompt: str, stop: trio.Event, ready: Callable[[str], None]) -> None:
    await migrate(settings.database)
    pool = Pool(settings.database)
    rpc = await open_rpc(settings.chain.rpc_url, settings.chain)
    tokens = Tokens(settings.auth.jwt_secret, settings.auth.token_ttl_s)
    async with open_client(settings.openai) as client, trio.open_nursery() as nursery:
        limit = RestartLimit(settings.supervision.restarts_max, settings.supervision.period_s)
        start = partial(_Part.start, nursery, limit)

        ledger_box = Mailbox[ledger.Request]("ledger", ledger.MAILBOX_SIZE)
        writing = await start("ledger", Ledger(ledger_box, pool).run, ledger_box.close)

        heads = Heads(rpc, settings.chain)
        following = await start("heads", heads.run, heads.stop)
        settler_box = Mailbox[Settle]("settler", settler.MAILBOX_SIZE)
        signer = Settler(settler_box, pool, rpc, settings.chain, heads, new_chain_allowed=settings.profile == "sandbox")
        settling = await start("settler", signer.run, settler_box.close)

        assistant = Assistant(client, prompt, [cek_transaksi(partial(_find_transactions, pool))], settings.openai)
        runs_box = Mailbox[runs.Ask]("runs", runs.MAILBOX_SIZE)
        streamer = Runs(runs_box, ledger_box, pool, assistant, settings.openai, require_token=settings.socket.require_token)
        answering = await start("runs", streamer.run, runs_box.close)

        sockets = _sockets(settings, tokens, streamer)
        await nursery.start(supervise, sockets.run, "sessions", limit)  # up to the end: sockets.close stops them
        _after_imports()
        parts = Parts(pool, ledger_box, settler_box, tokens, settings.chain.settle_timeout_s, trio.current_time())
        front = await start("front", *_front(settings, parts, sockets))
        ready(front.value)

        await stop.wait()
        await _stop(settings.server.stop_s, answering, sockets, front, (settling, following, writing))
        nursery.cancel_scope.cancel()
    await rpc.close()
    pool.close()
    log.info("stopped")


def _after_imports() -> None:
    """What the interpreter is told once everything heavy is in."""
    sys.setrecursionlimit(RECURSION_MAX)
    gc.collect()
    gc.freeze()  # modules live as long as the process: walking them again held up every hundredth request for 0.1 s


async def _stop(within_s: float, answering: _Part, sockets: SocketIO, front: _Part, others: Sequence[_Part]) -> None:
    """Each has its share of the time: a peer that does not read, or a long answer, takes nothing from those behind."""
    log.info("stopping")
    await answering.stop(within_s / 2)  # with the front open: a polling client comes back for its answer's end
    await sockets.close(within_s / 8)
    await front.stop(within_s / 8)
    for part in others:
        await part.stop(within_s / 4 / len(others))


def _sockets(settings: Settings, tokens: Tokens, streamer: Runs) -> SocketIO:
    return SocketIO(
        settings.socket,
        settings.server.cors_origins,
        settings.server.write_timeout_s,
        Application(partial(_authenticate, tokens), streamer.on_event, streamer.on_excess, streamer.on_leave),
    )


def _front(settings: Settings, parts: Parts, sockets: SocketIO) -> tuple[Run[str], Callable[[], None]]:
    """How it runs, and how it is asked to take no more."""
    app, closing = build(settings.server, parts, sockets), trio.Event()
    websockets = WebSockets(SOCKET_PATH.encode(), sockets.websocket)
    return partial(serve_http, app, settings.server, closing, websockets=websockets), closing.set


@attrs.define(eq=False)
class _Part:
    """An actor under its supervisor, with a way to end it: asked first, then cancelled."""

    close: Callable[[], None]
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _ended: trio.Event = attrs.field(factory=trio.Event)
    value: Any = None
    """What it was started with."""

    @classmethod
    async def start(
        cls, nursery: trio.Nursery, limit: RestartLimit, name: str, run: Run[Any], close: Callable[[], None]
    ) -> _Part:
        part = cls(close)
        part.value = await nursery.start(part._live, name, run, limit)
        return part

    async def stop(self, within_s: float) -> None:
        self.close()
        with trio.move_on_after(within_s):
            await self._ended.wait()
        self._scope.cancel()
        await self._ended.wait()

    async def _live(self, name: str, run: Run[Any], limit: RestartLimit, *, task_status: trio.TaskStatus[Any]) -> None:
        try:
            with self._scope:
                await supervise(run, name, limit, task_status=task_status)
        finally:
            self._ended.set()


async def _watch_signals(stop: trio.Event, scope: trio.CancelScope, *, task_status: trio.TaskStatus[None]) -> None:
    """The first signal asks for an orderly stop, the second cuts everything short."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for number in signals:
            log.info("signal", name=signal.Signals(number).name)
            if stop.is_set():
                scope.cancel()
            stop.set()


async def _find_transactions(
    pool: Pool, user_id: str, take: int, status: TransactionStatus | None, search: str | None
) -> Sequence[Transaction]:
    async with pool.connection() as connection:
        return await find_transactions(connection, user_id, take=take, status=status, search=search)


def _authenticate(tokens: Tokens, handshake: Mapping[str, object]) -> str | None:
    token = handshake.get("token")
    return tokens.verify(str(token), utc_now()) if token else None


def _prompt(home: Path, name: str) -> str:
    file = home / name if name else SHIPPED_PROMPT
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CannotStart(f"openai.prompt_file: {file} cannot be read: {error}") from None


def _announce(say: Say, url: str, lines: Sequence[str]) -> None:
    for line in lines:
        say(line)
    say(f"Ellara listens on {url}")
