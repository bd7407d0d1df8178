"""From a request to what is answered to it: calls of tools, messages, a title, in the shape that was asked for. Pure.

Called by assistant/server.py. A request that does not stream and whose instructions speak of a title gets a title.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Literal

import attrs
import msgspec

from ellara.sandbox.assistant.answers import Asked, Call, Steering, answer, arguments, pieces, steering, title, wanted_tool
from ellara.sandbox.assistant.checks import CHARS_PER_TOKEN, check_context, check_length, thinks
from ellara.sandbox.assistant.events import Json, Output, Said, Thought, item, response_object, usage
from ellara.sandbox.assistant.faults import deltas
from ellara.sandbox.assistant.phrases import REFUSED
from ellara.sandbox.assistant.requests import (
    Function,
    FunctionCall,
    FunctionCallOutput,
    Item,
    Message,
    NamedTool,
    PlainFormat,
    ResponseRequest,
    SchemaFormat,
)

UNKNOWN_TOOL = "alat_tak_dikenal"
BROKEN_ARGUMENTS = '{"limit": '

_TITLE = re.compile(r"\b(title|judul)", re.IGNORECASE)


@attrs.frozen
class Reply:
    """What is generated. `incomplete`: why it ends early, if it does."""

    outputs: tuple[Output, ...]
    incomplete: Literal["max_output_tokens", "content_filter"] | None = None


@attrs.frozen
class Generation:
    """All that one request leads to, decided before the first byte of its answer."""

    request: ResponseRequest
    context: list[Item]
    steering: Steering
    outputs: tuple[Output, ...]
    items: list[Json]
    response: Json
    """As shown at the beginning; `finished` are its fields at the end."""
    finished: Json

    @property
    def words(self) -> int:
        return sum(len(output.pieces) for output in self.outputs if isinstance(output, Said))


def generate(request: ResponseRequest, context: list[Item], kept: Callable[[str], bool], now_s: int) -> Generation:
    """`context`: the whole conversation. `kept`: whether an item id is stored. Raises `Refusal`."""
    check_context(context, kept)
    chars = len(request.instructions or "") + len(msgspec.json.encode(context))
    check_length(chars, request)
    question = asked(context)
    made = reply(request, question)
    status: Literal["completed", "incomplete"] = "incomplete" if made.incomplete else "completed"
    items = [item(output, status) for output in made.outputs]
    finished: Json = {
        "status": status,
        "completed_at": None if made.incomplete else now_s,
        "incomplete_details": {"reason": made.incomplete} if made.incomplete else None,
        "output": items,
        "usage": usage(chars, made.outputs),
    }
    return Generation(request, context, question.steering, made.outputs, items, response_object(request, now_s), finished)


def asked(context: Sequence[Item]) -> Asked:
    """The last question of the conversation, with what was asked before and found since."""
    at = max((number for number, item in enumerate(context) if _is_question(item)), default=-1)
    questions = [item.text for item in context if isinstance(item, Message) and item.role == "user"]
    names = {item.call_id: item.name for item in context if isinstance(item, FunctionCall)}
    results = [(names[item.call_id], item.text) for item in context[at + 1 :] if isinstance(item, FunctionCallOutput)]
    earlier = tuple(steering(question).clean for question in questions[:-1])
    return Asked(steering(questions[-1] if questions else ""), earlier, tuple(results))


def _is_question(item: Item) -> bool:
    return isinstance(item, Message) and item.role == "user"


def wants_title(instructions: str | None, stream: bool | None) -> bool:
    return not stream and _TITLE.search(instructions or "") is not None


def reply(request: ResponseRequest, asked: Asked) -> Reply:
    thought = [Thought(shown="reasoning.encrypted_content" in (request.include or ()))] if thinks(request) else []
    if calls := _calls(request, asked):
        return Reply((*thought, *calls))
    if asked.steering.fault and asked.steering.fault.kind == "refusal":
        return Reply((*thought, Said(tuple(pieces(REFUSED[asked.language], asked.steering)), refusal=True)))
    said, incomplete = _within_limits(pieces(_text(request, asked), asked.steering), request, asked)
    return Reply((*thought, *_messages(said, asked.steering.messages)), incomplete)


def _text(request: ResponseRequest, asked: Asked) -> str:
    wanted = request.text.format if request.text else None
    if isinstance(wanted, SchemaFormat):
        return arguments(wanted.schema, asked.question)
    if wants_title(request.instructions, request.stream):
        return title(asked.question, asked.language)
    text = answer(asked)
    return (
        text if wanted is None or isinstance(wanted, PlainFormat) else arguments({"properties": {"answer": {"const": text}}}, "")
    )


def _within_limits(
    said: list[str], request: ResponseRequest, asked: Asked
) -> tuple[list[str], Literal["max_output_tokens", "content_filter"] | None]:
    fault = asked.steering.fault
    if fault and request.stream and fault.kind in ("incomplete", "filter"):
        return said[: deltas(fault)], "max_output_tokens" if fault.kind == "incomplete" else "content_filter"
    room = (request.max_output_tokens or 10**9) * CHARS_PER_TOKEN
    for number, piece in enumerate(said):
        room -= len(piece)
        if room < 0:
            return said[:number], "max_output_tokens"
    return said, None


def _messages(said: list[str], count: int) -> list[Said]:
    """The pieces as that many messages, as even as can be."""
    share = max(1, -(-len(said) // max(1, count)))
    return [Said(tuple(said[start : start + share])) for start in range(0, len(said), share)]


def _calls(request: ResponseRequest, asked: Asked) -> list[Call]:
    offered = {tool.name: tool for tool in request.tools or ()}
    if request.tool_choice == "none":
        return []
    if asked.steering.fault and (faulty := _faulty_calls(asked.steering.fault.kind, list(offered.values()), asked)):
        return faulty
    marked = [call for call in asked.steering.tools if call.name in offered]
    done = len(asked.results)
    if marked and request.parallel_tool_calls is False:
        return marked[done : done + 1]
    if marked or done:
        return [] if done else marked
    name = _chosen(request, list(offered)) or wanted_tool(asked.question, list(offered))
    return [Call(name, arguments(offered[name].parameters or {}, asked.question))] if name else []


def _chosen(request: ResponseRequest, offered: list[str]) -> str | None:
    """The tool that the request itself demands."""
    if isinstance(request.tool_choice, NamedTool):
        return request.tool_choice.name
    return offered[0] if request.tool_choice == "required" else None


def _faulty_calls(kind: str, offered: list[Function], asked: Asked) -> list[Call]:
    if kind == "endless-tools" and offered:
        return [Call(offered[0].name, arguments(offered[0].parameters or {}, asked.question))]
    if asked.results:
        return []
    if kind == "unknown-tool":
        return [Call(UNKNOWN_TOOL, "{}")]
    return [Call(offered[0].name, BROKEN_ARGUMENTS)] if kind == "bad-args" and offered else []
