"""Whole sessions beside a model of a page, in any order of things: polls, probes, cuts, garbage, time.

No step raises but what a request is refused with; from emit to page nothing is lost, doubled or out of order over upgrades, cuts
and recoveries; each session ends once, each client leaves once, and no timer outlives them.
"""

from __future__ import annotations

import json
from itertools import chain
from typing import TypeAlias

import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from ellara.actors.client import Client
from ellara.actors.outbox import Outbox
from ellara.actors.session import Session
from ellara.errors import Conflict, ProtocolError
from ellara.protocol.engineio import Packet, encode_frame
from ellara.protocol.transport import Signal
from ellara.settings import Socket
from tests.actors.exchange import Exchange
from tests.actors.shell import Ellara
from tests.counted import counted

SETTINGS = Socket(outbox_max_bytes=10_000_000, recovery_max_bytes=10_000_000)
USER = "ani"


class Page:
    """As the JavaScript client: it polls, upgrades, answers pings, and comes back with its pid and the last offset."""

    def __init__(self, ellara: Ellara) -> None:
        self.ellara = ellara
        self.sessions: list[Session] = []
        self.entered: set[Client] = set()
        self.session: Session | None = None
        self.line: Outbox | None = None
        """Its WebSocket, once that carries the session."""
        self.probe: Outbox | None = None
        self.waiting: Outbox | None = None
        """Its open poll."""
        self.client: Client | None = None
        self.joined: Session | None = None
        """On which it was let in last."""
        self.pid: str | None = None
        self.exchange = Exchange()
        """With the client that it is."""

    async def come(self, *, websocket: bool) -> None:
        """On a new connection, whatever became of the one before."""
        self.session = Session(self.ellara.hub, "", websocket=websocket)
        self.sessions.append(self.session)
        self.line, self.probe, self.waiting = self.session.outbox if websocket else None, None, None
        offset = self.exchange.offset
        shown = {} if self.pid is None else {"pid": self.pid} | ({} if offset is None else {"offset": offset})
        await self.say("40" + json.dumps({"token": USER} | shown))

    async def say(self, text: str) -> None:
        if self.session is None:
            return
        if self.line is not None:
            self.session.frame(self.line, text)
            return
        try:
            self.session.post()
        except (Conflict, ProtocolError):
            self.lose()
        else:
            await self.session.posted(text)

    def lose(self) -> None:
        self.session = self.line = self.probe = self.waiting = None

    def cut(self) -> None:
        if self.session is not None and self.line is not None:
            self.session.socket_went(self.line)
        elif self.session is not None and self.waiting is not None:
            self.session.happened(Signal.POLL_CUT)
        self.lose()

    async def read(self) -> None:
        if self.line is not None:
            await self.hear(self.line)
        elif self.session is not None and self.waiting is None:
            try:
                self.waiting = self.session.poll()
            except (Conflict, ProtocolError):
                self.lose()

    async def settle(self) -> None:
        """An open poll is answered as soon as there is something."""
        if self.session is not None and self.waiting is not None and (len(self.waiting) or self.waiting.closed):
            outbox, self.waiting = self.waiting, None
            packets = outbox.take()
            self.session.happened(Signal.POLL_ANSWERED)
            await self.work_off(packets, closed=outbox.closed)

    async def hear(self, line: Outbox) -> None:
        await self.work_off(line.take(), closed=line.closed)

    async def work_off(self, packets: list[Packet], *, closed: bool) -> None:
        for packet in packets:
            frame = encode_frame(packet)
            assert isinstance(frame, str)
            match frame[:2]:
                case "2":
                    await self.say("3")
                case "40":
                    self.let_in(json.loads(frame[2:]))
                case "42":
                    self.exchange.work_off(json.loads(frame[2:]))
        if closed:
            self.lose()

    def let_in(self, reply: dict[str, str]) -> None:
        self.joined = self.session
        if reply["pid"] == self.pid:
            return
        assert self.client is None or self.client.gone, "what could be recovered was not"
        (self.client,) = (client for client in self.ellara.hub.clients.of(USER) if client.id == reply["sid"])
        self.pid, self.exchange = reply["pid"], Exchange(offset=self.exchange.offset)

    def check(self) -> None:
        """Who is let in on a connection that is not over is connected."""
        if self.session is not None and self.session is self.joined and not self.session.outbox.closed:
            assert self.client is not None
            assert self.client.connected or self.client.gone

    def open_probe(self) -> None:
        if self.session is not None and self.line is None and self.probe is None:
            self.probe = Outbox(SETTINGS.outbox_max_bytes)
            self.session.socket_came(self.probe)
            self.session.frame(self.probe, "2probe")

    def switch(self) -> None:
        """Once its poll is back, as the protocol has it."""
        if self.session is None or self.probe is None or self.waiting is not None:
            return
        answered = [encode_frame(packet) for packet in self.probe.take()] == ["3probe"]
        self.session.frame(self.probe, "5" if answered else "x")
        if answered and not self.probe.closed:
            self.line = self.probe
        self.probe = None

    def cut_probe(self) -> None:
        if self.session is not None and self.probe is not None:
            self.session.socket_went(self.probe)
            self.probe = None

    def hears(self, name: str, text: str) -> None:
        """Ellara says it."""
        if self.client is not None and not self.client.gone:
            self.exchange.emit(self.client, name, text)

    def lose_what_is_on_its_way(self) -> None:
        if self.line is not None:
            self.line.take()
        elif self.waiting is not None:
            self.waiting.take()
        self.cut()


FRAMES: list[str | bytes] = [
    "40",
    "41",
    "2probe",
    "5",
    "1",
    "2",
    '42["x"]',
    "42[",
    "9",
    "",
    b"",
    '451-["x",{"_placeholder":true,"num":0}]',
    b"x",
]
STRAYS = ["poll", "post", "socket", "frame", "went", "stop", *Signal]

DOES = {
    "probe": Page.open_probe,
    "switch": Page.switch,
    "cut probe": Page.cut_probe,
    "cut": Page.cut,
    "lose": Page.lose_what_is_on_its_way,
}

Step: TypeAlias = tuple[str, int]

STEP: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.sampled_from(["event", "answer 1", "answer 2", "read", "read"]), st.just(0)),
    st.tuples(st.sampled_from(["polling", "websocket", *DOES]), st.just(0)),
    st.tuples(st.just("sleep"), st.sampled_from([0, 0, 1, 11, 24, 26, 46, 125])),
    st.tuples(st.just("stray"), st.integers(0, 10_000)),
)

UPGRADE: list[Step] = [
    (name, 0) for name in ("polling", "read", "event", "probe", "event", "answer 1", "switch", "answer 1", "read")
]
"""Hardly ever found by chance; any part of it may be."""

STEPS = st.lists(STEP.map(lambda step: [step]) | st.just(UPGRADE), max_size=40).map(lambda parts: list(chain(*parts)))


async def take(page: Page, number: int, step: Step) -> None:
    match step:
        case "read", _:
            await page.read()
        case ("polling" | "websocket") as how, _:
            await page.come(websocket=how == "websocket")
        case name, _ if name in DOES:
            DOES[name](page)
        case "sleep", seconds:
            await trio.sleep(seconds)
        case "stray", choice:
            stray(page, choice)
        case name, _:
            page.hears(name, chr(ord("a") + number % 26))


def stray(page: Page, choice: int) -> None:
    """What no client says, to any session there was. Never a pong: who lies about what it has loses it."""
    if not page.sessions:
        return
    choice, of_session = divmod(choice, len(page.sessions))
    choice, of_kind = divmod(choice, len(STRAYS))
    session, kind, frame = page.sessions[-1 - of_session], STRAYS[of_kind], FRAMES[choice % len(FRAMES)]
    try:
        match kind:
            case "poll":
                session.poll()
            case "post":
                session.post()
            case "socket":
                line = Outbox(10_000)
                session.socket_came(line)
                session.frame(line, frame)
            case "frame":
                session.frame(session.outbox, frame)
            case "went":
                session.socket_went(session.outbox)
            case "stop":
                session.stop("server shutting down")
            case Signal.POST_READ | Signal.POST_CUT | Signal.POLL_CUT | Signal.GARBAGE:
                session.happened(kind)
    except (Conflict, ProtocolError):
        pass


async def live(steps: list[Step]) -> None:
    ellara = Ellara(SETTINGS)
    page = Page(ellara)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ellara.timers.run)
        for number, step in enumerate([("websocket", 0), ("read", 0), *steps]):
            await take(page, number, step)
            await page.settle()
            page.check()
            page.entered |= set(ellara.hub.clients.of(USER))
        await come_back_and_hear_all(page)
        await end(page)
        nursery.cancel_scope.cancel()


async def come_back_and_hear_all(page: Page) -> None:
    await page.come(websocket=True)
    await page.read()
    assert page.exchange.is_whole()
    page.entered |= set(page.ellara.hub.clients.of(USER))


async def end(page: Page) -> None:
    for session in page.sessions:
        session.stop("server shutting down")
    await trio.sleep(31)
    assert sorted(map(id, page.ellara.ended)) == sorted(map(id, page.sessions))
    await trio.sleep(SETTINGS.recovery_s + 1)
    assert page.entered <= set(page.ellara.left)
    assert len(set(page.ellara.left)) == len(page.ellara.left)
    assert [due for due, _, told in page.ellara.timers._heap if told] == []


@given(STEPS)
@settings(max_examples=200, deadline=None)
def test_whatever_happens_a_page_hears_everything_once(steps: list[Step]) -> None:
    before = counted("actor_crashes_total", actor="session")
    trio.run(live, steps, clock=MockClock(autojump_threshold=0))
    assert counted("actor_crashes_total", actor="session") == before
