"""The bad network of the other tests does to a line what it says, and nothing else."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Self

import pytest

from tests.badnet import BadNet, Way

WAIT_S = 5.0


class Ends:
    """Both ends of one line through the network."""

    def __init__(self, net: BadNet, listener: socket.socket) -> None:
        self.client = socket.create_connection(("127.0.0.1", net.port), WAIT_S)
        self.server, _ = listener.accept()
        self.server.settimeout(WAIT_S)
        self.client.sendall(b"!")
        assert self.server.recv(1) == b"!"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.server.close()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(WAIT_S)
        yield listener


@pytest.fixture
def net(listener: socket.socket) -> Iterator[BadNet]:
    with BadNet(listener.getsockname()[1]) as net:
        yield net


@pytest.fixture
def ends(net: BadNet, listener: socket.socket) -> Iterator[Ends]:
    with Ends(net, listener) as ends:
        yield ends


def receive(end: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := end.recv(size - len(data))):
        data += more
    return data


def is_silent(end: socket.socket) -> bool:
    end.settimeout(0.05)
    try:
        return end.recv(1) is None
    except TimeoutError:
        return True
    finally:
        end.settimeout(WAIT_S)


def is_reset(net: BadNet) -> bool:
    """Whether a new line is."""
    try:
        with socket.create_connection(("127.0.0.1", net.port), WAIT_S) as client:
            return not is_silent(client)
    except ConnectionResetError:
        return True


def test_bytes_go_both_ways_and_the_end_too(ends: Ends) -> None:
    ends.client.sendall(b"question")
    ends.client.shutdown(socket.SHUT_WR)
    assert receive(ends.server, 100) == b"question"
    ends.server.sendall(b"answer")
    ends.server.close()
    assert receive(ends.client, 100) == b"answer"


def test_a_cut_resets_both_ends(net: BadNet, ends: Ends) -> None:
    assert net.cut() == 1
    for end in (ends.client, ends.server):
        with pytest.raises(ConnectionResetError):
            end.recv(1)


def test_a_gentle_cut_ends_both(net: BadNet, ends: Ends) -> None:
    assert net.cut(reset=False) == 1
    assert [ends.client.recv(1), ends.server.recv(1)] == [b"", b""]


def test_a_reset_is_passed_on(net: BadNet, ends: Ends) -> None:
    ends.server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    ends.server.close()
    with pytest.raises(ConnectionResetError):
        ends.client.recv(1)


def test_a_share_is_cut_at_random_but_the_same_for_a_seed(listener: socket.socket) -> None:
    def cut_with(seed: int) -> set[int]:
        with BadNet(listener.getsockname()[1], seed) as net, ExitStack() as stack:
            clients = [stack.enter_context(Ends(net, listener)).client for _ in range(20)]
            assert net.cut(0.25, reset=False) == 5
            ended: list[socket.socket] = []
            while len(ended) < 5:
                ended, _, _ = select.select(clients, [], [], WAIT_S)
            return {clients.index(client) for client in ended}

    assert cut_with(1) == cut_with(1) != cut_with(2)


@pytest.mark.parametrize("life", [1, 5])
def test_a_line_lives_for_exactly_so_many_bytes(net: BadNet, listener: socket.socket, life: int) -> None:
    net.cut_after(life)
    for expected in (b"123456789"[:life], b"123456789"):
        with Ends(net, listener) as ends:
            ends.server.sendall(b"123456789")
            assert receive(ends.client, 9) == expected


@pytest.mark.parametrize("way", list(Way))
def test_what_is_stalled_comes_later_and_whole(net: BadNet, ends: Ends, way: Way) -> None:
    source, target = (ends.client, ends.server) if way is Way.UP else (ends.server, ends.client)
    body = bytes(range(256)) * 8_000  # more than sockets and proxy hold
    net.stall(way)
    sender = threading.Thread(target=source.sendall, args=(body,))
    sender.start()
    target.sendall(b"the other way flows")
    assert receive(source, 19) == b"the other way flows"
    assert is_silent(target)
    net.flow()
    assert receive(target, len(body)) == body
    sender.join()


def test_dripped_bytes_come_in_order(net: BadNet, ends: Ends) -> None:
    net.drip(3, 0.001)
    ends.client.sendall(b"0123456789")
    assert ends.server.recv(100) == b"012"
    assert receive(ends.server, 7) == b"3456789"


def test_a_deaf_line_hears_nothing_not_even_that_the_other_end_has_gone(net: BadNet, ends: Ends, listener: socket.socket) -> None:
    assert net.go_deaf() == 1
    ends.client.sendall(b"anyone there?")
    ends.client.close()
    assert is_silent(ends.server)
    with Ends(net, listener):
        assert net.lines == 2


def test_refused_lines_are_reset_and_those_there_live_on(net: BadNet, ends: Ends) -> None:
    net.refuse()
    assert is_reset(net)
    ends.client.sendall(b"still here")
    assert receive(ends.server, 10) == b"still here"
    net.accept()
    assert not is_reset(net)


def test_without_a_server_a_line_is_reset(net: BadNet, listener: socket.socket) -> None:
    listener.close()
    assert is_reset(net)


def test_a_command_that_cannot_be_followed_is_its_callers_error_alone(net: BadNet, ends: Ends) -> None:
    with pytest.raises(ValueError, match="NaN"):
        net.cut(float("nan"))
    assert net.lines == 1


async def test_a_trio_test_may_command_it(net: BadNet, ends: Ends) -> None:
    assert net.cut() == 1
