"""Socket.IO packets: text in, packets out, and what the 4.8 reference takes for malformed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ellara.errors import ProtocolError
from ellara.protocol.socketio import Ack, Connect, ConnectError, Decoder, Disconnect, Event, Packet, encode

namespaces = st.just("/") | st.from_regex(r"/[a-z0-9/?=]{1,8}", fullmatch=True)
numbers = st.integers(-(10**300), 10**300) | st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(max_codepoint=0xD7FF) | st.characters(min_codepoint=0xDC00))
"""With lone surrogates, as JavaScript's strings may hold: lower halves alone, for an upper and a lower one are one character."""

leaves = st.none() | st.booleans() | numbers | texts | st.binary(max_size=4)
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=8)
objects = st.dictionaries(texts.filter(lambda key: key != "_placeholder"), st.none() | texts, max_size=3)
ids = st.none() | st.integers(0, 10**24)
args = st.lists(values.filter(lambda value: "_placeholder" not in str(value)), max_size=4)
events = st.builds(lambda where, rest, number: Event(where, ["name", *rest], number), namespaces, args, ids)
packets = (
    events
    | st.builds(Ack, namespaces, args, ids)
    | st.builds(Connect, namespaces, st.none() | objects)
    | st.builds(Disconnect, namespaces)
    | st.builds(ConnectError, namespaces, objects | texts)
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
    assert str(messages[0]).encode(), "what leaves is UTF-8"
    if attachments <= 10:
        assert decode(*messages) == packet


heads = st.from_regex(r"[0-9]{1,3}-?(/a,)?[0-9]?[\[{\"].*", fullmatch=True)
garbage = texts | st.binary() | heads


@st.composite
def damaged(draw: st.DrawFn) -> list[str | bytes]:
    """A packet's messages, the text with a part of it replaced by something else."""
    text, *attachments = encode(draw(packets))
    assert isinstance(text, str)
    cut = st.integers(0, len(text))
    begin, end = sorted((draw(cut), draw(cut)))
    return [text[:begin] + draw(st.text('[]{},:"\\0129-/truenl', max_size=4)) + text[end:], *attachments]


@given(st.lists(garbage, max_size=4) | damaged())
def test_garbage_gives_packets_or_protocol_errors_and_nothing_else(messages: list[str | bytes]) -> None:
    decoder = Decoder()
    for message in messages:
        try:
            packet = decoder.receive(message)
        except ProtocolError:
            return
        assert packet is None or isinstance(packet, Packet)


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


def test_arguments_that_nest_too_deeply_are_a_protocol_error() -> None:
    deep: list[object] = []
    for _ in range(400_000):
        deep = [deep]
    with pytest.raises(ProtocolError):
        encode(Event("/", ["a", deep]))


def test_binary_leaves_as_attachments_and_comes_back_in_place() -> None:
    packet = Event("/ws", ["bin", {"a": b"\x01"}, b""], 3)
    placeholders = '[{"a":{"_placeholder":true,"num":0}},{"_placeholder":true,"num":1}]'
    assert encode(packet) == [f'52-/ws,3["bin",{placeholders[1:]}', b"\x01", b""]
    assert decode(*encode(packet)) == packet


def test_placeholders_are_looked_for_as_deep_as_json_may_nest() -> None:
    deep = "[" * 198 + '{"_placeholder":true,"num":0}' + "]" * 198
    packet = decode(f'51-["a",{deep}]', b"\x01")
    assert isinstance(packet, Event)
    assert encode(packet) == [f'51-["a",{deep}]', b"\x01"]


def test_a_packet_and_its_attachments_are_bounded_together() -> None:
    text = '52-["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]'
    decoder = Decoder(max_bytes=len(text) + 10)
    for _ in range(2):
        assert [decoder.receive(message) is None for message in (text, b"12345", b"12345")] == [True, True, False]
    decoder.receive(text)
    with pytest.raises(ProtocolError, match=f"A packet of {len(text) + 11} bytes with its attachments, at most {len(text) + 10}"):
        decoder.receive(b"12345678901")
