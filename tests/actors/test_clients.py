"""Who was lost and may be back: by whom, from where, how long, how many; and that everybody leaves exactly once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from trio.testing import MockClock

from ellara.actors.client import Client
from ellara.actors.clients import Claim, Clients, claim_of
from ellara.actors.timers import Timers
from ellara.settings import Socket
from tests.actors.connection import Connection
from tests.counted import counted

SETTINGS = Socket(recovery_s=120.0, sessions_max=3, recovery_max_bytes=10_000, recovery_total_max_bytes=20_000)


@attrs.define
class Room:
    clients: Clients
    left: list[Client]

    def enter(self, namespace: str = "/", user_id: str | None = "ani") -> Client:
        return self.clients.enter(namespace, user_id, Connection())

    def enter_lost(self, user_id: str | None = "ani") -> Client:
        client = self.enter(user_id=user_id)
        self.clients.lose(client)
        return client

    def back(
        self, client: Client, offset: str | None = None, namespace: str = "/", user_id: str | None = "ani"
    ) -> list[object] | None:
        """What it missed, as its backlog has it; None: it is not recovered."""
        claim = claim_of({"pid": client.pid} | ({} if offset is None else {"offset": offset}))
        found = None if claim is None else self.clients.recover(claim, namespace, user_id, Connection())
        if found is None:
            return None
        same, missed = found
        assert same is client
        return list(missed)


@asynccontextmanager
async def room(settings: Socket = SETTINGS) -> AsyncIterator[Room]:
    left: list[Client] = []
    timers = Timers()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(timers.run)
        yield Room(Clients(settings, timers, left.append), left)
        nursery.cancel_scope.cancel()


class TestRecovery:
    async def test_a_lost_client_is_found_by_its_pid(self) -> None:
        async with room() as here:
            client = here.enter_lost()
            client.emit("a")
            assert len(here.back(client) or ()) == 1
            assert client.connected
            assert here.left == []

    async def test_with_nothing_missed_it_is_recovered_too(self) -> None:
        async with room() as here:
            assert here.back(here.enter_lost()) == []

    @pytest.mark.parametrize("pid", ["", "x", "__proto__"])
    async def test_an_unknown_pid_is_nobody(self, pid: str) -> None:
        async with room() as here:
            here.enter_lost()
            assert here.clients.recover(Claim(pid, None), "/", "ani", Connection()) is None

    @pytest.mark.parametrize(("namespace", "user_id"), [("/ws", "ani"), ("/", "budi"), ("/", None), ("/", "")])
    async def test_who_shows_the_pid_of_another_is_not_let_in_and_takes_nothing_away(
        self, namespace: str, user_id: str | None
    ) -> None:
        async with room() as here:
            client = here.enter_lost()
            client.emit("a")
            assert here.back(client, None, namespace, user_id) is None
            assert not client.connected
            assert len(here.back(client) or ()) == 1

    async def test_without_a_token_it_is_whoever_has_the_pid_and_no_token_either(self) -> None:
        async with room() as here:
            client = here.enter_lost(user_id=None)
            assert here.back(client, user_id="ani") is None
            assert here.back(client, user_id=None) == []

    @pytest.mark.parametrize("offset", ["", "-1", "1.5", "1e3", "x", " 1", "+1", "٣", "²", "1" * 16, "9" * 5_000, "\x00", "null"])
    async def test_what_is_no_offset_is_refused_and_the_next_try_is_not(self, offset: str) -> None:
        async with room() as here:
            client = here.enter_lost()
            client.emit("a")
            assert here.back(client, offset) is None
            assert len(here.back(client) or ()) == 1

    async def test_what_is_too_old_is_refused(self) -> None:
        async with room() as here:
            client = here.enter()
            here.clients.lose(client)
            for _ in range(20):
                client.emit("x", "y" * 1_000)
            assert here.back(client) is None
            assert here.left == []

    async def test_one_that_has_left_is_not_found(self) -> None:
        async with room() as here:
            client = here.enter()
            here.clients.leave(client)
            assert here.back(client) is None

    async def test_a_client_that_cannot_be_recovered_leaves_when_it_is_lost(self) -> None:
        async with room(Socket(recovery_s=0)) as here:
            client = here.enter_lost()
            assert client.pid is None
            assert here.left == [client]
            assert client.gone

    async def test_while_the_old_connection_is_thought_alive_the_new_one_takes_over(self) -> None:
        async with room() as here:
            old = Connection()
            client = here.clients.enter("/", "ani", old)
            client.emit("a")
            assert len(here.back(client) or ()) == 1
            assert old.let_go_of == [client]

    async def test_two_that_show_one_pid_are_never_both_connected(self) -> None:
        async with room() as here:
            client = here.enter_lost()
            connections = [Connection() for _ in range(5)]
            for connection in connections:
                assert here.clients.recover(Claim(client.pid or "", None), "/", "ani", connection) is not None
            client.emit("a")
            assert [len(connection.outbox) for connection in connections] == [0, 0, 0, 0, 1]
            assert [connection.let_go_of for connection in connections] == [[client]] * 4 + [[]]

    async def test_it_survives_many_cuts(self) -> None:
        async with room() as here:
            client = here.enter()
            for number in range(100):
                here.clients.lose(client)
                client.emit("x", number)
                assert len(here.back(client) or ()) == number + 1
            assert here.left == []


class TestExpiry:
    async def test_is_told_once_after_its_time(self, autojump_clock: MockClock) -> None:
        async with room() as here:
            client = here.enter_lost()
            await trio.sleep(119.9)
            assert here.left == []
            await trio.sleep(0.2)
            assert here.left == [client]
            assert here.back(client) is None
            await trio.sleep(1_000)
            assert here.left == [client]

    async def test_each_has_its_own_time(self, autojump_clock: MockClock) -> None:
        async with room() as here:
            first = here.enter_lost()
            await trio.sleep(60)
            second = here.enter_lost()
            await trio.sleep(60.1)
            assert here.left == [first]
            await trio.sleep(60)
            assert here.left == [first, second]

    async def test_a_client_that_came_back_does_not_expire(self, autojump_clock: MockClock) -> None:
        async with room() as here:
            client = here.enter_lost()
            await trio.sleep(100)
            here.back(client)
            await trio.sleep(1_000)
            assert here.left == []
            here.clients.lose(client)
            await trio.sleep(119.9)
            assert here.left == []

    async def test_a_connected_client_does_not_expire(self, autojump_clock: MockClock) -> None:
        async with room() as here:
            here.enter()
            await trio.sleep(10_000)
            assert here.left == []

    async def test_at_shutdown_the_lost_are_let_go_of_and_the_connected_are_not(self, autojump_clock: MockClock) -> None:
        async with room() as here:
            here.enter()
            gone = [here.enter_lost() for _ in range(3)]
            here.clients.give_up_lost()
            assert here.left == gone
            await trio.sleep(1_000)
            assert here.left == gone


class TestBounds:
    async def test_of_too_many_the_longest_lost_goes_first(self) -> None:
        async with room() as here:
            lost = [here.enter_lost() for _ in range(5)]
            assert here.left == lost[:2]

    async def test_who_came_back_and_was_lost_again_is_the_last_to_go(self) -> None:
        async with room() as here:
            first, second, third = (here.enter_lost() for _ in range(3))
            here.back(first)
            here.clients.lose(first)
            here.enter_lost()
            assert here.left == [second]
            here.enter_lost()
            assert here.left == [second, third]

    async def test_of_too_many_bytes_the_heaviest_goes_first(self) -> None:
        async with room() as here:
            before = counted("clients_given_up_total", reason="too heavy")
            clients = [here.enter() for _ in range(3)]
            for client, missed in zip(clients, (7_000, 9_000, 7_500), strict=True):
                client.emit("x", "y" * missed)
                here.clients.lose(client)
            assert here.left == [clients[1]]
            assert here.back(clients[0]) is not None
            assert counted("clients_given_up_total", reason="too heavy") == before + 1

    async def test_bytes_that_come_while_they_are_lost_count_too(self, autojump_clock: MockClock) -> None:
        async with room() as here:
            clients = [here.enter_lost() for _ in range(3)]
            for client in clients:
                client.emit("x", "y" * 8_000)
            assert here.left == []
            await trio.sleep(1.1)
            assert len(here.left) == 1

    async def test_who_is_connected_does_not_count(self) -> None:
        async with room() as here:
            for client in [here.enter() for _ in range(10)]:
                client.emit("x", "y" * 8_000)
            last = here.enter_lost()
            assert here.left == []
            assert here.back(last) is not None

    async def test_who_came_back_counts_no_longer(self) -> None:
        async with room() as here:
            for _ in range(10):
                client = here.enter()
                client.emit("x", "y" * 8_000)
                here.clients.lose(client)
                here.back(client)
            assert here.left == []

    async def test_what_left_counts_no_longer(self) -> None:
        async with room() as here:
            for _ in range(10):
                client = here.enter()
                client.emit("x", "y" * 8_000)
                here.clients.leave(client)
            last = here.enter_lost()
            assert last not in here.left


class TestUsers:
    async def test_are_found_with_all_their_clients_the_lost_ones_too(self) -> None:
        async with room() as here:
            one, other = here.enter(), here.enter_lost()
            here.enter(user_id="budi")
            here.enter(user_id=None)
            assert set(here.clients.of("ani")) == {one, other}

    async def test_are_forgotten_with_their_last_client(self) -> None:
        async with room() as here:
            for client in [here.enter(), here.enter_lost()]:
                here.clients.leave(client)
            assert set(here.clients.of("ani")) == set()
            assert not here.clients.of("nobody")

    async def test_recovery_changes_nothing(self) -> None:
        async with room() as here:
            client = here.enter_lost()
            here.back(client)
            assert set(here.clients.of("ani")) == {client}

    async def test_ask_no_faster_than_allowed_over_all_their_clients(self) -> None:
        async with room(Socket(events_per_user_per_s=1)) as here:
            one, other, stranger = here.enter(), here.enter(), here.enter(user_id="budi")
            asked = [here.clients.may_ask(client) for _ in range(6) for client in (one, other)]
            assert asked == [True] * 10 + [False] * 2
            assert here.clients.may_ask(stranger)
            assert all(here.clients.may_ask(here.enter(user_id=None)) for _ in range(20))


async def test_the_lost_ones_are_counted(autojump_clock: MockClock) -> None:
    async with room() as here:
        first, _ = here.enter_lost(), here.enter_lost()
        assert counted("clients_lost") == 2
        here.back(first)
        assert counted("clients_lost") == 1
        await trio.sleep(121)
        assert counted("clients_lost") == 0
