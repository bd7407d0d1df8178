from __future__ import annotations

import trio
from trio.testing import MockClock, memory_stream_pair

from ellara.llm.pace import PAUSE_MAX_S, UNPACED_READS, UNPACED_STREAMS, Pace, PacedSocket


async def times_of_reads(pace: Pace, count: int) -> list[float]:
    """When each of `count` reads of a connection that always has something came back."""
    ours, theirs = memory_stream_pair()
    await theirs.send_all(b"x" * count)
    socket = PacedSocket(ours, pace)
    await socket.send_all(b"a request")
    start, times = trio.current_time(), []
    for _ in range(count):
        await socket.receive_some(1)
        times.append(round(trio.current_time() - start, 6))
    return times


async def test_few_streams_are_read_at_once(autojump_clock: MockClock) -> None:
    assert await times_of_reads(Pace(UNPACED_STREAMS), 20) == [0.0] * 20


async def test_many_streams_are_each_read_less_often(autojump_clock: MockClock) -> None:
    assert await times_of_reads(Pace(10_000), UNPACED_READS + 2) == [0.0] * UNPACED_READS + [PAUSE_MAX_S, 2 * PAUSE_MAX_S]


async def test_the_beginning_of_every_response_is_read_at_once(autojump_clock: MockClock) -> None:
    ours, theirs = memory_stream_pair()
    await theirs.send_all(b"x" * 20)
    socket = PacedSocket(ours, Pace(10_000))
    start = trio.current_time()
    for _ in range(5):
        await socket.send_all(b"the next request")
        for _ in range(UNPACED_READS):
            await socket.receive_some(1)
    assert trio.current_time() == start


def test_a_stream_counts_while_it_is_open() -> None:
    pace = Pace()
    with pace.one_more(), pace.one_more():
        assert pace.streams == 2
    assert pace.streams == 0
