"""Joined: the namespace sockets of one connection, which is Socket.IO's part of a session: who comes in, what they say, who goes.

Called by `session.py` within its turns. It gives each client its session as carrier, and queues there what the protocol itself
has to say. Absent: transports, heartbeats, deadlines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from ellara.actors.application import Ack, Application
from ellara.actors.client import Carrier, Client
from ellara.actors.clients import Clients, claim_of
from ellara.actors.outbox import Item, messages
from ellara.errors import EllaraError, TokenExpired
from ellara.metrics import EVENTS_REFUSED
from ellara.protocol import socketio
from ellara.protocol.namespace import Acknowledged, Join, Left, Namespaces, NoSuchNamespace, Received
from ellara.settings import Socket


class Joined:
    """`hear` what comes in; its deadline for the first to join is the session's."""

    __slots__ = ("_application", "_carrier", "_clients", "_here", "_namespaces", "anybody_ever")

    def __init__(self, settings: Socket, application: Application, clients: Clients, carrier: Carrier) -> None:
        # A packet: a text as long as a message may be, and attachments as long.
        self._namespaces = Namespaces(settings.namespaces, 2 * settings.payload_max_bytes)
        self._application = application
        self._clients = clients
        self._carrier = carrier
        self._here: dict[str, Client] = {}
        """By namespace."""
        self.anybody_ever = False

    def hear(self, data: str | bytes, *, in_time: bool) -> None:
        """One Engine.IO message. `in_time`: it did not come too fast. Raises `ProtocolError`: the connection must end."""
        for event in self._namespaces.receive(data):
            match event:
                case Received():
                    self._dispatch(event, self._here[event.namespace], in_time=in_time)
                case Join():
                    self._let_in(event)
                case NoSuchNamespace():
                    self._say(self._namespaces.refuse(event.namespace, "Invalid namespace"))
                case Acknowledged():
                    self._here[event.namespace].acknowledged(event.id, event.args)
                case Left():
                    self._clients.leave(self._here.pop(event.namespace))
                case _:
                    assert_never(event)

    def pinged(self) -> None:
        for client in self._here.values():
            client.pinged()

    def ponged(self) -> None:
        for client in self._here.values():
            client.ponged()

    def let_go(self, client: Client) -> None:
        """Another connection carries it now."""
        del self._here[client.namespace]

    def end(self, *, recoverable: bool) -> None:
        """The connection is over; where they are `recoverable` they may be back."""
        here, self._here = self._here, {}
        part = self._clients.lose if recoverable else self._clients.leave
        for client in here.values():
            part(client)

    def _dispatch(self, event: Received, client: Client, *, in_time: bool) -> None:
        ack = _ack(client, event.ack_id)
        if in_time and self._clients.may_ask(client):
            self._application.on_event(client, event.name, event.args, ack)
        else:
            EVENTS_REFUSED.labels(limit="user" if in_time else "session").inc()
            self._application.on_excess(client, ack)

    def _let_in(self, join: Join) -> None:
        try:
            client, missed = self._recover_or_enter(join)
        except EllaraError as error:
            self._say(self._namespaces.refuse(join.namespace, error.message))
            return
        self.anybody_ever = True
        self._here[join.namespace] = client
        self._say(self._namespaces.accept(join.namespace, client.id, client.pid))
        # After the reply, unlike the reference: the JavaScript client keeps what comes before it, over one more cut too, and then
        # hears it twice.
        for item in missed:
            self._carrier.queue(item)

    def _recover_or_enter(self, join: Join) -> tuple[Client, Sequence[Item]]:
        """Raises what `authenticate` does. A token that expired meanwhile does not keep out who was let in with it, as in the
        reference: else a page on a bad line would lose the answer that it is hearing."""
        claim, expired = claim_of(join.auth), None
        try:
            user_id = self._application.authenticate(join.auth)
        except TokenExpired as error:
            user_id, expired = error.user_id, error
        recovered = None if claim is None else self._clients.recover(claim, join.namespace, user_id, self._carrier)
        if recovered is None and expired is not None:
            raise expired
        return recovered or (self._clients.enter(join.namespace, user_id, self._carrier), [])

    def _say(self, packet: socketio.Packet) -> None:
        for item in messages(packet):
            self._carrier.queue(item)


def _ack(client: Client, ack_id: int | None) -> Ack | None:
    if ack_id is None:
        return None
    waiting = [ack_id]

    def ack(*args: object) -> None:
        if waiting:
            client.acknowledge(waiting.pop(), args)

    return ack
