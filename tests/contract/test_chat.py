"""The chat as the seed document and its frontend have it: each sentence with both client libraries against a running daemon."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.contract.pages import JsSocket, Page, PythonSocket, first, names, text
from tests.running import RunningDaemon

LIBRARIES = pytest.mark.parametrize("library", [JsSocket, PythonSocket], ids=["js", "python"])


@pytest.fixture(params=[JsSocket, PythonSocket], ids=["js", "python"])
def page(request: pytest.FixtureRequest, daemon: RunningDaemon) -> Iterator[Page]:
    with Page(daemon.url, request.param) as page:
        yield page


def test_a_new_chat_hears_title_then_id_then_chunks_then_end(page: Page) -> None:
    """Emits `chat_title` and `chat_id` events to client … Emits `bot_chunk` event with delta content … `bot_end`."""
    heard = page.ask("Bagaimana cara mencatat keuangan warung saya?")
    assert names(heard) == ["chat_title", "chat_id", "bot_chunk", "bot_end"]


def test_an_old_chat_hears_only_chunks_and_end(page: Page) -> None:
    """If `chatId` provided: looks up existing chat in database."""
    chat_id = first(page.ask("Halo"), "chat_id")
    heard = page.ask("Apa itu HPP?", chat_id)
    assert names(heard) == ["bot_chunk", "bot_end"]
    assert first(heard, "bot_end") == {"chatId": chat_id, "isNewChat": False, "message": "Response completed"}


def test_bot_end_says_exactly_chat_new_and_completed(page: Page) -> None:
    """`bot_end`: `{"chatId": "uuid", "isNewChat": true, "message": "Response completed"}`."""
    heard = page.ask("Halo")
    assert first(heard, "bot_end") == {"chatId": first(heard, "chat_id"), "isNewChat": True, "message": "Response completed"}


def test_a_chunk_is_one_text_part(page: Page) -> None:
    """`bot_chunk`: `{"content": [{"text": {"value": "chunk of text"}}]}`."""
    chunks = [args for event, args in page.ask("Bagaimana strategi pemasaran?") if event == "bot_chunk"]
    assert len(chunks) > 1
    for [chunk] in chunks:
        value = chunk["content"][0]["text"]["value"]
        assert isinstance(value, str)
        assert chunk == {"content": [{"index": 0, "type": "text", "text": {"value": value}}]}


def test_the_answer_is_stored_when_bot_end_comes(page: Page) -> None:
    """On `bot_end` the page immediately fetches `GET /chat/{id}` and shows what that returns: a bare array, oldest first."""
    heard = page.ask("Berapa margin yang wajar untuk kue?")
    rows = page.http.get(f"/chat/{first(heard, 'chat_id')}").json()
    assert [row["role"] for row in rows] == ["user", "assistant"]
    assert [row["content"] for row in rows] == ["Berapa margin yang wajar untuk kue?", text(heard)]
    assert [list(row) for row in rows] == [["id", "chatId", "role", "content", "createdAt"]] * 2
    assert rows[0]["createdAt"] < rows[1]["createdAt"]


def test_the_conversation_goes_on_from_the_database(page: Page) -> None:
    """Retrieves … existing thread for conversation continuity."""
    chat_id = first(page.ask("Nama toko saya Melati"), "chat_id")
    assert "Nama toko saya Melati" in text(page.ask("[history] Siapa nama toko saya?", chat_id))


def test_the_chat_is_listed_with_its_title(page: Page) -> None:
    """Saves title to database, emits title to client for display."""
    heard = page.ask("Bagaimana cara menaikkan penjualan di marketplace?")
    [row] = page.http.get("/chat").json()["data"]
    assert row["id"] == first(heard, "chat_id")
    assert len(row["title"]) <= 50
    if row["title"] != first(heard, "chat_title"):  # the model's title came late: it follows as a second event
        assert page.socket.hear() == ("chat_title", [row["title"]])


@pytest.mark.parametrize(("question", "title"), [("halo", "Greeting"), ("Hello", "Greeting"), ("Cek stok", "Cek stok")])
def test_a_short_question_is_its_own_title(page: Page, question: str, title: str) -> None:
    """ "halo/hello/hi" became "Greeting"; questions up to 15 characters are their own title."""
    assert first(page.ask(question), "chat_title") == title


def test_a_json_string_is_taken_like_an_object(page: Page) -> None:
    """`message` carries an object; the old backend also took a JSON string of it."""
    page.socket.emit("message", json.dumps({"question": "Halo", "userId": page.user["id"]}))
    assert names(page.hear_answer()) == ["chat_title", "chat_id", "bot_chunk", "bot_end"]


@pytest.mark.parametrize("chat_id", [None, ""])
def test_an_empty_chat_id_means_a_new_chat(page: Page, chat_id: str | None) -> None:
    """`chatId` may be `undefined`, so missing, or null, or ""."""
    page.socket.emit("message", {"question": "Halo", "userId": page.user["id"], "chatId": chat_id})
    assert first(page.hear_answer(), "bot_end")["isNewChat"] is True


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"question": "Halo"},
        {"userId": "x"},
        {"question": "", "userId": "x"},
        {"question": 1, "userId": "x"},
        {"question": "Halo", "userId": "nobody"},
        {"question": "Halo", "userId": "nobody", "chatId": 7},
        "not JSON",
        "[1]",
        None,
        7,
        [],
    ],
)
def test_a_wrong_message_gets_one_bot_error_and_the_connection_stays_usable(page: Page, payload: object) -> None:
    """`bot_error` event emitted with error message … Connection remains open for retry."""
    page.socket.emit("message", payload)
    [(event, [sentence])] = page.hear_answer()
    assert event == "bot_error"
    assert isinstance(sentence, str)
    assert 5 < len(sentence) < 200
    assert names(page.ask("Halo"))[-1] == "bot_end"


def test_an_unknown_or_foreign_chat_gets_one_and_the_same_bot_error(page: Page, daemon: RunningDaemon) -> None:
    with Page(daemon.url) as other:
        foreign = first(other.ask("Rahasia saya"), "chat_id")
    unknown = page.ask("Halo", "00000000-0000-4000-8000-000000000000")
    assert names(unknown) == ["bot_error"]
    assert page.ask("Halo", foreign) == unknown


@pytest.mark.parametrize("fault", ["500", "429", "drop", "eof", "error-event", "failed", "flat-error", "incomplete"])
def test_a_fault_of_openai_ends_in_one_bot_error_and_the_chat_goes_on(page: Page, fault: str) -> None:
    """If error occurs: `bot_error` event emitted with error message."""
    heard = page.ask(f"Tolong bantu usaha saya [fault:{fault}]")
    assert names(heard)[-1] == "bot_error"
    assert names(heard).count("bot_error") == 1
    assert "OpenAI" not in first(heard, "bot_error")
    assert names(page.ask("Coba lagi", first(heard, "chat_id")))[-1] == "bot_end"


def test_a_title_that_fails_is_cut_from_the_question(page: Page) -> None:
    """The first 50 characters of the question when the model failed."""
    heard = page.ask("Bagaimana cara membuat laporan laba rugi untuk usaha katering? [fault-title:500]")
    assert names(heard) == ["chat_title", "chat_id", "bot_chunk", "bot_end"]
    assert "Bagaimana cara membuat laporan laba rugi untuk usaha katering?".startswith(first(heard, "chat_title").rstrip("…"))


def test_the_assistant_looks_up_the_users_own_transactions(page: Page, daemon: RunningDaemon) -> None:
    """Extensible tool system for function calling."""
    with Page(daemon.url) as other:
        other.http.post("/tx", json={"amount": 777_777, "type": "USDT"})
    page.http.post("/tx", json={"amount": 123_456, "type": "USDT"})
    answer = text(page.ask("Tolong cek transaksi terakhir saya"))
    assert "jumlah: 123456" in answer
    assert "777777" not in answer


@LIBRARIES
@pytest.mark.parametrize("path", ["", "/ws"])
@pytest.mark.parametrize("transports", [["websocket"], ["polling"], ["polling", "websocket"]], ids="+".join)
def test_every_transport_and_namespace_answers(
    daemon: RunningDaemon, library: type[JsSocket | PythonSocket], path: str, transports: list[str]
) -> None:
    """An unconfigured frontend connects to namespace `/ws`; `transports: ["websocket","polling"]`."""
    with Page(daemon.url, library, path=path, transports=transports) as page:
        assert names(page.ask("Bagaimana mengelola stok?")) == ["chat_title", "chat_id", "bot_chunk", "bot_end"]


@LIBRARIES
def test_with_a_token_the_user_must_be_the_tokens(daemon: RunningDaemon, library: type[JsSocket | PythonSocket]) -> None:
    with Page(daemon.url) as other:
        token = other.user["token"]
    with Page(daemon.url, library, auth={"token": token}) as page:
        assert names(page.ask("Halo")) == ["bot_error"]
        page.user = other.user
        assert names(page.ask("Halo"))[-1] == "bot_end"


def test_an_acknowledgement_tells_the_chat(page: Page) -> None:
    [answer] = page.socket.ask("message", {"question": "Halo", "userId": page.user["id"]})
    assert answer["ok"] is True
    assert answer["chatId"] == first(page.hear_answer(), "chat_id")


def test_an_answer_is_finished_though_its_page_has_gone(daemon: RunningDaemon) -> None:
    """The user's disconnect in the middle changes nothing: the answer is stored."""
    with Page(daemon.url) as page:
        page.say("Ceritakan tentang pajak UMKM [chunks:40] [delay:10]")
        while page.socket.hear()[0] != "bot_chunk":
            pass
        page.socket.close()
        chat_id = page.http.get("/chat").json()["data"][0]["id"]
        with Page(daemon.url) as again:
            again.user = page.user
            assert names(again.ask("Terima kasih", chat_id))[-1] == "bot_end"  # it waits for the answer before it
        rows = page.http.get(f"/chat/{chat_id}").json()
    assert [row["role"] for row in rows] == ["user", "assistant"] * 2
    assert "pajak" in rows[1]["content"]
