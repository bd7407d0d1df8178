"""Chats over HTTP as pages use them, and who hears what: against a running daemon, with chats that were really asked for."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
import socketio

from tests.contract.frontend import MOMENT, UUID
from tests.contract.pages import JsSocket, Page, PythonSocket, first, names
from tests.running import RunningDaemon

QUESTIONS = ["beras 100%", "Ayam_goreng", "catatan Kas"]
"""Short enough to be their own titles."""


@pytest.fixture(scope="module")
def page(daemon: RunningDaemon) -> Iterator[Page]:
    """Of a merchant with three chats."""
    with Page(daemon.url) as page:
        for question in QUESTIONS:
            assert names(page.ask(question))[-1] == "bot_end"
        yield page


def titles(page: Page, query: str = "") -> list[str]:
    return [row["title"] for row in page.http.get(f"/chat{query}").json()["data"]]


def test_a_row_has_these_fields(page: Page) -> None:
    """`GET /chat` rows hold `id, userId, title, openaiThreadId, createdAt, updatedAt`."""
    answer = page.http.get("/chat").json()
    assert answer["meta"] == {"page": 1, "take": 10, "total": 3}
    for row in answer["data"]:
        assert list(row) == ["id", "userId", "title", "openaiThreadId", "createdAt", "updatedAt"]
        assert UUID.fullmatch(row["id"])
        assert row["userId"] == page.user["id"]
        assert MOMENT.fullmatch(row["createdAt"])
        assert MOMENT.fullmatch(row["updatedAt"])


def test_each_chat_has_a_thread_of_its_own(page: Page) -> None:
    """`openaiThreadId`: Unique OpenAI thread identifier, `thread_...`."""
    threads = {row["openaiThreadId"] for row in page.http.get("/chat").json()["data"]}
    assert len(threads) == 3
    assert all(re.fullmatch(r"thread_\w+", thread) for thread in threads)


@pytest.mark.parametrize(
    ("query", "order"),
    [
        ("", ["Ayam_goreng", "beras 100%", "catatan Kas"]),
        ("?sortOrder=desc", ["catatan Kas", "beras 100%", "Ayam_goreng"]),
        ("?sortBy=createdAt", QUESTIONS),
        ("?sortBy=createdAt&take=2&page=2", ["catatan Kas"]),
    ],
)
def test_they_are_listed_by_title_or_as_asked(page: Page, query: str, order: list[str]) -> None:
    """`sortBy` (default: "title"), `sortOrder` (default: "asc"), `take`, `page`."""
    assert titles(page, query) == order


@pytest.mark.parametrize(
    ("search", "found"), [("KAS", ["catatan Kas"]), ("%25", ["beras 100%"]), ("_", ["Ayam_goreng"]), ("zzz", [])]
)
def test_a_search_is_part_of_the_title(page: Page, search: str, found: list[str]) -> None:
    """Chat: part of the title, any case; `%` and `_` are ordinary characters."""
    assert titles(page, f"?search={search}") == found
    assert page.http.get(f"/chat?search={search}").json()["meta"]["total"] == len(found)


def test_a_deleted_chat_is_gone_with_its_messages(page: Page) -> None:
    """`DELETE /chat/{chatId}` answers 200 `{message:"Chat deleted successfully"}`; messages go with it."""
    chat_id = first(page.ask("Hapus nanti"), "chat_id")
    answer = page.http.delete(f"/chat/{chat_id}", headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()) == (200, {"message": "Chat deleted successfully"})
    for gone in (page.http.get(f"/chat/{chat_id}"), page.http.delete(f"/chat/{chat_id}")):
        assert (gone.status_code, gone.json()) == (404, {"message": "Chat not found"})
    assert names(page.ask("Halo", chat_id)) == ["bot_error"]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_anothers_chat_is_not_found(page: Page, daemon: RunningDaemon, method: str) -> None:
    """Another's or an unknown chat: an error `{message:"Chat not found"}`."""
    chat_id = page.http.get("/chat").json()["data"][0]["id"]
    with Page(daemon.url) as other:
        answer = other.http.request(method, f"/chat/{chat_id}")
    assert (answer.status_code, answer.json()) == (404, {"message": "Chat not found"})
    assert len(page.http.get(f"/chat/{chat_id}").json()) == 2


def test_only_the_session_that_asked_hears_the_answer(page: Page, daemon: RunningDaemon) -> None:
    """A page appends every chunk it hears to the answer on screen."""
    with Page(daemon.url) as other_tab:
        other_tab.user = page.user
        chat_id = first(page.ask("Siapa dengar?"), "chat_id")
        assert first(other_tab.ask("Tab lain"), "chat_id") != chat_id  # the first that it hears
    for made in ("Siapa dengar?", "Tab lain"):
        page.http.delete(f"/chat/{page.http.get(f'/chat?search={made}').json()['data'][0]['id']}")


def test_simultaneous_first_logins_get_the_same_user(daemon: RunningDaemon) -> None:
    """Simultaneous first logins all get the same user."""
    body = {"publicKey": "0x" + secrets.token_hex(20)}
    with ThreadPoolExecutor(8) as threads:
        logins = [threads.submit(httpx2.post, daemon.url + "/api/v1/auth/me", json=body, trust_env=False) for _ in range(8)]
    assert len({login.result().json()["id"] for login in logins}) == 1


@pytest.mark.parametrize(
    ("path", "auth", "reason"), [("/other", {}, "Invalid namespace"), ("", {"token": "old"}, "Invalid Token")]
)
def test_a_refused_connection_says_why(daemon: RunningDaemon, path: str, auth: dict[str, str], reason: str) -> None:
    """Others get `Invalid namespace`; a bad token is refused at the handshake `auth: {token}`."""
    client, reasons = socketio.Client(reconnection=False, handle_sigint=False), list[object]()
    client.on("connect_error", reasons.append, namespace=path or "/")
    with pytest.raises(socketio.exceptions.ConnectionError):
        client.connect(daemon.url, namespaces=[path or "/"], auth=auth, wait_timeout=10)
    client.disconnect()
    assert reasons == [{"message": reason}]


@pytest.mark.parametrize("library", [JsSocket, PythonSocket], ids=["js", "python"])
@pytest.mark.parametrize("path", ["", "/ws"])
def test_a_page_as_the_frontend_opens_it(daemon: RunningDaemon, library: type[JsSocket | PythonSocket], path: str) -> None:
    """`transports: ["websocket","polling"]`: WebSocket first, no polling handshake; no token, `userId` is in each `message`."""
    with Page(daemon.url, library, path=path, transports=["websocket", "polling"]) as page:
        heard = page.ask("Bagaimana mengatur stok barang?")
        assert names(heard) == ["chat_title", "chat_id", "bot_chunk", "bot_end"]
        assert isinstance(first(heard, "chat_title"), str)
        assert UUID.fullmatch(first(heard, "chat_id"))
