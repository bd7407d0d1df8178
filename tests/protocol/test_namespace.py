"""Which packet is taken in which state of a namespace."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ellara.errors import ProtocolError
from ellara.protocol.namespace import Acknowledged, Join, Left, Namespaces, NoSuchNamespace, Received
from ellara.protocol.socketio import Connect, ConnectError


def joined(*names: str) -> Namespaces:
    namespaces = Namespaces(("/", "/ws"), 2_000_000)
    for name in names:
        assert namespaces.receive("0" if name == "/" else f"0{name},") == [Join(name, {})]
        assert namespaces.accept(name, "abc") == Connect(name, {"sid": "abc"})
    return namespaces


def test_the_auth_of_the_client_is_handed_on() -> None:
    assert Namespaces(("/",), 2_000_000).receive('0{"token":"x"}') == [Join("/", {"token": "x"})]


@pytest.mark.parametrize("name", ["/nope", "/ws?token=x", "/WS", "//"])
def test_other_namespaces_do_not_exist_and_the_connection_lives(name: str) -> None:
    namespaces = joined("/")
    assert namespaces.receive(f"0{name},") == [NoSuchNamespace(name)]
    assert namespaces.refuse(name, "Invalid namespace") == ConnectError(name, {"message": "Invalid namespace"})
    assert namespaces.receive('2["a"]') == [Received("/", "a", [], None)]


def test_a_refused_client_may_ask_again() -> None:
    namespaces = Namespaces(("/",), 2_000_000)
    namespaces.receive("0")
    namespaces.refuse("/", "no")
    assert namespaces.receive("0") == [Join("/", {})]


def test_who_may_come_back_after_a_lost_connection_is_told_by_what() -> None:
    namespaces = Namespaces(("/",), 2_000_000)
    namespaces.receive("0")
    assert namespaces.accept("/", "abc", "xyz") == Connect("/", {"sid": "abc", "pid": "xyz"})


def test_events_carry_name_arguments_and_id() -> None:
    assert joined("/", "/ws").receive('2/ws,7["a",1,{"b":2}]') == [Received("/ws", "a", [1, {"b": 2}], 7)]


@pytest.mark.parametrize("text", ["2", "2[1]", "2[1.5,{}]", "27", "3", "3[]"])
def test_what_names_no_event_or_answers_nothing_is_ignored(text: str) -> None:
    assert joined("/").receive(text) == []


def test_an_acknowledgement_says_what_it_answers() -> None:
    assert joined("/", "/ws").receive('3/ws,7["yes",1]') == [Acknowledged("/ws", 7, ["yes", 1])]


def test_who_left_may_come_again() -> None:
    namespaces = joined("/")
    assert namespaces.receive("1") == [Left("/")]
    assert namespaces.receive("0") == [Join("/", {})]


@pytest.mark.parametrize("text", ['2["a"]', "3[]", "31[]", "1", "4{}", '4"x"', '2/nope,["a"]', "1/ws,"])
def test_before_joining_only_connect_is_taken(text: str) -> None:
    with pytest.raises(ProtocolError):
        Namespaces(("/", "/ws"), 2_000_000).receive(text)


@pytest.mark.parametrize("text", ["0", "4{}", '2/ws,["a"]', "0[]", '2["connect"]'])
def test_after_joining_no_second_connect_is_taken(text: str) -> None:
    with pytest.raises(ProtocolError):
        joined("/").receive(text)


def test_after_leaving_events_are_refused() -> None:
    namespaces = joined("/")
    namespaces.receive("1")
    with pytest.raises(ProtocolError):
        namespaces.receive('2["a"]')


def test_an_event_with_attachments_comes_when_they_are_complete() -> None:
    namespaces = joined("/")
    assert namespaces.receive('51-9["bin",{"_placeholder":true,"num":0}]') == []
    assert namespaces.receive(b"\x01") == [Received("/", "bin", [b"\x01"], 9)]


@given(st.lists(st.text(max_size=5) | st.binary(max_size=5) | st.from_regex(r'[0-6]{1,2}(\["a"\])?', fullmatch=True)))
def test_garbage_gives_protocol_errors_only(messages: list[str | bytes]) -> None:
    namespaces = Namespaces(("/",), 2_000_000)
    with suppress(ProtocolError):
        for message in messages:
            for event in namespaces.receive(message):
                if isinstance(event, Join):
                    namespaces.accept(event.namespace, "abc")
