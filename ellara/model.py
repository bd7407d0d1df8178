"""The values of the field: what the rows, the wire and the chain speak of. Parsed once at the edge; wrong ones cannot be made.

Times are UTC with a zone, of millisecond precision. Amounts are `int` in the smallest unit. Identities are UUID texts.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Generic, Self, TypeVar

import attrs

from ellara.errors import Invalid

Row = TypeVar("Row")

_HEX_20, _HEX_32 = re.compile(r"0x[0-9a-fA-F]{40}"), re.compile(r"0x[0-9a-fA-F]{64}")


class Role(StrEnum):
    USER = "USER"
    MERCHANT = "MERCHANT"


class TransactionType(StrEnum):
    NATIVE = "NATIVE"
    USDT = "USDT"


class TransactionStatus(StrEnum):
    PENDING = "PENDING"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"


class Speaker(StrEnum):
    """Whose message: the column is called `role` on the wire."""

    USER = "user"
    ASSISTANT = "assistant"


@attrs.frozen
class Address:
    """A 20-byte account or contract; equal whatever the case of the text it came from."""

    raw: bytes

    @classmethod
    def parse(cls, text: str, name: str = "address") -> Self:
        """From `0x` and 40 hex digits in any case. Raises `Invalid`, saying `name`."""
        if not _HEX_20.fullmatch(text):
            raise Invalid(f"{name} must be 0x and 40 hex digits")
        return cls(bytes.fromhex(text[2:]))

    def __str__(self) -> str:
        return "0x" + self.raw.hex()


@attrs.frozen
class Hash32:
    """32 bytes, written as `0x` and 64 hex digits."""

    raw: bytes

    @classmethod
    def parse(cls, text: str, name: str = "hash") -> Self:
        """From `0x` and 64 hex digits in any case. Raises `Invalid`, saying `name`."""
        if not _HEX_32.fullmatch(text):
            raise Invalid(f"{name} must be 0x and 64 hex digits")
        return cls(bytes.fromhex(text[2:]))

    def __str__(self) -> str:
        return "0x" + self.raw.hex()


@attrs.frozen
class TxHash(Hash32):
    """Names a signed transaction."""


@attrs.frozen
class OrderHash(Hash32):
    """Names a QR order: keccak256 of its id, reference, token and payer."""


@attrs.frozen
class User:
    id: str
    public_key: str
    """As it was first stored: `0x` and 40 hex digits in the case of the first login."""
    role: Role


@attrs.frozen
class Chat:
    id: str
    user_id: str
    title: str
    openai_thread_id: str
    created_at: datetime
    updated_at: datetime


@attrs.frozen
class Message:
    id: str
    chat_id: str
    role: Speaker
    content: str
    created_at: datetime


@attrs.frozen
class Transaction:
    id: str
    user_id: str
    amount: int
    """In the smallest unit of its kind."""
    type: TransactionType
    status: TransactionStatus
    tx_hash: str | None
    created_at: datetime


@attrs.frozen
class Page:
    """Which rows of a list: `take` of them from page `page` (from 1), in an order whose ties the id breaks."""

    take: int
    page: int
    sort_by: str
    """As on the wire (`createdAt`); each list has its fixed choice."""
    descending: bool
    search: str | None


@attrs.frozen
class Listing(Generic[Row]):
    """One page of rows, and how many there are on all pages."""

    rows: list[Row]
    total: int


class SettlementState(StrEnum):
    """Where one round of one order stands.

    Nothing signed yet: received, ready (simulated, waits for a nonce), rejected (may be tried again). Signed bytes exist: signed,
    sent (perhaps only), mined and reverted (not final yet), lost (another transaction has its nonce). The rest are final.
    """

    RECEIVED = "received"
    READY = "ready"
    REJECTED = "rejected"
    SIGNED = "signed"
    SENT = "sent"
    MINED = "mined"
    REVERTED = "reverted"
    LOST = "lost"
    SETTLED = "settled"
    SETTLED_ELSEWHERE = "settled_elsewhere"
    FAILED = "failed"


@attrs.frozen
class Settlement:
    """One order, one round: what the contract owes for it at one time, paid out by one transaction."""

    id: int
    order: OrderHash
    round: int
    beneficiary: Address
    user_id: str
    native: bool | None
    """Which of the contract's two functions; None until the order's token was read."""
    state: SettlementState
    tx_hash: TxHash | None
    """The current attempt's, or the mined one's; None before anything was signed."""
    block_number: int | None
    reason: str | None
    """Why it was rejected or failed, for a client to read."""
    created_at: datetime
    updated_at: datetime


def storable(text: str) -> bool:
    """Whether PostgreSQL's text can hold it: no NUL, no half of a surrogate pair."""
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


@attrs.frozen
class Attempt:
    """Signed bytes for one nonce. A nonce may have several, of rising fees: one of them at most is ever mined."""

    nonce: int
    seq: int
    """From 1; the highest is the newest and pays most."""
    tx_hash: TxHash
    raw: bytes = attrs.field(repr=False)
    fee_cap_wei: int
    tip_wei: int
    gas: int
    created_block: int
    """The newest block when it was signed."""


@attrs.frozen
class Mined:
    """Where an attempt was mined; it counts as long as that block is the chain's."""

    tx_hash: TxHash
    block_number: int
    block_hash: Hash32
    succeeded: bool


def utc_now() -> datetime:
    """The wall clock, cut to the milliseconds that the database and the wire keep."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def iso(moment: datetime) -> str:
    """As JavaScript's `toISOString`: `2024-01-01T00:00:00.000Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
