"""Clients: every namespace socket there is, those included whose connection was lost and who may be back.

Found by their private id (`pid`), which a client shows to be recovered, and by their user. Lost ones are kept `recovery_s`, and
no more of them than `sessions_max`, the longest lost going first, or than `recovery_total_max_bytes` of missed events, the
heaviest going first: who missed a few words does not pay for who had the server pile up as much as it could.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from math import inf

import attrs
import trio

from ellara.actors.backlog import Backlog, Total
from ellara.actors.client import Carrier, Client
from ellara.actors.outbox import Item
from ellara.actors.timers import Timer, Timers
from ellara.metrics import CLIENTS_GIVEN_UP, CLIENTS_LOST, RECOVERIES
from ellara.rates import Buckets
from ellara.settings import Socket

OFFSET_MAX_DIGITS = 15

WEIGH_INTERVAL_S = 1.0
"""So often it is looked whether the lost ones have become too heavy: their answers go on."""

LIGHTENED_TO = 0.9
"""Of the bound, once it is passed: so that it is not passed again by the next."""


@attrs.frozen
class Claim:
    """What a client shows to be recovered. `offset` None: it has heard nothing yet."""

    pid: str
    offset: int | None


def claim_of(auth: Mapping[str, object]) -> Claim | None:
    """None: it makes none."""
    match auth:
        case {"pid": str() as pid, "offset": str() as offset} if _is_offset(offset):
            return Claim(pid, int(offset))
        case {"pid": str() as pid} if "offset" not in auth:
            return Claim(pid, None)
        case _:
            return None


class Clients:
    """`on_leave`: told of each that is gone for good."""

    def __init__(self, settings: Socket, timers: Timers, on_leave: Callable[[Client], None]) -> None:
        self._settings = settings
        self._timers = timers
        self._on_leave = on_leave
        self._by_pid: dict[str, Client] = {}
        self._by_user: defaultdict[str, set[Client]] = defaultdict(set)
        self._lost: dict[str, float] = {}
        """pid → when it is given up, by trio's clock; the longest lost first."""
        self._rates = Buckets(settings.events_per_user_per_s)
        self._missed = Total()
        self.timer = Timer()

    def enter(self, namespace: str, user_id: str | None, carrier: Carrier) -> Client:
        """A fresh one."""
        backlog = Backlog(self._settings.recovery_max_bytes) if self._settings.recovery_s else None
        client = Client(namespace, user_id, carrier, backlog)
        if client.pid is not None:
            self._by_pid[client.pid] = client
        if user_id is not None:
            self._by_user[user_id].add(client)
        return client

    def recover(
        self, claim: Claim, namespace: str, user_id: str | None, carrier: Carrier
    ) -> tuple[Client, Sequence[Item]] | None:
        """The client that is claimed, from here on `carrier`'s, with what it missed. None: it cannot be recovered.

        Better than the reference: also while its old connection is still thought alive, as after a change of networks, and with
        nothing heard yet; a pid never serves two connections.
        """
        client = self._by_pid.get(claim.pid)
        if client is None or (client.namespace, client.user_id) != (namespace, user_id):
            RECOVERIES.labels(outcome="unknown").inc()
            return None
        missed = client.missed(claim.offset)
        if missed is None:
            RECOVERIES.labels(outcome="too old").inc()
            return None
        self._lost.pop(claim.pid, None)
        self._set_timer()
        client.carried_by(carrier)
        RECOVERIES.labels(outcome="recovered").inc()
        return client, missed

    def lose(self, client: Client) -> None:
        """Its connection is over; it may be back."""
        client.lost(self._missed)
        if client.pid is None:
            self.leave(client)
            return
        self._lost[client.pid] = trio.current_time() + self._settings.recovery_s
        self.tick()

    def leave(self, client: Client) -> None:
        """It is gone for good."""
        client.leave()
        if client.pid is not None:
            del self._by_pid[client.pid]
            self._lost.pop(client.pid, None)
        if client.user_id is not None:
            others = self._by_user[client.user_id]
            others.discard(client)
            if not others:
                del self._by_user[client.user_id]
        self._on_leave(client)

    def of(self, user_id: str) -> Collection[Client]:
        """Those of one user, lost ones included."""
        return self._by_user.get(user_id, ())

    def may_ask(self, client: Client) -> bool:
        """Counts an event of this client's user. False: there are too many."""
        return client.user_id is None or self._rates.take(client.user_id, trio.current_time())

    def give_up_lost(self) -> None:
        """At shutdown: nobody who is not here will be back in this process."""
        for pid in list(self._lost):
            self.leave(self._by_pid[pid])
        self._set_timer()

    def tick(self) -> None:
        now = trio.current_time()
        while self._lost and next(iter(self._lost.values())) <= now:
            self.leave(self._by_pid[next(iter(self._lost))])
        while len(self._lost) > self._settings.sessions_max:
            self._give_up(self._by_pid[next(iter(self._lost))], "too many")
        if self._missed.bytes > self._settings.recovery_total_max_bytes:
            self._lighten()
        self._set_timer()

    def _lighten(self) -> None:
        enough = LIGHTENED_TO * self._settings.recovery_total_max_bytes
        for client in sorted((self._by_pid[pid] for pid in self._lost), key=lambda client: -client.missed_bytes):
            if self._missed.bytes <= enough:
                break
            self._give_up(client, "too heavy")

    def _give_up(self, client: Client, reason: str) -> None:
        CLIENTS_GIVEN_UP.labels(reason=reason).inc()
        self.leave(client)

    def _set_timer(self) -> None:
        CLIENTS_LOST.set(len(self._lost))
        next_weighing = trio.current_time() + WEIGH_INTERVAL_S
        self._timers.set(self, min(next_weighing, next(iter(self._lost.values()))) if self._lost else inf)


def _is_offset(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= OFFSET_MAX_DIGITS
