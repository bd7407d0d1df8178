"""Engine.IO packets: bytes in, bytes out. Texts are those of the 4.8 reference."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ellara.errors import ProtocolError
from ellara.protocol.engineio import (
    SEPARATOR,
    Packet,
    Type,
    decode_frame,
    encode_frame,
    encode_payload,
    split_payload,
)

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=SEPARATOR))
packets = st.builds(Packet, st.sampled_from(Type), texts) | st.builds(Packet, st.just(Type.MESSAGE), st.binary())


@given(packets)
def test_a_frame_says_what_was_put_in(packet: Packet) -> None:
    assert decode_frame(encode_frame(packet)) == packet


@given(st.lists(packets, min_size=1))
def test_a_payload_says_what_was_put_in(sent: list[Packet]) -> None:
    assert [decode_frame(text) for text in split_payload(encode_payload(sent))] == sent


@given(st.text() | st.binary())
def test_garbage_is_a_packet_or_a_protocol_error(frame: str | bytes) -> None:
    with suppress(ProtocolError):
        decode_frame(frame)


@pytest.mark.parametrize("frame", ["", "7", "9", "a", "zzz", "\x1e", "٤", " 4", "B"])
def test_an_unknown_type_is_refused(frame: str) -> None:
    with pytest.raises(ProtocolError):
        decode_frame(frame)


@pytest.mark.parametrize(
    ("frame", "packet"),
    [
        ("2probe", Packet(Type.PING, "probe")),
        ("3", Packet(Type.PONG)),
        ('42["a"]', Packet(Type.MESSAGE, '2["a"]')),
        ("5", Packet(Type.UPGRADE)),
        (b"", Packet(Type.MESSAGE, b"")),
        (b"2probe", Packet(Type.MESSAGE, b"2probe")),
        ("bAQID", Packet(Type.MESSAGE, b"\x01\x02\x03")),
        ("b", Packet(Type.MESSAGE, b"")),
    ],
)
def test_packets_on_the_wire(frame: str | bytes, packet: Packet) -> None:
    assert decode_frame(frame) == packet


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("b-_8=", b"\xfb\xff"),
        ("b+/8", b"\xfb\xff"),
        ("bAQ", b"\x01"),
        ("bA", b""),
        ("bA Q\nI=", b"\x01\x02"),
        ("bAQI=zz", b"\x01\x02"),
    ],
)
def test_base64_is_read_leniently(text: str, data: bytes) -> None:
    assert decode_frame(text).data == data


def test_packets_are_joined_by_the_record_separator() -> None:
    sent = [Packet(Type.NOOP), Packet(Type.MESSAGE, b"\x01\x02"), Packet(Type.CLOSE)]
    assert encode_payload(sent) == "6\x1ebAQI=\x1e1"
