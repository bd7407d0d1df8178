"""What the client that asked hears of one answer, in the order the frontends rely on. No waiting: runs.py drives it.

For a new chat: title, id, chunks, end; for an old one: chunks, end. Exactly one end. What arrived together leaves as one chunk.
"""

from __future__ import annotations

from collections.abc import Callable

Tell = Callable[..., None]
"""Event and its arguments, to whoever shows this answer; must not wait."""


class Answer:
    """Chunks are held back until `announce`, which an old chat needs no words for."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._parts: list[str] = []
        self._unsent: list[str] = []
        self.announced = False
        self.ended = False

    @property
    def text(self) -> str:
        """All of it so far."""
        return "".join(self._parts)

    @property
    def waiting(self) -> bool:
        """Text is there that no client has heard."""
        return bool(self._unsent)

    def add(self, text: str) -> None:
        self._parts.append(text)
        self._unsent.append(text)

    def announce(self, chat_id: str | None = None, title: str | None = None) -> None:
        """Lets the chunks through; the first call counts. `chat_id` and `title` of a new chat are told before them."""
        if self.announced:
            return
        self.announced = True
        if title is not None:
            self._tell("chat_title", title)
        if chat_id is not None:
            self._tell("chat_id", chat_id)

    def flush(self) -> None:
        """Tells what has come since the last time."""
        if self._unsent and self.announced:
            text = "".join(self._unsent)
            self._unsent.clear()
            self._tell("bot_chunk", {"content": [{"index": 0, "type": "text", "text": {"value": text}}]})

    def retitle(self, title: str) -> None:
        """A better title came after the chat was announced."""
        self._tell("chat_title", title)

    def end(self, chat_id: str, is_new_chat: bool) -> None:
        """Only after the answer was committed: the client fetches the chat at once."""
        self._end("bot_end", {"chatId": chat_id, "isNewChat": is_new_chat, "message": "Response completed"})

    def fail(self, phrase: str) -> None:
        self._end("bot_error", phrase)

    def _end(self, event: str, payload: object) -> None:
        if not self.ended:
            self.flush()
            self.ended = True
            self._tell(event, payload)
