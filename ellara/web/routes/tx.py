"""/api/v1/tx: the user's transactions: listed, recorded, updated."""

from __future__ import annotations

from typing import Any

from quart import Blueprint

from ellara.actors import ledger
from ellara.auth.tokens import Tokens
from ellara.errors import NotFound
from ellara.mailbox import Mailbox
from ellara.storage import transactions
from ellara.storage.pool import Pool
from ellara.web import bodies
from ellara.web.routes import caller, expect_known, query, sent

RULES = bodies.ListRules(transactions.SORTS, sort_by="createdAt", descending=True)


def routes(pool: Pool, mailbox: Mailbox[ledger.Request], tokens: Tokens) -> Blueprint:
    tx = Blueprint("tx", __name__, url_prefix="/api/v1/tx")

    @tx.get("")
    async def tx_list() -> dict[str, Any]:
        user_id, page = caller(tokens), RULES.page(query())
        async with pool.connection() as connection:
            listing = await transactions.list_transactions(connection, user_id, page)
        return bodies.listing_json([bodies.transaction_json(row) for row in listing.rows], page, listing.total)

    @tx.post("")
    async def tx_record() -> dict[str, Any]:
        user_id = caller(tokens)
        amount, kind = bodies.recording(await sent())
        return bodies.transaction_json(await ledger.record_transaction(mailbox, user_id, amount, kind))

    @tx.put("/<transaction_id>")
    async def tx_update(transaction_id: str) -> dict[str, Any]:
        user_id, transaction_id = caller(tokens), bodies.row_id(transaction_id, "Transaction not found")
        status, tx_hash = bodies.update(await sent())
        try:
            await ledger.update_transaction(mailbox, user_id, transaction_id, status, tx_hash)
        except NotFound:
            await expect_known(pool, user_id)
            raise
        return {"status": "OK", "message": "Transaction updated successfully"}

    return tx
