"""The application behind the real server, with the real ledger and PostgreSQL: what the contract's tests cannot set up."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

import attrs
import httpx2
import pytest
import trio

from ellara.actors import ledger
from ellara.actors.ledger import Ledger
from ellara.auth.tokens import Tokens
from ellara.mailbox import Mailbox
from ellara.model import Speaker, User
from ellara.settings import Secret, Server
from ellara.storage.pool import Pool
from ellara.web.app import Parts, build
from ellara.web.errors import UNFORESEEN
from ellara.web.serve import serve_http

ORIGIN = "https://app.example"
SETTINGS = Server(port=0, cors_origins=(ORIGIN, "https://other.example"))
SETTLE = {"beneficiary": "0x" + "11" * 20, "orderHash": "0x" + "22" * 32}


@attrs.define
class Site:
    """A signed-in user's view, and the ledger behind it. The settler's mailbox is full from the start."""

    parts: Parts
    user: User
    http: httpx2.AsyncClient
    url: str

    async def ask(self, method: str, path: str, **more: Any) -> httpx2.Response:
        return await self.http.request(method, path, **more)

    async def chat(self, title: str, user: User | None = None) -> str:
        chat, _ = await ledger.open_chat(self.parts.ledger, (user or self.user).id, title, "Apa kabar?")
        return chat.id


async def serve_sockets(scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"sockets: " + scope["raw_path"]})


@pytest.fixture
async def site(pool: Pool, nursery: trio.Nursery) -> AsyncIterator[Site]:
    mailbox = Mailbox[ledger.Request]("ledger", 16)
    await nursery.start(Ledger(mailbox, pool).run)
    tokens = Tokens(Secret("s" * 32), ttl_s=3_600)
    parts = Parts(pool, mailbox, Mailbox("settler", 0), tokens, 1.0, trio.current_time())
    url = await nursery.start(partial(serve_http, build(SETTINGS, parts, serve_sockets), SETTINGS, trio.Event()))
    user = await ledger.sign_in(mailbox, "0x" + secrets.token_hex(20))
    bearer = {"Authorization": f"Bearer {tokens.issue(user.id, datetime.now(UTC))}"}
    async with httpx2.AsyncClient(base_url=url, headers=bearer, trust_env=False) as http:
        yield Site(parts, user, http, url)
    nursery.cancel_scope.cancel()


async def test_chats_are_listed_by_title(site: Site) -> None:
    ids = {title: await site.chat(title) for title in ("b", "C", "a")}
    answer = (await site.ask("GET", "/api/v1/chat")).json()
    assert [(row["title"], row["id"]) for row in answer["data"]] == [(title, ids[title]) for title in ("a", "b", "C")]
    assert list(answer["data"][0]) == ["id", "userId", "title", "openaiThreadId", "createdAt", "updatedAt"]
    assert answer["meta"] == {"page": 1, "take": 10, "total": 3}


async def test_chats_are_found_by_part_of_their_title(site: Site) -> None:
    await site.chat("Laba 100% bulan ini")
    await site.chat("Stok barang")
    found = (await site.ask("GET", "/api/v1/chat", params={"search": "LABA 100%"})).json()
    assert [row["title"] for row in found["data"]] == ["Laba 100% bulan ini"]


async def test_a_chats_messages_are_a_bare_list_with_the_oldest_first(site: Site) -> None:
    chat_id = await site.chat("Halo")
    await ledger.append(site.parts.ledger, chat_id, Speaker.ASSISTANT, "Baik!")
    rows = (await site.ask("GET", f"/api/v1/chat/{chat_id}")).json()
    assert [list(row) for row in rows] == [["id", "chatId", "role", "content", "createdAt"]] * 2
    assert [(row["chatId"], row["role"], row["content"]) for row in rows] == [
        (chat_id, "user", "Apa kabar?"),
        (chat_id, "assistant", "Baik!"),
    ]


async def test_a_deleted_chat_is_gone(site: Site) -> None:
    chat_id = await site.chat("Halo")
    answer = await site.ask("DELETE", f"/api/v1/chat/{chat_id}")
    assert (answer.status_code, answer.json()) == (200, {"message": "Chat deleted successfully"})
    assert (await site.ask("GET", f"/api/v1/chat/{chat_id}")).status_code == 404
    assert (await site.ask("GET", "/api/v1/chat")).json()["meta"]["total"] == 0


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_another_users_chat_is_not_found_and_not_touched(site: Site, method: str) -> None:
    other = await ledger.sign_in(site.parts.ledger, "0x" + secrets.token_hex(20))
    chat_id = await site.chat("Rahasia", other)
    answer = await site.ask(method, f"/api/v1/chat/{chat_id}")
    assert (answer.status_code, answer.json()) == (404, {"message": "Chat not found"})
    await ledger.retitle(site.parts.ledger, chat_id, "still there")


async def test_a_settler_that_takes_no_more_is_a_503_that_says_when(site: Site) -> None:
    answer = await site.ask("POST", "/api/v1/settlement/settle", json=SETTLE)
    assert answer.status_code == 503
    assert answer.json() == {"message": "Failed to settle order: Too many requests at once; please try again in a moment"}
    assert answer.headers["retry-after"] == "1"


async def test_a_ledger_that_stops_is_a_503(site: Site) -> None:
    site.parts.ledger.close()
    answer = await site.ask("POST", "/api/v1/tx", json={"amount": 1})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


async def test_a_database_that_takes_nobody_is_not_ready(site: Site) -> None:
    site.parts.pool.close()
    assert (await site.ask("GET", "/ready")).status_code == 503
    assert (await site.ask("GET", "/health")).status_code == 200


async def test_what_was_accepted_is_done_though_the_client_left(site: Site, pool: Pool) -> None:
    async with pool.transaction() as connection:
        await connection.run('LOCK TABLE "Transaction"')
        with trio.move_on_after(0.2):
            await site.ask("POST", "/api/v1/tx", json={"amount": 5})
    with trio.fail_after(5):
        while not (rows := (await site.ask("GET", "/api/v1/tx")).json()["data"]):
            await trio.lowlevel.checkpoint()
    assert [row["amount"] for row in rows] == [5]


async def test_a_crash_in_a_handler_tells_the_client_nothing(site: Site, pool: Pool) -> None:
    async with pool.connection() as connection:
        await connection.run('ALTER TABLE "Transaction" RENAME TO elsewhere')
        await connection.run("DROP VIEW ellara.transactions")
    answer = await site.ask("GET", "/api/v1/tx", headers={"Origin": ORIGIN})
    assert (answer.status_code, answer.json()) == (500, {"message": UNFORESEEN})
    assert answer.headers["access-control-allow-origin"] == ORIGIN


async def test_only_listed_origins_are_allowed(site: Site) -> None:
    for origin, allowed in ((ORIGIN, ORIGIN), ("https://other.example", "https://other.example"), ("https://evil.example", None)):
        answer = await site.ask("GET", "/health", headers={"Origin": origin})
        assert answer.headers.get("access-control-allow-origin") == allowed
        assert answer.headers["vary"] == "Origin"


async def test_paths_of_the_socket_go_to_the_socket(site: Site) -> None:
    assert (await site.ask("GET", "/socket.io/?EIO=4")).text == "sockets: /socket.io/"
    assert (await site.ask("GET", "/socket.io/x/y?EIO=4")).text == "sockets: /socket.io/x/y"
    assert (await site.ask("GET", "/socket.io")).status_code == 404


@pytest.mark.parametrize("path", ["/socket.io/", "/socket.io/?EIO=4"])
async def test_a_target_that_names_its_host_too_is_the_same(site: Site, path: str) -> None:
    answer = await site.ask("GET", "/", extensions={"target": f"http://a.id{path}".encode()})
    assert answer.text == "sockets: /socket.io/"


async def test_a_websocket_elsewhere_is_not_found(site: Site) -> None:
    upgrade = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
    }
    answer = await site.ask("GET", "/nowhere", headers=upgrade)
    assert (answer.status_code, answer.json()) == (404, {"message": "There is no such route"})
