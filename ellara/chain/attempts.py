"""What to do next with a nonce whose bytes are signed: pure decisions, from what a broadcast said and from what the chain shows.

The rule above all: an order never gets a second nonce while bytes for its first can still be mined. So nothing here ever gives up
on an unclear answer; the same bytes are sent again, and only a nonce that someone else has used up, finally, sets the order free.
"""

from __future__ import annotations

from enum import StrEnum

import attrs

from ellara.chain.answers import Outcome
from ellara.model import Mined, SettlementState

STALE_BLOCKS = 3
"""So many blocks without it are the sign of too low a fee: 36 s on Ethereum."""

MISSING_LOOKS = 3
"""So often no receipt may be found for a used-up nonce before it counts as lost: nodes index receipts late."""

LOST_S = 2.0
"""How long a lost nonce is watched at least, however fast the chain: nothing after that can be taken back."""


class Sent(StrEnum):
    """What a broadcast's outcome asks for."""

    ACCEPTED = "accepted"
    LOOK = "look it up by its hash"
    AGAIN = "send the same bytes again, soon"
    RAISE = "sign again with higher fees"
    WAIT = "nothing helps before the chain or an operator has changed something"


AFTER_SENDING = {
    Outcome.ACCEPTED: Sent.ACCEPTED,
    # each of these can also follow our own earlier broadcast whose answer was lost
    Outcome.ALREADY_KNOWN: Sent.LOOK,
    Outcome.NONCE_TOO_LOW: Sent.LOOK,
    Outcome.REPLACEMENT_UNDERPRICED: Sent.LOOK,
    Outcome.FEE_TOO_LOW: Sent.RAISE,
    Outcome.RATE_LIMITED: Sent.AGAIN,
    Outcome.NONCE_TOO_HIGH: Sent.AGAIN,
    Outcome.TRANSIENT: Sent.AGAIN,
    Outcome.UNKNOWN: Sent.AGAIN,
    Outcome.NOT_SENT: Sent.AGAIN,
    Outcome.EXECUTION_REVERTED: Sent.WAIT,
    Outcome.FEE_BUG: Sent.WAIT,
    Outcome.INSUFFICIENT_FUNDS: Sent.WAIT,
    Outcome.POOL_FULL: Sent.WAIT,
    Outcome.INVALID_TX: Sent.WAIT,
}


class Next(StrEnum):
    """What a new head asks for."""

    WAIT = "nothing"
    SEND = "send the newest bytes"
    RAISE = "sign again with higher fees"
    MINED = "it is in a block"
    UNMINED = "its block is gone"
    FINAL = "its block can no longer go"
    LOST = "its nonce was used by another transaction"
    FREE = "and that is final"


@attrs.frozen
class Facts:
    """What one look at the chain showed of one nonce."""

    state: SettlementState
    mined: Mined | None
    """In which block one of its attempts is, as recorded or as just found; only if that block is the chain's."""
    confirmations: int = 0
    """1 when that block is the newest."""
    used_up: bool = False
    """The chain's count has passed the nonce."""
    used_up_finally: bool = False
    """It had done so already in the newest block that counts as final."""
    lost_for_s: float = 0.0
    """Since it was taken for lost."""
    looks_missing: int = 0
    """How often in a row it was used up and no receipt found, this look among them."""
    known: bool | None = None
    """Whether the node has the newest bytes; None: not asked."""
    blocks_waiting: int = 0
    """Since it was sent, and was the lowest open nonce."""
    affordable: bool = True
    """Its cap reaches the next block's base fee."""


def decide(facts: Facts, confirmations: int) -> Next:
    """`confirmations`: from how many on a block counts as final."""
    if facts.mined is not None:
        if facts.confirmations >= confirmations:
            return Next.FINAL
        return Next.WAIT if facts.state in (SettlementState.MINED, SettlementState.REVERTED) else Next.MINED
    if facts.state in (SettlementState.MINED, SettlementState.REVERTED):
        return Next.UNMINED
    if facts.used_up:
        return _without_receipt(facts)
    if facts.state == SettlementState.LOST:
        return Next.UNMINED
    if facts.known is False:
        return Next.SEND
    if facts.blocks_waiting >= STALE_BLOCKS or not facts.affordable:
        return Next.RAISE
    return Next.WAIT


def _without_receipt(facts: Facts) -> Next:
    if facts.state == SettlementState.LOST:
        return Next.FREE if facts.used_up_finally and facts.lost_for_s >= LOST_S else Next.WAIT
    return Next.LOST if facts.looks_missing >= MISSING_LOOKS else Next.WAIT
