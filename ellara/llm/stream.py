"""A Responses stream, sans-IO: bytes in, text out, and how it ended.

`Splitter` cuts server-sent events out of bytes (WHATWG HTML, 9.2); `decode` gives the few events that matter; `Reader` follows
one response to its end. The SDK's own event objects cost 3 to 10 times as much per delta, and hide a stream that was cut off.
"""

from __future__ import annotations

import attrs
import msgspec

from ellara.errors import AssistantFailed
from ellara.llm.faults import INCOMPLETE, Fault, fault_of

EVENT_MAX_BYTES = 2_000_000
"""Of one event: the last one repeats the whole answer and the prompt, some 100 KB at most."""

Item = dict[str, object]
"""An input or output item as the API has it: a message, a function call and its output, an encrypted piece of reasoning."""


class Splitter:
    """Cuts the `data` of each event out of a stream of bytes, wherever that was cut. Lines may end in LF, CR LF or CR."""

    def __init__(self, event_max_bytes: int = EVENT_MAX_BYTES) -> None:
        self._max_bytes = event_max_bytes
        self._rest: list[bytes] = []
        self._rest_bytes = 0
        self._ends_in_cr = False
        self.overflowed = False
        """An event longer than the limit came; nothing is given out from there on."""

    def receive(self, chunk: bytes) -> list[bytes]:
        """The data of the events that `chunk` completes, in order."""
        if self.overflowed:
            return []
        if self._ends_in_cr or b"\n" in chunk or b"\r" in chunk:
            data = b"".join((*self._rest, chunk))
            *blocks, rest = self._with_lf(data).split(b"\n\n")
            self._rest, self._rest_bytes = [rest, b"\r"[: self._ends_in_cr]], len(rest)
        else:  # in the middle of a long event: not searched again with each piece of it
            blocks = []
            self._rest.append(chunk)
            self._rest_bytes += len(chunk)
        return self._data(blocks)

    def _with_lf(self, data: bytes) -> bytes:
        self._ends_in_cr = data.endswith(b"\r")  # its LF may still come
        if b"\r" not in data:
            return data
        return data[: len(data) - self._ends_in_cr].replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _data(self, blocks: list[bytes]) -> list[bytes]:
        found: list[bytes] = []
        for block in blocks:
            if len(block) > self._max_bytes:
                self.overflowed = True
                return found
            lines = [line[5:].removeprefix(b" ") for line in block.split(b"\n") if line.startswith(b"data:")]
            if lines:
                found.append(b"\n".join(lines))
        self.overflowed = self._rest_bytes > self._max_bytes
        return found


class TextDelta(msgspec.Struct, tag_field="type", tag="response.output_text.delta"):
    delta: str
    output_index: int = 0


class RefusalDelta(msgspec.Struct, tag_field="type", tag="response.refusal.delta"):
    delta: str
    output_index: int = 0


class ItemDone(msgspec.Struct, tag_field="type", tag="response.output_item.done"):
    item: Item
    output_index: int


class Usage(msgspec.Struct):
    input_tokens: int = 0
    output_tokens: int = 0


class ErrorObject(msgspec.Struct):
    message: str | None = None
    code: str | int | None = None
    type: str | None = None


class IncompleteDetails(msgspec.Struct):
    reason: str | None = None


class Response(msgspec.Struct):
    id: str = ""
    usage: Usage | None = None
    error: ErrorObject | None = None
    incomplete_details: IncompleteDetails | None = None


class Completed(msgspec.Struct, tag_field="type", tag="response.completed"):
    response: Response


class Incomplete(msgspec.Struct, tag_field="type", tag="response.incomplete"):
    response: Response


class Failed(msgspec.Struct, tag_field="type", tag="response.failed"):
    response: Response


class ErrorEvent(msgspec.Struct, tag_field="type", tag="error"):
    """Flat as documented, or with the error object nested as some servers send it."""

    message: str | None = None
    code: str | int | None = None
    error: ErrorObject | None = None


class Other(msgspec.Struct):
    """Any other event: a type to ignore, or an error object that came without a type."""

    type: str = ""
    error: ErrorObject | None = None


class FunctionCall(msgspec.Struct, tag_field="type", tag="function_call"):
    """`call_id`, not the item's own id, is what the output must name."""

    call_id: str
    name: str
    arguments: str


Event = TextDelta | RefusalDelta | ItemDone | Completed | Incomplete | Failed | ErrorEvent

_EVENT: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)
_OTHER = msgspec.json.Decoder(Other)
_KNOWN = {str(kind.__struct_config__.tag) for kind in Event.__args__}


def decode(data: bytes) -> Event | None:
    """The event, or None for one that does not matter here. Raises `msgspec.DecodeError` for broken JSON or a broken event."""
    try:
        return _EVENT.decode(data)
    except msgspec.ValidationError:
        other = _OTHER.decode(data)
        if other.type in _KNOWN:
            raise
        return ErrorEvent(error=other.error) if other.error is not None else None


@attrs.frozen
class Reply:
    """One whole response."""

    items: list[Item]
    """All it put out, in order: sent back as they are when it made calls."""
    calls: list[FunctionCall]
    usage: Usage


class Reader:
    """Follows one response. After `ending` is set nothing more is read: the server may keep the connection open."""

    def __init__(self, after_text: bool = False) -> None:
        self._splitter = Splitter()
        self._items: dict[int, Item] = {}
        self._message: int | None = -1 if after_text else None
        """Which output item the text last came from: the next one starts a paragraph."""
        self.events = 0
        self.ending: Reply | AssistantFailed | None = None

    def receive(self, chunk: bytes) -> str:
        """The text in what arrived together, joined. No NUL: PostgreSQL cannot keep it."""
        texts: list[str] = []
        for data in self._splitter.receive(chunk):
            self.events += 1
            try:
                self._take(decode(data), texts)
            except msgspec.DecodeError as error:
                self.ending = AssistantFailed(Fault.BAD_EVENT, f"an event cannot be read: {error}", 0.0)
            if self.ending is not None:
                break
        if self._splitter.overflowed and self.ending is None:
            self.ending = AssistantFailed(Fault.BAD_EVENT, f"an event of more than {EVENT_MAX_BYTES} bytes", 0.0)
        return "".join(texts).replace("\0", "")

    def finish(self) -> Reply:
        """After `ending` or the last byte. Raises `AssistantFailed` unless the response was completed."""
        if self.ending is None:
            raise AssistantFailed(Fault.CUT_OFF, "the stream ended without its last event", 0.0)
        if isinstance(self.ending, AssistantFailed):
            raise self.ending
        return self.ending

    def _take(self, event: Event | None, texts: list[str]) -> None:
        match event:
            case TextDelta() | RefusalDelta():
                if event.output_index != self._message:
                    if self._message is not None:
                        texts.append("\n\n")
                    self._message = event.output_index
                texts.append(event.delta)
            case ItemDone():
                self._items[event.output_index] = event.item
            case Completed():
                self.ending = self._completed(event.response.usage or Usage())
            case Incomplete():
                reason = event.response.incomplete_details and event.response.incomplete_details.reason
                self.ending = AssistantFailed(INCOMPLETE.get(reason or "", Fault.FAILED), f"incomplete: {reason}", 0.0)
            case Failed():
                self.ending = _failure(event.response.error or ErrorObject())
            case ErrorEvent():
                self.ending = _failure(event.error or ErrorObject(event.message, event.code))
            case None:
                pass

    def _completed(self, usage: Usage) -> Reply | AssistantFailed:
        items = [item for _, item in sorted(self._items.items())]
        calls = [msgspec.convert(item, FunctionCall) for item in items if item.get("type") == "function_call"]
        if not calls and self._message is None:
            return AssistantFailed(Fault.EMPTY, "completed without text or calls", 0.0)
        return Reply(items, calls, usage)


def _failure(error: ErrorObject) -> AssistantFailed:
    code = None if error.code is None else str(error.code)
    return AssistantFailed(fault_of(200, code, error.type), f"{code}: {error.message}", 0.0)
