"""Socket.IO packets: text in, packets out, and what the 4.8 reference takes for malformed."""

from __future__ import annotations

import sys
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ellara.errors import ProtocolError
from ellara.protocol.socketio import NESTING_MAX, Ack, Connect, ConnectError, Decoder, Disconnect, Event, Packet, encode

namespaces = st.just("/") | st.from_regex(r"/[a-z0-9/?=]{1,8}", fullmatch=True)
numbers = st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
leaves = st.none() | st.booleans() | numbers | st.text() | st.binary(max_size=4)
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=8
)
objects = st.dictionaries(st.text().filter(lambda key: key != "_placeholder"), st.none() | st.text(), max_size=3)
ids = st.none() | st.integers(0, 10**24)
args = st.lists(values.filter(lambda value: "_placeholder" not in str(value)), max_size=4)
events = st.builds(lambda where, rest, number: Event(where, ["name", *rest], number), namespaces, args, ids)
packets = (
    events
    | st.builds(Ack, namespaces, args, ids)
    | st.builds(Connect, namespaces, st.none() | objects)
    | st.builds(Disconnect, namespaces)
    | st.builds(ConnectError, namespaces, objects | st.text())
)


def decode(*messages: str | bytes) -> Packet | None:
    decoder, packet = Decoder(), None
    for message in messages:
        assert packet is None
        packet = decoder.receive(message)
    return packet


def bytes_in(value: object) -> int:
    match value:
        case bytes():
            return 1
        case list():
            return sum(map(bytes_in, value))
        case dict():
            return sum(map(bytes_in, value.values()))
    return 0


@given(packets)
def test_decoding_undoes_encoding(packet: Packet) -> None:
    attachments = bytes_in(packet.args) if isinstance(packet, Event | Ack) else 0
    messages = encode(packet)
    assert len(messages) == 1 + attachments
    if attachments <= 10:
        assert decode(*messages) == packet


@given(st.lists(st.text() | st.binary() | st.from_regex(r"[0-9]{1,3}-?(/a,)?[0-9]?[\[{\"].*", fullmatch=True), max_size=4))
def test_garbage_gives_protocol_errors_only(messages: list[str | bytes]) -> None:
    decoder = Decoder()
    for message in messages:
        try:
            decoder.receive(message)
        except ProtocolError:
            return


MALFORMED = [
    *("", "a", "7", "٢", "2[", "2{}", "2[]", "2null", "2[1.5", "2[null]", "2[true]", "2[{}]", "251-", '2-1["a"]'),
    *('2["a"]x', '2["a",]', '2["\x01"]', '2["a",NaN]', '2["a",Infinity]', '2["a",-Infinity]', '2٣["a"]', '2,["a"]', '2["a"'),
    *('2["connect"]', '2["connect_error"]', '2["disconnect"]', '2["disconnecting"]', '2["newListener"]', '2["removeListener"]'),
    *("0[]", '0"x"', "0null", "0true", "0{", '0{"a":1', "0,", "1{}", "1null", "31{}", "31[", "3null", "4", "4[]", "4null"),
    *("5", '50-["a"]', '5-["a"]', "51", '5x-["a"]', '51.5-["a"]', '51_0-["a"]', '511-["a"]', '5-1-["a"]', '5 1-["a"]', '51["a"]'),
    *("6", '60-["a"]', "61-{}", '2["a",' + "[" * 400_000 + "]" * 400_000 + "]", "2" + "1" * 5_000 + '["a"]'),
]


@pytest.mark.parametrize("text", MALFORMED, ids=lambda text: repr(text[:24]))
def test_malformed_packets_are_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        Decoder().receive(text)


@pytest.mark.parametrize(
    ("text", "packet"),
    [
        ("0", Connect("/")),
        ('0{"token":"x"}', Connect("/", {"token": "x"})),
        ("0/nope", Connect("/nope")),
        ("0/nope,", Connect("/nope")),
        ('0/nope?a=b,{"c":1}', Connect("/nope?a=b", {"c": 1})),
        ("01", Connect("/")),
        ("1", Disconnect("/")),
        ("1/ws,", Disconnect("/ws")),
        ('2["a",1,{"b":null}]', Event("/", ["a", 1, {"b": None}])),
        ('27["a"]', Event("/", ["a"], 7)),
        ('2/ws,7["a"]', Event("/ws", ["a"], 7)),
        ("2" + "1" * 24 + '["a"]', Event("/", ["a"], int("1" * 24))),
        ("2", Event("/", [])),
        ("2[1.5,{}]", Event("/", [1.5, {}])),
        ('2[""]', Event("/", [""])),
        ('2["__proto__"]', Event("/", ["__proto__"])),
        ('2["a",{"_placeholder":true,"num":0}]', Event("/", ["a", {"_placeholder": True, "num": 0}])),
        ('2["\\ud800"]', Event("/", ["\ud800"])),
        ('31["yes"]', Ack("/", ["yes"], 1)),
        ('3/ws,1["yes"]', Ack("/ws", ["yes"], 1)),
        ("3", Ack("/", [])),
        ('4{"message":"no"}', ConnectError("/", {"message": "no"})),
    ],
)
def test_packets_on_the_wire(text: str, packet: Packet) -> None:
    assert Decoder().receive(text) == packet


@pytest.mark.parametrize("number", ["1" * 10_000, "1e999"])
def test_a_number_beyond_every_range_is_infinite(number: str) -> None:
    packet = Decoder().receive(f'2["a",{number}]')
    assert isinstance(packet, Event)
    assert packet.args == ["a", inf]
    assert encode(packet) == ['2["a",null]']


def test_a_lone_surrogate_is_written_as_the_escape_it_came_as() -> None:
    assert encode(Event("/", ["\ud800é"])) == ['2["\\ud800\\u00e9"]']


def test_what_json_cannot_say_is_a_protocol_error() -> None:
    deep: list[object] = []
    for _ in range(400_000):
        deep = [deep]
    for argument in (deep, ["\ud800", inf]):
        with pytest.raises(ProtocolError):
            encode(Event("/", ["a", argument]))


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":'])
def test_a_raised_recursion_limit_does_not_open_the_c_stack_to_a_peer(opening: str) -> None:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)  # as py-ecc does on import; msgspec then crashes the process past some 25,000 levels
    try:
        with pytest.raises(ProtocolError):
            Decoder().receive('2["a",' + opening * 50_000)
    finally:
        sys.setrecursionlimit(before)


def test_nesting_is_bounded_and_brackets_in_a_text_are_none() -> None:
    flat = '2["a",' + ",".join(["[]"] * 1_000) + ',"' + '[\\"' * 1_000 + '"]'
    assert isinstance(Decoder().receive(flat), Event)
    at_the_bound = '2["a",' + "[" * (NESTING_MAX - 1) + "]" * (NESTING_MAX - 1) + "]"
    packet = Decoder().receive(at_the_bound)
    assert isinstance(packet, Event)
    assert encode(packet) == [at_the_bound]
    with pytest.raises(ProtocolError):
        Decoder().receive(at_the_bound.replace("[]", "[[]]"))


def test_binary_leaves_as_attachments_and_comes_back_in_place() -> None:
    packet = Event("/ws", ["bin", {"a": b"\x01"}, b""], 3)
    placeholders = '[{"a":{"_placeholder":true,"num":0}},{"_placeholder":true,"num":1}]'
    assert encode(packet) == [f'52-/ws,3["bin",{placeholders[1:]}', b"\x01", b""]
    assert decode(*encode(packet)) == packet


@pytest.mark.parametrize(
    "messages",
    [
        [b"\x01"],
        ['51-["a",{"_placeholder":true,"num":0}]', '2["b"]'],
        ['51-["a",{"_placeholder":true,"num":1}]', b"\x01"],
        ['51-["a",{"_placeholder":true,"num":-1}]', b"\x01"],
        ['51-["a",{"_placeholder":true,"num":"0"}]', b"\x01"],
        ['51-["a",{"_placeholder":true,"num":false}]', b"\x01"],
        ['51-["a",{"_placeholder":true}]', b"\x01"],
    ],
)
def test_attachments_that_do_not_fit_are_refused(messages: list[str | bytes]) -> None:
    with pytest.raises(ProtocolError):
        decode(*messages)


def test_infinity_is_never_written() -> None:
    assert encode(Ack("/", [inf, -inf], 1)) == ["31[null,null]"]
