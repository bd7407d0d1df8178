"""A client, the connection that carries it, and what it heard: decoded from the packets, as a client would."""

from __future__ import annotations

from typing import Any

import trio

from ellara.actors.client import Client
from ellara.protocol import socketio
from tests.actors.connection import Connection

HEAR_S = 5.0


class Listener:
    """Takes from its outbox whenever it is looked at: until then it is as slow a reader as there is."""

    def __init__(self, user_id: str | None = None) -> None:
        self._outbox = (connection := Connection()).outbox
        self.client = Client("/", user_id, connection)
        self.acks: list[Any] = []
        """Of its questions."""
        self._heard: list[tuple[str, Any]] = []
        self._decoder = socketio.Decoder()

    def ack(self, answer: object) -> None:
        """Acknowledges an event; heard as `ack` among the events, where it came."""
        self.client.acknowledge(1, (answer,))

    @property
    def heard(self) -> list[tuple[str, Any]]:
        """Events and what they carried; may be cleared."""
        for packet in self._outbox.take():
            match self._decoder.receive(packet.data):
                case socketio.Event(_, [str() as name, value]):
                    self._heard.append((name, value))
                case socketio.Ack(_, [value]):
                    self._heard.append(("ack", value))
                case other:
                    raise AssertionError(other)
        return self._heard

    async def until(self, *names: str, count: int = 1) -> Any:
        """What the `count`-th of these events carried."""
        with trio.fail_after(HEAR_S):
            while len(found := [value for name, value in self.heard if name in names]) < count:
                await self._outbox.filled()
        return found[count - 1]

    async def end(self, count: int = 1) -> Any:
        return await self.until("bot_end", "bot_error", count=count)

    @property
    def names(self) -> list[str]:
        """The events in order, chunks in a row as one."""
        heard = [name for name, _ in self.heard]
        return [name for at, name in enumerate(heard) if at == 0 or name != heard[at - 1]]

    @property
    def chunks(self) -> list[str]:
        return [value["content"][0]["text"]["value"] for name, value in self.heard if name == "bot_chunk"]

    @property
    def text(self) -> str:
        return "".join(self.chunks)
