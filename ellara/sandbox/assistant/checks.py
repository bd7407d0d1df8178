"""The rules between the fields of a request, as the API enforces them: what it refuses, the stand-in refuses. Pure.

Called by assistant/server.py after assistant/requests.py has read the fields. Sources: for the models OpenAI's deprecations page
of November 2026; for the rest its own error texts, as others have reported them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs

from ellara.sandbox.assistant.requests import (
    ChatRequest,
    FunctionCall,
    FunctionCallOutput,
    InputImage,
    InputText,
    Item,
    ItemReference,
    JsonFormat,
    Message,
    NamedTool,
    OutputText,
    Reasoning,
    Refusal,
    RefusalPart,
    ResponseRequest,
    SchemaFormat,
)

ITEMS_MAX = 20
"""In one create or append of a conversation."""
CHARS_PER_TOKEN = 4
ENCRYPTED = "gAAAAA"
"""How encrypted reasoning begins."""
DEPTH_MAX = 10


@attrs.frozen
class Model:
    context_tokens: int
    shutdown_date: str | None = None
    reasoning: bool = True
    """Thinks unless its effort is `none`; the others know no effort."""


_OLD = Model(128_000, "2027-01-14", reasoning=False)
_LONG = Model(1_047_576, "2027-01-14", reasoning=False)
_FIVE = Model(400_000, "2026-12-11")
_SIX = Model(1_050_000)

MODELS: Mapping[str, Model] = {
    **dict.fromkeys(("gpt-4o", "gpt-4o-2024-08-06", "gpt-4o-2024-11-20", "gpt-4o-mini", "gpt-4o-mini-2024-07-18"), _OLD),
    **dict.fromkeys(("gpt-4.1", "gpt-4.1-2025-04-14", "gpt-4.1-mini", "gpt-4.1-mini-2025-04-14"), _LONG),
    **dict.fromkeys(("gpt-5", "gpt-5-mini", "gpt-5-nano"), _FIVE),
    "o3": Model(200_000, "2026-12-11"),
    "gpt-5.1": Model(400_000, "2027-04-01"),
    **dict.fromkeys(
        ("gpt-6-luna", "gpt-6-sol", "gpt-6-astra", "gpt-6.1-sol", "gpt-6.1-terra", "gpt-6.2-sol", "gpt-6.2-astra"), _SIX
    ),
}
RETIRED = {"gpt-4o-2024-05-13", "gpt-4", "gpt-4-turbo", "gpt-3.5-turbo", "o1", "o3-mini", "o4-mini", "gpt-4.1-nano"}


def model_named(name: str) -> Model:
    """Raises `Refusal` 404 for a model that is unknown or shut down."""
    if name in RETIRED:
        raise Refusal(
            404, f"The model `{name}` has been shut down; see the deprecations page.", param="model", code="model_not_found"
        )
    if name not in MODELS:
        message = f"The model `{name}` does not exist or you do not have access to it."
        raise Refusal(404, message, param="model", code="model_not_found")
    return MODELS[name]


def check_response(request: ResponseRequest) -> None:
    """Everything that needs no memory of former requests."""
    model = model_named(request.model)
    if request.conversation is not None and request.previous_response_id is not None:
        message = "Mutually exclusive parameters: only one of 'previous_response_id' or 'conversation' may be given."
        raise Refusal(400, message, code="mutually_exclusive_parameters")
    if request.stream_options is not None and not request.stream:
        raise Refusal(400, "The 'stream_options' parameter is only allowed when 'stream' is enabled.", param="stream_options")
    if request.background and request.store is False:
        raise Refusal(400, "Background responses must be stored: 'store' is false.", param="background")
    _check_thinking(request, model)
    _check_tools(request)
    _check_format(request)
    check_items(request.items, "input")


def _check_thinking(request: ResponseRequest, model: Model) -> None:
    effort = request.reasoning.effort if request.reasoning else None
    if not model.reasoning:
        if effort is not None:
            raise _unsupported("reasoning.effort")
        if "reasoning.encrypted_content" in (request.include or ()):
            raise Refusal(400, "Encrypted content is not supported with this model.", param="include")
    elif effort != "none":
        for name in ("temperature", "top_p", "top_logprobs"):
            if getattr(request, name) is not None:
                raise _unsupported(name)


def thinks(request: ResponseRequest) -> bool:
    effort = request.reasoning.effort if request.reasoning else None
    return MODELS[request.model].reasoning and effort != "none"


def _unsupported(name: str) -> Refusal:
    message = f"Unsupported parameter: '{name}' is not supported with this model."
    return Refusal(400, message, param=name, code="unsupported_parameter")


def _check_tools(request: ResponseRequest) -> None:
    names = [tool.name for tool in request.tools or ()]
    for number, tool in enumerate(request.tools or ()):
        if tool.strict and tool.parameters is not None:
            check_strict(tool.parameters, f"function '{tool.name}'", f"tools[{number}].parameters")
    chosen = request.tool_choice
    if isinstance(chosen, NamedTool) and chosen.name not in names:
        raise Refusal(400, f"Tool choice '{chosen.name}' not found in 'tools' parameter.", param="tool_choice")
    if chosen == "required" and not names:
        raise Refusal(400, "Tool choice 'required' must be specified with 'tools' parameter.", param="tool_choice")


def _check_format(request: ResponseRequest) -> None:
    wanted = request.text.format if request.text else None
    if isinstance(wanted, SchemaFormat) and wanted.strict:
        check_strict(wanted.schema, f"response_format '{wanted.name}'", "text.format.schema")
    if isinstance(wanted, JsonFormat):
        said = [request.instructions or "", *(item.text for item in request.items if isinstance(item, Message))]
        if "json" not in "".join(said).lower():
            message = (
                "Response input messages must contain the word 'json' in some form to use 'text.format' of type 'json_object'."
            )
            raise Refusal(400, message, param="input")


def check_strict(schema: Mapping[str, object], whose: str, param: str) -> None:
    """Structured outputs: the root a plain object; every object closed, with all its properties required."""
    if schema.get("type") != "object":
        raise _bad_schema(whose, param, "()", f"schema must be an object, not '{schema.get('type')}'.")
    if "anyOf" in schema:
        raise _bad_schema(whose, param, "()", "'anyOf' is not permitted at the root.")
    _check_node(schema, whose, param, ())


def _check_node(node: Mapping[str, object], whose: str, param: str, path: tuple[str, ...]) -> None:
    place = f"({', '.join(repr(step) for step in path)})"
    if len(path) > 2 * DEPTH_MAX:
        raise _bad_schema(whose, param, place, f"more than {DEPTH_MAX} levels of nesting.")
    if not {"type", "anyOf", "$ref"} & node.keys():
        raise _bad_schema(whose, param, place, "schema must have a 'type' key.")
    properties, required = node.get("properties"), node.get("required")
    if node.get("type") == "object" or properties is not None:
        if node.get("additionalProperties") is not False:
            raise _bad_schema(whose, param, place, "'additionalProperties' is required to be supplied and to be false.")
        missing = [name for name in _mapping(properties) if not isinstance(required, list) or name not in required]
        if missing:
            why = f"'required' is required to be an array including every key in properties. Missing '{missing[0]}'."
            raise _bad_schema(whose, param, place, why)
    for name, inner in _mapping(properties).items():
        _check_node(_mapping(inner), whose, param, (*path, "properties", name))
    if "items" in node:
        _check_node(_mapping(node["items"]), whose, param, (*path, "items"))
    variants = node.get("anyOf")
    for number, inner in enumerate(variants if isinstance(variants, list) else ()):
        _check_node(_mapping(inner), whose, param, (*path, "anyOf", str(number)))


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _bad_schema(whose: str, param: str, place: str, why: str) -> Refusal:
    code = "invalid_function_parameters" if param.startswith("tools") else "invalid_json_schema"
    return Refusal(400, f"Invalid schema for {whose}: In context={place}, {why}", param=param, code=code)


def check_items(items: Sequence[Item], param: str) -> None:
    """Each item by itself: the parts that its role may hold."""
    if not items:
        raise Refusal(400, f"Invalid '{param}': empty array. Expected at least one item.", param=param, code="empty_array")
    for number, item in enumerate(items):
        if isinstance(item, Message) and not isinstance(item.content, str):
            allowed = OutputText | RefusalPart if item.role == "assistant" else InputText | InputImage
            for place, part in enumerate(item.content):
                if not isinstance(part, allowed):
                    where = f"{param}[{number}].content[{place}]"
                    message = f"Invalid value: '{part.__struct_config__.tag}' is not supported for the role '{item.role}'."
                    raise Refusal(400, message, param=where, code="invalid_value")


def check_items_max(items: Sequence[Item], param: str) -> None:
    if len(items) > ITEMS_MAX:
        message = f"Invalid '{param}': array too long. Expected at most {ITEMS_MAX} items in a conversation, got {len(items)}."
        raise Refusal(400, message, param=param, code="array_above_max_length")


def check_context(context: Sequence[Item], kept: Callable[[str], bool]) -> None:
    """The whole conversation: calls and outputs in pairs, reasoning before what it led to. `kept`: is this item id stored?"""
    calls = [item.call_id for item in context if isinstance(item, FunctionCall)]
    answered: set[str] = set()
    for number, item in enumerate(context):
        match item:
            case FunctionCallOutput(call_id=call_id):
                if call_id not in calls:
                    raise Refusal(400, f"No tool call found for function call output with call_id {call_id}.", param="input")
                answered.add(call_id)
            case Reasoning():
                _check_reasoning(item, context[number + 1] if number + 1 < len(context) else None, kept)
            case ItemReference(id=item_id) if not kept(item_id):
                raise _not_kept(item_id)
    for call_id in calls:
        if call_id not in answered:
            raise Refusal(400, f"No tool output found for function call {call_id}.", param="input")


def _check_reasoning(item: Reasoning, following: Item | None, kept: Callable[[str], bool]) -> None:
    if item.encrypted_content is None and not kept(item.id):
        raise _not_kept(item.id)
    if item.encrypted_content is not None and item.encrypted_content != encrypted(item.id):
        shown = item.encrypted_content[:10]
        raise Refusal(400, f"The encrypted content {shown}... could not be verified.", code="invalid_encrypted_content")
    led_to = isinstance(following, FunctionCall | Reasoning) or (isinstance(following, Message) and following.role == "assistant")
    if not led_to:
        message = f"Item '{item.id}' of type 'reasoning' was provided without its required following item."
        raise Refusal(400, message, param="input")


def encrypted(item_id: str) -> str:
    """What stands for the encrypted reasoning of an item: bound to its id, so that mixing them up is noticed."""
    return f"{ENCRYPTED}{item_id[::-1]}=="


def _not_kept(item_id: str) -> Refusal:
    message = f"Item with id '{item_id}' not found. Items are not persisted when `store` is set to false."
    return Refusal(404, message, param="input")


def check_length(chars: int, request: ResponseRequest) -> None:
    limit = MODELS[request.model].context_tokens
    if request.truncation != "auto" and chars // CHARS_PER_TOKEN > limit:
        message = f"Your input exceeds the context window of this model, {limit} tokens. Please adjust your input and try again."
        raise Refusal(400, message, param="input", code="context_length_exceeded")


def check_chat(request: ChatRequest) -> None:
    model = model_named(request.model)
    if request.stream_options is not None and not request.stream:
        raise Refusal(400, "The 'stream_options' parameter is only allowed when 'stream' is enabled.", param="stream_options")
    for number, tool in enumerate(request.tools or ()):
        if tool.function.strict and tool.function.parameters is not None:
            check_strict(tool.function.parameters, f"function '{tool.function.name}'", f"tools[{number}].function.parameters")
    if model.reasoning:
        _check_thinking_chat(request)
    elif request.reasoning_effort is not None:
        raise _unsupported("reasoning_effort")


def _check_thinking_chat(request: ChatRequest) -> None:
    if request.max_tokens is not None:
        raise _unsupported("max_tokens")
    if request.reasoning_effort == "none":
        return
    if request.tools:
        message = "Function tools are not supported with this model on chat completions unless 'reasoning_effort' is 'none'."
        raise Refusal(400, message, param="tools", code="unsupported_parameter")
    for name in ("temperature", "top_p", "frequency_penalty", "presence_penalty"):
        if getattr(request, name) is not None:
            raise _unsupported(name)
