"""A TCP line to PostgreSQL that a test can cut, at the moment it chooses."""

from __future__ import annotations

from functools import partial

import attrs
import trio
from psycopg.conninfo import conninfo_to_dict

from ellara.settings import Database, Secret


class Line:
    """Carries bytes between clients and the server until told otherwise."""

    def __init__(self, database: Database) -> None:
        parameters = conninfo_to_dict(database.url.reveal())
        self._server = f"{parameters['host']}/.s.PGSQL.5432"
        self._name = parameters["dbname"]
        self._database = database
        self._scopes: set[trio.CancelScope] = set()
        self.port = 0
        self.refusing = False
        self.silent = False
        """The server's bytes are kept back."""
        self.cut_at: bytes | None = None
        """What a client sends: it does not arrive, and the line is cut. Once."""
        self.lose_answer_to: bytes | None = None
        """What a client sends: it arrives, and the line is cut when the answer comes."""

    async def run(self, *, task_status: trio.TaskStatus[Database]) -> None:
        """Started with the settings that lead over this line."""
        async with trio.open_nursery() as nursery:
            serve = partial(trio.serve_tcp, self._carry, 0, host="127.0.0.1")
            (listener,) = await nursery.start(serve)
            self.port = listener.socket.getsockname()[1]
            url = f"postgresql://ellara@127.0.0.1:{self.port}/{self._name}"
            task_status.started(attrs.evolve(self._database, url=Secret(url)))

    def refuse(self) -> None:
        self.refusing = True

    def cut(self) -> None:
        """All connections there are."""
        for scope in self._scopes:
            scope.cancel()

    async def _carry(self, client: trio.SocketStream) -> None:
        if self.refusing:
            return
        answers_lost = trio.Event()
        async with await trio.open_unix_socket(self._server) as server, trio.open_nursery() as nursery:
            self._scopes.add(nursery.cancel_scope)
            nursery.start_soon(self._to_server, client, server, answers_lost, nursery.cancel_scope)
            nursery.start_soon(self._to_client, server, client, answers_lost, nursery.cancel_scope)
        self._scopes.discard(nursery.cancel_scope)

    async def _to_server(
        self, client: trio.SocketStream, server: trio.SocketStream, answers_lost: trio.Event, scope: trio.CancelScope
    ) -> None:
        async for data in client:
            if self.cut_at is not None and self.cut_at in data:
                self.cut_at = None
                break
            if self.lose_answer_to is not None and self.lose_answer_to in data:
                answers_lost.set()
            await server.send_all(data)
        scope.cancel()

    async def _to_client(
        self, server: trio.SocketStream, client: trio.SocketStream, answers_lost: trio.Event, scope: trio.CancelScope
    ) -> None:
        async for data in server:
            if answers_lost.is_set():
                break
            if not self.silent:
                await client.send_all(data)
        scope.cancel()
