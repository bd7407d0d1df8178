"""One file per group of paths: parse, call, answer. Here is what they read a request by."""

from __future__ import annotations

from quart import request

from ellara.auth.tokens import Tokens, bearer
from ellara.model import utc_now
from ellara.storage.pool import Pool
from ellara.storage.users import known_user
from ellara.web.bodies import Sent


async def sent() -> Sent:
    """The body, whole. Raises werkzeug's `RequestEntityTooLarge` over the limit."""
    return Sent(bytes(await request.get_data(cache=False, as_text=False, parse_form_data=False)), request.content_type)


def query() -> dict[str, list[str]]:
    return request.args.to_dict(flat=False)


def caller(tokens: Tokens) -> str:
    """The id of the user who asks. Raises `TokenMissing`, `TokenRejected`."""
    return tokens.verify(bearer(request.headers.get("Authorization")), utc_now())


async def expect_known(pool: Pool, user_id: str) -> None:
    """Raises `Invalid` for a user that is gone: a token outlives it."""
    async with pool.connection() as connection:
        await known_user(connection, user_id)
