"""The JavaScript client behind a bad network: what it missed comes exactly once and in order, or the session is a fresh one."""

from __future__ import annotations

import queue
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest
import socketio

from tests.badnet import BadNet
from tests.wire.conftest import EchoServer
from tests.wire.node import JsClient

CUT_IN_HANDSHAKE_MS = 100
"""A WebSocket that ends between its 101 and the open packet this client notices by its own timeout alone, by default of 20 s."""

FAR_BYTES, WAIT_S = 1_000_000, 10.0

over_each_transport = pytest.mark.parametrize("transports", [["websocket"], ["polling"], ["polling", "websocket"]], ids="+".join)


class Listener:
    """A socket through the network, and beside it a steady one that has the server speak to it."""

    def __init__(self, js: JsClient, server: EchoServer, net: BadNet, **options: Any) -> None:
        self._js, self._net = js, net
        self.id = self.engine = self.pid = ""
        js.open(server.url, socket="steady", transports=["websocket"])
        js.open(net.url, reconnectionDelay=10, reconnectionDelayMax=20, **options)
        self.is_fresh()

    def numbers(self, count: int) -> list[object]:
        return [self._js.hears("number")[0] for _ in range(count)]

    def lose(self) -> None:
        """Between two polls there may be nothing to cut, or nothing that matters."""
        self._js.heard("disconnect")  # earlier ones
        while not self._js.heard("disconnect"):
            self._net.cut()
            assert self._js.ask("hello", socket="steady") == []

    def miss(self, numbers: int) -> None:
        """They and a picture are sent to it while no line leads there."""
        self._net.refuse()
        self.lose()
        self._js.ask("tell", self.id, numbers, socket="steady")
        self._net.accept()

    def hear_missed(self, numbers: int) -> None:
        assert self.numbers(numbers) == list(range(numbers))
        assert self._js.hears("picture")[0] == b"\x00\xff"

    def is_recovered(self) -> None:
        """Waits until it is connected again."""
        sid, _, recovered, _ = self._js.hears("connect")
        assert (sid, recovered) == (self.id, True)

    def is_fresh(self) -> None:
        """Waits until it is connected; goes on as the new one."""
        sid, _, recovered, keys = self._js.hears("connect")
        assert (sid == self.id, recovered) == (False, False)
        self.id, self.engine, self.pid = sid, keys["engine"], keys.get("pid")
        assert self._js.ask("hello") == []

    def was_recovered_each_time(self) -> bool:
        assert self._js.ask("hello", socket="steady") == []
        return all(recovered for _, _, recovered, _ in self._js.heard("connect"))


def engine_error(server: EchoServer, engine: str) -> object:
    """What the server answers to a poll of that session."""
    query = {"EIO": "4", "transport": "polling", "sid": engine}
    return httpx2.get(f"{server.url}/socket.io/", params=query, trust_env=False).json()["message"]


def sees_given_up(server: EchoServer, engine: str) -> None:
    """Waits until the server knows that session no longer, and fails if it always will. It is asked what a session survives."""
    query, until = {"EIO": "4", "transport": "polling", "sid": engine}, time.monotonic() + WAIT_S
    while httpx2.put(f"{server.url}/socket.io/", params=query, trust_env=False).status_code == 500:
        assert time.monotonic() < until


@contextmanager
def serve(**settings: float) -> Iterator[EchoServer]:
    server = EchoServer(**settings)
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="module")
def server() -> Iterator[EchoServer]:
    with serve(ping_interval_s=1.0, ping_timeout_s=1.0) as server:
        yield server


@pytest.fixture
def net(server: EchoServer) -> Iterator[BadNet]:
    with BadNet(server.port) as net:
        yield net


@over_each_transport
def test_after_a_cut_it_hears_exactly_what_it_missed(
    js: JsClient, server: EchoServer, net: BadNet, transports: list[str]
) -> None:
    listener = Listener(js, server, net, transports=transports)
    js.emit("count", 3)
    assert listener.numbers(3) == [0, 1, 2]
    listener.miss(50)
    listener.hear_missed(50)
    listener.is_recovered()


@over_each_transport
def test_thirty_cuts_while_numbers_come(js: JsClient, server: EchoServer, net: BadNet, transports: list[str]) -> None:
    listener = Listener(js, server, net, transports=transports)
    js.emit("stream", 400, 0.003)
    heard = listener.numbers(1)
    for _ in range(30):
        listener.lose()
        listener.is_recovered()
        heard += listener.numbers(1)
    assert heard + listener.numbers(400 - len(heard)) == list(range(400))


def test_thirty_cuts_while_a_text_is_written(js: JsClient, server: EchoServer, net: BadNet) -> None:
    listener = Listener(js, server, net, transports=["websocket"])
    js.emit("write", 400, 0.003)
    text = ""
    for _ in range(30):
        text += str(js.hears("text")[0])
        net.cut()
        listener.is_recovered()
    whole = "".join(f"{number} " for number in range(400))
    while len(text) < len(whole):
        text += str(js.hears("text")[0])
    assert text == whole


def test_a_cut_anywhere_in_the_recovery_doubles_and_loses_nothing(js: JsClient, server: EchoServer, net: BadNet) -> None:
    listener = Listener(js, server, net, transports=["websocket"], timeout=CUT_IN_HANDSHAKE_MS)
    for life in (*range(0, 180, 60), *range(180, 700, 16)):
        net.cut_after(life, life + 7)
        listener.miss(8)
        listener.hear_missed(8)
    assert listener.was_recovered_each_time()


def test_cuts_anywhere_in_a_recovery_by_polling_double_and_lose_nothing(js: JsClient, server: EchoServer, net: BadNet) -> None:
    listener = Listener(js, server, net, transports=["polling"])
    chance = random.Random(0)
    for _ in range(15):
        net.cut_after(*(chance.choice([FAR_BYTES, chance.randrange(800)]) for _ in range(6)))
        listener.miss(8)
        listener.hear_missed(8)
    assert listener.was_recovered_each_time()


@over_each_transport
def test_a_client_that_has_heard_nothing_yet_is_recovered(
    js: JsClient, server: EchoServer, net: BadNet, transports: list[str]
) -> None:
    listener = Listener(js, server, net, transports=transports)
    listener.miss(20)
    listener.hear_missed(20)
    listener.is_recovered()


def test_what_was_heard_in_a_session_before_counts_for_nothing(js: JsClient, server: EchoServer, net: BadNet) -> None:
    """This client goes on showing the last offset it heard, also with the pid of a fresh session."""
    listener = Listener(js, server, net, transports=["websocket"])
    js.emit("count", 5)
    listener.numbers(5)
    js.disconnect()
    js.connect()
    listener.is_fresh()
    listener.miss(10)
    listener.hear_missed(10)
    listener.is_recovered()


def test_a_line_that_only_the_client_knows_is_dead_is_replaced(js: JsClient, server: EchoServer, net: BadNet) -> None:
    """As after a change of networks: the server hears of it by the client's return."""
    listener = Listener(js, server, net, transports=["websocket"])
    net.go_deaf()
    js.emit("lost on its way")
    js.drop()
    listener.is_recovered()
    js.emit("stream", 20, 0.001)
    assert listener.numbers(20) == list(range(20))
    assert engine_error(server, listener.engine) == "Session ID unknown"


@over_each_transport
def test_a_line_gone_deaf_is_noticed_by_the_heartbeat(js: JsClient, transports: list[str]) -> None:
    with serve(ping_interval_s=0.1, ping_timeout_s=0.2) as server, BadNet(server.port) as net:
        listener = Listener(js, server, net, transports=transports)
        js.emit("stream", 100, 0.002)
        heard = listener.numbers(10)
        while not js.heard("disconnect"):
            net.go_deaf()
            js.ask("hello", socket="steady")
        assert heard + listener.numbers(90) == list(range(100))
        listener.is_recovered()


@over_each_transport
def test_a_line_that_stalls_past_the_heartbeat_is_given_up_and_nothing_is_lost(js: JsClient, transports: list[str]) -> None:
    """What was under way comes through in the end, to a session that is no more."""
    with serve(ping_interval_s=0.1, ping_timeout_s=0.2) as server, BadNet(server.port) as net:
        listener = Listener(js, server, net, transports=transports)
        js.emit("stream", 100, 0.002)
        heard = listener.numbers(10)
        net.stall()
        sees_given_up(server, listener.engine)
        js.hears("disconnect")
        net.flow()
        assert heard + listener.numbers(90) == list(range(100))
        listener.is_recovered()


@pytest.mark.parametrize("transports", [["websocket"], ["polling"]], ids="+".join)
def test_pythons_client_which_knows_no_recovery_simply_reconnects(server: EchoServer, net: BadNet, transports: list[str]) -> None:
    client, heard = socketio.Client(reconnection_delay=0.1), queue.SimpleQueue[object]()
    client.on("connect", lambda: heard.put("connected"))
    client.on("disconnect", lambda _reason: heard.put("cut"))
    client.on("number", lambda number, _offset: heard.put(number))
    client.connect(net.url, transports=transports)
    for _ in range(3):
        assert heard.get(timeout=WAIT_S) == "connected"
        client.emit("count", 5)
        assert [heard.get(timeout=WAIT_S) for _ in range(5)] == list(range(5))
        while heard.empty():
            net.cut()
        assert heard.get(timeout=WAIT_S) == "cut"
    client.disconnect()


def test_too_late_it_comes_back_fresh(js: JsClient) -> None:
    with serve(recovery_s=0.05) as server, BadNet(server.port) as net:
        listener = Listener(js, server, net)
        net.refuse()
        listener.lose()
        server.sees_leave(listener.id)
        net.accept()
        listener.is_fresh()


def test_with_too_much_missed_it_comes_back_fresh(js: JsClient) -> None:
    with serve(recovery_max_bytes=2_000) as server, BadNet(server.port) as net:
        listener = Listener(js, server, net)
        listener.miss(100)
        listener.is_fresh()
        js.ask("hello")
        assert js.heard("number") == []


def test_with_recovery_off_it_comes_back_fresh(js: JsClient, echo: EchoServer) -> None:
    with BadNet(echo.port) as net:
        listener = Listener(js, echo, net)
        assert not listener.pid
        listener.lose()
        listener.is_fresh()


def test_who_leaves_by_itself_comes_back_fresh(js: JsClient, server: EchoServer, net: BadNet) -> None:
    listener = Listener(js, server, net)
    js.disconnect()
    server.sees_leave(listener.id)
    js.connect()
    listener.is_fresh()


@pytest.mark.parametrize("offset", ["", "x", "-1", "1.0", "9" * 15, "9" * 400, "٣", 1, None, [], {"$gt": ""}])
def test_an_odd_offset_gets_a_session_but_no_one_elses_events(
    js: JsClient, server: EchoServer, net: BadNet, offset: object
) -> None:
    listener = Listener(js, server, net)
    js.open(net.url, socket="other", auth={"pid": listener.pid, "offset": offset})
    assert js.hears("connect", "other")[0]
    assert js.ask("hello", socket="other") == []
    assert js.heard("number", "other") == []


@pytest.mark.parametrize("pid", ["", "x", "x" * 10_000, 7, None, [], {}, "__proto__"])
def test_an_odd_pid_gets_a_fresh_session(js: JsClient, server: EchoServer, net: BadNet, pid: object) -> None:
    js.open(net.url, auth={"pid": pid, "offset": "1"})
    assert js.hears("connect")[2] is False


def test_another_users_pid_gets_a_fresh_session_and_harms_nobody(js: JsClient, server: EchoServer, net: BadNet) -> None:
    listener = Listener(js, server, net, auth={"token": "ani"})
    js.emit("count", 3)
    assert listener.numbers(3) == [0, 1, 2]
    for auth in ({"token": "budi"}, {}):
        js.open(net.url, socket="other", auth={"pid": listener.pid, **auth})
        assert js.hears("connect", "other")[0] != listener.id
    assert js.ask("hello") == []
    assert js.heard("number", "other") == js.heard("disconnect") == []
