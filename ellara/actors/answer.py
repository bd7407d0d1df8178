"""What clients hear of one answer, in the order the frontends rely on; and `refuse`, for a question that gets none. No waiting.

For a new chat: title, id, chunks, end; for an old one: chunks, end. Exactly one end. Who comes to it late gets what it missed as
one chunk; what a client has not taken yet is joined in its outbox.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ellara.actors.application import Ack
from ellara.actors.client import Client
from ellara.actors.phrases import Language, Trouble, phrase
from ellara.llm.faults import Fault

Hearing = Callable[[], Iterable[Client]]
"""Who hears it right now."""


class Answer:
    """Chunks are held back until `announce`; for an old chat that call says nothing itself."""

    def __init__(self, hearing: Hearing) -> None:
        self._hearing = hearing
        self._parts: list[str] = []
        self.announced = False
        self.ended = False

    @property
    def text(self) -> str:
        """All of it so far."""
        return "".join(self._parts)

    @property
    def waiting(self) -> bool:
        """Text is there that no client has heard."""
        return bool(self._parts) and not self.announced

    def add(self, text: str) -> None:
        self._parts.append(text)
        if self.announced:
            self._tell_text(text)

    def announce(self, chat_id: str | None = None, title: str | None = None) -> None:
        """Lets the chunks through; the first call counts. `chat_id` and `title` of a new chat are told before them."""
        if self.announced:
            return
        self.announced = True
        if title is not None:
            self._tell("chat_title", title)
        if chat_id is not None:
            self._tell("chat_id", chat_id)
        if self._parts:
            self._tell_text(self.text)

    @property
    def units_told(self) -> int:
        """How much of it was told so far, in UTF-16 code units, as JavaScript counts."""
        return len(_utf16(self.text)) // 2 if self.announced else 0

    def is_heard_by(self, client: Client) -> bool:
        return client in self._hearing()

    def catch_up(self, client: Client, after: int) -> None:
        """For a client that hears it from here on: the text so far. `after`: how much of it is shown, in UTF-16 code units."""
        if self.announced and not self.ended and (missed := _after(self.text, after)):
            client.emit("bot_chunk", self._chunk(missed))

    def retitle(self, title: str) -> None:
        """A better title came after the chat was announced."""
        self._tell("chat_title", title)

    def end(self, chat_id: str, is_new_chat: bool) -> None:
        """Only after the answer was committed: the client fetches the chat at once."""
        self._end("bot_end", {"chatId": chat_id, "isNewChat": is_new_chat, "message": "Response completed"})

    def fail(self, sentence: str) -> None:
        self._end("bot_error", sentence)

    def _end(self, event: str, payload: object) -> None:
        if not self.ended:
            self.ended = True
            self._tell(event, payload)

    def _tell(self, event: str, payload: object) -> None:
        for client in self._hearing():
            client.emit(event, payload)

    def _tell_text(self, text: str) -> None:
        for client in self._hearing():
            client.emit_text("bot_chunk", text, self._chunk)

    def _chunk(self, text: str) -> object:
        """A method of this answer, since an outbox joins texts of equal payloads: those of two answers must never be joined."""
        return {"content": [{"index": 0, "type": "text", "text": {"value": text}}]}


def refuse(client: Client, ack: Ack | None, trouble: Trouble | Fault, language: Language) -> None:
    """Told to the one who asked, instead of an answer."""
    sentence = phrase(trouble, language)
    if ack is not None:
        ack({"ok": False, "message": sentence})
    client.emit("bot_error", sentence)


def _after(text: str, units: int) -> str:
    """Without its first `units` UTF-16 code units. Half a pair at the cut stays half: the page has the other half."""
    return _utf16(text)[2 * units :].decode("utf-16-le", "surrogatepass") if units else text


def _utf16(text: str) -> bytes:
    return text.encode("utf-16-le", "surrogatepass")
