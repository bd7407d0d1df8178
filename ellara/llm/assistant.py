"""The assistant: a question in, its answer as streamed text; a chat's title. Called by actors/runs.py alone.

Holds what is asked: prompt, transcript within its budget, tools and their rounds. Knows no database and no client. Everything the
model put out in a round is sent back in order with the calls' outputs: nothing is stored at OpenAI.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import attrs
import trio

from ellara.errors import AssistantFailed
from ellara.llm import titles
from ellara.llm.client import OnText, OpenAIClient, Request, Screen
from ellara.llm.faults import Fault
from ellara.llm.stream import FunctionCall, Item, Usage
from ellara.llm.tools import Tool, call, output_item
from ellara.llm.transcript import input_items
from ellara.log import get_logger
from ellara.model import Message
from ellara.settings import OpenAI

log = get_logger(__name__)

TITLE_MAX_TOKENS = 60
TITLE_TIMEOUT_S = 10.0
CALLS_MAX = 8
"""Of one round; the rest is answered with a refusal."""


class Assistant:
    """Stateless between questions; any number at once."""

    def __init__(self, client: OpenAIClient, prompt: str, tools: Sequence[Tool], settings: OpenAI) -> None:
        self._client = client
        self._prompt = prompt
        self._tools = {tool.name: tool for tool in tools}
        self._schemas = [tool.schema() for tool in tools]
        self._settings = settings

    async def answer(self, messages: Sequence[Message], user_id: str, on_text: OnText) -> Usage:
        """Answers the last of `messages`, of one chat. Raises `AssistantFailed` within `run_timeout_s`, whatever was shown."""
        screen, budget_tokens = Screen(on_text), self._settings.transcript_max_tokens
        with trio.move_on_after(self._settings.run_timeout_s):
            try:
                return await self._answer(self._request(messages, user_id, budget_tokens), user_id, screen)
            except AssistantFailed as failure:
                if failure.kind != Fault.TOO_LONG or screen.used:
                    raise
                return await self._answer(self._request(messages, user_id, budget_tokens // 4), user_id, screen)
        raise AssistantFailed(Fault.TIMED_OUT, "the whole answer took too long", 0.0)

    async def title(self, question: str) -> str | None:
        """The model's title for a chat that begins with `question`; None if it gave nothing readable in time."""
        with trio.move_on_after(TITLE_TIMEOUT_S):
            try:
                text = question[: titles.QUESTION_READ_MAX_CHARS]
                return titles.model_title(await self._client.complete(titles.INSTRUCTIONS, text, TITLE_MAX_TOKENS))
            except AssistantFailed as failure:
                log.warning("title failed", kind=failure.kind, reason=failure.message)
        return None

    async def _answer(self, request: Request, user_id: str, screen: Screen) -> Usage:
        used = Usage()
        for rounds_left in range(self._settings.tool_rounds_max, -1, -1):
            reply = await self._client.respond(attrs.evolve(request, may_call=rounds_left > 0), screen)
            used = Usage(used.input_tokens + reply.usage.input_tokens, used.output_tokens + reply.usage.output_tokens)
            if not reply.calls:
                return used
            if rounds_left:
                outputs = [await self._output(user_id, asked, number) for number, asked in enumerate(reply.calls)]
                request = attrs.evolve(request, items=[*request.items, *reply.items, *outputs])
        raise AssistantFailed(Fault.TOOL_LOOP, f"still calling after {self._settings.tool_rounds_max} rounds of tools", 0.0)

    async def _output(self, user_id: str, asked: FunctionCall, number: int) -> Item:
        if number >= CALLS_MAX:
            return output_item(asked, f"Error: at most {CALLS_MAX} calls at once.")
        return output_item(asked, await call(self._tools, user_id, asked))

    def _request(self, messages: Sequence[Message], user_id: str, budget_tokens: int) -> Request:
        return Request(
            instructions=self._prompt,
            items=input_items(messages, budget_tokens),
            tools=self._schemas,
            cache_key=sha256(messages[-1].chat_id.encode()).hexdigest()[:32],
            safety_identifier=sha256(user_id.encode()).hexdigest(),
            max_tokens=self._settings.answer_max_tokens,
        )
