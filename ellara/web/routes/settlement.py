"""/api/v1/settlement: asks the settler to pay an order out; tells where an order stands."""

from __future__ import annotations

from typing import Any

from quart import Blueprint

from ellara.actors import settler
from ellara.actors.settling.desk import Settle
from ellara.auth.tokens import Tokens
from ellara.errors import EllaraError, NotFound
from ellara.mailbox import Mailbox
from ellara.storage.pool import Pool
from ellara.storage.settlements import find_settlements
from ellara.web import bodies
from ellara.web.errors import answer_for
from ellara.web.routes import caller, expect_known, query, sent

Answer = dict[str, Any] | tuple[dict[str, Any], int, dict[str, str]]


def routes(pool: Pool, mailbox: Mailbox[Settle], tokens: Tokens, settle_timeout_s: float) -> Blueprint:
    settlement = Blueprint("settlement", __name__, url_prefix="/api/v1/settlement")

    @settlement.post("/settle")
    async def settle() -> Answer:
        """The wait ends after `settle_timeout_s`; the work goes on."""
        user_id, wait_mined = caller(tokens), bodies.waits_until_mined(query())
        await expect_known(pool, user_id)
        try:
            beneficiary, order = bodies.settle(await sent())
            settled = await settler.settle(
                mailbox, order, beneficiary, user_id, wait_mined=wait_mined, timeout_s=settle_timeout_s
            )
        except EllaraError as error:
            return _failure(error)
        return {"success": True, "txHash": str(settled.tx_hash), "message": "Order settled successfully"}

    @settlement.get("/<order_hash>")
    async def state(order_hash: str) -> dict[str, Any]:
        """For any user: what it tells is on chain for all to read."""
        caller(tokens)
        order = bodies.order_hash(order_hash)
        async with pool.connection() as connection:
            rounds = await find_settlements(connection, order)
        if not rounds:
            raise NotFound("Settlement not found")
        return bodies.settlement_json(order, rounds)

    return settlement


def _failure(error: EllaraError) -> Answer:
    answer = answer_for(error)
    if isinstance(error, bodies.SettlementFieldsMissing):
        return {"success": False, "message": answer.message}, answer.status, answer.headers
    return {"message": f"Failed to settle order: {answer.message}"}, answer.status, answer.headers
