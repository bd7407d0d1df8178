"""Audience: which chat each client shows, and so whose answers it hears. Filled by runs.py and following.py alone.

A page appends every chunk it hears to the answer on its screen, so a client is in front of one chat at a time. It hears the
answers to what it asks there, and, once it follows the chat, all of that chat's answers. Absent: whose a chat is.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TypeAlias

import attrs

from ellara.actors.client import Client

Key: TypeAlias = tuple[str, str]
"""(user's id, chat's id): nothing is heard across users, whatever chat they name."""


@attrs.define(eq=False)
class Seat:
    """A client in front of one chat. Answers to what it asked here are heard only while it stays."""

    client: Client
    key: Key | None
    """None: a new chat that is not stored yet."""
    follows: bool = False


class Audience:
    """Found by client and by chat, never searched. A client without a connection keeps its seat: it may be back."""

    def __init__(self) -> None:
        self._seats: dict[Client, Seat] = {}
        self._followers: defaultdict[Key, dict[Client, None]] = defaultdict(dict)
        """In the order they came."""

    def show(self, client: Client, key: Key | None) -> Seat:
        """It turns to this chat; the seat it has there already is kept."""
        seat = self._seats.get(client)
        if seat is not None and key is not None and seat.key == key:
            return seat
        self.leave(client)
        seat = Seat(client, key)
        if not client.gone:  # else it will not leave again
            self._seats[client] = seat
        return seat

    def opened(self, seat: Seat, key: Key) -> None:
        """The new chat is stored."""
        seat.key = key

    def follow(self, seat: Seat) -> bool:
        """From here on it hears every answer of the chat. False: it has turned to another since."""
        if seat.key is None or self._seats.get(seat.client) is not seat:
            return False
        seat.follows = True
        self._followers[seat.key][seat.client] = None
        return True

    def hearing(self, seat: Seat) -> list[Client]:
        """Who hears an answer that was asked for from `seat`: its client, if it is still there, and the chat's followers."""
        heard_by = list(self._followers.get(seat.key, ())) if seat.key is not None else []
        if not seat.follows and self._seats.get(seat.client) is seat:
            heard_by.append(seat.client)
        return heard_by

    def leave(self, client: Client) -> None:
        """It shows no chat any more."""
        seat = self._seats.pop(client, None)
        if seat is None or seat.key is None or not seat.follows:
            return
        followers = self._followers[seat.key]
        del followers[client]
        if not followers:
            del self._followers[seat.key]

    def __len__(self) -> int:
        """How many clients are in front of a chat."""
        return len(self._seats)
