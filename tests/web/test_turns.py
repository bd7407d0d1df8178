"""Thousands of things to do at once leave the others their turns of the loop: what a neighbour sees done between two of those."""

from __future__ import annotations

import select
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import attrs
import trio

from tests.web.hostile import frame, upgrade
from tests.web.peer import SOON_S, Bare, Peer

AT_ONCE_MAX = 2 * 100
"""The loop runs its tasks in any order: between two turns of one, another may have had two."""

CROWD = 300


@attrs.define
class Neighbour:
    """Has a turn in each turn of the loop; `most`: what came to be done between two of its own, of all that `done` counts."""

    done: Callable[[], int]
    most: int = 0

    async def watch(self, until: int) -> None:
        seen = self.done()
        while seen < until:
            await trio.lowlevel.checkpoint()
            now = self.done()
            self.most, seen = max(self.most, now - seen), now


@asynccontextmanager
async def crowd(peer: Peer) -> AsyncIterator[list[Bare]]:
    """Joined."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(peer.bare()) for _ in range(CROWD)]


async def test_the_frames_of_one_read_are_worked_off_in_several(peer: Peer) -> None:
    neighbour = Neighbour(lambda: len(peer.clients))
    with trio.fail_after(SOON_S):
        async with peer.bare(upgrade() + frame(b"40") + frame(b'42["x"]') * 1_000, joined=False):
            await neighbour.watch(1_000)
    assert neighbour.most <= AT_ONCE_MAX


async def test_lines_that_have_something_to_say_together_are_written_in_several(peer: Peer) -> None:
    async with crowd(peer) as lines:
        clients = [await peer.client(line) for line in lines]
        poll = select.poll()
        for line in lines:
            poll.register(line.stream.socket, select.POLLIN)
        neighbour = Neighbour(lambda: len(poll.poll(0)))
        for client in clients:
            client.emit("x")
        with trio.fail_after(SOON_S):
            await neighbour.watch(CROWD)
        assert neighbour.most <= AT_ONCE_MAX


async def test_sessions_are_told_of_the_end_in_several(peer: Peer) -> None:
    async with crowd(peer), trio.open_nursery() as nursery:
        neighbour = Neighbour(lambda: len(peer.left))
        nursery.start_soon(peer.socketio.close, SOON_S)
        with trio.fail_after(SOON_S):
            await neighbour.watch(CROWD)
        assert neighbour.most <= AT_ONCE_MAX
        nursery.cancel_scope.cancel()
