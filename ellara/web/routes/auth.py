"""POST /api/v1/auth/me: a wallet's address in, its user and a token out."""

from __future__ import annotations

from typing import Any

from quart import Blueprint

from ellara.actors import ledger
from ellara.auth.tokens import Tokens
from ellara.mailbox import Mailbox
from ellara.model import utc_now
from ellara.web import bodies
from ellara.web.routes import sent


def routes(mailbox: Mailbox[ledger.Request], tokens: Tokens) -> Blueprint:
    auth = Blueprint("auth", __name__, url_prefix="/api/v1/auth")

    @auth.post("/me")
    async def sign_in() -> dict[str, Any]:
        user = await ledger.sign_in(mailbox, bodies.sign_in(await sent()))
        return bodies.user_json(user, tokens.issue(user.id, utc_now()))

    return auth
