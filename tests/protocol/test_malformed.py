"""What the 4.8 reference does with malformed input, row by row: from a WebSocket frame to an event of a joined namespace."""

from __future__ import annotations

import pytest

from ellara.errors import ProtocolError
from ellara.protocol.engineio import Type, decode_frame
from ellara.protocol.namespace import Acknowledged, Event, Join, Namespaces, Received


def hear(*frames: str | bytes, joined: bool = True) -> list[Event]:
    """What a connection makes of them. Raises `ProtocolError` where it is closed."""
    namespaces, events = Namespaces(("/",), 2_000_000), list[Event]()
    for frame in ("40", *frames) if joined else frames:
        packet = decode_frame(frame)
        assert packet.type is Type.MESSAGE
        for event in namespaces.receive(packet.data):
            events.append(event)
            if isinstance(event, Join):
                namespaces.accept("/", "abc")
    return events[joined:]


HOLE, TOO_FAR = '{"_placeholder":true,"num":0}', '{"_placeholder":true,"num":1}'

CLOSED = [
    *("", "7", "9", "a", "٤", " 4", "4", "4a", "47", "4٢"),
    *("42[", "42{}", "42[]", "42null", "42[1.5", "42[null]", "42[true]", "42[{}]", '42["a"', "4251-", '42-1["a"]'),
    *('42["a"]x', '42["a"]]', '42["a",]', '42["\x01"]', '42["a",NaN]', '42["a",Infinity]', '42["a",-Infinity]', '42,["a"]'),
    *('42["connect"]', '42["connect_error"]', '42["disconnect"]', '42["disconnecting"]'),
    *('42["newListener"]', '42["removeListener"]', '42٣["a"]', "42" + "1" * 5_000 + '["a"]'),
    *("41{}", "41null", "431{}", "431[", "43null", "44", "44[]", "44null", "44{}", '44"x"', "40"),
    *("45", '450-["a"]', "450-", '45-["a"]', "45-", "451", '45x-["a"]', '451.5-["a"]', '451_0-["a"]', '4511-["a"]', '45-1-["a"]'),
    *('45 1-["a"]', '451["a"]', "46", '460-["a"]', "461-{}", '451-["connect"]', "451-[null]"),
    "40/" + "n" * 1_000 + ",",
    '42["a",' + "[" * 10_000 + "]" * 10_000 + "]",
    '42["a",' + "[" * 400_000 + "]" * 400_000 + "]",
]


@pytest.mark.parametrize("frame", CLOSED, ids=lambda frame: repr(frame[:24]))
def test_the_connection_is_closed(frame: str) -> None:
    with pytest.raises(ProtocolError):
        hear(frame)


@pytest.mark.parametrize(
    "frame", ["40[]", '40"x"', "40null", "40true", "40{", '40{"a":1', "40,", "40/,[]", "42", "43", "41", '44"x"']
)
def test_who_does_not_begin_with_a_connect_is_closed(frame: str) -> None:
    with pytest.raises(ProtocolError):
        hear(frame, joined=False)


@pytest.mark.parametrize(
    "frames",
    [
        [b""],
        [b"\x01"],
        ["bAQ=="],
        [f'451-["a",{HOLE}]', b"\x01", b"\x02"],
        [f'451-["a",{HOLE}]', '42["b"]'],
        [f'451-["a",{HOLE}]', f'451-["a",{HOLE}]'],
        [f'451-["a",{TOO_FAR}]', b"\x01"],
        [f'461-1["a",{TOO_FAR}]', b"\x01"],
        ['451-["a",{"_placeholder":true,"num":-1}]', b"\x01"],
        ['451-["a",{"_placeholder":true,"num":0.5}]', b"\x01"],
        ['451-["a",{"_placeholder":true,"num":"0"}]', b"\x01"],
        ['451-["a",{"_placeholder":true,"num":false}]', b"\x01"],
        ['451-["a",{"_placeholder":true}]', b"\x01"],
    ],
)
def test_attachments_that_do_not_fit_close_the_connection(frames: list[str | bytes]) -> None:
    with pytest.raises(ProtocolError):
        hear(*frames)


IGNORED = ["42", "427", "42[1]", "42[1.5,{}]", "43", '43["yes"]']
POLLUTING = ['42["__proto__",{"x":1}]', '427["constructor"]', '42["prototype"]']


@pytest.mark.parametrize("frame", IGNORED + POLLUTING, ids=lambda frame: frame[:24])
def test_what_is_nobodys_event_is_ignored_and_the_connection_lives(frame: str) -> None:
    assert hear(frame, '42["after"]') == [Received("/", "after", [], None)]


@pytest.mark.parametrize(
    ("frames", "event"),
    [
        (['431["yes"]'], Acknowledged("/", 1, ["yes"])),
        (["431" + "0" * 30 + "[]"], Acknowledged("/", 10**30, [])),
        ([f"461-7[{HOLE}]", b"x"], Acknowledged("/", 7, [b"x"])),
        (['42[""]'], Received("/", "", [], None)),
        (['42["error"]'], Received("/", "error", [], None)),
        (["42" + "1" * 24 + '["a"]'], Received("/", "a", [], int("1" * 24))),
        (['42["a",' + "1" * 10_000 + "]"], Received("/", "a", [float("inf")], None)),
        (['42["a","\\ud800"]'], Received("/", "a", ["\ud800"], None)),
        ([f'42["a",{HOLE}]'], Received("/", "a", [{"_placeholder": True, "num": 0}], None)),
        ([f'451-["a",{HOLE},{HOLE}]', "bAQ"], Received("/", "a", [b"\x01", b"\x01"], None)),
        (['451-["a"]', b"\x01"], Received("/", "a", [], None)),
        (['42["a",{"__proto__":1}]'], Received("/", "a", [{"__proto__": 1}], None)),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_what_is_odd_but_means_something_is_taken(frames: list[str | bytes], event: Event) -> None:
    assert hear(*frames) == [event]


@pytest.mark.parametrize("frame", ["401", "40", "40{}", '40{"__proto__":1}'])
def test_a_connect_may_carry_an_id_and_any_object(frame: str) -> None:
    assert [type(event) for event in hear(frame, joined=False)] == [Join]


def test_a_connect_and_an_event_at_once_are_taken_in_order() -> None:
    assert hear("40", '42["a"]', joined=False)[1:] == [Received("/", "a", [], None)]
