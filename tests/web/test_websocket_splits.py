"""A WebSocket's bytes, cut anywhere on their way, are the same messages: the request and all that comes behind it."""

from __future__ import annotations

from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from tests.web.hostile import fragment, frame, upgrade
from tests.web.peer import Bare, serving

MESSAGES = [
    '42["x","☕"]'.encode(),
    b'42["x","in three parts"]',
    b'451-["x",{"_placeholder":true,"num":0}]',
    b"\x00\xff" * 100,
    b'42["x","' + b"long" * 100 + b'"]',
]
PONGS = [b"", b"are you there"]
SAID = b"".join(
    [
        upgrade(),
        frame(b"40"),
        frame(MESSAGES[0]),
        fragment(MESSAGES[1][:7], 1) + frame(PONGS[0], 9) + fragment(MESSAGES[1][7:9]) + frame(MESSAGES[1][9:], 0),
        frame(MESSAGES[2]) + frame(PONGS[1], 9) + frame(MESSAGES[3], 2),
        frame(b"unasked", 10) + frame(MESSAGES[4]),
    ]
)


@settings(max_examples=30, deadline=None, phases=set(Phase) - {Phase.shrink})  # a failure takes the time of its deadline
@given(st.sets(st.integers(1, len(SAID) - 1), max_size=12))
@example(set(range(1, len(SAID))))
async def test_cut_anywhere_they_are_answered_alike(cuts: set[int]) -> None:
    async with serving() as peer, peer.bare(b"", joined=False) as ws:
        for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(SAID)], strict=True):
            await ws.says(SAID[start:end])
            await wait_all_tasks_blocked()
        assert (await ws.head()).startswith("http/1.1 101 ")
        opened, joined, *heard = await answers(ws)
        assert (opened[:2], joined[:3], heard) == (b"0{", b"40{", MESSAGES)


async def answers(ws: Bare) -> list[bytes]:
    """The messages that it hears; the pongs come between them, and which one overtakes what depends on the cuts."""
    heard = [await ws.hears() for _ in range(2 + len(MESSAGES) + len(PONGS))]
    frames = [frame for frame in heard if frame is not None]
    assert [payload for opcode, payload in frames if opcode == 10] == PONGS
    return [payload for opcode, payload in frames if opcode != 10]
