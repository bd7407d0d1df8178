"""The node, call by call: web3 on trio through our own provider, each call with its deadline, answers as our own values.

Used by the settler and by the head follower alone. What a contract refuses is `Reverted`; everything else that goes wrong is
`ChainUnavailable`, and a broadcast never raises: its outcome is a value. No decisions here, no state, no retries.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs
import trio

from ellara.chain.answers import Answer, NotSent, Outcome, RpcError, Unanswered, classify, is_broken_call, is_revert
from ellara.chain.fees import History
from ellara.chain.reverts import revert_reason
from ellara.errors import Reverted
from ellara.log import get_logger
from ellara.model import Address, Hash32, Mined, TxHash
from ellara.settings import Chain, Secret

if TYPE_CHECKING:
    from web3 import AsyncWeb3
    from web3.types import BlockIdentifier

    from ellara.chain.provider import Provider

log = get_logger(__name__)

FEE_HISTORY_BLOCKS = 15
MEDIAN = 50.0
ERROR_MAX_CHARS = 200


@attrs.frozen
class Head:
    """A block of the chain as one node sees it."""

    number: int
    hash: Hash32
    parent: Hash32
    base_fee_wei: int


async def open_rpc(url: Secret, settings: Chain) -> Rpc:
    """No traffic yet. web3 is imported here, in a thread, so that all else can start meanwhile."""
    return await trio.to_thread.run_sync(_load, url, settings)


def _load(url: Secret, settings: Chain) -> Rpc:
    from web3 import AsyncWeb3  # 0.6 s

    from ellara.chain.provider import Provider

    provider = Provider(url, settings)
    return Rpc(AsyncWeb3(provider, middleware=[]), provider)


class Rpc:
    """One endpoint."""

    def __init__(self, web3: AsyncWeb3[Provider], provider: Provider) -> None:
        self._eth, self._manager = web3.eth, web3.manager
        self._provider = provider

    async def close(self) -> None:
        await self._provider.close()

    async def chain_id(self) -> int:
        with _believable():
            return await self._eth.chain_id

    async def genesis_hash(self) -> Hash32:
        return _there(await self.block(0)).hash

    async def block_number(self) -> int:
        with _believable():
            return await self._eth.block_number

    async def latest(self) -> Head:
        return _there(await self._block("latest"))

    async def block(self, number: int) -> Head | None:
        """None: the node has no block of that number (yet)."""
        return await self._block(number)

    async def balance_wei(self, address: Address) -> int:
        return await self._quantity("eth_getBalance", str(address), "latest")

    async def count(self, address: Address, block_number: int | None = None) -> int:
        """The transactions of `address` up to the newest block, or to one: its next nonce on chain."""
        return await self._quantity("eth_getTransactionCount", str(address), _at(block_number))

    async def pending_count(self, address: Address) -> int:
        """The same with the node's own pool on top: a hint."""
        return await self._quantity("eth_getTransactionCount", str(address), "pending")

    async def fee_history(self) -> History:
        with _believable():
            history = await self._eth.fee_history(FEE_HISTORY_BLOCKS, "latest", [MEDIAN])
            rewards, used = history.get("reward") or [], history["gasUsedRatio"]
            # empty blocks report a tip of 0
            tips = [int(of_block[0]) for of_block, ratio in zip(rewards, used, strict=False) if ratio > 0 and of_block]
            return History(int(history["baseFeePerGas"][-1]), tips)

    async def call(self, to: Address, data: bytes, *, sender: Address | None = None, block_number: int | None = None) -> bytes:
        """The answer of a read, at the newest block or at one. Raises `Reverted`."""
        try:
            with _believable():
                answered = await self._raw("eth_call", _parameters(to, data, sender), _at(block_number))
                return bytes.fromhex(answered.removeprefix("0x"))
        except RpcError as error:
            raise _explained(error) from None

    async def estimate_gas(self, sender: Address, to: Address, data: bytes) -> int:
        """Executes the call on the newest state: the gas it used there. Raises `Reverted`."""
        try:
            return await self._quantity("eth_estimateGas", _parameters(to, data, sender))
        except RpcError as error:
            raise _explained(error) from None

    async def send(self, raw: bytes, tx_hash: TxHash) -> Answer:
        """Broadcasts signed bytes. Never raises for what the node says or fails to say."""
        try:
            with _believable():
                answered = bytes(await self._eth.send_raw_transaction(raw))
        except RpcError as error:
            return Answer(classify(error), error.code, error.text)
        except NotSent:
            return Answer(Outcome.NOT_SENT)
        except Unanswered as error:
            return Answer(Outcome.UNKNOWN, text=error.message)
        if answered != tx_hash.raw:
            return Answer(Outcome.UNKNOWN, text=f"answered with the hash 0x{answered.hex()}")
        return Answer(Outcome.ACCEPTED)

    async def knows(self, tx_hash: TxHash) -> bool:
        """Whether the node has the transaction, in a block or in its pool."""
        from web3.exceptions import TransactionNotFound

        try:
            with _believable(TransactionNotFound):
                await self._eth.get_transaction(tx_hash.raw)  # type: ignore[arg-type]  # web3: Hash32, a NewType of bytes
        except TransactionNotFound:
            return False
        return True

    async def receipt(self, tx_hash: TxHash) -> Mined | None:
        """None: not mined, or this node does not know of it yet."""
        from web3.exceptions import TransactionNotFound

        try:
            with _believable(TransactionNotFound):
                receipt = await self._eth.get_transaction_receipt(tx_hash.raw)  # type: ignore[arg-type]  # as above
                mined_hash, block_hash = TxHash(bytes(receipt["transactionHash"])), Hash32(bytes(receipt["blockHash"]))
                return Mined(mined_hash, int(receipt["blockNumber"]), block_hash, receipt["status"] == 1)
        except TransactionNotFound:
            return None

    async def _block(self, which: BlockIdentifier) -> Head | None:
        from web3.exceptions import BlockNotFound

        try:
            with _believable(BlockNotFound):
                block = await self._eth.get_block(which)
                base_fee_wei = int(block.get("baseFeePerGas", 0))
                return Head(block["number"], Hash32(bytes(block["hash"])), Hash32(bytes(block["parentHash"])), base_fee_wei)
        except BlockNotFound:
            return None

    async def _quantity(self, method: str, *parameters: object) -> int:
        with _believable():
            return int(await self._raw(method, *parameters), 16)

    async def _raw(self, method: str, *parameters: object) -> str:
        """Through web3 but past its formatters, which take as long as all the rest of a call when there is an address in it."""
        answered: str = await self._manager.coro_request(method, list(parameters))  # type: ignore[arg-type]  # RPCEndpoint: a str
        return answered


@contextmanager
def _believable(*answers: type[Exception]) -> Iterator[None]:
    """A malformed result meets us as whatever web3's formatters or our own reading raise. `answers` are no faults: they pass."""
    from web3.exceptions import Web3Exception

    try:
        yield
    except answers:
        raise
    except (Web3Exception, ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
        log.warning("unreadable answer of the node", error=repr(error)[:ERROR_MAX_CHARS])
        raise Unanswered("The blockchain node's answer cannot be read; please try again in a moment") from error


def _there(head: Head | None) -> Head:
    if head is None:
        raise Unanswered("The blockchain node has no blocks yet; please try again in a moment")
    return head


def _parameters(to: Address, data: bytes, sender: Address | None) -> dict[str, str]:
    return {"to": str(to), "data": "0x" + data.hex()} | ({"from": str(sender)} if sender else {})


def _at(block_number: int | None) -> str:
    return "latest" if block_number is None else hex(block_number)


def _explained(error: RpcError) -> Reverted | RpcError:
    if is_revert(error):
        return Reverted(revert_reason(error))
    return Reverted("The contract call runs out of gas or into an error") if is_broken_call(error) else error
