"""The unmodified JavaScript socket.io-client 4.8 over each transport, both namespaces, and through a restart."""

from __future__ import annotations

import pytest

from tests.wire.conftest import EchoServer
from tests.wire.node import JsClient

TRANSPORTS = (["websocket"], ["polling"], ["polling", "websocket"], ["websocket", "polling"])

over_each_transport = pytest.mark.parametrize("transports", TRANSPORTS, ids="+".join)


@over_each_transport
@pytest.mark.parametrize("namespace", ["", "/ws"])
def test_events_come_back_as_they_were(echo: EchoServer, js: JsClient, transports: list[str], namespace: str) -> None:
    js.open(echo.url + namespace, transports=transports)
    assert js.hears("connect")[1] in transports
    js.emit("message", {"question": "halo, apa kabar? ☕"}, [1, 2.5, None, True])
    assert js.hears("message") == [{"question": "halo, apa kabar? ☕"}, [1, 2.5, None, True]]


@over_each_transport
def test_an_acknowledgement_is_answered(echo: EchoServer, js: JsClient, transports: list[str]) -> None:
    js.open(echo.url, transports=transports)
    assert js.ask("message", "one", {"two": 2}) == ["one", {"two": 2}]


@over_each_transport
def test_the_client_acknowledges_what_it_is_asked(echo: EchoServer, js: JsClient, transports: list[str]) -> None:
    js.open(echo.url, transports=transports)
    js.emit("ask me", 7, b"\xff")
    assert js.hears("answered") == ["yes", 7, b"\xff"]


@over_each_transport
def test_binary_goes_both_ways(echo: EchoServer, js: JsClient, transports: list[str]) -> None:
    js.open(echo.url, transports=transports)
    js.emit("picture", {"parts": [b"\x00\x01\xff", b""]}, b"tail")
    assert js.hears("picture") == [{"parts": [b"\x00\x01\xff", b""]}, b"tail"]
    assert js.ask("picture", b"\xfe") == [b"\xfe"]


@over_each_transport
def test_the_token_of_the_handshake_tells_who_it_is(echo: EchoServer, js: JsClient, transports: list[str]) -> None:
    js.open(echo.url, transports=transports, auth={"token": "ani"})
    sid = js.hears("connect")[0]
    js.emit("who")
    assert js.hears("you") == [sid, "user of ani"]


@over_each_transport
def test_many_events_come_in_order_also_across_the_upgrade(echo: EchoServer, js: JsClient, transports: list[str]) -> None:
    js.open(echo.url, transports=transports)
    for number in range(300):
        js.emit("mine", number)
    js.emit("count", 300)
    assert [js.hears("mine") for _ in range(300)] == [[number] for number in range(300)]
    assert [js.hears("number") for _ in range(300)] == [[number] for number in range(300)]
    if transports == ["polling", "websocket"]:
        assert js.hears("upgrade") == ["websocket"]
        assert js.ask("after") == []


def test_an_unknown_namespace_is_a_connect_error_that_is_not_tried_again(echo: EchoServer, js: JsClient) -> None:
    js.open(f"{echo.url}/nope")
    assert js.hears("connect_error") == ["Invalid namespace", False]


def test_a_refused_token_is_a_connect_error_with_its_reason(echo: EchoServer, js: JsClient) -> None:
    js.open(echo.url, auth={"token": "bad"})
    assert js.hears("connect_error") == ["Invalid Token", False]


@over_each_transport
def test_a_client_comes_back_by_itself_after_a_restart(own_echo: EchoServer, js: JsClient, transports: list[str]) -> None:
    js.open(own_echo.url, transports=transports, reconnectionDelay=50, reconnectionDelayMax=200)
    first = js.hears("connect")[0]
    assert js.ask("before") == []
    own_echo.stop()
    assert js.hears("disconnect") == ["transport close", True]
    own_echo.start()
    assert js.hears("connect")[0] != first
    assert js.ask("after") == []


@over_each_transport
def test_a_client_that_disconnects_has_left(echo: EchoServer, js: JsClient, transports: list[str]) -> None:
    js.open(echo.url, transports=transports)
    sid = js.hears("connect")[0]
    js.disconnect()
    assert js.hears("disconnect") == ["io client disconnect", False]
    echo.sees_leave(sid)


@over_each_transport
def test_the_heartbeat_keeps_a_client(own_echo: EchoServer, js: JsClient, transports: list[str]) -> None:
    js.open(own_echo.url, transports=transports)
    js.hears("connect")
    js.emit("wait", 0.5)
    assert js.hears("waited") == []
    assert js.ask("still there?") == []


def test_two_namespaces_share_one_connection(echo: EchoServer, js: JsClient) -> None:
    js.open(echo.url, forceNew=False)
    js.open(f"{echo.url}/ws", socket="other", forceNew=False)
    assert js.hears("connect")[0] != js.hears("connect", "other")[0]
    js.disconnect()
    assert js.ask("still there?", socket="other") == []
