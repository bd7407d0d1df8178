"""One connection and its client, without sockets: the test is the shell, the clock jumps."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from ellara.errors import Conflict, ProtocolError
from ellara.protocol.engineio import CLOSE, NOOP
from ellara.protocol.transport import Signal
from ellara.settings import Socket
from tests.actors.shell import Shell, connected
from tests.counted import counted


class TestEvents:
    async def test_an_event_reaches_ellara_and_its_answer_the_client(self) -> None:
        async with connected() as (shell, ellara):
            await shell.joins()
            shell.says('42["ping",{"a":1}]')
            assert await shell.hears() == ['42["pong",{"a":1}]']
            assert ellara.heard == [("ping", [{"a": 1}])]

    async def test_connect_and_an_event_in_one_burst_are_taken_in_order(self) -> None:
        async with connected() as (shell, ellara):
            shell.says("40", '42["ping"]')
            assert [str(frame)[:6] for frame in await shell.hears()] == ['40{"si', '42["po']
            assert ellara.clients[0].user_id is None

    async def test_an_acknowledgement_is_answered_once(self) -> None:
        async with connected() as (shell, _):
            await shell.joins()
            shell.says('427["x",1,"two"]')
            assert await shell.hears() == ['437[1,"two"]']

    async def test_ellara_may_ask_for_an_acknowledgement_too(self) -> None:
        async with connected() as (shell, ellara):
            await shell.joins()
            shell.says('42["x"]', "439[]")  # the latter: to what nobody asked
            answers = list[object]()
            ellara.clients[0].ask(lambda *args: answers.append(args), "sure?")
            assert await shell.hears() == ['420["sure?"]']
            shell.says('430["yes"]', '430["yes"]')
            assert answers == [("yes",)]

    async def test_what_comes_too_fast_is_refused_and_who_never_pauses_is_sent_away(self) -> None:
        settings = Socket(recovery_s=0, events_per_s=1)
        async with connected(settings=settings) as (shell, ellara):
            before = counted("sessions_dropped_total", reason="too many events")
            refused = counted("events_refused_total", limit="session")
            await shell.joins()
            shell.says(*['42["x"]'] * 10)
            assert len(ellara.heard) == 9  # joining counted
            assert await shell.hears() == ['42["too fast"]']
            assert counted("events_refused_total", limit="session") == refused + 1
            shell.says(*['42["x"]'] * 20)
            assert shell.is_over()
            assert counted("sessions_dropped_total", reason="too many events") == before + 1

    async def test_sessions_of_one_user_share_what_it_may_ask_and_others_have_theirs(self) -> None:
        settings = Socket(recovery_s=0, events_per_user_per_s=1)
        async with connected(settings=settings) as (one, ellara):
            two, others = Shell(ellara, websocket=True), Shell(ellara, websocket=True)
            refused = counted("events_refused_total", limit="user")
            for shell, token in ((one, "ani"), (two, "ani"), (others, "budi")):
                shell.says(f'40{{"token":"{token}"}}', *['42["x"]'] * 6)
            assert len(ellara.heard) == 10 + 6
            assert (await two.hears())[-2:] == ['42["too fast"]'] * 2
            assert counted("events_refused_total", limit="user") == refused + 2
            assert not any(shell.is_over() for shell in (one, two, others))

    @pytest.mark.parametrize("packet", ['42["__proto__"]', "431[]", "40/nope,"])
    async def test_what_is_no_event_counts_too(self, packet: str) -> None:
        async with connected(settings=Socket(recovery_s=0, events_per_s=1)) as (shell, _):
            await shell.joins()
            before = counted("sessions_dropped_total", reason="too many events")
            shell.says(*[packet] * 30)
            assert shell.is_over()
            assert counted("sessions_dropped_total", reason="too many events") == before + 1


class TestIdentity:
    async def test_the_token_makes_it(self) -> None:
        async with connected() as (shell, ellara):
            shell.says('40/ws,{"token":"ani"}', '42/ws,["x"]')
            assert str((await shell.hears())[0]).startswith('40/ws,{"sid":"')
            assert ellara.clients[0].user_id == "ani"
            assert len(ellara.clients[0].id) == 20

    async def test_a_refused_token_is_told_why_and_the_client_may_try_another(self) -> None:
        async with connected() as (shell, _):
            shell.says('40{"token":"bad"}')
            assert await shell.hears() == ['44{"message":"Invalid Token"}']
            await shell.joins()

    async def test_an_unknown_namespace_is_refused_and_the_others_live_on(self) -> None:
        async with connected() as (shell, _):
            await shell.joins()
            shell.says("40/nope,", '42["ping"]')
            assert await shell.hears() == ['44/nope,{"message":"Invalid namespace"}', '42["pong"]']

    async def test_namespaces_have_identities_of_their_own(self) -> None:
        async with connected() as (shell, ellara):
            shell.says("40", "40/ws,", '42["x"]', '42/ws,["x"]', "41/ws,", '42["ping"]')
            one, other = ellara.clients
            assert one.id != other.id
            assert ellara.left == [other]
            assert (one.connected, other.connected) == (True, False)

    async def test_what_is_emitted_after_leaving_goes_nowhere(self) -> None:
        async with connected() as (shell, ellara):
            shell.says("40", '42["x"]', "41", "40")
            await shell.hears()
            ellara.clients[0].emit("late")
            assert len(shell.line) == 0


class TestFaults:
    @pytest.mark.parametrize("frame", ["", "9", "2", "4", "42[", '42["connect"]', "40", "44{}", '42/ws,["a"]', b"", '451-["a"]x'])
    async def test_a_malformed_packet_closes_the_connection(self, frame: str | bytes) -> None:
        async with connected() as (shell, ellara):
            shell.says("40", '42["ping"]', frame)
            assert len(await shell.hears()) == 2
            assert await shell.hears() == []
            assert shell.is_over()
            assert ellara.left == ellara.clients

    async def test_a_closed_session_takes_nothing_more(self) -> None:
        async with connected() as (shell, ellara):
            shell.says("40", "2", '42["x"]', "40/ws,", "", b"")
            assert shell.is_over()
            assert ellara.heard == []
            assert len(ellara.left) == 1

    async def test_a_bug_of_ours_ends_this_connection_and_tells_everybody(self) -> None:
        async with connected() as (shell, ellara):
            before = counted("sessions_dropped_total", reason="crash")
            shell.says("40", '42["crash"]')
            assert shell.is_over()
            assert ellara.left == ellara.clients
            assert counted("sessions_dropped_total", reason="crash") == before + 1
            assert len(await shell.hears()) == 1
            assert await shell.hears() == []

    async def test_a_slow_reader_is_dropped_and_the_emitter_never_waits(self) -> None:
        async with connected() as (shell, ellara):
            before = counted("sessions_dropped_total", reason="outbox full")
            shell.says("40", '42["flood"]')
            assert shell.is_over()
            assert counted("sessions_dropped_total", reason="outbox full") == before + 1
            assert not ellara.clients[0].connected
            assert ellara.left == ellara.clients
            assert await shell.hears() == []
            assert shell.is_cut

    async def test_a_text_that_grows_without_being_read_drops_it_too(self) -> None:
        async with connected() as (shell, ellara):
            shell.says("40", '42["x"]')
            for _ in range(100):
                ellara.clients[0].emit_text("chunk", "x" * 1_000, str)
            assert shell.is_over()
            assert ellara.left == ellara.clients


class TestDeadlines:
    async def test_who_polls_no_more_and_joined_nothing_is_not_waited_for(self, autojump_clock: MockClock) -> None:
        settings = Socket(recovery_s=0, connect_timeout_s=1.0)
        async with connected(settings=settings, websocket=False, within_s=50.0) as (shell, _):
            await trio.sleep(1.1)
            assert shell.is_over()

    async def test_a_client_that_joins_nothing_is_dropped_after_the_connect_timeout(self, autojump_clock: MockClock) -> None:
        async with connected(within_s=50.0) as (shell, _):
            before, start = counted("sessions_dropped_total", reason="connect timeout"), trio.current_time()
            shell.says("40/nope,")
            await trio.sleep(40.0)
            shell.says("3")
            while await shell.hears():
                pass
            assert trio.current_time() - start == pytest.approx(45.0)
            assert shell.is_over()
            assert counted("sessions_dropped_total", reason="connect timeout") == before + 1

    @pytest.mark.parametrize("websocket", [True, False])
    async def test_a_client_that_answers_no_ping_is_dropped(self, websocket: bool, autojump_clock: MockClock) -> None:
        async with connected(websocket, within_s=50.0) as (shell, _):
            before, start = counted("sessions_dropped_total", reason="ping timeout"), trio.current_time()
            if websocket:
                shell.says("40")
            else:
                await shell.posts("40")
            while await shell.hears():
                pass
            assert trio.current_time() - start == pytest.approx(45.0)
            assert shell.is_over()
            assert counted("sessions_dropped_total", reason="ping timeout") == before + 1

    async def test_a_client_that_answers_its_pings_stays(self, autojump_clock: MockClock) -> None:
        async with connected(within_s=260.0) as (shell, _):
            await shell.joins()
            for _ in range(10):
                assert await shell.hears() == ["2"]
                shell.says("3")
            assert trio.current_time() == pytest.approx(250.0, abs=1)

    async def test_a_waiting_poll_is_released_while_the_upgrade_is_under_way(self, autojump_clock: MockClock) -> None:
        async with connected(websocket=False) as (shell, _):
            shell.upgrades()
            shell.says("2probe")
            start = trio.current_time()
            assert await shell.polls() == ["6"]
            assert trio.current_time() - start == pytest.approx(0.1)


class TestPolling:
    async def test_it_answers_what_the_posts_asked(self) -> None:
        async with connected(websocket=False) as (shell, _):
            await shell.posts("40")
            assert str((await shell.polls())[0]).startswith('40{"sid":"')
            await shell.posts('42["ping",1]\x1e42["ping",2]')
            assert await shell.polls() == ['42["pong",1]', '42["pong",2]']

    async def test_a_body_of_many_packets_lets_others_have_their_turn(self) -> None:
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
            assert turns >= 9

    async def test_a_second_get_is_refused_and_ends_both(self) -> None:
        async with connected(websocket=False) as (shell, _):
            first = shell.session.poll()
            with pytest.raises(ProtocolError):
                shell.session.poll()
            await first.filled()
            assert first.take() == [CLOSE]
            assert shell.is_over()

    async def test_a_poll_that_waits_when_the_answer_of_the_one_before_is_lost_gets_none(self) -> None:
        """A close packet would be the last word for some clients: after an error they come back."""
        async with connected(websocket=False) as (shell, _):
            shell.session.poll()
            shell.session.happened(Signal.POLL_ANSWERED)
            waiting = shell.session.poll()
            shell.session.happened(Signal.POLL_CUT)
            with pytest.raises(ProtocolError):
                shell.session.polled(waiting)
            assert shell.is_over()

    async def test_a_second_post_is_refused_and_ends_both(self) -> None:
        async with connected(websocket=False) as (shell, ellara):
            shell.session.post()
            with pytest.raises(ProtocolError):
                shell.session.post()
            await shell.session.posted('40\x1e42["x"]')
            assert shell.is_over()
            assert ellara.heard == []

    async def test_beside_a_websocket_it_is_refused_and_the_session_lives_on(self) -> None:
        async with connected() as (shell, _):
            for refused in (shell.session.poll, shell.session.post):
                with pytest.raises(Conflict):
                    refused()
            await shell.joins()


class TestUpgrade:
    async def test_the_queue_moves_to_the_websocket_in_order(self) -> None:
        async with connected(websocket=False) as (shell, _):
            await shell.posts('40\x1e42["ping",1]')
            shell.upgrades()
            shell.says("2probe")
            assert await shell.hears() == ["3probe"]
            await shell.posts('42["ping",2]')
            shell.says("5", '42["ping",3]')
            assert (await shell.hears())[1:] == ['42["pong",1]', '42["pong",2]', '42["pong",3]']

    async def test_a_text_goes_on_where_it_was(self) -> None:
        async with connected(websocket=False) as (shell, ellara):
            await shell.posts('40\x1e42["x"]')
            ellara.clients[0].emit_text("chunk", "a", str)
            shell.upgrades()
            shell.says("2probe", "5")
            ellara.clients[0].emit_text("chunk", "b", str)
            assert (await shell.hears())[-1] == '42["chunk","ab"]'

    async def test_a_second_websocket_is_closed_and_the_first_is_not_disturbed(self) -> None:
        async with connected() as (shell, _):
            first = shell.line
            shell.upgrades()
            shell.says("2probe", "5", "9")
            assert await shell.hears() == []
            shell.session.socket_went(shell.line)
            shell.line = first
            await shell.joins()

    async def test_when_the_websocket_goes_the_session_is_over(self) -> None:
        async with connected() as (shell, ellara):
            shell.says("40", '42["x"]')
            shell.session.socket_went(shell.line)
            assert shell.is_over()
            assert ellara.left == ellara.clients


class TestEnd:
    async def test_stopped_between_two_polls_it_tells_the_next_one(self) -> None:
        async with connected(websocket=False) as (shell, ellara):
            await shell.posts('40\x1e42["x"]')
            await shell.polls()
            shell.session.stop("server shutting down")
            assert not shell.is_over()
            assert await shell.polls() == ["6", "1"]
            assert shell.is_over()
            assert ellara.left == ellara.clients

    async def test_a_client_that_never_polls_again_is_waited_for_no_longer_than_that(self, autojump_clock: MockClock) -> None:
        async with connected(websocket=False, within_s=40) as (shell, _):
            shell.session.stop("server shutting down")
            await trio.sleep(29.9)
            assert not shell.is_over()
            await trio.sleep(0.2)
            assert shell.is_over()

    async def test_stopped_with_something_to_say_it_says_it_first(self) -> None:
        async with connected(websocket=False) as (shell, _):
            await shell.posts('40\x1e42["ping"]')
            shell.session.stop("server shutting down")
            assert (await shell.polls())[1:] == ['42["pong"]', "1"]

    async def test_the_client_that_closes_has_its_waiting_poll_answered(self) -> None:
        async with connected(websocket=False) as (shell, _):
            outbox = shell.session.poll()
            await shell.posts("1")
            assert outbox.take() == [NOOP]
            assert shell.is_over()

    @pytest.mark.parametrize("signal", [Signal.GARBAGE, Signal.POLL_CUT, Signal.POST_CUT])
    async def test_nobody_waits_for_ever_on_a_session_that_is_over(self, signal: Signal) -> None:
        async with connected(websocket=False) as (shell, _):
            shell.session.happened(signal)
            assert shell.is_over()
            assert await shell.polls() == []
            shell.upgrades()
            assert await shell.hears() == []
