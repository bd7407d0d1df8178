"""What carries a client in the tests of clients: an outbox whose other end the test holds."""

from __future__ import annotations

import json
from collections.abc import Iterable

import attrs

from ellara.actors.backlog import Backlog, Total
from ellara.actors.client import Client
from ellara.actors.outbox import Item, Outbox
from ellara.protocol.engineio import PING, Packet


@attrs.frozen
class Chunk:
    """As the payload of one answer's text."""

    answer: str

    def __call__(self, text: str) -> object:
        return {"answer": self.answer, "text": text}


@attrs.define(eq=False)
class Connection:
    outbox: Outbox = attrs.field(factory=lambda: Outbox(1_000_000))
    let_go_of: list[Client] = attrs.field(factory=list)

    def queue(self, item: Item) -> None:
        assert self.outbox.put(item)

    def grew(self, by_bytes: int) -> None:
        assert self.outbox.grow(by_bytes)

    def let_go(self, client: Client) -> None:
        self.let_go_of.append(client)

    def hears(self) -> list[list[object]]:
        """The events that leave now, each with its offset at the end."""
        return [arguments(packet) for packet in self.outbox.take() if packet is not PING]


def arguments(packet: Packet) -> list[object]:
    assert isinstance(packet.data, str)
    found = json.loads(packet.data[packet.data.index("[") :])
    assert isinstance(found, list)
    return found


def open_client(log_max_bytes: int = 1_000_000, total: Total | None = None) -> tuple[Client, Connection]:
    """`total`: where its log counts from the start."""
    connection, backlog = Connection(), Backlog(log_max_bytes)
    backlog.count_in(total)
    return Client("/", "ani", connection, backlog), connection


def names(missed: Iterable[Item] | None) -> list[object]:
    """The names of what is sent again."""
    connection = Connection()
    assert missed is not None
    for item in missed:
        connection.queue(item)
    return [event[0] for event in connection.hears()]
