"""Message rows → what the model is given to read, within a token budget. Pure.

Our own rows are the conversation's truth: nothing is stored at OpenAI, so each question carries the history again.
"""

from __future__ import annotations

from collections.abc import Sequence

from ellara.llm.stream import Item
from ellara.model import Message, Speaker

BYTES_PER_TOKEN = 3
"""Of UTF-8: a cheap guess, not a measurement. English has about 4 (OpenAI's help pages); a Chinese character alone is 3 bytes."""

MESSAGE_OVERHEAD_TOKENS = 4
"""Role and separators. Source: OpenAI cookbook, "How to count tokens"."""


def estimated_tokens(text: str) -> int:
    """Rather too many than too few."""
    return -(-len(text.encode()) // BYTES_PER_TOKEN) + MESSAGE_OVERHEAD_TOKENS


def input_items(messages: Sequence[Message], budget_tokens: int) -> list[Item]:
    """The newest messages that fit, oldest first, beginning with a question; the last question stays whatever its length."""
    rows = [message for message in messages if message.content.strip()]
    start, spent = len(rows), 0
    for index in range(len(rows) - 1, -1, -1):
        spent += estimated_tokens(rows[index].content)
        if spent > budget_tokens and start < len(rows):
            break
        if rows[index].role is Speaker.USER:
            start = index
    return [{"role": message.role.value, "content": message.content} for message in rows[start:]]
