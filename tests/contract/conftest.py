"""What the contract's tests are run against: the real front, ledger and PostgreSQL, for the session, in a thread of their own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from functools import partial

import psycopg
import pytest
import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, Scope

from ellara.actors import ledger
from ellara.actors.ledger import Ledger
from ellara.auth.tokens import Tokens
from ellara.mailbox import Mailbox
from ellara.settings import Database, Secret, Server
from ellara.storage.pool import Pool
from ellara.web.app import Parts, build
from ellara.web.serve import serve_http
from tests.conftest import database_url

JWT_SECRET = "a secret of 48 characters, as the contract's tests"

Answers = queue.SimpleQueue[tuple[str, trio.lowlevel.TrioToken, trio.Event] | BaseException]


@pytest.fixture(scope="session")
def jwt_secret() -> str:
    """What `base_url` signs its tokens with."""
    return JWT_SECRET


@pytest.fixture(scope="session")
def base_url(postgres: str, template: str) -> Iterator[str]:
    """Where it listens, without a slash at the end."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE contract TEMPLATE {template}".encode())
    answers: Answers = queue.SimpleQueue()
    thread = threading.Thread(target=_run, args=(Database(url=Secret(database_url(postgres, "contract"))), answers))
    thread.start()
    answer = answers.get()
    if isinstance(answer, BaseException):
        raise answer
    url, token, stop = answer
    yield url
    token.run_sync_soon(stop.set)
    thread.join()


def _run(database: Database, answers: Answers) -> None:
    async def main() -> None:
        pool, mailbox, stop = Pool(database), Mailbox[ledger.Request]("ledger", ledger.MAILBOX_SIZE), trio.Event()
        parts = Parts(pool, mailbox, Mailbox("settler", 0), Tokens(Secret(JWT_SECRET), 3_600), 1.0, trio.current_time())
        settings = Server(port=0)
        async with trio.open_nursery() as nursery:
            await nursery.start(Ledger(mailbox, pool).run)
            url = await nursery.start(partial(serve_http, build(settings, parts, _no_sockets), settings, stop))
            answers.put((url, trio.lowlevel.current_trio_token(), stop))
            await stop.wait()
            mailbox.close()
        pool.close()

    try:
        trio.run(main)
    except BaseException as error:
        answers.put(error)
        raise


async def _no_sockets(_scope: Scope, _receive: ASGIReceiveCallable, _send: ASGISendCallable) -> None:
    raise NotImplementedError
