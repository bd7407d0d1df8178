"""The node, call by call: web3 on trio through our own provider, each call with its deadline, answers as our own values.

Used by the settler and by the head follower alone. What a contract refuses is `Reverted`; everything else that goes wrong is
`ChainUnavailable`, and a broadcast never raises: its outcome is a value. No decisions here, no state, no retries.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, TypeVar

import attrs
import trio

from ellara.chain.answers import Answer, NotSent, Outcome, RpcError, Unanswered, classify, is_revert
from ellara.chain.fees import History
from ellara.chain.reverts import revert_reason
from ellara.errors import Reverted
from ellara.log import get_logger
from ellara.model import Address, Hash32, Mined, TxHash
from ellara.settings import Chain, Secret

if TYPE_CHECKING:
    from eth_typing import ChecksumAddress
    from web3 import AsyncWeb3
    from web3.types import BlockData, BlockIdentifier, TxParams

    from ellara.chain.provider import Provider

log = get_logger(__name__)

Found = TypeVar("Found")

FEE_HISTORY_BLOCKS = 15
MEDIAN = 50.0


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
        self._eth = web3.eth
        self._provider = provider

    async def close(self) -> None:
        await self._provider.close()

    async def chain_id(self) -> int:
        return await _believable(self._eth.chain_id)

    async def genesis_hash(self) -> Hash32:
        head = await self.block(0)
        if head is None:
            raise Unanswered("The blockchain node has no first block; please try again in a moment")
        return head.hash

    async def block_number(self) -> int:
        return await _believable(self._eth.block_number)

    async def latest(self) -> Head:
        head = await self._block("latest")
        if head is None:
            raise Unanswered("The blockchain node has no blocks yet; please try again in a moment")
        return head

    async def block(self, number: int) -> Head | None:
        """None: the node has no block of that number (yet)."""
        return await self._block(number)

    async def balance_wei(self, address: Address) -> int:
        return await _believable(self._eth.get_balance(_checksum(address), "latest"))

    async def count(self, address: Address, block_number: int | None = None) -> int:
        """The transactions of `address` up to the newest block, or to one: its next nonce on chain."""
        at: BlockIdentifier = "latest" if block_number is None else block_number
        return await _believable(self._eth.get_transaction_count(_checksum(address), at))

    async def pending_count(self, address: Address) -> int:
        """The same with the node's own pool on top: a hint."""
        return await _believable(self._eth.get_transaction_count(_checksum(address), "pending"))

    async def fee_history(self) -> History:
        history = await _believable(self._eth.fee_history(FEE_HISTORY_BLOCKS, "latest", [MEDIAN]))
        rewards, used = history.get("reward") or [], history["gasUsedRatio"]
        # empty blocks report a tip of 0
        tips = [int(of_block[0]) for of_block, ratio in zip(rewards, used, strict=False) if ratio > 0 and of_block]
        return History(int(history["baseFeePerGas"][-1]), tips)

    async def call(self, to: Address, data: bytes, *, sender: Address | None = None, block_number: int | None = None) -> bytes:
        """The answer of a read, at the latest block or at one. Raises `Reverted`."""
        at: BlockIdentifier = "latest" if block_number is None else block_number
        try:
            return bytes(await _believable(self._eth.call(_parameters(to, data, sender), at, ccip_read_enabled=False)))
        except RpcError as error:
            raise _explained(error) from None

    async def estimate_gas(self, sender: Address, to: Address, data: bytes) -> int:
        """Executes the call on the latest state: the gas it used there. Raises `Reverted`."""
        try:
            return await _believable(self._eth.estimate_gas(_parameters(to, data, sender)))
        except RpcError as error:
            raise _explained(error) from None

    async def send(self, raw: bytes, tx_hash: TxHash) -> Answer:
        """Broadcasts signed bytes. Never raises for what the node says or fails to say."""
        try:
            answered = await _believable(self._eth.send_raw_transaction(raw))
        except RpcError as error:
            return Answer(classify(error), error.code, error.text)
        except NotSent:
            return Answer(Outcome.NOT_SENT)
        except Unanswered as error:
            return Answer(Outcome.UNKNOWN, text=error.message)
        if bytes(answered) != tx_hash.raw:
            return Answer(Outcome.UNKNOWN, text=f"answered with the hash 0x{bytes(answered).hex()}")
        return Answer(Outcome.ACCEPTED)

    async def knows(self, tx_hash: TxHash) -> bool:
        """Whether the node has the transaction, in a block or in its pool."""
        from web3.exceptions import TransactionNotFound

        try:
            await _believable(self._eth.get_transaction(tx_hash.raw))  # type: ignore[arg-type]  # web3: Hash32, a NewType of bytes
        except TransactionNotFound:
            return False
        return True

    async def receipt(self, tx_hash: TxHash) -> Mined | None:
        """None: not mined, or this node does not know of it yet."""
        from web3.exceptions import TransactionNotFound

        try:
            receipt = await _believable(self._eth.get_transaction_receipt(tx_hash.raw))  # type: ignore[arg-type]  # as above
        except TransactionNotFound:
            return None
        return Mined(
            TxHash(bytes(receipt["transactionHash"])),
            receipt["blockNumber"],
            Hash32(bytes(receipt["blockHash"])),
            receipt["status"] == 1,
        )

    async def _block(self, which: BlockIdentifier | int) -> Head | None:
        from web3.exceptions import BlockNotFound

        try:
            return _head(await _believable(self._eth.get_block(which)))
        except BlockNotFound:
            return None


async def _believable(request: Awaitable[Found]) -> Found:
    """web3 meets a malformed result with whatever its formatters raise; "not found" is an answer and passes."""
    from web3.exceptions import BlockNotFound, TransactionNotFound, Web3Exception

    try:
        return await request
    except (BlockNotFound, TransactionNotFound):
        raise
    except (Web3Exception, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        log.warning("unreadable answer of the node", error=repr(error)[:200])
        raise Unanswered("The blockchain node's answer cannot be read; please try again in a moment") from error


def _head(block: BlockData) -> Head:
    return Head(
        block["number"], Hash32(bytes(block["hash"])), Hash32(bytes(block["parentHash"])), int(block.get("baseFeePerGas", 0))
    )


def _parameters(to: Address, data: bytes, sender: Address | None) -> TxParams:
    parameters: TxParams = {"to": _checksum(to), "data": data}
    if sender is not None:
        parameters["from"] = _checksum(sender)
    return parameters


def _explained(error: RpcError) -> Reverted | RpcError:
    return Reverted(revert_reason(error)) if is_revert(error) else error


def _checksum(address: Address) -> ChecksumAddress:
    from eth_utils.address import to_checksum_address

    return to_checksum_address(address.raw)
