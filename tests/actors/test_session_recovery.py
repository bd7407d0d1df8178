"""A client that comes back on another connection: what the session makes of its CONNECT, and of the connection before."""

from __future__ import annotations

import pytest

from ellara.settings import Socket
from tests.actors.shell import Shell, connected
from tests.counted import counted

SETTINGS = Socket()


async def test_what_was_missed_follows_the_reply() -> None:
    async with connected(settings=SETTINGS) as (shell, ellara):
        shell.says('40{"token":"ani"}', '42["x"]')
        (client,) = ellara.clients
        shell.session.socket_went(shell.line)
        client.emit("missed")
        back = Shell(ellara, websocket=True)
        back.comes_back(client, token="ani")
        reply, event = (await back.hears())[1:]
        assert reply == f'40{{"sid":"{client.id}","pid":"{client.pid}"}}'
        assert str(event).startswith('42["missed","')
        assert ellara.left == []


async def test_a_rejected_token_refuses_and_the_next_try_finds_all() -> None:
    async with connected(settings=SETTINGS) as (shell, ellara):
        shell.says('40{"token":"ani"}', '42["x"]')
        (client,) = ellara.clients
        shell.session.socket_went(shell.line)
        back = Shell(ellara, websocket=True)
        for token in ("bad", "ani"):
            back.comes_back(client, token=token)
        assert (await back.hears())[1:] == [
            '44{"message":"Invalid Token"}',
            f'40{{"sid":"{client.id}","pid":"{client.pid}"}}',
        ]


async def test_a_token_that_expired_meanwhile_keeps_nobody_out_who_was_let_in_with_it() -> None:
    async with connected(settings=SETTINGS) as (shell, ellara):
        shell.says('40{"token":"ani"}', '42["x"]')
        (client,) = ellara.clients
        shell.session.socket_went(shell.line)
        client.emit("missed")
        back = Shell(ellara, websocket=True)
        back.comes_back(client, token="ani's, of yesterday")
        reply, event = (await back.hears())[1:]
        assert reply == f'40{{"sid":"{client.id}","pid":"{client.pid}"}}'
        assert str(event).startswith('42["missed","')


@pytest.mark.parametrize("owner", ["budi", None])
async def test_an_expired_token_lets_nobody_in_anew_or_to_anothers(owner: str | None) -> None:
    async with connected(settings=SETTINGS) as (shell, ellara):
        shell.says("40" if owner is None else f'40{{"token":"{owner}"}}', '42["x"]')
        (client,) = ellara.clients
        back = Shell(ellara, websocket=True)
        back.comes_back(client, token="ani's, of yesterday")
        back.says('40{"token":"ani\'s, of yesterday"}')
        assert (await back.hears())[1:] == ['44{"message":"Token expired"}'] * 2
        assert client.connected


@pytest.mark.parametrize("token", [None, "budi"])
async def test_who_shows_the_pid_without_its_token_starts_afresh(token: str | None) -> None:
    async with connected(settings=SETTINGS) as (shell, ellara):
        shell.says('40{"token":"ani"}', '42["x"]')
        (client,) = ellara.clients
        other = Shell(ellara, websocket=True)
        other.comes_back(client, **({} if token is None else {"token": token}))
        assert str(client.pid) not in str((await other.hears())[1])
        assert client.connected


@pytest.mark.parametrize("auth", [{"pid": 7}, {"pid": None}, {"pid": ["x"]}, {"offset": 7}, {"offset": None}, {"offset": ["1"]}])
async def test_what_is_no_text_makes_a_fresh_session(auth: dict[str, object]) -> None:
    async with connected(settings=SETTINGS) as (shell, ellara):
        shell.says("40", '42["x"]')
        (client,) = ellara.clients
        back = Shell(ellara, websocket=True)
        back.comes_back(client, **auth)
        assert str(client.pid) not in str((await back.hears())[1])
        assert client.connected


async def test_the_old_connection_ends_when_the_client_is_back_on_a_new_one() -> None:
    async with connected(settings=SETTINGS) as (shell, ellara):
        shell.says("40", '42["x"]', "40/ws,", '42/ws,["x"]')
        client, other = ellara.clients
        before = counted("sessions_dropped_total", reason="replaced")
        back = Shell(ellara, websocket=True)
        back.comes_back(client)
        assert shell.is_over()
        assert counted("sessions_dropped_total", reason="replaced") == before + 1
        assert [each.connected for each in (client, other)] == [True, False]
        back.comes_back(other)
        assert other.connected
        assert ellara.left == []


@pytest.mark.parametrize(("frame", "recoverable"), [("42[", True), ('42["connect"]', True), ("9", False), ("", False)])
async def test_garbage_is_not_waited_for_and_a_malformed_event_is(frame: str, recoverable: bool) -> None:
    async with connected(settings=SETTINGS) as (shell, ellara):
        shell.says("40", '42["x"]', frame)
        assert shell.is_over()
        assert (ellara.left == []) == recoverable


async def test_who_says_goodbye_is_not_waited_for() -> None:
    async with connected(settings=SETTINGS) as (shell, ellara):
        shell.says("40", '42["x"]', "41")
        (client,) = ellara.clients
        assert ellara.left == [client]
        back = Shell(ellara, websocket=True)
        back.comes_back(client)
        assert str(client.pid) not in str((await back.hears())[1])


async def test_a_slow_reader_is_waited_for() -> None:
    async with connected(settings=Socket(outbox_max_bytes=10_000)) as (shell, ellara):
        shell.says("40", '42["flood"]')
        assert shell.is_over()
        assert [client.gone for client in ellara.clients] == [False]
        assert ellara.left == []
