"""Every field rule of the contract, both directions: bodies and query → values, rows → JSON.

The routes call it; what it refuses is `Invalid`, and the text names the field and the rule. Fields that nobody knows are ignored,
as the old backend did; null is the same as a field left out. Deliberately absent: quart, and any look at the database.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, TypeVar

import attrs
import msgspec

from ellara.errors import Invalid, NotFound, ProtocolError, WrongMediaType
from ellara.jsontext import from_json
from ellara.model import (
    Address,
    Chat,
    Message,
    OrderHash,
    Page,
    Settlement,
    Transaction,
    TransactionStatus,
    TransactionType,
    User,
    iso,
    storable,
)

SAFE_INTEGER = 2**53 - 1
"""The largest that a JavaScript number holds exactly: larger amounts travel as decimal strings, both ways."""

TAKE_MAX, TAKE_DEFAULT = 100, 10
TX_HASH_MAX_CHARS = 200
_AMOUNT = re.compile(r"[0-9]{1,78}")  # the widest column is NUMERIC(78, 0)

_JSON_TYPE = re.compile(r"\s*application/([\w.+-]+\+)?json\s*(;.*)?", re.IGNORECASE)
_OTHER_CHARSET = re.compile(r";\s*charset\s*=\s*(?!\"?utf-?8\"?\s*(;|$))", re.IGNORECASE)

Choice = TypeVar("Choice", bound=StrEnum)


@attrs.frozen
class Sent:
    """A request's body and what its sender says it is; saying nothing means JSON."""

    data: bytes
    content_type: str | None


class _Body(msgspec.Struct, rename="camel"):
    """Anything in any field: the rules below have better words than a schema."""


class _SignIn(_Body):
    public_key: object = None


class _Recording(_Body):
    amount: object = None
    type: object = None


class _Update(_Body):
    status: object = None
    tx_hash: object = None


class _Settle(_Body):
    beneficiary: object = None
    order_hash: object = None


Shape = TypeVar("Shape", bound=_Body)


def _decoded(sent: Sent, shape: type[Shape]) -> Shape:
    """No body at all is an object without fields, as it was to the old backend."""
    data = sent.data.removeprefix(b"\xef\xbb\xbf")
    content_type = sent.content_type or "application/json"
    if data and (not _JSON_TYPE.fullmatch(content_type) or _OTHER_CHARSET.search(content_type)):
        raise WrongMediaType("The body must be JSON in UTF-8: send Content-Type: application/json")
    try:
        return msgspec.convert(from_json(data.decode() or "{}"), shape)
    except msgspec.ValidationError:
        raise Invalid("The body must be a JSON object") from None
    except ProtocolError as error:
        raise Invalid(f"The body cannot be read: {error.message}") from None
    except UnicodeError:  # also a field named by a lone surrogate
        raise Invalid("The body must be JSON in UTF-8") from None


def sign_in(sent: Sent) -> str:
    """The public key as it was written."""
    key = _decoded(sent, _SignIn).public_key
    if not key:
        raise Invalid("publicKey is required")
    Address.parse(_text(key, "publicKey must be 0x and 40 hex digits"), "publicKey")
    return str(key)


def recording(sent: Sent) -> tuple[int, TransactionType]:
    body = _decoded(sent, _Recording)
    if body.amount is None:
        raise Invalid("amount is required")
    return _amount(body.amount), _choice(TransactionType, body.type, "type") or TransactionType.NATIVE


def update(sent: Sent) -> tuple[TransactionStatus | None, str | None]:
    """None leaves a field as it is; at least one is given."""
    body = _decoded(sent, _Update)
    if body.status is None and body.tx_hash is None:
        raise Invalid("status or txHash is required")
    return _choice(TransactionStatus, body.status, "status"), None if body.tx_hash is None else _tx_hash(body.tx_hash)


class SettlementFieldsMissing(Invalid):
    """The one refusal that the contract answers with `success` too."""


def settle(sent: Sent) -> tuple[Address, OrderHash]:
    body = _decoded(sent, _Settle)
    if not body.beneficiary or not body.order_hash:
        raise SettlementFieldsMissing("beneficiary and orderHash are required")
    beneficiary = _text(body.beneficiary, "beneficiary must be 0x and 40 hex digits")
    return Address.parse(beneficiary, "beneficiary"), order_hash(_text(body.order_hash, "orderHash must be 0x and 64 hex digits"))


def row_id(text: str, otherwise: str) -> str:
    """A row's id out of the path. Raises `NotFound`, saying `otherwise`, for what no row can have."""
    if not storable(text):
        raise NotFound(otherwise)
    return text


def order_hash(text: str) -> OrderHash:
    return OrderHash.parse(text, "orderHash")


def _text(value: object, otherwise: str) -> str:
    if not isinstance(value, str):
        raise Invalid(otherwise)
    return value


def _amount(value: object) -> int:
    """A JSON number that JavaScript holds exactly (100000.0 and 1e5 are whole), or decimal digits as a text."""
    match value:
        case bool():
            pass
        case int() | float() if 0 <= value <= SAFE_INTEGER and value == int(value):
            return int(value)
        case int() | float() if value > SAFE_INTEGER:
            raise Invalid(f"amount must be at most {SAFE_INTEGER} as a number: send a larger one as a text of decimal digits")
        case str() if _AMOUNT.fullmatch(value):
            return int(value)
    raise Invalid(
        "amount must be a whole number of the smallest unit, 0 or more (a number, or a text of at most 78 decimal digits)"
    )


def _choice(choices: type[Choice], value: object, name: str) -> Choice | None:
    if value is None:
        return None
    try:
        return choices(str(value))
    except ValueError:
        raise Invalid(f"{name} must be one of {', '.join(choices)}") from None


def _tx_hash(value: object) -> str:
    """Any text, as the old backend took: hashes of other chains look otherwise."""
    if not isinstance(value, str) or not 0 < len(value) <= TX_HASH_MAX_CHARS or not storable(value):
        raise Invalid(f"txHash must be a text of 1 to {TX_HASH_MAX_CHARS} characters")
    return value


@attrs.frozen
class ListRules:
    """What a list may be sorted by, and how it is when nothing is asked."""

    sorts: Iterable[str]
    sort_by: str
    descending: bool

    def page(self, query: Mapping[str, list[str]]) -> Page:
        """From the query's values; an empty one counts as left out. Raises `Invalid`."""
        given = {name: _single(name, query.get(name, [])) for name in ("take", "page", "sortBy", "sortOrder", "search")}
        sort_by, sort_order = given["sortBy"] or self.sort_by, given["sortOrder"]
        if sort_by not in self.sorts:
            raise Invalid(f"sortBy must be one of {', '.join(self.sorts)}")
        if sort_order not in ("", "asc", "desc"):
            raise Invalid("sortOrder must be asc or desc")
        if not storable(given["search"]):
            raise Invalid("search must not contain the character U+0000")
        return Page(
            take=min(_positive("take", given["take"], TAKE_DEFAULT), TAKE_MAX),
            page=_positive("page", given["page"], 1),
            sort_by=sort_by,
            descending=sort_order == "desc" if sort_order else self.descending,
            search=given["search"] or None,
        )


def _single(name: str, values: list[str]) -> str:
    if len(values) > 1:
        raise Invalid(f"{name} must be given once")
    return values[0] if values else ""


def _positive(name: str, text: str, default: int) -> int:
    """1 to 2^53-1, so that no offset overflows."""
    if not text:
        return default
    digits = text.lstrip("0") if text.isascii() and text.isdigit() else ""
    if not 0 < len(digits) <= 16 or int(digits) > SAFE_INTEGER:
        raise Invalid(f"{name} must be an integer from 1 to {SAFE_INTEGER}")
    return int(digits)


def waits_until_mined(query: Mapping[str, list[str]]) -> bool:
    wait = _single("wait", query.get("wait", []))
    if wait not in ("", "mined"):
        raise Invalid("wait must be mined, or left out")
    return wait == "mined"


def user_json(user: User, token: str) -> dict[str, Any]:
    return {"id": user.id, "publicKey": user.public_key, "token": token}


def chat_json(chat: Chat) -> dict[str, Any]:
    return {
        "id": chat.id,
        "userId": chat.user_id,
        "title": chat.title,
        "openaiThreadId": chat.openai_thread_id,
        "createdAt": iso(chat.created_at),
        "updatedAt": iso(chat.updated_at),
    }


def message_json(message: Message) -> dict[str, Any]:
    return {
        "id": message.id,
        "chatId": message.chat_id,
        "role": message.role,
        "content": message.content,
        "createdAt": iso(message.created_at),
    }


def transaction_json(transaction: Transaction) -> dict[str, Any]:
    return {
        "id": transaction.id,
        "userId": transaction.user_id,
        "amount": transaction.amount if transaction.amount <= SAFE_INTEGER else str(transaction.amount),
        "type": transaction.type,
        "status": transaction.status,
        "txHash": transaction.tx_hash,
        "createdAt": iso(transaction.created_at),
    }


def listing_json(rows: list[dict[str, Any]], page: Page, total: int) -> dict[str, Any]:
    return {"data": rows, "meta": {"page": page.page, "take": page.take, "total": total}}


def settlement_json(order: OrderHash, rounds: list[Settlement]) -> dict[str, Any]:
    """Where an order stands: its newest round, then all of them, the newest first. `rounds` has at least one."""
    return {"orderHash": str(order), **_round_json(rounds[0]), "rounds": [_round_json(each) for each in rounds]}


def _round_json(settlement: Settlement) -> dict[str, Any]:
    return {
        "round": settlement.round,
        "state": settlement.state,
        "beneficiary": str(settlement.beneficiary),
        "native": settlement.native,
        "txHash": None if settlement.tx_hash is None else str(settlement.tx_hash),
        "blockNumber": settlement.block_number,
        "reason": settlement.reason,
        "createdAt": iso(settlement.created_at),
        "updatedAt": iso(settlement.updated_at),
    }
