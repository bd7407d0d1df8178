"""The requests that the stand-in reads: every field that the API knows, of the type it wants; anything else is refused. Pure.

Called by assistant/server.py. The rules between fields are in assistant/checks.py. Source: the types of the openai SDK 3.54.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct


class Refusal(Exception):
    """The API's error answer."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers
        self.error = {"message": message, "type": kind, "param": param, "code": code}


class Strict(Struct, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """Refuses the fields that it does not name."""


class InputText(Strict, tag_field="type", tag="input_text"):
    text: str


class InputImage(Strict, tag_field="type", tag="input_image"):
    image_url: str | None = None
    file_id: str | None = None
    detail: Literal["low", "high", "auto", "original"] | None = None


class OutputText(Strict, tag_field="type", tag="output_text"):
    text: str
    annotations: list[object] | None = None
    logprobs: list[object] | None = None


class RefusalPart(Strict, tag_field="type", tag="refusal"):
    refusal: str


Part = InputText | InputImage | OutputText | RefusalPart
Status = Literal["in_progress", "completed", "incomplete"]


class Message(Strict, tag_field="type", tag="message"):
    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[Part]
    id: str | None = None
    status: Status | None = None
    phase: Literal["commentary", "final_answer"] | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content if isinstance(part, InputText | OutputText))


class FunctionCall(Strict, tag_field="type", tag="function_call"):
    call_id: Annotated[str, Meta(min_length=1, max_length=64)]
    name: Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    arguments: str
    id: str | None = None
    status: Status | None = None


class FunctionCallOutput(Strict, tag_field="type", tag="function_call_output"):
    call_id: Annotated[str, Meta(min_length=1, max_length=64)]
    output: str | list[Part]
    id: str | None = None
    status: Status | None = None

    @property
    def text(self) -> str:
        return Message(role="user", content=self.output).text


class Reasoning(Strict, tag_field="type", tag="reasoning"):
    id: str
    summary: list[object]
    content: list[object] | None = None
    encrypted_content: str | None = None
    status: Status | None = None


class ItemReference(Strict, tag_field="type", tag="item_reference"):
    id: str


Item = Message | FunctionCall | FunctionCallOutput | Reasoning | ItemReference


class Function(Strict, tag_field="type", tag="function"):
    """A tool of the Responses API; the hosted tools (web search and such) do not exist here."""

    name: Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    parameters: dict[str, object] | None
    strict: bool | None = None
    description: str | None = None


class NamedTool(Strict, tag_field="type", tag="function"):
    name: str


class ConversationRef(Strict):
    id: str


class StreamOptions(Strict):
    include_obfuscation: bool | None = None


class ReasoningOptions(Strict):
    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None


class PlainFormat(Strict, tag_field="type", tag="text"):
    pass


class JsonFormat(Strict, tag_field="type", tag="json_object"):
    pass


class SchemaFormat(Strict, tag_field="type", tag="json_schema"):
    name: Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    schema: dict[str, object]
    strict: bool | None = None
    description: str | None = None


class TextOptions(Strict):
    format: PlainFormat | JsonFormat | SchemaFormat | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


Metadata = Annotated[
    dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]],
    Meta(max_length=16),
]
Includable = Literal[
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
    "message.output_text.logprobs",
]
Temperature = Annotated[float, Meta(ge=0, le=2)]
Share = Annotated[float, Meta(ge=0, le=1)]
Tier = Literal["auto", "default", "flex", "scale", "priority", "fast"]


class ResponseRequest(Strict):
    model: str
    input: str | list[Item]
    background: bool | None = None
    conversation: str | ConversationRef | None = None
    include: list[Includable] | None = None
    instructions: str | None = None
    max_output_tokens: Annotated[int, Meta(ge=16)] | None = None
    max_tool_calls: Annotated[int, Meta(ge=1)] | None = None
    metadata: Metadata | None = None
    parallel_tool_calls: bool | None = None
    previous_response_id: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: dict[str, object] | None = None
    prompt_cache_retention: Literal["in_memory", "24h"] | None = None
    reasoning: ReasoningOptions | None = None
    safety_identifier: Annotated[str, Meta(max_length=128)] | None = None
    service_tier: Tier | None = None
    store: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Temperature | None = None
    text: TextOptions | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    tools: list[Function] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    top_p: Share | None = None
    truncation: Literal["auto", "disabled"] | None = None
    user: str | None = None

    @property
    def conversation_id(self) -> str | None:
        return self.conversation.id if isinstance(self.conversation, ConversationRef) else self.conversation

    @property
    def items(self) -> list[Item]:
        return [Message(role="user", content=self.input)] if isinstance(self.input, str) else self.input


class ConversationRequest(Strict):
    items: list[Item] | None = None
    metadata: Metadata | None = None


class ItemsRequest(Strict):
    items: list[Item]


class ChatMessage(Strict):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[dict[str, object]] | None = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: list[dict[str, object]] | None = None
    tool_call_id: str | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, list):
            return "".join(str(part.get("text", "")) for part in self.content)
        return self.content or ""


class ChatFunction(Strict):
    name: Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    parameters: dict[str, object] | None = None
    strict: bool | None = None
    description: str | None = None


class ChatTool(Strict, tag_field="type", tag="function"):
    function: ChatFunction


class ChatRequest(Strict):
    model: str
    messages: Annotated[list[ChatMessage], Meta(min_length=1)]
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    max_completion_tokens: Annotated[int, Meta(ge=1)] | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    metadata: Metadata | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    parallel_tool_calls: bool | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    prompt_cache_key: str | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    response_format: dict[str, object] | None = None
    safety_identifier: Annotated[str, Meta(max_length=128)] | None = None
    seed: int | None = None
    service_tier: Tier | None = None
    stop: str | list[str] | None = None
    store: bool | None = None
    stream: bool | None = None
    stream_options: dict[str, object] | None = None
    temperature: Temperature | None = None
    tool_choice: str | dict[str, object] | None = None
    tools: list[ChatTool] | None = None
    top_p: Share | None = None
    user: str | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


Kind = TypeVar("Kind", bound=Strict)


def read(body: bytes, content_type: str, kind: type[Kind]) -> Kind:
    """The request in a body; an empty body is an empty object. Raises `Refusal`."""
    if body and content_type.partition(";")[0].strip().lower() != "application/json":
        raise Refusal(
            400, f"Unsupported content type: '{content_type}'. This API method only accepts 'application/json' requests."
        )
    try:
        value = msgspec.json.decode(body or b"{}")
    except (msgspec.DecodeError, RecursionError):
        raise Refusal(400, "We could not parse the JSON body of your request.") from None
    return read_value(value, kind)


def read_value(value: object, kind: type[Kind]) -> Kind:
    _name_messages(value)
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise _refusal(str(error)) from None


def _name_messages(value: object) -> None:
    """An item without a `type` is a message."""
    for items in (value.get("input"), value.get("items")) if isinstance(value, dict) else ():
        for item in items if isinstance(items, list) else ():
            if isinstance(item, dict) and "role" in item:
                item.setdefault("type", "message")


_FAULTS: tuple[tuple[re.Pattern[str], str, str], ...] = (
    (re.compile(r"Object contains unknown field `(?P<field>[^`]*)`"), "unknown_parameter", "Unknown parameter: '{param}'."),
    (
        re.compile(r"Object missing required field `(?P<field>[^`]*)`"),
        "missing_required_parameter",
        "Missing required parameter: '{param}'.",
    ),
    (
        re.compile(r"Expected `(?P<wanted>[^`]*)`(, got `(?P<got>[^`]*)`)?$"),
        "invalid_type",
        "Invalid type for '{param}': expected {wanted}, but got {got} instead.",
    ),
    (
        re.compile(r"Expected `int` >= (?P<wanted>\S+)"),
        "integer_below_min_value",
        "Invalid '{param}': expected a value >= {wanted}.",
    ),
    (
        re.compile(r"Expected `float` >= (?P<wanted>\S+)"),
        "decimal_below_min_value",
        "Invalid '{param}': expected a value >= {wanted}.",
    ),
    (
        re.compile(r"Expected `float` <= (?P<wanted>\S+)"),
        "decimal_above_max_value",
        "Invalid '{param}': expected a value <= {wanted}.",
    ),
    (
        re.compile(r"Expected `str` of length <= (?P<wanted>\d+)"),
        "string_above_max_length",
        "Invalid '{param}': more than {wanted}.",
    ),
    (
        re.compile(r"Expected `object` of length <= (?P<wanted>\d+)"),
        "object_above_max_properties",
        "Invalid '{param}': over {wanted}.",
    ),
    (re.compile(r"Expected `array` of length >= (?P<wanted>\d+)"), "empty_array", "Invalid '{param}': empty array."),
    (re.compile(r"(?P<wanted>.*)"), "invalid_value", "Invalid value for '{param}': {wanted}."),
)


def _refusal(found: str) -> Refusal:
    """msgspec's sentence in the words of the API."""
    what, _, where = found.partition(" - at ")
    path = where.rpartition("`$")[2].strip("`.")
    for pattern, code, text in _FAULTS:
        if match := pattern.match(what):
            named = match.groupdict()
            param = ".".join(part for part in (path, named.get("field")) if part)
            return Refusal(400, text.format(param=param or "body", **named), param=param or None, code=code)
    raise AssertionError(found)
