"""The HTTP application, built from what it is given; and the front door, which sends /socket.io/ to the Socket.IO server.

Called by the daemon and the tests. A handler parses, calls and answers; it only waits for work, it never owns any: quart-trio
cancels it when its client leaves. Here is what all answers have in common: JSON, CORS, gzip, errors as `{message}`.
"""

from __future__ import annotations

import gzip
from typing import Any

import attrs
import msgspec
import trio
from hypercorn.typing import ASGIFramework, ASGIReceiveCallable, ASGISendCallable, Scope
from quart import request
from quart.json.provider import JSONProvider
from quart_trio import QuartTrio
from quart_trio.wrappers import TrioResponse as Response

from ellara.actors import ledger
from ellara.actors.settling.desk import Settle
from ellara.auth.tokens import Tokens
from ellara.log import get_logger
from ellara.mailbox import Mailbox
from ellara.metrics import HTTP_REQUESTS
from ellara.settings import Server
from ellara.storage.pool import Pool
from ellara.web.cors import allow_origin
from ellara.web.errors import answer_for
from ellara.web.routes import auth, chat, health, settlement, tx

log = get_logger(__name__)

METHODS = ("GET", "HEAD", "PUT", "PATCH", "POST", "DELETE")
HEADERS = "Authorization, Content-Type"
PREFLIGHT_CACHE_S = 600
SOCKET_PATH = "/socket.io/"
GZIP_LEVEL = 5
GZIP_INLINE_MAX_BYTES = 64_000  # about a millisecond; more is done in a thread


@attrs.frozen
class Parts:
    """What the routes speak to."""

    pool: Pool
    ledger: Mailbox[ledger.Request]
    settler: Mailbox[Settle]
    tokens: Tokens
    settle_timeout_s: float
    started_at: float
    """By trio's clock."""


def build(settings: Server, parts: Parts, socketio: ASGIFramework) -> ASGIFramework:
    """The whole front. Every path that begins with `/socket.io/` is `socketio`'s; WebSockets do not come here."""
    http: Any = routes_app(settings, parts)

    async def front(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        app = socketio if scope["type"] == "http" and scope["path"].startswith(SOCKET_PATH) else http
        await app(scope, receive, send)

    return front


def routes_app(settings: Server, parts: Parts) -> QuartTrio:
    app = QuartTrio("ellara.web", static_folder=None)
    app.json = _Json(app)
    app.url_map.strict_slashes = False  # as the old backend: /api/v1/tx/ is /api/v1/tx
    app.url_map.merge_slashes = False  # and no redirects, which are HTML
    app.config.update(MAX_CONTENT_LENGTH=settings.body_max_bytes, BODY_TIMEOUT=None, RESPONSE_TIMEOUT=None)  # serve has deadlines
    app.before_request(_answer_preflight)
    app.register_error_handler(Exception, _answer_error)
    app.after_request(_Finish(settings).finish)
    app.register_blueprint(auth.routes(parts.ledger, parts.tokens))
    app.register_blueprint(chat.routes(parts.pool, parts.ledger, parts.tokens))
    app.register_blueprint(tx.routes(parts.pool, parts.ledger, parts.tokens))
    app.register_blueprint(settlement.routes(parts.pool, parts.settler, parts.tokens, parts.settle_timeout_s))
    app.register_blueprint(health.routes(parts.pool, parts.started_at))
    return app


class _Json(JSONProvider):
    """msgspec: one JSON codec in the whole program."""

    def dumps(self, obj: Any, **_kwargs: Any) -> str:
        return msgspec.json.encode(obj).decode()

    def loads(self, s: str | bytes, **_kwargs: Any) -> Any:
        return msgspec.json.decode(s)

    def response(self, *args: Any, **kwargs: Any) -> Response:
        content = self._prepare_response_obj(args, kwargs)
        return Response(msgspec.json.encode(content), content_type="application/json; charset=utf-8")


async def _answer_preflight() -> Response | None:
    """Any OPTIONS, for any path, as the old backend did."""
    if request.method != "OPTIONS":
        return None
    response = Response(status=204)
    del response.headers["Content-Type"]
    response.headers["Access-Control-Allow-Methods"] = ",".join(METHODS)
    response.headers["Access-Control-Allow-Headers"] = request.headers.get("Access-Control-Request-Headers") or HEADERS
    response.headers["Access-Control-Max-Age"] = str(PREFLIGHT_CACHE_S)
    response.vary.add("Access-Control-Request-Headers")
    return response


async def _answer_error(error: Exception) -> tuple[dict[str, str], int, dict[str, str]]:
    answer = answer_for(error)
    if answer.status == 500:
        log.error("request crashed", method=request.method, path=request.path, exc_info=error)
    return {"message": answer.message}, answer.status, answer.headers


class _Finish:
    """The last touch to every answer, errors and preflights included."""

    def __init__(self, settings: Server) -> None:
        self._settings = settings
        self._compressing = trio.CapacityLimiter(1)

    async def finish(self, response: Response) -> Response:
        HTTP_REQUESTS.labels(method=request.method if request.method in METHODS else "other", status=response.status_code).inc()
        for name, value in allow_origin(self._settings.cors_origins, request.headers.get("Origin", "")):
            response.headers.add(name.decode(), value.decode("latin-1"))
        await self._compress(response)
        return response

    async def _compress(self, response: Response) -> None:
        if (response.content_length or 0) < self._settings.gzip_min_bytes:
            return
        response.vary.add("Accept-Encoding")
        if not request.accept_encodings.quality("gzip"):
            return
        data = await response.get_data(as_text=False)
        if len(data) <= GZIP_INLINE_MAX_BYTES:
            response.set_data(_gzipped(data))
        else:
            response.set_data(await trio.to_thread.run_sync(_gzipped, data, limiter=self._compressing))
        response.content_encoding = "gzip"


def _gzipped(data: bytes) -> bytes:
    return gzip.compress(data, GZIP_LEVEL, mtime=0)
