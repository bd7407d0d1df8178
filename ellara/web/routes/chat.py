"""/api/v1/chat: the user's chats, the messages of one, and its end."""

from __future__ import annotations

from typing import Any

from quart import Blueprint

from ellara.actors import ledger
from ellara.auth.access import own_chat
from ellara.auth.tokens import Tokens
from ellara.errors import NotFound
from ellara.mailbox import Mailbox
from ellara.storage import chats, messages
from ellara.storage.pool import Pool
from ellara.storage.users import known_user
from ellara.web import bodies
from ellara.web.routes import caller, expect_known, query

RULES = bodies.ListRules(chats.SORTS, sort_by="title", descending=False)


def routes(pool: Pool, mailbox: Mailbox[ledger.Request], tokens: Tokens) -> Blueprint:
    chat = Blueprint("chat", __name__, url_prefix="/api/v1/chat")

    @chat.get("")
    async def chat_list() -> dict[str, Any]:
        user_id, page = caller(tokens), RULES.page(query())
        async with pool.connection() as connection:
            listing = await chats.list_chats(connection, user_id, page)
        return bodies.listing_json([bodies.chat_json(row) for row in listing.rows], page, listing.total)

    @chat.get("/<chat_id>")
    async def chat_messages(chat_id: str) -> list[dict[str, Any]]:
        user_id, chat_id = caller(tokens), bodies.row_id(chat_id, "Chat not found")
        async with pool.connection() as connection:
            if (found := await chats.find_chat(connection, chat_id)) is None:
                await known_user(connection, user_id)
            rows = await messages.list_messages(connection, own_chat(found, user_id).id)
        return [bodies.message_json(row) for row in rows]

    @chat.delete("/<chat_id>")
    async def chat_end(chat_id: str) -> dict[str, Any]:
        user_id, chat_id = caller(tokens), bodies.row_id(chat_id, "Chat not found")
        try:
            await ledger.delete_chat(mailbox, user_id, chat_id)
        except NotFound:
            await expect_known(pool, user_id)
            raise
        return {"message": "Chat deleted successfully"}

    return chat
