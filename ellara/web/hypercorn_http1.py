"""HTTP/1.1 on one of hypercorn's connections: what is taken, what is refused, and by when it must have come.

Used by `hypercorn_guard`, in the same manner: each remedy stands beside the fact about hypercorn 0.18.0 that makes it necessary.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from http import HTTPStatus
from math import inf

import attrs
import h11
import msgspec
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.events import Body, Request, Response
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ConnectionState

from ellara.metrics import HTTP_REQUESTS
from ellara.settings import Server
from ellara.web.addresses import Proxies
from ellara.web.cors import Headers, allow_origin
from ellara.web.hypercorn_streams import GuardedRequest, GuardedTasks
from ellara.web.upgrade import Upgrade

HEAD_MAX_BYTES = 16_384
"""As hypercorn's own limit."""

_AUTHORITY = re.compile(rb"https?://[^/?]*")


@attrs.frozen
class Terms:
    """On which connections are taken."""

    settings: Server
    proxies: Proxies
    websocket_path: bytes | None
    """What the targets of requests for WebSockets begin with."""


class GuardedHttp1(H11Protocol):
    """Its own refusals are `{message}` too."""

    def __init__(
        self,
        app: AppWrapper,
        config: Config,
        context: WorkerContext,
        tasks: GuardedTasks,
        terms: Terms,
        peer: tuple[str, int],
        server: tuple[str, int] | None,
        send: Callable[[Event], Awaitable[None]],
    ) -> None:
        super().__init__(app, config, context, tasks, ConnectionState({}), False, peer, server, send)
        self._terms = terms
        self._peer = peer
        self._origin = ""
        self._head_begun = True  # with the connection
        self._head_until = trio.current_time() + terms.settings.head_timeout_s
        self._body_until = inf
        self.lost = False
        """A write failed."""
        self.upgrade: Upgrade | None = None
        """What was asked for: nothing more is read."""

    @property
    def body_unread(self) -> bool:
        return self.connection.their_state in (h11.SEND_BODY, h11.ERROR)

    @property
    def read_until(self) -> float:
        """When a head, a body or the first byte of the next request must be here, by trio's clock."""
        if self.connection.their_state is h11.SEND_BODY:
            return self._body_until
        if self.connection.their_state is h11.IDLE:
            return -inf if self.context.terminated.is_set() else self._head_until
        return inf

    async def handle(self, event: Event) -> None:
        await super().handle(event)
        if isinstance(event, RawData) and not self._head_begun and self._head_is_here_in_part:
            self._head_begun = True
            self._head_until = trio.current_time() + self._terms.settings.head_timeout_s

    @property
    def _head_is_here_in_part(self) -> bool:
        return self.connection.their_state is h11.IDLE and bool(self.connection.trailing_data[0])

    async def refuse_slow(self) -> None:
        """`read_until` has passed. A connection that is only idle, or was opened for later, is closed without a word."""
        unanswered = self.connection.our_state is h11.SEND_RESPONSE or self._head_is_here_in_part
        await self._close_stream()  # the application hears of it, and can no longer answer in the middle of ours
        if unanswered:
            await self._send_error_response(HTTPStatus.REQUEST_TIMEOUT)
        await self.send(Closed())

    async def stream_send(self, event: StreamEvent) -> None:
        """Upstream closes after an answer that did not wait for its body, and does not say so: the next request is lost.

        Nor does it tell the application that what it said did not go out.
        """
        if isinstance(event, Response) and self.body_unread:
            event = replace(event, headers=[*event.headers, (b"connection", b"close")])
        await super().stream_send(event)
        if isinstance(event, Body) and self.lost:
            raise trio.BrokenResourceError("the peer is gone")

    async def _maybe_recycle(self) -> None:
        """Upstream closes, or waits for the next request, in the application's task, which quart cancels once it has answered.

        Then the connection stayed open for ever, without its idle limit. Nothing in here waits for the peer.
        """
        self._head_begun = False
        self._head_until = trio.current_time() + self._terms.settings.keep_alive_s
        with trio.CancelScope(shield=True):
            await super()._maybe_recycle()

    async def _check_protocol(self, event: h11.Request) -> None:
        """Upstream changes to HTTP/2 here; an odd HTTP2-Settings header then ends the process."""

    async def _create_stream(self, request: h11.Request) -> None:
        self._body_until = trio.current_time() + self._terms.settings.body_timeout_s
        self._origin = next((value.decode("latin-1") for name, value in request.headers if name == b"origin"), "")
        for_websocket = self._asks_for_our_websocket(request)
        if status := _fault(request) or (_upgrade_fault(request) if for_websocket else None):
            await self._send_error_response(status, head=request.method == b"HEAD")
            await self.send(Closed())
            return
        client = self._client(request)
        if for_websocket:
            early, _ended = self.connection.trailing_data
            self.upgrade = Upgrade(_origin_form(request.target), list(request.headers), early, client[0])
            return
        self.stream = GuardedRequest(
            self.app, self.config, self.context, self.task_group, self.ssl, client, self.server, self.stream_send, STREAM_ID
        )
        await self.stream.handle(
            Request(
                stream_id=STREAM_ID,
                headers=list(request.headers),
                http_version=request.http_version.decode(),
                method=request.method.decode("ascii").upper(),
                raw_path=_origin_form(request.target),
                state=self.connection_state,
            )
        )
        self.keep_alive_requests += 1

    def _client(self, request: h11.Request) -> tuple[str, int]:
        """Whom the application is to see; the port of one behind a proxy is not known."""
        address = self._terms.proxies.client(self._peer[0], request.headers)
        return self._peer if address == self._peer[0] else (address, 0)

    def _asks_for_our_websocket(self, request: h11.Request) -> bool:
        """On another path the wish for a WebSocket is ignored, as RFC 9110, 7.8 allows: the application answers as it likes."""
        path = self._terms.websocket_path
        if path is None or request.method != b"GET" or not _origin_form(request.target).startswith(path):
            return False
        return b"upgrade" in _tokens(request, b"connection") and b"websocket" in _tokens(request, b"upgrade")

    async def _send_error_response(self, status_code: int, *, head: bool = False) -> None:
        HTTP_REQUESTS.labels(method="other", status=int(status_code)).inc()
        headers, body = refusal(HTTPStatus(status_code).phrase, self._terms.settings.cors_origins, self._origin)
        framing = [(b"content-length", b"%d" % len(body)), (b"connection", b"close"), *self.config.response_headers("h11")]
        await self._send_h11_event(h11.Response(status_code=status_code, headers=headers + framing))
        if not head:
            await self._send_h11_event(h11.Data(data=body))
        await self._send_h11_event(h11.EndOfMessage())


def refusal(message: str, cors_origins: tuple[str, ...], origin: str) -> tuple[Headers, bytes]:
    """Headers and body of what is said below the application."""
    body = msgspec.json.encode({"message": message})
    return [(b"content-type", b"application/json"), *allow_origin(cors_origins, origin)], body


def _fault(request: h11.Request) -> HTTPStatus | None:
    """What upstream lets through and we do not."""
    names = {name for name, _ in request.headers}
    if request.http_version not in (b"1.0", b"1.1"):
        return HTTPStatus.HTTP_VERSION_NOT_SUPPORTED  # HTTP/2 with prior knowledge among them
    if not request.target.startswith((b"/", b"http://", b"https://")) and request.target != b"*":
        return HTTPStatus.BAD_REQUEST  # none of RFC 9112's forms; quart fails on an empty path
    if {b"content-length", b"transfer-encoding"} <= names:
        return HTTPStatus.BAD_REQUEST  # two lengths: behind a proxy that believes the other one, a smuggled request
    if _head_bytes(request) > HEAD_MAX_BYTES:
        return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE  # what comes at once is not counted: up to 64 KB went through
    return None


def _origin_form(target: bytes) -> bytes:
    """Of a target that names its host too, path and query: RFC 9112, 3.2.2. Upstream passes it on as it came."""
    if (named := _AUTHORITY.match(target)) is None:
        return target
    path = target[named.end() :]
    return path if path.startswith(b"/") else b"/" + path


def _head_bytes(request: h11.Request) -> int:
    line = len(request.method) + len(request.target) + len(b"  HTTP/1.1\r\n\r\n")
    return line + sum(len(name) + len(value) + len(b": \r\n") for name, value in request.headers)


def _upgrade_fault(request: h11.Request) -> HTTPStatus | None:
    if request.http_version != b"1.1":
        return HTTPStatus.BAD_REQUEST  # RFC 6455, 4.2.1
    if {b"content-length", b"transfer-encoding"} & {name for name, _ in request.headers}:
        return HTTPStatus.BAD_REQUEST  # a body would be read as frames
    return None


def _tokens(request: h11.Request, header: bytes) -> list[bytes]:
    return [token.strip().lower() for name, value in request.headers if name == header for token in value.split(b",")]
