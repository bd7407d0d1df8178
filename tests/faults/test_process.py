"""The process killed, starved and stopped: what was accepted is there afterwards, nothing is left behind."""

from __future__ import annotations

import json
import os
import secrets
import select
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.contract.pages import Page, first, names
from tests.running import RunningDaemon, open_folder
from tests.web.hostile import frame, request, upgrade


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """One after another they live on it: all but the first find their database made."""
    with open_folder() as folder:
        yield folder


@pytest.fixture
def daemon(folder: Path) -> Iterator[RunningDaemon]:
    with RunningDaemon(folder) as running:
        yield running


@pytest.fixture(scope="module")
def steady() -> Iterator[RunningDaemon]:
    """For tests after which it still runs."""
    with open_folder() as folder, RunningDaemon(folder) as running:
        yield running


def postmaster(daemon: RunningDaemon) -> int:
    return int((daemon.folder / "state" / "postgres" / "postmaster.pid").read_text().splitlines()[0])


def wait_for_end(pid: int) -> None:
    """Of a process that is no child of ours. Fails the test by its own deadline."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([fd], [], [], 10.0)[0], f"process {pid} is still there"
    finally:
        os.close(fd)


def orders(daemon: RunningDaemon) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads((daemon.folder / "state" / "orders.json").read_text())["orders"]
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_in_order_and_postgresql_with_it(daemon: RunningDaemon, number: int) -> None:
    database = postmaster(daemon)
    assert daemon.stop(number) == 0
    wait_for_end(database)
    assert "Traceback" not in daemon.text


def test_peers_that_neither_read_nor_finish_hold_its_stop_up_for_their_share_alone(folder: Path) -> None:
    """Each part of the stop has its own: were it the first one's to use up, settler and ledger would just be cancelled."""
    pings, requests = frame(bytes(125), 9) * 60_000, request("/metrics") * 2_000
    half = b"POST /api/v1/auth/me HTTP/1.1\r\nhost: a\r\ncontent-length: 50\r\n\r\n{"
    with RunningDaemon(folder, "[server]\nstop_s = 8.0") as daemon, ExitStack() as peers:
        for said in (upgrade() + frame(b"40") + pings, requests, half):
            says_and_reads_nothing(peers.enter_context(socket.socket()), daemon, said)
        start = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - start < 6.0
        assert "Traceback" not in daemon.text


def says_and_reads_nothing(peer: socket.socket, daemon: RunningDaemon, data: bytes) -> None:
    """As much of `data` as it takes."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    peer.connect(("127.0.0.1", urlsplit(daemon.url).port))
    peer.settimeout(1.0)
    with suppress(TimeoutError):
        peer.sendall(data)


def test_after_sigkill_everything_accepted_is_there_and_the_token_still_holds(daemon: RunningDaemon) -> None:
    with Page(daemon.url) as page:
        chat_id = first(page.ask("Bagaimana cara mengatur stok?"), "chat_id")
        before = page.http.get(f"/chat/{chat_id}").json()
        transaction = page.http.post("/tx", json={"amount": 5, "type": "USDT"}).json()
        order = {"orderHash": orders(daemon)[0]["orderHash"], "beneficiary": "0x" + secrets.token_hex(20)}
        settled = page.http.post("/settlement/settle", json=order).json()
        database = postmaster(daemon)
        daemon.stop(signal.SIGKILL)
        wait_for_end(database)
        daemon.start()
        headers = page.http.headers
    with httpx2.Client(base_url=daemon.url + "/api/v1", headers=headers, trust_env=False) as http:
        assert http.get(f"/chat/{chat_id}").json() == before
        assert http.get("/tx").json()["data"] == [transaction]
        again = http.post("/settlement/settle?wait=mined", json=order, timeout=30.0)
        assert again.json()["txHash"] == settled["txHash"]


def test_postgresql_killed_under_it_comes_back_and_so_does_the_service(steady: RunningDaemon) -> None:
    with Page(steady.url) as page:
        page.http.post("/tx", json={"amount": 1, "type": "USDT"})
        os.kill(postmaster(steady), signal.SIGKILL)
        statuses = set[int]()
        for _ in range(1_000):  # each answer takes as long as the database needs; none may hang or break off
            answer = page.http.get("/tx")
            statuses.add(answer.status_code)
            if answer.status_code == 200:
                break
            assert set(answer.json()) == {"message"}
        assert 200 in statuses <= {200, 503}
        assert names(page.ask("Halo"))[-1] == "bot_end"


def test_a_part_that_keeps_crashing_ends_the_process_with_a_clear_last_line(daemon: RunningDaemon) -> None:
    killed = set[int]()
    while daemon.process.poll() is None:
        try:
            pid = postmaster(daemon)
        except (FileNotFoundError, IndexError, ValueError):
            continue
        if pid not in killed:
            killed.add(pid)
            os.kill(pid, signal.SIGKILL)
    assert daemon.stop() == 1
    assert daemon.output[-1].startswith("ellara: postgres crashed 6 times within 30 s")


def test_a_second_daemon_on_the_same_state_folder_is_refused(steady: RunningDaemon) -> None:
    with pytest.raises(RuntimeError) as refused:
        RunningDaemon(steady.folder)
    assert f"Another Ellara (process {steady.process.pid}) runs on the state folder" in str(refused.value)
    assert "Traceback" not in str(refused.value)


def test_a_port_in_use_is_refused_with_a_clear_line(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(RuntimeError) as refused:
        RunningDaemon(folder, PORT=str(taken.getsockname()[1]))
    assert str(refused.value).splitlines()[-1].endswith("choose another server.port")


class TestWithoutChain:
    """A real RPC is configured, and dead."""

    @pytest.fixture(scope="class")
    @staticmethod
    def daemon() -> Iterator[RunningDaemon]:
        toml = '[server]\nstop_s = 2.0\n[chain]\nsettle_timeout_s = 0.3\n[sandbox]\nstate_dir = "state"\nword_delay_ms = 1\n'
        key = "0x" + "11" * 32
        with (
            open_folder() as folder,
            RunningDaemon(folder, toml, RPC_URL="http://127.0.0.1:9", CONTRACT_OWNER_PRIVATE_KEY=key) as running,
        ):
            yield running

    def test_everything_else_is_served_and_settling_is_refused_in_time(self, daemon: RunningDaemon) -> None:
        with Page(daemon.url) as page:
            assert names(page.ask("Halo"))[-1] == "bot_end"
            order = {"orderHash": "0x" + "ab" * 32, "beneficiary": "0x" + "cd" * 20}
            answer = page.http.post("/settlement/settle", json=order)
            assert answer.status_code == 503
            assert answer.json()["message"].startswith("Failed to settle order: ")
            assert int(answer.headers["retry-after"]) >= 1

    @pytest.mark.parametrize("opening", [b"[", b'{"a":'])
    def test_json_nested_a_hundred_thousand_deep_is_only_refused(self, daemon: RunningDaemon, opening: bytes) -> None:
        """web3's py_ecc raises the recursion limit so far that the decoder's C stack would overflow."""
        body = opening * 100_000
        with Page(daemon.url) as page:
            answer = page.http.post("/auth/me", content=body, headers={"content-type": "application/json"})
            assert answer.status_code == 400
            page.socket.emit("message", body.decode())
            assert names(page.hear_answer()) == ["bot_error"]
            polling = {"EIO": "4", "transport": "polling"}
            http = httpx2.Client(base_url=daemon.url, trust_env=False)
            sid = http.get("/socket.io/", params=polling).text.split('"sid":"')[1][:20]
            http.post("/socket.io/", params=polling | {"sid": sid}, content=b"40\x1e42" + body)
            http.close()
        assert daemon.process.poll() is None


def test_the_state_folder_holds_no_world_readable_secret(steady: RunningDaemon) -> None:
    secret: Path = steady.folder / "state" / "jwt_secret"
    assert secret.stat().st_mode & 0o077 == 0
    assert secret.read_text() not in steady.text
