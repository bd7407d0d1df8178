"""Pages whose lines are cut again and again while their answers come: each answer is whole at its page, once, with one end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx2
import pytest

from tests.badnet import BadNet
from tests.contract.pages import ENDS, Heard, JsSocket, Page, first, names, text
from tests.running import RunningDaemon, open_folder

PAGES, CUTS = 12, 40
QUESTION = "Bagaimana cara menghitung harga jual kue? [chunks:150] [delay:10]"
AT_ONCE: dict[str, Any] = {"reconnectionDelay": 10, "reconnectionDelayMax": 20}
TRANSPORTS = (["websocket"], ["polling"], ["polling", "websocket"])
DRIP_BYTES = 100


@pytest.fixture(scope="module")
def daemon() -> Iterator[RunningDaemon]:
    toml = "[socket]\nping_interval_s = 1.0\nping_timeout_s = 1.0\n"  # some cuts a client of polling notices by that alone
    with open_folder() as folder, RunningDaemon(folder, toml + "[server]\nstop_s = 2.0") as running:
        yield running


@pytest.fixture
def net(daemon: RunningDaemon) -> Iterator[BadNet]:
    with BadNet(int(daemon.url.rpartition(":")[2])) as net:
        yield net


@pytest.fixture
def pages(daemon: RunningDaemon, net: BadNet) -> Iterator[list[Page]]:
    """Over each transport; their HTTP goes over good lines."""
    with ExitStack() as stack:
        opened = [Page(net.url, JsSocket, transports=TRANSPORTS[number % 3], **AT_ONCE) for number in range(PAGES)]
        for page in opened:
            stack.enter_context(page)
            page.http.base_url = httpx2.URL(daemon.url + "/api/v1")
        yield opened


def begin(page: Page) -> list[Heard]:
    """The question has arrived: what is cut from here on is on its way to the page."""
    page.say(QUESTION)
    heard = [page.socket.hear()]
    while heard[-1][0] != "bot_chunk":
        heard.append(page.socket.hear())
    return heard


def has_ended(heard: list[Heard]) -> bool:
    return heard[-1][0] in ENDS


def is_whole(page: Page, heard: list[Heard]) -> bool:
    rows = page.http.get(f"/chat/{first(heard, 'chat_id')}").json()
    return names(heard) == ["chat_title", "chat_id", "bot_chunk", "bot_end"] and text(heard) == rows[1]["content"]


def test_answers_are_whole_through_many_cuts(net: BadNet, pages: list[Page]) -> None:
    heard = [begin(page) for page in pages]
    cuts = 0
    while not all(map(has_ended, heard)):
        cuts += net.cut(0.5) if cuts < CUTS else 0
        for page, each in zip(pages, heard, strict=True):
            if not has_ended(each):
                each.append(page.socket.hear())
    whole = [is_whole(page, each) for page, each in zip(pages, heard, strict=True)]
    print(f"{cuts} cuts, answers whole: {sum(whole)} of {len(whole)}")
    assert all(whole)
    assert cuts >= CUTS


def test_answers_are_whole_over_lines_that_drip_and_go_deaf(net: BadNet, pages: list[Page]) -> None:
    heard = [begin(page) for page in pages]
    net.drip(DRIP_BYTES, 0.001)
    for page, each in zip(pages, heard, strict=True):
        each.append(page.socket.hear())
    net.flow()
    net.go_deaf()
    for page, each in zip(pages, heard, strict=True):
        each += page.hear_answer()
    assert all(is_whole(page, each) for page, each in zip(pages, heard, strict=True))
