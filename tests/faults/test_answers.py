"""Twenty answers on their way when the daemon is stopped or killed: what is stored, and what their pages hear."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack

import httpx2
import pytest

from tests.contract.pages import Heard, Page, first, names, text
from tests.running import RunningDaemon, open_folder

PAGES = 20


@pytest.fixture(scope="module")
def daemon() -> Iterator[RunningDaemon]:
    """Patient with answers for a second."""
    with open_folder() as folder, RunningDaemon(folder, "[server]\nstop_s = 2") as running:
        yield running


@pytest.fixture
def pages(daemon: RunningDaemon) -> Iterator[list[Page]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Page(daemon.url, transports=["websocket"])) for _ in range(PAGES)]


def begin(page: Page) -> list[Heard]:
    """What is heard up to the first chunk of an answer that would take half a minute."""
    page.say("Bagaimana cara menghitung harga jual? [chunks:300] [delay:100]")
    heard = [page.socket.hear()]
    while heard[-1][0] != "bot_chunk":
        heard.append(page.socket.hear())
    return heard


def stored(daemon: RunningDaemon, page: Page, heard: list[Heard]) -> list[str]:
    with httpx2.Client(base_url=daemon.url + "/api/v1", headers=page.http.headers, trust_env=False) as http:
        return [row["content"] for row in http.get(f"/chat/{first(heard, 'chat_id')}").json()]


def test_stopped_each_page_hears_one_end_and_what_it_heard_is_stored(daemon: RunningDaemon, pages: list[Page]) -> None:
    heard = [begin(page) for page in pages]
    assert daemon.stop(signal.SIGTERM) == 0
    for page, each in zip(pages, heard, strict=True):
        each += page.hear_answer()
        assert names(each) == ["chat_title", "chat_id", "bot_chunk", "bot_error"]
    daemon.start()
    for page, each in zip(pages, heard, strict=True):
        assert stored(daemon, page, each)[1:] == [text(each)]


def test_killed_each_question_stays_and_the_chat_goes_on(daemon: RunningDaemon, pages: list[Page]) -> None:
    heard = [begin(page) for page in pages]
    daemon.stop(signal.SIGKILL)
    daemon.start()
    for page, each in zip(pages, heard, strict=True):
        assert len(stored(daemon, page, each)) == 1
    with Page(daemon.url) as again:
        again.user = pages[0].user
        assert names(again.ask("Coba lagi", first(heard[0], "chat_id"))) == ["bot_chunk", "bot_end"]
