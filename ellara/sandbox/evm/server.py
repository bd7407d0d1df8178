"""The sandbox's Ethereum: an EVM dev chain behind a JSON-RPC server on loopback, with the contract and paid orders on it.

Called by the daemon when no RPC URL is given, and by tests. The chain lives in the state folder and survives the process.
By default a block is mined as soon as the pool has something for it, and once no more comes two empty ones after it, so that a
settlement is confirmed and final soon; then the chain rests. With `block_time_ms` a block comes at each interval instead.
The EVM's work is done in one thread at a time, off the loop: rpc calls and blocks take turns in order of arrival.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import attrs
import msgspec
import trio

from ellara.log import get_logger
from ellara.sandbox.evm.faults import Fault, FaultPlan
from ellara.sandbox.evm.jsonrpc import METHOD_NOT_FOUND, Call, Json, Params, RpcError, error_of, parse_calls, result_of
from ellara.sandbox.http import HOST, Request, Response, serve
from ellara.settings import Sandbox, Secret

if TYPE_CHECKING:
    from ellara.sandbox.evm.machine import Machine
    from ellara.sandbox.evm.orders import PaidOrder

log = get_logger(__name__)

EVM_RECURSION_LIMIT = 12 * 1024
"""Python frames that 1024 contract calls within one another take; py-evm's own figure."""
QUIET_S = 0.2
"""Without a transaction, before an empty block follows."""
RETRY_AFTER_S = 1
CORS = (("access-control-allow-origin", "*"), ("access-control-allow-headers", "*"), ("access-control-allow-methods", "POST"))
"""A wallet in a browser may talk to it."""

Result = TypeVar("Result")


@attrs.frozen
class DevChain:
    """What the daemon and the tests need to know of a running chain."""

    rpc_url: str
    payment_address: str
    """In EIP-55 case, as the next."""
    token_address: str
    owner_key: Secret
    """Known to everyone: of use on this chain alone."""
    orders: list[PaidOrder]
    """Open at the start; `orders_file` is kept true."""
    orders_file: Path
    genesis_hash: str


async def run_chain(
    settings: Sandbox, chain_id: int, state_dir: Path, *, task_status: trio.TaskStatus[DevChain] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serves until cancelled. Raises `CannotStart` when the folder holds another chain, `OSError` when it cannot be written."""
    thread = _Thread()
    machine = await thread.run(lambda: _open(state_dir, chain_id, settings.orders))
    try:
        async with trio.open_nursery() as nursery:
            shell = _Shell(machine, thread, settings.block_time_ms / 1000)
            port = await nursery.start(serve, shell.handle)
            chain = await thread.run(lambda: machine.publish(f"http://{HOST}:{port}"))
            nursery.start_soon(shell.mine_at_intervals if settings.block_time_ms else shell.mine_on_demand)
            log.info("dev chain ready", chain_id=chain_id, port=port, open_orders=len(chain.orders))
            task_status.started(chain)
    finally:
        machine.close()


def _open(state_dir: Path, chain_id: int, orders: int) -> Machine:
    from ellara.sandbox.evm.machine import Machine  # half a second of py-evm: here it is spent beside the loop

    # py_ecc, which it imports, raises the limit to 100 000: a JSON text nested that deep then overflows msgspec's C stack
    sys.setrecursionlimit(EVM_RECURSION_LIMIT)
    return Machine(state_dir, chain_id, orders, time.time)


class _Thread:
    """One worker at a time, first come first served. Cancelling waits for what was begun: a block is not left half-mined."""

    def __init__(self) -> None:
        self._limiter = trio.CapacityLimiter(1)

    async def run(self, work: Callable[[], Result]) -> Result:
        return await trio.to_thread.run_sync(work, limiter=self._limiter)


class _Shell:
    """HTTP requests to the machine, in their order; and the clock that makes it mine."""

    def __init__(self, machine: Machine, thread: _Thread, block_time_s: float) -> None:
        self._machine, self._thread, self._block_time_s = machine, thread, block_time_s
        self._faults = FaultPlan()
        self._called = trio.Event()

    async def handle(self, request: Request, response: Response) -> None:
        if request.method == "OPTIONS":
            await response.send(204, b"", headers=CORS)
            return
        try:
            calls, batch = parse_calls(request.body)
        except RpcError as error:
            await response.send(200, msgspec.json.encode(error_of(None, error)), headers=CORS)
            return
        answers = [answer for call in calls if (answer := await self._answer(call, response)) is not None]
        if not response.begun:
            body = msgspec.json.encode(answers if batch else answers[0]) if answers else b""
            await response.send(200, body, headers=CORS)

    async def mine_at_intervals(self) -> None:
        """Runs until cancelled."""
        while True:
            await trio.sleep(self._block_time_s)
            await self._thread.run(self._machine.mine_one)

    async def mine_on_demand(self) -> None:
        """Runs until cancelled."""
        while True:
            self._called = trio.Event()
            owed = await self._thread.run(self._machine.mine_pooled)
            with trio.move_on_after(QUIET_S if owed else math.inf) as quiet:
                await self._called.wait()
            if quiet.cancelled_caught:
                await self._thread.run(self._machine.mine_one)

    async def _answer(self, call: Call | RpcError, response: Response) -> dict[str, Json] | None:
        """None: a notification, or a fault has already answered the whole request."""
        if isinstance(call, RpcError):
            return error_of(None, call)
        fault = self._faults.take(call.method)
        try:
            result = await (self._perform(call) if fault is None else self._go_wrong(fault, call, response))
        except RpcError as error:
            return error_of(call.id, error)
        return None if call.id is None or response.begun else result_of(call, result)

    async def _perform(self, call: Call) -> Json:
        if call.method == "dev_fault":
            self._faults.add(Params(call.params).object(0))
            return True
        if call.method == "dev_clearFaults":
            self._faults.clear()
            return True
        if not self._machine.knows(call.method):
            raise RpcError(f"the method {call.method} does not exist/is not available", METHOD_NOT_FOUND)
        try:
            return await self._thread.run(lambda: self._machine.answer(call))
        finally:
            if call.method == "eth_sendRawTransaction" or call.method.startswith("dev_"):
                self._called.set()  # after one that changes something: a poller must not keep the chain from its quiet

    async def _go_wrong(self, fault: Fault, call: Call, response: Response) -> Json:
        match fault.kind:
            case "delay":
                await trio.sleep(fault.delay_ms / 1000)
                return await self._perform(call)
            case "close-before":
                response.abort()
            case "close-after":
                await self._perform(call)
                response.abort()
            case "error":
                raise RpcError(fault.message, fault.code)
            case "lost":
                return await self._thread.run(lambda: self._machine.hash_of(call))
            case "429":
                body = msgspec.json.encode(error_of(call.id, RpcError("Too Many Requests", 429)))
                await response.send(429, body, headers=[*CORS, ("retry-after", str(RETRY_AFTER_S))])
            case "null":
                pass
        return None
