"""Who may see what: a chat is its user's alone, and one that is not theirs does not exist for others."""

from __future__ import annotations

from ellara.errors import NotFound
from ellara.model import Chat


def own_chat(chat: Chat | None, user_id: str) -> Chat:
    """The chat that was looked up, if it is this user's. Raises `NotFound`, the same for another's as for none."""
    if chat is None or chat.user_id != user_id:
        raise NotFound("Chat not found")
    return chat
