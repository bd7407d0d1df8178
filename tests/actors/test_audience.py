"""Who hears which chat: the same as searching through everything that happened would say."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from ellara.actors.audience import Audience, Key, Seat
from ellara.actors.backlog import Total
from ellara.actors.client import Client
from tests.actors.listener import Listener

KEYS: list[Key] = [("ani", "c1"), ("ani", "c2"), ("budi", "c1")]


class Model(RuleBasedStateMachine):
    """Beside the audience, for each client: the chat it is in front of, as a number of its own for each new one."""

    clients: Bundle[Client] = Bundle("clients")
    seats: Bundle[Seat] = Bundle("seats")

    def __init__(self) -> None:
        super().__init__()
        self.audience = Audience()
        self.at: dict[Client, Seat] = {}
        self.followers: set[Client] = set()
        self.all_seats: list[Seat] = []

    @rule(target=clients)
    def enter(self) -> Client:
        return Listener().client

    @rule(target=seats, client=clients, key=st.sampled_from([None, *KEYS]))
    def show(self, client: Client, key: Key | None) -> Seat:
        before = self.at.get(client)
        seat = self.audience.show(client, key)
        assert (seat.client, seat.key) == (client, key)
        assert (seat is before) == (before is not None and before.key == key is not None)
        if seat is not before:
            self.followers.discard(client)
            self.at[client] = seat
            self.all_seats.append(seat)
        return seat

    @rule(seat=seats, key=st.sampled_from(KEYS))
    def open(self, seat: Seat, key: Key) -> None:
        if seat.key is None:
            self.audience.opened(seat, key)

    @rule(seat=seats)
    def follow(self, seat: Seat) -> None:
        there = self.at.get(seat.client) is seat and seat.key is not None
        assert self.audience.follow(seat) == there
        if there:
            self.followers.add(seat.client)

    @rule(client=consumes(clients))
    def leave(self, client: Client) -> None:
        client.leave()
        self.audience.leave(client)
        self.at.pop(client, None)
        self.followers.discard(client)

    @invariant()
    def each_chat_is_heard_by_its_followers_and_by_who_asked_and_is_still_there(self) -> None:
        assert len(self.audience) == len(self.at)
        for seat in self.all_seats:
            following = {client for client in self.followers if seat.key is not None and self.at[client].key == seat.key}
            asking = {seat.client} if self.at.get(seat.client) is seat else set[Client]()
            hearing = self.audience.hearing(seat)
            assert set(hearing) == following | asking
            assert len(hearing) == len(set(hearing))

    def teardown(self) -> None:
        """Once all have left, nothing is kept."""
        for client in list(self.at):
            self.audience.leave(client)
        assert len(self.audience) == 0
        assert not any(self.audience.hearing(seat) for seat in self.all_seats)


TestAudience = Model.TestCase


def test_a_client_that_is_gone_shows_nothing() -> None:
    audience, client = Audience(), Listener().client
    client.leave()
    seat = audience.show(client, KEYS[0])
    assert not audience.follow(seat)
    assert (len(audience), audience.hearing(seat)) == (0, [])


def test_one_without_a_connection_keeps_its_seat() -> None:
    audience, client = Audience(), Listener().client
    seat = audience.show(client, KEYS[0])
    client.lost(Total())
    assert audience.hearing(seat) == [client]
