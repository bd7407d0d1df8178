"""A settler on a real chain and a real database, which a test can crash and start again; and the chain as the judge."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import trio

from ellara.actors.heads import Heads
from ellara.actors.settler import MAILBOX_SIZE, Settler, settle
from ellara.actors.settling.desk import Settle
from ellara.chain.rpc import open_rpc
from ellara.mailbox import Mailbox
from ellara.model import Address, OrderHash, Settlement, SettlementState
from ellara.sandbox.evm.server import DevChain
from ellara.settings import Chain, Secret
from ellara.storage.pool import Pool
from ellara.storage.settlements import find_settlements
from tests.devchain import BENEFICIARY, Rpc, owner_of

WAIT_S = 15.0
MERCHANT = Address.parse(BENEFICIARY)
ORDER_SETTLED = "0x77e8dd326a7423692b9e186976bba61ba724630bb52773865c9f9337faeff883"


def chain_settings(chain: DevChain, **changed: Any) -> Chain:
    settings = Chain(
        rpc_url=Secret(chain.rpc_url), payment_address=chain.payment_address, owner_key=chain.owner_key, poll_interval_s=0.05
    )
    return attrs.evolve(settings, **changed)


class Running:
    """One settler, from `start` to `crash`; what it knew is gone then, the mailbox and the database stay."""

    def __init__(self, chain: DevChain, rpc: Rpc, pool: Pool, nursery: trio.Nursery, **changed: Any) -> None:
        self.chain, self.rpc, self.pool = chain, rpc, pool
        self.settings = chain_settings(chain, **changed)
        self.mailbox: Mailbox[Settle] = Mailbox("settler", MAILBOX_SIZE)
        self._nursery = nursery
        self._scope, self.ended = trio.CancelScope(), trio.Event()

    async def start(self, *, new_chain_allowed: bool = True) -> None:
        await self._nursery.start(self._run, new_chain_allowed)

    async def crash(self) -> None:
        self._scope.cancel()
        await self.ended.wait()

    async def _run(self, new_chain_allowed: bool, *, task_status: trio.TaskStatus[None]) -> None:
        self._scope, self.ended = trio.CancelScope(), trio.Event()
        rpc = await open_rpc(self.settings.rpc_url, self.settings)
        heads = Heads(rpc, self.settings)
        settler = Settler(self.mailbox, self.pool, rpc, self.settings, heads, new_chain_allowed=new_chain_allowed)
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(heads.run)
                    await settler.run(task_status=task_status)
                    heads.stop()
        finally:
            self.ended.set()

    async def settle(
        self, order: str, beneficiary: Address = MERCHANT, *, mined: bool = True, timeout_s: float = WAIT_S
    ) -> Settlement:
        return await settle(self.mailbox, OrderHash.parse(order), beneficiary, "user", wait_mined=mined, timeout_s=timeout_s)

    async def rows(self, order: str) -> list[Settlement]:
        async with self.pool.connection() as connection:
            return await find_settlements(connection, OrderHash.parse(order))

    async def reached(self, order: str, *states: SettlementState) -> Settlement:
        """The newest round, as soon as it is in one of these states."""
        return await self.until(order, lambda row: row.state in states)

    async def mine_until(self, order: str, *states: SettlementState) -> Settlement:
        """The same, one empty or full block after the other."""
        with trio.fail_after(WAIT_S):
            while (rows := await self.rows(order))[0].state not in states:
                await self.rpc("dev_mine", 1)
                await trio.sleep(self.settings.poll_interval_s)
        return rows[0]

    async def until(self, order: str, enough: Callable[[Settlement], bool]) -> Settlement:
        """Reads again and again: the rows ring no bell."""
        with trio.fail_after(WAIT_S):
            while True:
                rows = await self.rows(order)
                if rows and enough(rows[0]):
                    return rows[0]
                await trio.sleep(0.01)

    async def new_orders(self, count: int, *, native: bool = False) -> list[str]:
        hashes: list[str] = await self.rpc("dev_payOrder", {"native": native, "count": count})
        return hashes

    async def executions(self, order: str) -> int:
        """How often the chain has paid this order out."""
        logs = await self.rpc("eth_getLogs", {"fromBlock": "0x0", "toBlock": "latest", "address": self.chain.payment_address})
        return sum(log["topics"][0] == ORDER_SETTLED and log["data"].endswith(order[2:]) for log in logs)

    async def owner_count(self) -> int:
        return await self.rpc.number("eth_getTransactionCount", owner_of(self.chain).address, "latest")

    async def fault(self, method: str, kind: str, **more: Any) -> None:
        await self.rpc("dev_fault", {"method": method, "kind": kind, **more})
