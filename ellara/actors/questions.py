"""The `message` event's payload → a question that can be asked, or what is wrong with it. Pure; called by runs.py alone.

Liberal in form, as the frontends are: an object or a JSON string of one; `chatId` absent, null or "" begins a new chat.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import attrs
import msgspec

from ellara.actors.phrases import Trouble

ID_MAX_CHARS = 200
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
"""What PostgreSQL's text cannot hold."""


class Payload(msgspec.Struct):
    """Fields as on the wire; others are ignored."""

    question: str | None = None
    userId: str | None = None
    chatId: str | None = None


@attrs.frozen
class Question:
    text: str
    user_id: str
    chat_id: str | None
    """None: begins a chat."""


def parse(args: Sequence[object]) -> Question | Trouble:
    """`args`: the event's arguments, as decoded from JSON."""
    try:
        payload = _payload(args[0] if args else None)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return Trouble.MALFORMED
    text, user_id, chat_id = payload.question or "", payload.userId or "", payload.chatId or None
    if not text.strip() or not user_id:
        return Trouble.QUESTION_MISSING
    if _UNSTORABLE.search(text) or any(_UNSTORABLE.search(each) or len(each) > ID_MAX_CHARS for each in (user_id, chat_id or "")):
        return Trouble.MALFORMED
    return Question(text, user_id, chat_id)


def _payload(value: object) -> Payload:
    return msgspec.json.decode(value, type=Payload) if isinstance(value, str) else msgspec.convert(value, Payload)
