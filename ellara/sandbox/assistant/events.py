"""A response as the API shows it: the object, its items with their ids, and the server-sent events that tell of it. Pure.

Called by assistant/server.py, which sends the frames at their pace. Order within a stream: created, in_progress; for each item
added, its parts and deltas, done; one terminal event. `sequence_number` rises by one from 0.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Literal

import attrs
import msgspec

from ellara.sandbox.assistant.answers import Call
from ellara.sandbox.assistant.checks import CHARS_PER_TOKEN, encrypted
from ellara.sandbox.assistant.requests import ResponseRequest

Json = dict[str, object]

ARGUMENT_DELTA_CHARS = 8
REASONING_TOKENS = 64
UNHEARD_OF = "response.sandbox.note"
"""An event type of no SDK: the real service adds some without notice."""


@attrs.frozen
class Thought:
    """A reasoning item. `shown`: with its encrypted content, because the request asked for it."""

    shown: bool


@attrs.frozen
class Said:
    """A message, in the pieces that are streamed."""

    pieces: tuple[str, ...]
    refusal: bool = False

    @property
    def text(self) -> str:
        return "".join(self.pieces)


Output = Thought | Said | Call


class Act(Enum):
    """What is done after a frame's bytes."""

    SEND = "nothing more"
    STALL = "silence, for as long as the client stays"
    RESET = "the connection is reset"
    CUT = "a chunk is begun, and the connection closed"


@attrs.frozen
class Frame:
    """Bytes of a stream. `paced`: a delta, which waits for its turn. `last`: holds the terminal event."""

    data: bytes
    paced: bool = False
    last: bool = False
    act: Act = Act.SEND


def new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(24)}"


def response_object(request: ResponseRequest, now_s: int) -> Json:
    """The response before anything is generated."""
    return {
        "id": new_id("resp"),
        "object": "response",
        "created_at": now_s,
        "status": "in_progress",
        "background": request.background or False,
        "conversation": {"id": request.conversation_id} if request.conversation_id else None,
        "error": None,
        "incomplete_details": None,
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "max_tool_calls": request.max_tool_calls,
        "model": request.model,
        "output": [],
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "previous_response_id": request.previous_response_id,
        "prompt_cache_key": request.prompt_cache_key,
        "reasoning": {"effort": request.reasoning.effort if request.reasoning else None, "summary": None},
        "safety_identifier": request.safety_identifier,
        "service_tier": "default",
        "store": request.store is not False,
        "temperature": 1.0 if request.temperature is None else request.temperature,
        "text": {"format": (request.text and request.text.format) or {"type": "text"}, "verbosity": "medium"},
        "tool_choice": request.tool_choice or "auto",
        "tools": request.tools or [],
        "top_logprobs": request.top_logprobs or 0,
        "top_p": 1.0 if request.top_p is None else request.top_p,
        "truncation": request.truncation or "disabled",
        "usage": None,
        "user": request.user,
        "metadata": request.metadata or {},
    }


def usage(input_chars: int, outputs: Sequence[Output]) -> Json:
    """Tokens, taken as four characters each; of a long input all but the end counts as cached."""
    asked = input_chars // CHARS_PER_TOKEN + 1
    said = sum(
        len(output.text if isinstance(output, Said) else output.arguments)
        for output in outputs
        if not isinstance(output, Thought)
    )
    thought = REASONING_TOKENS * sum(isinstance(output, Thought) for output in outputs)
    told = -(-said // CHARS_PER_TOKEN) + thought
    return {
        "input_tokens": asked,
        "input_tokens_details": {"cached_tokens": asked // 1024 * 1024, "cache_write_tokens": 0},
        "output_tokens": told,
        "output_tokens_details": {"reasoning_tokens": thought},
        "total_tokens": asked + told,
    }


def item(output: Output, status: Literal["completed", "incomplete"] = "completed") -> Json:
    """The finished item of an output, under a new id."""
    match output:
        case Thought(shown):
            item_id = new_id("rs")
            return {"id": item_id, "type": "reasoning", "summary": [], "encrypted_content": encrypted(item_id) if shown else None}
        case Call(name, arguments):
            call = {"call_id": new_id("call")[:29], "name": name, "arguments": arguments}
            return {"id": new_id("fc"), "type": "function_call", "status": status, **call}
        case Said(refusal=refusal):
            content = [_part(output.text, refusal)]
            return {"id": new_id("msg"), "type": "message", "status": status, "role": "assistant", "content": content}


def _part(text: str, refusal: bool) -> Json:
    return (
        {"type": "refusal", "refusal": text}
        if refusal
        else {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    )


class Events:
    """The events of one streamed response; `response` is the object as they show it. Iterate `whole` once."""

    def __init__(self, response: Json, outputs: Sequence[Output], items: Sequence[Json], *, obfuscated: bool) -> None:
        self.response = response
        self.deltas = sum(len(output.pieces) for output in outputs if isinstance(output, Said))
        self._outputs, self._items = outputs, items
        self._obfuscated = obfuscated
        self._number = -1

    def whole(self, finished: Mapping[str, object]) -> Iterator[Frame]:
        """All frames of a stream that ends well; `finished` are the response's fields at the end."""
        opening = self.event("response.created", response=self.response)
        opening += self.event("response.in_progress", response=self.response)
        yield Frame(opening + self.event(UNHEARD_OF, note="clients ignore what they do not know"))
        for index, (output, done) in enumerate(zip(self._outputs, self._items, strict=True)):
            match output:
                case Said():
                    yield from self._said(output, done, index)
                case Call():
                    yield Frame(self._called(output, done, index))
                case Thought():
                    yield Frame(self._item("added", {**done, "encrypted_content": None}, index) + self._item("done", done, index))
        yield self.terminal(finished)

    def terminal(self, finished: Mapping[str, object]) -> Frame:
        """`response.completed`, `.incomplete` or `.failed`, by the status in `finished`."""
        self.response.update(finished)
        return Frame(self.event(f"response.{self.response['status']}", response=self.response), last=True)

    def event(self, kind: str, **fields: object) -> bytes:
        self._number += 1
        data = msgspec.json.encode({"type": kind, "sequence_number": self._number, **fields})
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)

    def _said(self, output: Said, done: Json, index: int) -> Iterator[Frame]:
        kind, text = ("refusal", "refusal") if output.refusal else ("output_text", "text")
        where = {"item_id": done["id"], "output_index": index, "content_index": 0}
        more: Json = {} if output.refusal else {"logprobs": []}
        begun = {**done, "status": "in_progress", "content": []}
        opening = self._item("added", begun, index)
        yield Frame(opening + self.event("response.content_part.added", **where, part=_part("", output.refusal)))
        for piece in output.pieces:
            yield Frame(self.event(f"response.{kind}.delta", **where, delta=piece, **more, **self._padding(piece)), paced=True)
        closing = self.event(f"response.{kind}.done", **where, **{text: output.text}, **more)
        closing += self.event("response.content_part.done", **where, part=_part(output.text, output.refusal))
        yield Frame(closing + self._item("done", done, index))

    def _called(self, call: Call, done: Json, index: int) -> bytes:
        where = {"item_id": done["id"], "output_index": index}
        told = self._item("added", {**done, "status": "in_progress", "arguments": ""}, index)
        for start in range(0, len(call.arguments), ARGUMENT_DELTA_CHARS):
            piece = call.arguments[start : start + ARGUMENT_DELTA_CHARS]
            told += self.event("response.function_call_arguments.delta", **where, delta=piece, **self._padding(piece))
        told += self.event("response.function_call_arguments.done", **where, name=call.name, arguments=call.arguments)
        return told + self._item("done", done, index)

    def _item(self, step: str, shown: Json, index: int) -> bytes:
        return self.event(f"response.output_item.{step}", output_index=index, item=shown)

    def _padding(self, piece: str) -> Json:
        """Hides the length of a delta: together they fill a multiple of 16 characters."""
        return {"obfuscation": secrets.token_urlsafe(12)[: 16 - len(piece) % 16]} if self._obfuscated else {}
