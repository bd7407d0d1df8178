"""The payloads of `message` and `resume` → what is asked for, or what is wrong with it. Pure; called by runs.py alone.

Liberal in form, as the frontends are: an object or a JSON string of one; `chatId` absent, null or "" begins a new chat.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, TypeVar

import attrs
import msgspec

from ellara.actors.phrases import Trouble
from ellara.errors import ProtocolError
from ellara.jsontext import from_json

ID_MAX_CHARS = 200
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
"""What PostgreSQL's text cannot hold."""


class MessagePayload(msgspec.Struct):
    """Fields as on the wire; others are ignored."""

    question: str | None = None
    userId: str | None = None
    chatId: str | None = None


class ResumePayload(msgspec.Struct):
    """Fields as on the wire; others are ignored."""

    chatId: str | None = None
    userId: str | None = None
    after: Annotated[int, msgspec.Meta(ge=0)] | None = None


@attrs.frozen
class Question:
    text: str
    user_id: str
    chat_id: str | None
    """None: begins a chat."""


@attrs.frozen
class Resume:
    chat_id: str
    user_id: str | None
    """None: whoever the token says."""
    after: int = 0
    """How much of the running answer the page shows already, in UTF-16 code units: as JavaScript counts."""


def parse_message(args: Sequence[object]) -> Question | Trouble:
    """`args`: the event's arguments, as decoded from JSON."""
    payload = _payload(args, MessagePayload)
    if payload is None:
        return Trouble.MALFORMED
    text, user_id, chat_id = payload.question or "", payload.userId or "", payload.chatId or None
    if not text.strip() or not user_id:
        return Trouble.QUESTION_MISSING
    if _UNSTORABLE.search(text) or not _are_ids(user_id, chat_id):
        return Trouble.MALFORMED
    return Question(text, user_id, chat_id)


def parse_resume(args: Sequence[object]) -> Resume | Trouble:
    """`args` of an event `resume`."""
    payload = _payload(args, ResumePayload)
    if payload is None or not _are_ids(payload.userId, payload.chatId):
        return Trouble.MALFORMED
    if not payload.chatId:
        return Trouble.CHAT_MISSING
    return Resume(payload.chatId, payload.userId or None, payload.after or 0)


def trouble_with_user(signed_in: str | None, named: str | None, *, require_token: bool) -> Trouble | None:
    """`signed_in`: the token's user; `named`: the payload's. Without a token the payload is believed, where that is allowed."""
    if signed_in is None:
        return Trouble.SIGN_IN if require_token else None
    return Trouble.OTHER_USER if named is not None and named != signed_in else None


_Payload = TypeVar("_Payload", MessagePayload, ResumePayload)


def _payload(args: Sequence[object], kind: type[_Payload]) -> _Payload | None:
    """None: it cannot be read."""
    value = args[0] if args else None
    try:
        return msgspec.convert(from_json(value) if isinstance(value, str) else value, kind)
    except (msgspec.ValidationError, ProtocolError, UnicodeEncodeError):  # the last: a field named by a lone surrogate
        return None


def _are_ids(*texts: str | None) -> bool:
    return all(not text or (len(text) <= ID_MAX_CHARS and not _UNSTORABLE.search(text)) for text in texts)
