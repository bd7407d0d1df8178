"""python-socketio's client, the other one that Ellara's users have: over each transport."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import socketio

from tests.wire.conftest import EchoServer

WAIT_S = 10

over_each_transport = pytest.mark.parametrize("transports", [["websocket"], ["polling"], ["polling", "websocket"]], ids="+".join)


@pytest.fixture
def client() -> Iterator[socketio.SimpleClient]:
    with socketio.SimpleClient() as client:
        yield client


@over_each_transport
@pytest.mark.parametrize("namespace", ["/", "/ws"])
def test_events_bytes_and_acknowledgements(
    echo: EchoServer, client: socketio.SimpleClient, transports: list[str], namespace: str
) -> None:
    client.connect(echo.url, transports=transports, namespace=namespace, wait_timeout=WAIT_S)
    client.emit("message", {"question": "halo ☕", "picture": b"\x00\xff"})
    assert client.receive(timeout=WAIT_S) == ["message", {"question": "halo ☕", "picture": b"\x00\xff"}]
    assert client.call("message", ("one", b"\x01"), timeout=WAIT_S) == ("one", b"\x01")


@over_each_transport
def test_the_client_acknowledges_what_it_is_asked(echo: EchoServer, transports: list[str]) -> None:
    answers = queue.Queue[tuple[object, ...]]()
    with closing(socketio.Client()) as client:
        client.on("sure?", lambda *args: ("yes", *args))
        client.on("answered", lambda *args: answers.put(args))
        client.connect(echo.url, transports=transports, wait_timeout=WAIT_S)
        client.emit("ask me", (7, b"\xff"))
        assert answers.get(timeout=WAIT_S) == ("yes", 7, b"\xff")


@contextmanager
def closing(client: socketio.Client) -> Iterator[socketio.Client]:
    try:
        yield client
    finally:
        client.disconnect()


@over_each_transport
def test_the_token_of_the_handshake_tells_who_it_is(
    echo: EchoServer, client: socketio.SimpleClient, transports: list[str]
) -> None:
    client.connect(echo.url, transports=transports, auth={"token": "ani"}, wait_timeout=WAIT_S)
    client.emit("who")
    assert client.receive(timeout=WAIT_S) == ["you", client.sid, "user of ani"]


@over_each_transport
def test_many_events_come_in_order(echo: EchoServer, client: socketio.SimpleClient, transports: list[str]) -> None:
    client.connect(echo.url, transports=transports, wait_timeout=WAIT_S)
    numbers = 300 if transports[-1] == "websocket" else 12  # of more than 16 packets in one poll this client makes nothing
    client.emit("count", numbers)
    assert [client.receive(timeout=WAIT_S) for _ in range(numbers)] == [["number", number] for number in range(numbers)]


def test_a_refused_token_is_a_connection_error_with_its_reason(echo: EchoServer) -> None:
    client = socketio.Client(reconnection=False)
    reasons: list[object] = []
    client.on("connect_error", reasons.append)
    with pytest.raises(socketio.exceptions.ConnectionError):
        client.connect(echo.url, auth={"token": "bad"}, wait_timeout=WAIT_S)
    assert reasons == [{"message": "Invalid Token"}]


@over_each_transport
def test_a_client_that_disconnects_has_left(echo: EchoServer, client: socketio.SimpleClient, transports: list[str]) -> None:
    client.connect(echo.url, transports=transports, wait_timeout=WAIT_S)
    sid = client.sid
    client.disconnect()
    echo.sees_leave(sid)
