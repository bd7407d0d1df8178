"""What a node's answer means, read from the raw JSON: errors of a call, outcomes of a broadcast. Pure.

The error codes tell little: geth uses -32000 for nearly all, and one code means different things to different nodes. So the texts
are matched, in the order of `TABLE`. What is not understood counts as "maybe sent": sending the same bytes again is always safe.
Sources: the texts of geth, reth, erigon, besu, nethermind, anvil and hosted nodes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum

import attrs

from ellara.errors import ChainUnavailable


class RpcError(ChainUnavailable):
    """The node answered with an error object, or with an HTTP status alone. `text`, `code` and `data` are as it sent them."""

    def __init__(self, text: str, code: int | None = None, data: object = None, http_status: int = 200) -> None:
        super().__init__("The blockchain node refused the request; please try again in a moment")
        self.text, self.code, self.data, self.http_status = text, code, data, http_status


class NotSent(ChainUnavailable):
    """The request surely never left: no connection could be made."""


class Unanswered(ChainUnavailable):
    """The request may have been received and acted on; the answer is missing or unreadable."""


class Outcome(StrEnum):
    """What became of signed bytes that were sent."""

    ACCEPTED = "accepted"
    EXECUTION_REVERTED = "execution-reverted"
    RATE_LIMITED = "rate-limited"
    ALREADY_KNOWN = "already-known"
    NONCE_TOO_LOW = "nonce-too-low"
    REPLACEMENT_UNDERPRICED = "replacement-underpriced"
    FEE_TOO_LOW = "fee-too-low"
    FEE_BUG = "fee-bug"
    INSUFFICIENT_FUNDS = "insufficient-funds"
    NONCE_TOO_HIGH = "nonce-too-high"
    POOL_FULL = "pool-full"
    INVALID_TX = "invalid-tx"
    TRANSIENT = "transient"
    UNKNOWN = "unknown"
    NOT_SENT = "not-sent"


@attrs.frozen
class Answer:
    """One broadcast's outcome, with the node's own words for the log."""

    outcome: Outcome
    code: int | None = None
    text: str = ""


REVERTED = re.compile(r"execution reverted|vm execution error|reverted 0x|vm exception while processing")
BROKEN = re.compile(r"out of gas|gas required exceeds|invalid opcode|evm error")
"""A call that ends without the contract's word: trying it again would not help either."""

TABLE: dict[Outcome, tuple[str, ...]] = {
    Outcome.RATE_LIMITED: (
        "too many requests",
        "rate limit",
        "request rate exceeded",
        "daily request count exceeded",
        "exceeded its compute units",
        "credits limited to",
        "qps limit",
        "usage limit",
    ),
    # "unknown transaction type" is another thing: hence the word boundary
    Outcome.ALREADY_KNOWN: (
        "already[_ ]?known",
        r"\bknown transaction",
        "already imported",
        "existing txn with same hash",
    ),
    Outcome.NONCE_TOO_LOW: (
        "nonce too low",
        "oldnonce",
        "nonce has already been used",
        r"\bmined\b",
    ),
    Outcome.REPLACEMENT_UNDERPRICED: (
        "replacement transaction underpriced",
        "insufficient gas price to replace",
        "could not replace existing tx",
        "replacementnotallowed",
        "another transaction with same nonce",
    ),
    Outcome.FEE_TOO_LOW: (
        "underpriced",
        "gas price below",
        "max fee per gas less than block base fee",
        "feetoolow",
        "fee too low",
        "below chain minimum",
        "priority fee below minimum",
    ),
    Outcome.FEE_BUG: (
        "max priority fee per gas higher than max fee per gas",
        "max priority fee per gas exceeds",
        "fee cap exceeded",
        "exceeds the configured cap",
    ),
    Outcome.INSUFFICIENT_FUNDS: (
        "insufficient funds",
        "upfront cost exceeds account balance",
        "overdraws from account",
        "insufficientfunds",
        "insufficient balance",
    ),
    Outcome.NONCE_TOO_HIGH: (
        "nonce too high",
        "nonce too distant",
        "too distant from current",
        "noncegap",
        "nonce too far",
        "gapped-nonce",
        "delegation nonce gap",
        "future transaction tries to replace pending",
        "lower nonce exists",
    ),
    Outcome.POOL_FULL: (
        "txpool is full",
        "sub-pool is full",
        "pool size constraints",
        "account limit exceeded",
        "in-flight transaction limit reached",
        "has pending transaction",
        "spammer",
        "address already reserved",
        "pending transaction type conflict",
    ),
    Outcome.INVALID_TX: (
        "invalid sender",
        "failed to recover sender",
        "invalid signature",
        "invalid chain id",
        "wrong chainid",
        "only replay-protected",
        "intrinsic gas too low",
        "intrinsic gas exceeds",
        "intrinsic gas too high",
        "exceeds block gas limit",
        "gas limit too high",
        "gas limit reached",
        "floor data gas",
        "oversized data",
        r"\brlp\b",
        "failed to decode",
        "empty transaction data",
        "(tx|transaction) type .*not supported",
        "transaction type not supported",
        "nonce has max value",
        "sender not an eoa",
    ),
    Outcome.TRANSIENT: (
        "bad gateway",
        "service unavailable",
        "timeout",
        "header not found",
        "node is syncing",
        "initial sync",
        "no available",
        "upstream",
        "connection reset",
        "method not found",
    ),
}
_COMPILED = [(outcome, re.compile("|".join(patterns))) for outcome, patterns in TABLE.items()]

TOO_MANY_REQUESTS = 429
METHOD_NOT_FOUND = -32601
REVERT_CODE = 3


def is_revert(error: RpcError) -> bool:
    """Whether the contract refused. Tested before any table: a revert's text is chosen by whoever wrote the contract."""
    return error.code == REVERT_CODE or any(REVERTED.search(text) for text in _texts(error))


def is_broken_call(error: RpcError) -> bool:
    """Whether a call or an estimate ran into its end: endless gas, an invalid instruction."""
    return any(BROKEN.search(text) for text in _texts(error))


def classify(error: RpcError) -> Outcome:
    """What an error answer to eth_sendRawTransaction says of the bytes."""
    if is_revert(error):
        return Outcome.EXECUTION_REVERTED
    if TOO_MANY_REQUESTS in (error.http_status, error.code) or _backoff_asked(error.data):
        return Outcome.RATE_LIMITED
    for outcome, pattern in _COMPILED:
        if any(pattern.search(text) for text in _texts(error)):
            return outcome
    if error.http_status >= 500 or error.code == METHOD_NOT_FOUND:
        return Outcome.TRANSIENT
    return Outcome.UNKNOWN


def _texts(error: RpcError) -> Iterator[str]:
    yield error.text.lower()
    yield from _nested(error.data, depth=3)


def _nested(data: object, depth: int) -> Iterator[str]:
    if isinstance(data, str):
        yield data.lower()
    elif isinstance(data, dict) and depth:
        for value in data.values():
            yield from _nested(value, depth - 1)


def _backoff_asked(data: object) -> bool:
    """Infura's `data.rate.backoff_seconds`."""
    rate = data.get("rate") if isinstance(data, dict) else None
    return isinstance(rate, dict) and "backoff_seconds" in rate
