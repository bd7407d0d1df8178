"""Socket.IO over HTTP: sessions are opened here, polled and posted to; their WebSockets are in `websocket`.

An ASGI application for polling, and `websocket` for connections that the HTTP server gives up. Statuses and bodies: the 4.8
reference. Meaning is the session's (actors/session.py); what is here moves bytes between a request and its session.
"""

from __future__ import annotations

import gzip
from collections.abc import Awaitable
from contextlib import suppress

import msgspec
import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, HTTPScope, Scope

from ellara.actors.application import Application
from ellara.actors.clients import Clients
from ellara.actors.outbox import Outbox
from ellara.actors.session import Hub, Session
from ellara.actors.timers import Timers
from ellara.errors import Conflict, ProtocolError, TooLarge
from ellara.mailbox import Bell
from ellara.metrics import MESSAGES_REFUSED, SESSIONS_REFUSED
from ellara.protocol import engineio
from ellara.protocol.transport import Signal
from ellara.settings import Socket
from ellara.supervision import UNHEARD
from ellara.web.admission import FULL_RETRY_S, Admission, Refusal
from ellara.web.cors import Headers
from ellara.web.engineio_request import MESSAGES, Request, Stamps
from ellara.web.last_words import refuse
from ellara.web.upgrade import Upgrade
from ellara.web.websocket import Line, Shared
from ellara.web.websocket_handshake import VERSION, accept

GZIP_MIN_BYTES = 1024
"""The reference's threshold, for answers to polls."""

FORBIDDEN = 4
"""The reference's code for who is not let in; the message says why."""

STOPPING = Refusal(503, "stopping", "The server is restarting; please try again in a moment", FULL_RETRY_S)

JSON, HTML = (b"content-type", b"application/json"), (b"content-type", b"text/html")

SESSIONS_PER_TURN = 100
"""Told of the shutdown between two turns of the loop."""


class SocketIO:
    """`cors_origins`: "*", or the origins that a browser may come from. A WebSocket whose peer takes nothing for
    `write_timeout_s` is dropped."""

    def __init__(
        self,
        settings: Socket,
        cors_origins: tuple[str, ...],
        write_timeout_s: float,
        application: Application,
    ) -> None:
        self._settings = settings
        self._cors_origins = cors_origins
        timers = Timers()
        self.clients = Clients(settings, timers, application.on_leave)
        self._hub = Hub(settings, application, self.clients, timers, self._ended)
        self._shared = Shared(timers, settings.payload_max_bytes, write_timeout_s)
        self._admission = Admission(settings)
        self._sessions: dict[str, Session] = {}
        self._stamps: dict[str, Stamps] = {}
        """By the sid of each session that began with polling."""
        self._lines: set[Line] = set()
        self._busy = 0
        """Requests being answered."""
        self._closing = False
        self._something_ended = Bell()

    async def run(self, *, task_status: trio.TaskStatus[None] = UNHEARD) -> None:
        """Keeps the time of the sessions and writes what they have to say; until it is cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._shared.timers.run)
            nursery.start_soon(self._shared.flusher.run)
            task_status.started()

    async def close(self, within_s: float) -> None:
        """At shutdown: takes no more, tells each client at its transport, and returns when all are gone, at latest in time."""
        self._closing = True
        for number, session in enumerate(list(self._sessions.values()), start=1):
            session.stop("server shutting down")
            if number % SESSIONS_PER_TURN == 0:
                await trio.lowlevel.checkpoint()
        with trio.move_on_after(within_s):
            while self._sessions or self._lines or self._busy:
                await self._something_ended.heard()
        for session in list(self._sessions.values()):
            session.drop("shutdown deadline")
        for line in list(self._lines):
            line.cut()  # its peer did not answer our close frame
        self.clients.give_up_lost()

    # WebSockets.

    def websocket(self, stream: trio.SocketStream, upgrade: Upgrade) -> Awaitable[None]:
        """Takes the connection over; to be awaited. Nothing of the request is kept while it lasts: most are idle, and many."""
        _, _, query = upgrade.target.partition(b"?")
        request = Request.of("GET", query, upgrade.headers, self._cors_origins)
        code = request.fault(self._sessions, upgrade=True)
        if code is not None:
            return refuse(stream, 400, MESSAGES[code].encode(), [HTML, *request.cors()])
        try:
            inflated_max_bytes = self._settings.payload_max_bytes if self._settings.compression else None
            greeting, ws = accept(upgrade.headers, request.cors(), inflated_max_bytes=inflated_max_bytes)
        except ProtocolError as error:
            return refuse(stream, 400, error.message.encode(), [HTML, (b"sec-websocket-version", VERSION), *request.cors()])
        if not request.sid and (refusal := self._admit(upgrade.client)):
            return refuse(stream, refusal.status, refusal.message.encode(), [HTML, refusal.retry_after, *request.cors()])
        if request.sid:
            session, outbox = self._sessions[request.sid], Outbox(self._settings.outbox_max_bytes)
            session.socket_came(outbox)
        else:
            session = self._open(upgrade.client, websocket=True)
            outbox = session.outbox
        return self._converse(Line(self._shared, stream, ws, session, outbox, greeting), upgrade.early)

    async def _converse(self, line: Line, early: bytes) -> None:
        self._lines.add(line)
        try:
            await line.converse(early)
        finally:
            self._lines.discard(line)
            self._something_ended.ring()

    # Sessions.

    def _admit(self, address: str) -> Refusal | None:
        if self._closing:
            SESSIONS_REFUSED.labels(reason=STOPPING.reason).inc()
            return STOPPING
        return self._admission.admit(address, trio.current_time())

    def _open(self, address: str, *, websocket: bool) -> Session:
        session = Session(self._hub, address, websocket=websocket)
        self._sessions[session.sid] = session
        return session

    def _ended(self, session: Session) -> None:
        del self._sessions[session.sid]
        self._stamps.pop(session.sid, None)
        self._admission.release(session.address)
        self._something_ended.ring()

    # Polling.

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] != "http":
            return
        self._busy += 1
        try:
            with suppress(trio.BrokenResourceError):  # the peer is gone; its session hears it where it matters
                await self._http(scope, receive, send)
        finally:
            self._busy -= 1
            self._something_ended.ring()

    async def _http(self, scope: HTTPScope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        request = Request.of(scope["method"], scope["query_string"], list(scope["headers"]), self._cors_origins)
        if request.method == "OPTIONS":
            await _answer(send, 204, request.preflight())
        elif (code := request.fault(self._sessions, upgrade=False)) is not None:
            await _answer_fault(send, request, code)
        elif request.method not in ("GET", "POST"):
            await _answer(send, 500, request.cors())
        elif not request.sid and (refusal := self._admit(_address(scope))):
            body = msgspec.json.encode({"code": FORBIDDEN, "message": refusal.message})
            await _answer(send, refusal.status, [JSON, refusal.retry_after, *request.cors()], body)
        else:
            try:
                session = self._session_of(request, _address(scope))
                answer = self._poll if request.method == "GET" else self._post
                await answer(session, request, receive, send)
            except ProtocolError:
                await _answer(send, 400, request.cors())
            except Conflict:
                await _answer_fault(send, request, 3)

    def _session_of(self, request: Request, address: str) -> Session:
        """A new one, for a handshake. Raises `ProtocolError` for a request that is repeated, and ends its session: once that is
        recovered nothing is missing."""
        if not request.sid:
            session = self._open(address, websocket=False)
            self._stamps[session.sid] = Stamps(request.stamp)
            return session
        session = self._sessions[request.sid]
        stamps = self._stamps.get(request.sid)
        if stamps is not None and stamps.repeats(request.method, request.stamp):
            session.happened(Signal.POLL_CUT if request.method == "GET" else Signal.POST_CUT)
            raise ProtocolError("This request came before")
        return session

    async def _poll(self, session: Session, request: Request, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        outbox = session.poll()
        if not await _is_filled_before_gone(outbox, receive):
            session.happened(Signal.POLL_CUT)
            return
        body = engineio.encode_payload(session.polled(outbox)).encode()
        session.happened(Signal.POLL_ANSWERED)
        headers = [(b"content-type", b"text/plain; charset=UTF-8"), (b"cache-control", b"no-store"), *request.cors()]
        if len(body) >= GZIP_MIN_BYTES and request.takes_gzip:
            headers.append((b"content-encoding", b"gzip"))
            body = gzip.compress(body, compresslevel=1, mtime=0)  # the loop waits for it: speed before size
        try:
            await _answer(send, 200, headers, body)
        except trio.BrokenResourceError:  # what it held is lost, so the session cannot go on
            session.happened(Signal.POLL_CUT)
            raise

    async def _post(self, session: Session, request: Request, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        session.post()
        if request.headers.get(b"content-type") == b"application/octet-stream":
            session.happened(Signal.GARBAGE)
            raise ProtocolError("Binary bodies belong to revision 3")
        try:
            body = await _read_body(receive, self._settings.payload_max_bytes)
        except TooLarge:
            MESSAGES_REFUSED.labels(transport="polling").inc()
            session.happened(Signal.POST_READ)
            await _answer(send, 413, request.cors())
            return
        if body is None:
            session.happened(Signal.POST_CUT)
            return
        await session.posted(body.decode("utf-8", "replace"))
        await _answer(send, 200, [HTML, (b"cache-control", b"no-store"), *request.cors()], b"ok")


async def _is_filled_before_gone(outbox: Outbox, receive: ASGIReceiveCallable) -> bool:
    """False when the client hung up first."""
    filled = False
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_until_gone, receive, nursery.cancel_scope)
        await outbox.filled()
        filled = True
        nursery.cancel_scope.cancel()
    return filled


async def _until_gone(receive: ASGIReceiveCallable, waiting: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    waiting.cancel()


async def _read_body(receive: ASGIReceiveCallable, max_bytes: int) -> bytes | None:
    """None when the client hung up in the middle. Raises `TooLarge`. Its deadline is the server's, for every body."""
    body = bytearray()
    while (message := await receive())["type"] == "http.request":
        body += message["body"]
        if len(body) > max_bytes:
            raise TooLarge(f"At most {max_bytes} bytes are taken")
        if not message["more_body"]:
            return bytes(body)
    return None


async def _answer(send: ASGISendCallable, status: int, headers: Headers, body: bytes = b"") -> None:
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [length, *headers]})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def _answer_fault(send: ASGISendCallable, request: Request, code: int) -> None:
    body = msgspec.json.encode({"code": code, "message": MESSAGES[code]})
    await _answer(send, 400, [JSON, *request.cors()], body)


def _address(scope: HTTPScope) -> str:
    assert scope["client"] is not None, "the server listens on TCP alone"
    return scope["client"][0]
