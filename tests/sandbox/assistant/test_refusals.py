"""What the real service refuses, the look-alike refuses: by the SDK, each with its status, code and parameter."""

from __future__ import annotations

import openai
import pytest

from tests.sandbox.assistant.ground import CHECK, KEY, room

CALL = {"type": "function_call", "call_id": "call_1", "name": "cek_transaksi", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "[]"}
USER = {"role": "user", "content": "hai"}
THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAAA1_sr=="}
LUNA = {"model": "gpt-6-luna"}
CLOSED = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}


def tool(**changes: object) -> dict[str, object]:
    return {"tools": [{**CHECK, **changes}]}


def shaped(**schema: object) -> dict[str, object]:
    """A strict tool of this schema."""
    return tool(parameters={**CLOSED, **schema})


RESPONSES: dict[str, tuple[dict[str, object], int, str | None, str | None]] = {
    "unknown parameter": ({"temprature": 1}, 400, "unknown_parameter", "temprature"),
    "prompts, shut down": ({"prompt": {"id": "pmpt_1"}}, 400, "unknown_parameter", "prompt"),
    "wrong type": ({"instructions": 5}, 400, "invalid_type", "instructions"),
    "boolean as text": ({"store": "false"}, 400, "invalid_type", "store"),
    "no model": ({"model": None}, 400, "invalid_type", "model"),
    "unknown model": ({"model": "gpt-9"}, 404, "model_not_found", "model"),
    "retired model": ({"model": "gpt-4o-2024-05-13"}, 404, "model_not_found", "model"),
    "empty input": ({"input": []}, 400, "empty_array", "input"),
    "unknown item": ({"input": [{"type": "thread"}]}, 400, "invalid_value", "input[0].type"),
    "unknown role": ({"input": [{**USER, "role": "bot"}]}, 400, "invalid_value", "input[0].role"),
    "a user's part said by the assistant": (
        {"input": [USER, {"role": "assistant", "content": [{"type": "input_text", "text": "x"}]}]},
        400,
        "invalid_value",
        "input[1].content[0]",
    ),
    "the assistant's part said by a user": (
        {"input": [{"role": "user", "content": [{"type": "output_text", "text": "x"}]}]},
        400,
        "invalid_value",
        "input[0].content[0]",
    ),
    "conversation and previous response": (
        {"conversation": "conv_1", "previous_response_id": "resp_1"},
        400,
        "mutually_exclusive_parameters",
        None,
    ),
    "unknown conversation": ({"conversation": "conv_1"}, 404, None, None),
    "unknown previous response": ({"previous_response_id": "resp_1"}, 400, "previous_response_not_found", "previous_response_id"),
    "an output without its call": ({"input": [USER, OUTPUT]}, 400, None, "input"),
    "a call without its output": ({"input": [USER, CALL]}, 400, None, "input"),
    "reasoning at the end": ({"input": [USER, THOUGHT]}, 400, None, "input"),
    "reasoning before a question": ({"input": [THOUGHT, USER]}, 400, None, "input"),
    "reasoning of another": ({"input": [{**THOUGHT, "id": "rs_2"}, CALL, OUTPUT]}, 400, "invalid_encrypted_content", None),
    "reasoning not stored": ({"input": [{**THOUGHT, "encrypted_content": None}, CALL, OUTPUT]}, 404, None, "input"),
    "a reference to nothing": ({"input": [{"type": "item_reference", "id": "msg_1"}]}, 404, None, "input"),
    "chat completions' tool": (
        {"tools": [{"type": "function", "function": {}}]},
        400,
        "unknown_parameter",
        "tools[0].function",
    ),
    "tool name with a space": (tool(name="cek transaksi"), 400, "invalid_value", "tools[0].name"),
    "property not required": (shaped(properties={"a": {}}), 400, "invalid_function_parameters", "tools[0].parameters"),
    "open object": (shaped(additionalProperties=True), 400, "invalid_function_parameters", "tools[0].parameters"),
    "open object inside": (
        shaped(properties={"a": {"anyOf": [{"type": "object"}]}}, required=["a"]),
        400,
        "invalid_function_parameters",
        "tools[0].parameters",
    ),
    "choices without a type": (
        shaped(properties={"a": {"anyOf": [{"enum": ["x"]}, {"type": "null"}]}}, required=["a"]),
        400,
        "invalid_function_parameters",
        "tools[0].parameters",
    ),
    "root not an object": (shaped(type="array"), 400, "invalid_function_parameters", "tools[0].parameters"),
    "choices at the root": (shaped(anyOf=[]), 400, "invalid_function_parameters", "tools[0].parameters"),
    "tool choice not offered": ({"tool_choice": {"type": "function", "name": "x"}}, 400, None, "tool_choice"),
    "a call required of no tools": ({"tool_choice": "required"}, 400, None, "tool_choice"),
    "bad schema of the text": (
        {"text": {"format": {"type": "json_schema", "name": "t", "strict": True, "schema": {"type": "object"}}}},
        400,
        "invalid_json_schema",
        "text.format.schema",
    ),
    "JSON that nobody spoke of": ({"text": {"format": {"type": "json_object"}}}, 400, None, "input"),
    "17 pairs of metadata": ({"metadata": {str(n): "" for n in range(17)}}, 400, "object_above_max_properties", "metadata"),
    "long metadata key": ({"metadata": {"k" * 65: ""}}, 400, "string_above_max_length", "metadata"),
    "long metadata value": ({"metadata": {"k": "v" * 513}}, 400, "string_above_max_length", "metadata[...]"),
    "too hot": ({"temperature": 2.1}, 400, "decimal_above_max_value", "temperature"),
    "temperature while thinking": ({**LUNA, "temperature": 1}, 400, "unsupported_parameter", "temperature"),
    "top_p while thinking": ({**LUNA, "reasoning": {"effort": "low"}, "top_p": 1}, 400, "unsupported_parameter", "top_p"),
    "effort of a model that has none": ({"reasoning": {"effort": "low"}}, 400, "unsupported_parameter", "reasoning.effort"),
    "encrypted reasoning of a model that has none": ({"include": ["reasoning.encrypted_content"]}, 400, None, "include"),
    "too little room": ({"max_output_tokens": 15}, 400, "integer_below_min_value", "max_output_tokens"),
    "too long": ({"input": "x" * 600_000}, 400, "context_length_exceeded", "input"),
    "stream options without a stream": ({"stream_options": {"include_obfuscation": False}}, 400, None, "stream_options"),
}


@pytest.mark.parametrize("case", RESPONSES)
async def test_a_response_is_refused(case: str) -> None:
    changes, status, code, param = RESPONSES[case]
    async with room() as here:
        error = await here.refused("/responses", **{"model": "gpt-4o", "input": "hai", **changes})
        assert (error.status_code, error.code, error.param) == (status, code, param)
        assert error.type == "invalid_request_error"
        assert error.request_id is not None
        assert await here.respond("hai")


@pytest.mark.parametrize(
    ("accepted", "input_"),
    [
        (LUNA | {"reasoning": {"effort": "none"}, "temperature": 0.3}, "hai"),
        (LUNA | {"include": ["reasoning.encrypted_content"]}, [USER, THOUGHT, CALL, OUTPUT]),
        ({"truncation": "auto"}, "x" * 600_000),
        ({"metadata": {"k" * 64: "v" * 512}, "safety_identifier": "a" * 128}, "hai"),
        ({"text": {"format": {"type": "json_object"}}}, "answer in JSON"),
        (tool(strict=None, parameters={"type": "object"}), "hai"),
    ],
)
async def test_what_is_within_the_rules_is_answered(accepted: dict[str, object], input_: object) -> None:
    async with room() as here:
        assert (await here.respond(input_, **accepted))["status"] == "completed"


@pytest.mark.parametrize(
    ("changes", "status", "param"),
    [
        ({"messages": []}, 400, "messages"),
        ({"messages": [{"role": "bot", "content": ""}]}, 400, "messages[0].role"),
        ({"input": "hai"}, 400, "input"),
        ({"model": "gpt-3.5-turbo"}, 404, "model"),
        ({"model": "gpt-6-luna", "max_tokens": 20}, 400, "max_tokens"),
        ({"model": "gpt-6-luna", "temperature": 1}, 400, "temperature"),
        ({"model": "gpt-6-luna", "tools": [{"type": "function", "function": {"name": "f"}}]}, 400, "tools"),
        ({"tools": [CHECK]}, 400, None),
    ],
)
async def test_a_chat_completion_is_refused(changes: dict[str, object], status: int, param: str | None) -> None:
    async with room() as here:
        body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hai"}], **changes}
        error = await here.refused("/chat/completions", **body)
        assert error.status_code == status
        assert param is None or error.param == param


@pytest.mark.parametrize("credentials", ["Bearer sk-other", "Bearer é", "Bearer", f"Basic {KEY}"])
async def test_another_key_is_not_let_in(credentials: str) -> None:
    async with room() as here:
        headers = {b"authorization": credentials.encode()}
        answer = await here.raw.post(f"{here.url}/responses", headers=headers, content=b"{}")
        assert answer.status_code == 401
        assert KEY not in answer.text


@pytest.mark.parametrize("path", ["/assistants", "/threads", "/threads/thread_1/runs", "/engines", "/../x", "/responses/resp_1"])
async def test_what_is_gone_or_never_was_is_404(path: str) -> None:
    async with room() as here:
        with pytest.raises(openai.NotFoundError):
            await here.client.get(path, cast_to=object)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [("text/plain", b'{"model":"gpt-4o","input":"x"}'), ("application/json", b"{"), ("application/json", b"[" * 1_000)],
)
async def test_a_body_that_is_not_json_is_refused(content_type: str, body: bytes) -> None:
    async with room() as here:
        answer = await here.raw.post(f"{here.url}/responses", headers={"content-type": content_type}, content=body)
        assert answer.status_code == 400
        assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_a_conversation_takes_20_items_at_once_and_no_more() -> None:
    async with room() as here:
        made = await here.post("/conversations", items=[USER] * 20)
        error = await here.refused("/conversations", items=[USER] * 21)
        assert (error.status_code, error.param) == (400, "items")
        assert (await here.refused("/responses", model="gpt-4o", input=[USER] * 21, conversation=made["id"])).status_code == 400
