"""What was emitted to a page and what it heard: alike once texts of one answer are joined, whatever its lines went through."""

from __future__ import annotations

import attrs

from ellara.actors.client import Client


@attrs.define
class Exchange:
    """`event` is the name of an event, any other that of an answer whose text comes in pieces."""

    emitted: list[tuple[str, str]] = attrs.field(factory=list)
    heard: list[tuple[str, str]] = attrs.field(factory=list)
    offset: str | None = None
    """Of the last event that the page worked off."""

    def emit(self, client: Client, name: str, text: str) -> None:
        self.emitted.append((name, text))
        if name == "event":
            client.emit(name, text)
        else:
            client.emit_text(name, text, str)

    def work_off(self, event: list[object]) -> None:
        name, text, offset = map(str, event)
        self.heard.append((name, text))
        self.offset = offset

    def is_whole(self) -> bool:
        """Everything once, and in order."""
        return _joined(self.heard) == _joined(self.emitted)


def _joined(events: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Texts of one answer that follow on each other, as one."""
    whole: list[tuple[str, str]] = []
    for name, text in events:
        if whole and whole[-1][0] == name != "event":
            whole[-1] = name, whole[-1][1] + text
        else:
            whole.append((name, text))
    return whole
