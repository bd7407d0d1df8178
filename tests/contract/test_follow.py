"""Following a chat from another session of its user: with both client libraries against a running daemon."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.pages import Heard, JsSocket, Page, PythonSocket, first, names, text
from tests.running import RunningDaemon

RUNNING = "☕👋 Bagaimana cara menghitung harga kopi? [chunks:60] [delay:10]"

Library = type[JsSocket | PythonSocket]


@pytest.fixture(params=[JsSocket, PythonSocket], ids=["js", "python"])
def library(request: pytest.FixtureRequest) -> Library:
    kind: Library = request.param
    return kind


@pytest.fixture
def asker(daemon: RunningDaemon, library: Library) -> Iterator[Page]:
    with Page(daemon.url, library) as page:
        yield page


@pytest.fixture
def other(daemon: RunningDaemon, library: Library, asker: Page) -> Iterator[Page]:
    """Another session of the same user, signed in by its token."""
    with Page(daemon.url, library, auth={"token": asker.user["token"]}) as page:
        page.user = asker.user
        yield page


def hear_until(page: Page, event: str, count: int = 1) -> list[Heard]:
    heard: list[Heard] = []
    while [name for name, _ in heard].count(event) < count:
        heard.append(page.socket.hear())
    return heard


def length_in_javascript(shown: str) -> int:
    return len(shown.encode("utf-16-le")) // 2


def test_a_session_that_follows_amid_an_answer_hears_it_whole(asker: Page, other: Page) -> None:
    """It hears the text so far as `bot_chunk`, then the rest live, then the one `bot_end`."""
    asker.say(RUNNING)
    begun = hear_until(asker, "bot_chunk", 10)
    chat_id = first(begun, "chat_id")
    assert other.socket.ask("resume", {"chatId": chat_id}) == [{"ok": True, "chatId": chat_id, "running": True, "after": 0}]
    followed, asked = other.hear_answer(), begun + asker.hear_answer()
    assert names(followed) == ["bot_chunk", "bot_end"]
    assert first(followed, "bot_end") == first(asked, "bot_end")
    assert text(followed) == text(asked) == asker.http.get(f"/chat/{chat_id}").json()[1]["content"]


def test_a_reloaded_page_hears_only_what_it_does_not_show(asker: Page, other: Page) -> None:
    """`after`: how many characters of the running answer the page already shows."""
    asker.say(RUNNING)
    begun = hear_until(asker, "bot_chunk", 10)
    chat_id, shown = first(begun, "chat_id"), text(begun)
    assert "👋" in shown
    asker.socket.close()
    other.socket.emit("resume", {"chatId": chat_id, "after": length_in_javascript(shown)})
    assert shown + text(other.hear_answer()) == asker.http.get(f"/chat/{chat_id}").json()[1]["content"]


def test_a_follower_hears_the_chats_later_answers_and_who_only_asked_does_not(asker: Page, other: Page) -> None:
    chat_id = first(asker.ask("Halo"), "chat_id")
    other.socket.ask("resume", {"chatId": chat_id})
    assert names(asker.ask("Apa itu HPP?", chat_id)) == names(other.hear_answer()) == ["bot_chunk", "bot_end"]
    assert names(other.ask("Terima kasih", chat_id)) == ["bot_chunk", "bot_end"]
    asker.say("")
    assert names(asker.hear_answer()) == ["bot_error"]


def test_a_follower_that_asks_elsewhere_hears_that_alone(asker: Page, other: Page) -> None:
    asker.say(RUNNING)
    chat_id = first(hear_until(asker, "bot_chunk"), "chat_id")
    other.socket.ask("resume", {"chatId": chat_id})
    hear_until(other, "bot_chunk")
    other.say("Pertanyaan lain")
    heard = hear_until(other, "bot_end")
    assert first(heard, "bot_end")["chatId"] == first(heard, "chat_id") != chat_id
    fresh = heard[[name for name, _ in heard].index("chat_title") :]
    assert text(fresh) == asker.http.get(f"/chat/{first(heard, 'chat_id')}").json()[1]["content"]


def test_nobody_else_may_follow(asker: Page, daemon: RunningDaemon, library: Library) -> None:
    """Only the chat's own user; another's and an unknown chat are refused alike."""
    chat_id = first(asker.ask("Rahasia saya"), "chat_id")
    with Page(daemon.url, library) as stranger:
        refusals = [
            (
                stranger.socket.ask("resume", {"chatId": wanted, "userId": stranger.user["id"]}),
                first(stranger.hear_answer(), "bot_error"),
            )
            for wanted in (chat_id, "00000000-0000-4000-8000-000000000000")
        ]
        assert refusals[0] == refusals[1]
        assert refusals[0][0] == [{"ok": False, "message": refusals[0][1]}]


@pytest.mark.parametrize(
    "payload", [{}, None, 7, {"chatId": 7}, {"chatId": "x", "after": -1}, {"chatId": "x", "after": "1"}, "{"]
)
def test_a_wrong_resume_gets_one_bot_error_and_the_connection_stays_usable(other: Page, payload: object) -> None:
    other.socket.emit("resume", payload)
    assert names(other.hear_answer()) == ["bot_error"]
    assert names(other.ask("Halo"))[-1] == "bot_end"
