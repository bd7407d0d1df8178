"""Socket.IO's trio shell: moves bytes between hypercorn's requests and WebSockets and the sessions, and keeps their register.

An ASGI application for the paths under `PATH`. Each session runs in the daemon's nursery, contained; a request only waits for
it. Absent: the protocol (protocol/) and what a connection is for (actors/session.py). Statuses and bodies: the 4.8 reference.
"""

from __future__ import annotations

import gzip
from contextlib import suppress

import msgspec
import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, Scope, WebsocketCloseEvent, WebsocketSendEvent

from ellara.actors.outbox import Outbox
from ellara.actors.session import (
    Application,
    Authenticate,
    Frame,
    Happened,
    OnEvent,
    OnLeave,
    Poll,
    Post,
    Posted,
    Session,
    SocketCame,
    SocketWent,
    Stop,
    Told,
)
from ellara.errors import Conflict, EllaraError, NotFound, ProtocolError, TooLarge
from ellara.metrics import SESSIONS_DROPPED
from ellara.protocol import engineio
from ellara.protocol.transport import Signal
from ellara.settings import Socket
from ellara.supervision import contain
from ellara.web.cors import Headers
from ellara.web.engineio_request import MESSAGES, Request

PATH = "/socket.io/"

GZIP_MIN_BYTES = 1024
"""The reference's threshold, for answers to polls."""

CLOSE_S = 2.0
"""For all sessions at shutdown: the next poll of a live client comes within milliseconds."""

CLOSE_FRAME_WAIT_S = 5.0
"""For the client's own close frame; closing TCP under its last frames could eat ours."""


class SocketIO:
    """`nursery`: the daemon's, for the sessions. `cors_origins`: "*", or the origins that a browser may come from."""

    def __init__(
        self,
        settings: Socket,
        cors_origins: tuple[str, ...],
        nursery: trio.Nursery,
        *,
        authenticate: Authenticate,
        on_event: OnEvent,
        on_leave: OnLeave,
    ) -> None:
        self._settings = settings
        self._cors_origins = cors_origins
        self._nursery = nursery
        self._application = Application(authenticate, on_event, on_leave)
        self._sessions: dict[str, Session] = {}
        self._requests = 0
        self._closing = False
        self._something_ended = trio.Event()

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        self._requests += 1
        try:
            with suppress(trio.BrokenResourceError):  # the peer is gone; its session hears it where it matters
                if scope["type"] == "websocket":
                    await self._websocket(Request.of(scope, self._cors_origins), receive, send)
                elif scope["type"] == "http":
                    await self._http(Request.of(scope, self._cors_origins), receive, send)
        finally:
            self._requests -= 1
            self._something_ended.set()

    async def close(self, deadline_s: float = CLOSE_S) -> None:
        """At shutdown: takes no more, tells each client at its transport, and returns when all are gone, at latest in time."""
        self._closing = True
        with trio.move_on_after(deadline_s):
            async with trio.open_nursery() as nursery:
                for session in self._sessions.values():
                    nursery.start_soon(_tell, session, Stop("server shutting down"))
            while self._sessions or self._requests:
                self._something_ended = trio.Event()
                await self._something_ended.wait()
        for session in self._sessions.values():
            session.cut()

    @property
    def _is_full(self) -> bool:
        return self._closing or len(self._sessions) >= self._settings.sessions_max

    def _open(self, *, websocket: bool) -> Session:
        session = Session(self._settings, self._application, websocket=websocket)
        self._sessions[session.sid] = session
        self._nursery.start_soon(self._run, session)
        return session

    async def _run(self, session: Session) -> None:
        try:
            await contain(session.run, "session", SESSIONS_DROPPED.labels(reason="crash").inc)
        finally:
            del self._sessions[session.sid]
            self._something_ended.set()

    async def _http(self, request: Request, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if request.method == "OPTIONS":
            await _answer(send, 204, request.preflight())
        elif (code := request.fault(self._sessions, upgrade=False)) is not None:
            await _answer_fault(send, request, code)
        elif self._is_full and not request.sid:
            await _answer(send, 503, request.cors())
        elif request.method not in ("GET", "POST"):
            await _answer(send, 500, request.cors())
        else:
            try:
                await (self._poll if request.method == "GET" else self._post)(request, receive, send)
            except ProtocolError:
                await _answer(send, 400, request.cors())
            except Conflict:
                await _answer_fault(send, request, 3)
            except EllaraError:  # the session ended in between
                await _answer_fault(send, request, 1)

    async def _poll(self, request: Request, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        session = self._sessions[request.sid] if request.sid else self._open(websocket=False)
        poll = Poll()
        await session.tell(poll)
        packets = await _take_unless_gone(await poll.reply(), receive)
        await _tell(session, Happened(Signal.POLL_CUT if packets is None else Signal.POLL_ANSWERED))
        if packets is None:
            return
        body = engineio.encode_payload(packets or [engineio.CLOSE]).encode()
        headers = [(b"content-type", b"text/plain; charset=UTF-8"), (b"cache-control", b"no-store"), *request.cors()]
        if len(body) >= GZIP_MIN_BYTES and request.takes_gzip:
            headers.append((b"content-encoding", b"gzip"))
            body = gzip.compress(body, compresslevel=1, mtime=0)  # the loop waits for it: speed before size
        try:
            await _answer(send, 200, headers, body)
        except trio.BrokenResourceError:  # what it held is lost, so the session cannot go on
            await _tell(session, Happened(Signal.POLL_CUT))
            raise

    async def _post(self, request: Request, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        session, post = self._sessions[request.sid], Post()
        await session.tell(post)
        await post.reply()
        if request.headers.get(b"content-type") == b"application/octet-stream":
            await _tell(session, Happened(Signal.GARBAGE))
            raise ProtocolError("Binary bodies belong to revision 3")
        try:
            body = await _read_body(receive, self._settings.payload_max_bytes)
        except TooLarge:
            await _tell(session, Happened(Signal.POST_READ))
            await _answer(send, 413, request.cors())
            return
        if body is None:
            await _tell(session, Happened(Signal.POST_CUT))
            return
        posted = Posted(body=body.decode("utf-8", "replace"))
        await session.tell(posted)
        await posted.reply()
        await _answer(send, 200, [(b"content-type", b"text/html"), (b"cache-control", b"no-store"), *request.cors()], b"ok")

    async def _websocket(self, request: Request, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        code = request.fault(self._sessions, upgrade=True)
        if code is not None or (self._is_full and not request.sid):
            await _refuse_socket(send, request, code)
            return
        if request.sid:
            session, line = self._sessions[request.sid], Outbox(self._settings.outbox_max_bytes)
        else:
            session = self._open(websocket=True)
            line = session.outbox
        try:
            await send({"type": "websocket.accept", "subprotocol": None, "headers": request.cors()})
            if request.sid:
                await session.tell(SocketCame(line))
            await self._converse(session, line, receive, send)
        except NotFound:
            await send(_close_message(1000))
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 1.0):
                await _tell(session, SocketWent(line))

    async def _converse(self, session: Session, line: Outbox, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read_frames, session, line, receive, send, nursery.cancel_scope)
            with suppress(trio.BrokenResourceError):
                while packets := await line.take():
                    for packet in packets:
                        await send(_frame_message(engineio.encode_frame(packet)))
                await send(_close_message(1000))
                await trio.sleep(CLOSE_FRAME_WAIT_S)
            nursery.cancel_scope.cancel()

    async def _read_frames(
        self, session: Session, line: Outbox, receive: ASGIReceiveCallable, send: ASGISendCallable, both: trio.CancelScope
    ) -> None:
        limit = self._settings.payload_max_bytes
        while (message := await receive())["type"] != "websocket.disconnect":
            if message["type"] != "websocket.receive":
                continue
            data = message["text"] if message["text"] is not None else message["bytes"] or b""
            if _is_over(data, limit):
                with suppress(trio.BrokenResourceError):
                    await send(_close_message(1009))
                break
            await _tell(session, Frame(line, data))
        both.cancel()


async def _tell(session: Session, message: Told) -> None:
    """A session that is over need not hear it."""
    with suppress(NotFound):
        await session.tell(message)


async def _take_unless_gone(outbox: Outbox, receive: ASGIReceiveCallable) -> list[engineio.Packet] | None:
    """None when the client hung up first."""
    packets: list[engineio.Packet] | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_until_gone, receive, nursery.cancel_scope)
        packets = await outbox.take()
        nursery.cancel_scope.cancel()
    return packets


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
    await _answer(send, 400, [(b"content-type", b"application/json"), *request.cors()], body)


async def _refuse_socket(send: ASGISendCallable, request: Request, code: int | None) -> None:
    """Before the 101, with the bare message. No code: no more sessions are taken."""
    status, body = (503, b"") if code is None else (400, MESSAGES[code].encode())
    headers = [(b"content-type", b"text/html"), (b"content-length", b"%d" % len(body)), (b"connection", b"close")]
    await send({"type": "websocket.http.response.start", "status": status, "headers": [*headers, *request.cors()]})
    await send({"type": "websocket.http.response.body", "body": body, "more_body": False})


def _frame_message(frame: str | bytes) -> WebsocketSendEvent:
    if isinstance(frame, bytes):
        return {"type": "websocket.send", "bytes": frame, "text": None}
    return {"type": "websocket.send", "bytes": None, "text": frame}


def _close_message(code: int) -> WebsocketCloseEvent:
    return {"type": "websocket.close", "code": code, "reason": None}


def _is_over(data: str | bytes, max_bytes: int) -> bool:
    """hypercorn counts a text's characters; what counts is bytes, at most four times as many."""
    return 4 * len(data) > max_bytes and len(data.encode() if isinstance(data, str) else data) > max_bytes
