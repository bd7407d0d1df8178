"""The actor with the real ledger, PostgreSQL and look-alike around it; only the client, outside of this room, records."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import msgspec
import pytest
import trio

from ellara.actors import ledger
from ellara.actors.ledger import Ledger
from ellara.actors.runs import Ask, Runs
from ellara.llm.assistant import Assistant
from ellara.llm.client import open_client
from ellara.llm.tools import Tool, cek_transaksi
from ellara.mailbox import Mailbox
from ellara.model import Transaction, TransactionStatus
from ellara.sandbox.assistant.server import run_assistant
from ellara.settings import Database, OpenAI, Secret
from ellara.storage.pool import Pool
from ellara.storage.transactions import find_transactions
from tests.actors.runs.ground import KEY, Open, Room
from tests.conftest import fresh_database


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    pass


async def crash(user_id: str, asked: Nothing) -> object:
    raise RuntimeError("a bug of ours")


@pytest.fixture(scope="package")
def database(postgres: str, template: str) -> Iterator[Database]:
    """One for all of these tests: each has users of its own."""
    yield from fresh_database(postgres, template)


@pytest.fixture
async def open_room(pool: Pool, nursery: trio.Nursery) -> AsyncIterator[Open]:
    """Opens a room with settings of the test's own. The ledger outlives the answers, as in the daemon."""
    rooms: list[Room] = []

    async def find(user_id: str, take: int, status: TransactionStatus | None, search: str | None) -> Sequence[Transaction]:
        async with pool.connection() as connection:
            return await find_transactions(connection, user_id, take, status, search)

    async def keep_open(settings: OpenAI, require_token: bool, *, task_status: trio.TaskStatus[Room]) -> None:
        book, mailbox = Mailbox[ledger.Request]("ledger", 1_000), Mailbox[Ask]("runs", 1_000)
        await nursery.start(Ledger(book, pool).run)
        async with open_client(settings) as client:
            tools = [cek_transaksi(find), Tool("rusak", "", Nothing, crash)]
            runs = Runs(
                mailbox, book, pool, Assistant(client, "Anda Ellara.", tools, settings), settings, require_token=require_token
            )
            user = await ledger.sign_in(book, "0x" + secrets.token_hex(20))
            room = Room(runs, mailbox, pool, user, book, trio.CancelScope(), trio.Event())
            with room.life:
                task_status.started(room)
                await runs.run()
        room.over.set()

    async def start(require_token: bool = False, **settings: Any) -> Room:
        url: str = await nursery.start(run_assistant, KEY, 0)
        openai = OpenAI(api_key=Secret(KEY), base_url=url, **{"retry_pause_ms": 1} | settings)
        rooms.append(await nursery.start(keep_open, openai, require_token))
        return rooms[-1]

    yield start
    for room in rooms:
        room.life.cancel()
        await room.over.wait()


@pytest.fixture
async def room(open_room: Open) -> Room:
    return await open_room()
