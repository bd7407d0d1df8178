"""One connection and its client, without sockets: the test is the shell, the clock jumps."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from prometheus_client import REGISTRY
from trio.testing import MockClock, wait_all_tasks_blocked

from ellara.actors.outbox import Outbox
from ellara.actors.session import (
    Ack,
    Application,
    Client,
    Frame,
    Happened,
    Poll,
    Post,
    Posted,
    Session,
    SocketCame,
    SocketWent,
    Stop,
)
from ellara.errors import Conflict, NotFound, ProtocolError, TokenRejected
from ellara.protocol.engineio import encode_frame
from ellara.protocol.transport import Signal
from ellara.settings import Socket

SETTINGS = Socket(outbox_max_bytes=10_000)
SOON_S = 10.0


@attrs.define
class Ellara:
    """What the connections are for, in these tests; `pong` is answered to `ping`."""

    clients: list[Client] = attrs.field(factory=list)
    heard: list[tuple[str, list[object]]] = attrs.field(factory=list)
    left: list[Client] = attrs.field(factory=list)

    def authenticate(self, auth: Mapping[str, object]) -> str | None:
        if auth.get("token") == "bad":
            raise TokenRejected("Invalid Token")
        return str(auth["token"]) if "token" in auth else None

    def on_event(self, client: Client, event: str, args: list[object], ack: Ack | None) -> None:
        if client not in self.clients:
            self.clients.append(client)
        self.heard.append((event, args))
        if ack is not None:
            ack(*args)
            ack("a second answer")
        match event:
            case "ping":
                client.emit("pong", *args)
            case "crash":
                raise RuntimeError("our own bug")
            case "flood":
                for _ in range(100):
                    client.emit("flood", "x" * 1_000)


class Shell:
    """Speaks to a session as web/socketio.py does."""

    def __init__(self, session: Session) -> None:
        self.session, self.line = session, session.outbox
        self.over = trio.Event()

    async def says(self, *frames: str | bytes) -> None:
        for frame in frames:
            await self.session.tell(Frame(self.line, frame))

    async def hears(self) -> list[str | bytes]:
        """What goes out once nothing moves any more; nothing when the line was closed."""
        await wait_all_tasks_blocked()
        return [encode_frame(packet) for packet in await self.line.take()]

    async def polls(self) -> list[str | bytes]:
        poll = Poll()
        await self.session.tell(poll)
        packets = await (await poll.reply()).take()
        await self.session.tell(Happened(Signal.POLL_ANSWERED))
        return [encode_frame(packet) for packet in packets]

    async def posts(self, body: str) -> None:
        post, posted = Post(), Posted(body=body)
        for call in (post, posted):
            await self.session.tell(call)
            await call.reply()


@asynccontextmanager
async def connected(websocket: bool = True, within_s: float = SOON_S) -> AsyncIterator[tuple[Shell, Ellara]]:
    """A running session whose handshake was answered; cut at the end. A test that waits for longer has failed."""
    ellara = Ellara()
    session = Session(SETTINGS, Application(ellara.authenticate, ellara.on_event, ellara.left.append), websocket=websocket)
    shell = Shell(session)

    async def run() -> None:
        try:
            await session.run()
        except RuntimeError:
            assert ("crash", []) in ellara.heard
        finally:
            shell.over.set()

    with trio.fail_after(within_s):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            assert session.sid in str((await shell.hears() if websocket else await shell.polls())[0])
            yield shell, ellara
            session.cut()


async def joins(shell: Shell) -> None:
    await shell.says("40")
    assert str((await shell.hears())[0]).startswith('40{"sid":"')


def dropped(reason: str) -> float:
    return REGISTRY.get_sample_value("ellara_sessions_dropped_total", {"reason": reason}) or 0.0


async def test_an_event_reaches_ellara_and_its_answer_the_client() -> None:
    async with connected() as (shell, ellara):
        await joins(shell)
        await shell.says('42["ping",{"a":1}]')
        assert await shell.hears() == ['42["pong",{"a":1}]']
        assert ellara.heard == [("ping", [{"a": 1}])]


async def test_connect_and_an_event_in_one_burst_are_taken_in_order() -> None:
    async with connected() as (shell, ellara):
        await shell.says("40", '42["ping"]')
        assert [str(frame)[:6] for frame in await shell.hears()] == ['40{"si', '42["po']
        assert ellara.clients[0].user_id is None


async def test_an_acknowledgement_is_answered_once() -> None:
    async with connected() as (shell, _):
        await joins(shell)
        await shell.says('427["x",1,"two"]')
        assert await shell.hears() == ['437[1,"two"]']


async def test_the_token_makes_the_identity() -> None:
    async with connected() as (shell, ellara):
        await shell.says('40/ws,{"token":"ani"}', '42/ws,["x"]')
        assert str((await shell.hears())[0]).startswith('40/ws,{"sid":"')
        assert ellara.clients[0].user_id == "ani"
        assert len(ellara.clients[0].id) == 20


async def test_a_refused_token_is_told_why_and_the_client_may_try_another() -> None:
    async with connected() as (shell, _):
        await shell.says('40{"token":"bad"}')
        assert await shell.hears() == ['44{"message":"Invalid Token"}']
        await joins(shell)


async def test_an_unknown_namespace_is_refused_and_the_others_live_on() -> None:
    async with connected() as (shell, _):
        await joins(shell)
        await shell.says("40/nope,", '42["ping"]')
        assert await shell.hears() == ['44/nope,{"message":"Invalid namespace"}', '42["pong"]']


async def test_namespaces_have_identities_of_their_own() -> None:
    async with connected() as (shell, ellara):
        await shell.says("40", "40/ws,", '42["x"]', '42/ws,["x"]', "41/ws,", '42["ping"]')
        await shell.hears()
        one, other = ellara.clients
        assert one.id != other.id
        assert ellara.left == [other]
        assert (one.connected, other.connected) == (True, False)


async def test_what_is_emitted_after_leaving_goes_nowhere() -> None:
    async with connected() as (shell, ellara):
        await shell.says("40", '42["x"]', "41", "40")
        await shell.hears()
        ellara.clients[0].emit("late")
        assert len(shell.line) == 0


@pytest.mark.parametrize("frame", ["", "9", "2", "4", "42[", '42["connect"]', "40", "44{}", '42/ws,["a"]', b"", '451-["a"]x'])
async def test_a_malformed_packet_closes_the_connection(frame: str | bytes) -> None:
    async with connected() as (shell, ellara):
        await shell.says("40", '42["ping"]', frame)
        assert len(await shell.hears()) == 2
        assert await shell.hears() == []
        await shell.over.wait()
        assert ellara.left == ellara.clients


async def test_a_closed_session_takes_nothing_more() -> None:
    async with connected() as (shell, _):
        await shell.says("2")
        await shell.over.wait()
        with pytest.raises(NotFound):
            await shell.says("40")


async def test_a_bug_of_ours_ends_this_connection_and_tells_everybody() -> None:
    async with connected() as (shell, ellara):
        await shell.says("40", '42["crash"]')
        await shell.over.wait()
        assert ellara.left == ellara.clients
        assert len(await shell.hears()) == 1
        assert await shell.hears() == []


async def test_a_client_that_joins_nothing_is_dropped_after_the_connect_timeout(autojump_clock: MockClock) -> None:
    async with connected(within_s=50.0) as (shell, _):
        before, start = dropped("connect timeout"), trio.current_time()
        await shell.says("40/nope,")
        await trio.sleep(40.0)
        await shell.says("3")
        await shell.over.wait()
        assert trio.current_time() - start == pytest.approx(45.0)
        assert dropped("connect timeout") == before + 1


@pytest.mark.parametrize("websocket", [True, False])
async def test_a_client_that_answers_no_ping_is_dropped(websocket: bool, autojump_clock: MockClock) -> None:
    async with connected(websocket, within_s=50.0) as (shell, _):
        before, start = dropped("ping timeout"), trio.current_time()
        if websocket:
            await shell.says("40")
        else:
            await shell.posts("40")
        await shell.over.wait()
        assert trio.current_time() - start == pytest.approx(45.0)
        assert dropped("ping timeout") == before + 1


async def test_a_client_that_answers_its_pings_stays(autojump_clock: MockClock) -> None:
    async with connected(within_s=260.0) as (shell, _):
        await joins(shell)
        for _ in range(10):
            assert await shell.hears() == ["2"]
            await shell.says("3")
        assert trio.current_time() == pytest.approx(250.0, abs=1)


async def test_a_slow_reader_is_dropped_and_the_emitter_never_waits() -> None:
    async with connected() as (shell, ellara):
        before = dropped("outbox full")
        await shell.says("40", '42["flood"]')
        await shell.over.wait()
        assert dropped("outbox full") == before + 1
        assert not ellara.clients[0].connected
        assert ellara.left == ellara.clients
        assert await shell.hears() == []


async def test_an_emitter_in_another_task_drops_a_slow_reader_too() -> None:
    async with connected() as (shell, ellara):
        await shell.says("40", '42["x"]')
        await shell.hears()
        while ellara.clients[0].connected:
            ellara.clients[0].emit("chunk", "x" * 1_000)
        await shell.over.wait()
        assert ellara.left == ellara.clients


async def test_polling_answers_what_the_posts_asked() -> None:
    async with connected(websocket=False) as (shell, _):
        await shell.posts("40")
        assert str((await shell.polls())[0]).startswith('40{"sid":"')
        await shell.posts('42["ping",1]\x1e42["ping",2]')
        assert await shell.polls() == ['42["pong",1]', '42["pong",2]']


async def test_a_body_of_many_packets_lets_others_have_their_turn() -> None:
    async with connected(websocket=False) as (shell, ellara):
        turns = 0

        async def count_turns() -> None:
            nonlocal turns
            while len(ellara.heard) < 1_000:
                turns += 1
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(count_turns)
            await shell.posts("\x1e".join(["40", *['42["x"]'] * 1_000]))
        assert turns >= 10


async def test_a_second_get_is_refused_and_ends_both() -> None:
    async with connected(websocket=False) as (shell, _):
        first, second = Poll(), Poll()
        await shell.session.tell(first)
        await shell.session.tell(second)
        with pytest.raises(ProtocolError):
            await second.reply()
        assert await (await first.reply()).take() == []
        await shell.over.wait()


async def test_on_a_websocket_session_polls_are_refused_and_it_lives_on() -> None:
    async with connected() as (shell, _):
        poll = Poll()
        await shell.session.tell(poll)
        with pytest.raises(Conflict):
            await poll.reply()
        await joins(shell)


async def test_the_queue_moves_to_the_websocket_in_order() -> None:
    async with connected(websocket=False) as (shell, _):
        await shell.posts('40\x1e42["ping",1]')
        shell.line = Outbox(10_000)
        await shell.session.tell(SocketCame(shell.line))
        await shell.says("2probe")
        assert await shell.hears() == ["3probe"]
        await shell.posts('42["ping",2]')
        await shell.says("5", '42["ping",3]')
        assert (await shell.hears())[1:] == ['42["pong",1]', '42["pong",2]', '42["pong",3]']


async def test_a_waiting_poll_is_released_while_the_upgrade_is_under_way(autojump_clock: MockClock) -> None:
    async with connected(websocket=False) as (shell, _):
        probe = Outbox(10_000)
        await shell.session.tell(SocketCame(probe))
        await shell.session.tell(Frame(probe, "2probe"))
        start = trio.current_time()
        assert await shell.polls() == ["6"]
        assert trio.current_time() - start == pytest.approx(0.1)


async def test_a_second_websocket_is_closed_and_the_first_is_not_disturbed() -> None:
    async with connected() as (shell, _):
        other = Outbox(10_000)
        await shell.session.tell(SocketCame(other))
        await shell.session.tell(Frame(other, "2probe"))
        assert await other.take() == []
        await shell.session.tell(SocketWent(other))
        await joins(shell)


async def test_when_the_websocket_goes_the_session_is_over() -> None:
    async with connected() as (shell, ellara):
        await shell.says("40", '42["x"]')
        await shell.session.tell(SocketWent(shell.line))
        await shell.over.wait()
        assert ellara.left == ellara.clients


async def test_stopped_between_two_polls_it_tells_the_next_one() -> None:
    async with connected(websocket=False) as (shell, ellara):
        await shell.posts('40\x1e42["x"]')
        await shell.polls()
        await shell.session.tell(Stop("server shutting down"))
        assert await shell.polls() == ["6", "1"]
        await shell.over.wait()
        assert ellara.left == ellara.clients


async def test_stopped_with_something_to_say_it_says_it_first() -> None:
    async with connected(websocket=False) as (shell, _):
        await shell.posts('40\x1e42["ping"]')
        await shell.session.tell(Stop("server shutting down"))
        assert (await shell.polls())[1:] == ['42["pong"]', "1"]


async def test_the_client_that_closes_has_its_waiting_poll_answered() -> None:
    async with connected(websocket=False) as (shell, _):
        poll = Poll()
        await shell.session.tell(poll)
        await shell.posts("1")
        assert [encode_frame(packet) for packet in await (await poll.reply()).take()] == ["6"]


async def test_nobody_waits_for_ever_on_a_session_that_is_over() -> None:
    ellara = Ellara()
    session = Session(SETTINGS, Application(ellara.authenticate, ellara.on_event, ellara.left.append), websocket=False)
    late, line = Poll(), Outbox(10_000)
    for message in (Happened(Signal.GARBAGE), late, SocketCame(line)):
        await session.tell(message)
    await session.run()
    with pytest.raises(NotFound):
        await late.reply()
    assert await line.take() == []
