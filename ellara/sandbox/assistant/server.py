"""The built-in look-alike of OpenAI: Responses, Conversations, titles by Chat Completions, models; strict, and able to fail.

Started by the daemon where no key is given, and by the tests; the production client reaches it over loopback. What it refuses
is in assistant/checks.py, what it says in assistant/answers.py, where also the markers are listed that steer it. `GET /_stats`
counts. Absent, as at the real service since 2026-08-26: assistants and threads; and background responses, hosted tools, files.
"""

from __future__ import annotations

import secrets
import time
from functools import partial

import msgspec
import trio

from ellara.sandbox.assistant import faults
from ellara.sandbox.assistant.answers import Asked, Steering, answer, steering, title
from ellara.sandbox.assistant.checks import MODELS, check_chat, check_response, model_named
from ellara.sandbox.assistant.events import Events, Json, new_id
from ellara.sandbox.assistant.memory import Memory, Stats
from ellara.sandbox.assistant.replies import Generation, generate, wants_title
from ellara.sandbox.assistant.requests import (
    ChatRequest,
    ConversationRequest,
    Item,
    ItemsRequest,
    Refusal,
    ResponseRequest,
    read,
)
from ellara.sandbox.assistant.stream import Stream
from ellara.sandbox.assistant.strikes import Strikes, strike, strike_title
from ellara.sandbox.http import HOST, Request, Response, serve

REQUESTS_PER_MINUTE, TOKENS_PER_MINUTE = 10_000, 2_000_000
EVENT_STREAM = ("content-type", "text/event-stream; charset=utf-8")


async def run_assistant(
    api_key: str, word_delay_ms: int, *, port: int = 0, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serves until cancelled. Started with its base URL. `word_delay_ms` passes between two words. Raises `OSError`."""
    await serve(Assistant(api_key, word_delay_ms).handle, port, task_status=_AsUrl(task_status))


class _AsUrl:
    """Tells a port as the base URL of the API."""

    def __init__(self, task_status: trio.TaskStatus[str]) -> None:
        self._task_status = task_status

    def started(self, value: int | None = None) -> None:
        self._task_status.started(f"http://{HOST}:{value}/v1")


class Assistant:
    """One look-alike: its key, its pace, what it remembers and has counted."""

    def __init__(self, api_key: str, word_delay_ms: int) -> None:
        self._api_key, self._word_delay_ms = api_key, word_delay_ms
        self.memory, self.stats = Memory(), Stats()
        self._active = 0
        self._strikes = Strikes()

    async def handle(self, request: Request, response: Response) -> None:
        self.stats.retries += request.headers.get("x-stainless-retry-count", "0") != "0"
        try:
            await self._route(request, response)
        except Refusal as refusal:
            await self._send(response, refusal.status, {"error": refusal.error}, list(refusal.headers))

    async def _route(self, request: Request, response: Response) -> None:
        steps = request.path.strip("/").split("/")
        if steps == ["_stats"]:
            await self._send(response, 200, self._counted(reset="reset" in request.query))
            return
        self.stats.requests[_label(request.method, steps)] += 1
        self._authorize(request)
        match [request.method, *steps]:
            case ["POST", "v1", "responses"]:
                await self._respond(request, response)
            case ["POST", "v1", "chat", "completions"]:
                await self._complete_chat(request, response)
            case [_, "v1", "assistants" | "threads", *_]:
                raise Refusal(404, "The Assistants API was shut down on August 26, 2026. Please use the Responses API.")
            case [method, "v1", kind, *rest]:
                await self._send(response, 200, self._looked_up(method, kind, rest, request))
            case _:
                raise _no_route(request)

    def _looked_up(self, method: str, kind: str, rest: list[str], request: Request) -> Json:
        """Every route that answers at once."""
        content_type = request.headers.get("content-type", "")
        match [method, kind, *rest]:
            case ["GET", "models"]:
                return {"object": "list", "data": [_model(name) for name in MODELS]}
            case ["GET", "models", name]:
                model_named(name)
                return _model(name)
            case ["GET", "responses", response_id]:
                return self.memory.stored(response_id).response
            case ["POST", "conversations"]:
                return self.memory.create(read(request.body, content_type, ConversationRequest), int(time.time())).shown()
            case ["GET", "conversations", name]:
                return self.memory.conversation(name).shown()
            case ["DELETE", "conversations", name]:
                del self.memory.conversations[self.memory.conversation(name).id]
                return {"id": name, "object": "conversation.deleted", "deleted": True}
            case ["GET", "conversations", name, "items"]:
                return _listed(self.memory.conversation(name).items)
            case ["POST", "conversations", name, "items"]:
                return _listed(self.memory.append(name, read(request.body, content_type, ItemsRequest)))
            case _:
                raise _no_route(request)

    def _authorize(self, request: Request) -> None:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key:
            raise Refusal(
                401, "You didn't provide an API key. You need to send it as a Bearer token in the Authorization header."
            )
        if not secrets.compare_digest(key.strip().encode(), self._api_key.encode()):
            raise Refusal(401, f"Incorrect API key provided: {key[:3]}***.", code="invalid_api_key")

    async def _respond(self, request: Request, response: Response) -> None:
        wanted = read(request.body, request.headers.get("content-type", ""), ResponseRequest)
        check_response(wanted)
        self.stats.deprecated["user"] += wanted.user is not None
        context = [*self.memory.before(wanted), *wanted.items]
        made = generate(wanted, context, self.memory.keeps, int(time.time()))
        if wanted.stream and await self._struck(made.steering, response):
            return
        self.memory.lock(wanted, locked=True)
        try:
            await (self._stream(made, response) if wanted.stream else self._answer(made, response))
        finally:
            self.memory.lock(wanted, locked=False)

    async def _answer(self, made: Generation, response: Response) -> None:
        """The whole response at once, after the time that its words would take."""
        if wants_title(made.request.instructions, stream=False):
            await self._strike_title(made.steering)
            await trio.sleep(made.words * self._word_delay_ms / 1000)
        else:
            await trio.sleep(((made.steering.ttft or 0) + made.words * self._delay_ms(made.steering)) / 1000)
        self._complete(made)
        await self._send(response, 200, made.response | made.finished)

    async def _stream(self, made: Generation, response: Response) -> None:
        fault, options = made.steering.fault, made.request.stream_options
        if fault and fault.kind in faults.STREAMED:
            self.stats.faults[fault.kind] += 1
        obfuscated = options is None or options.include_obfuscation is not False
        events = Events(made.response, made.outputs, made.items, obfuscated=obfuscated)
        stream = Stream(response, self.stats, partial(self._complete, made), odd=fault is not None and fault.kind == "odd")
        frames = faults.struck(events, made.finished, fault)
        self.stats.streams += 1
        self._active += 1
        left = True
        try:
            await response.start(200, [EVENT_STREAM, ("cache-control", "no-cache"), *self._headers(200)])
            await stream.send(frames, (made.steering.ttft or 0) / 1000, self._delay_ms(made.steering) / 1000)
            left = False
        finally:
            self._active -= 1
            self.stats.end_stream(told=stream.told, left=left)

    def _complete(self, made: Generation) -> None:
        self.memory.lock(made.request, locked=False)
        if made.response["status"] != "failed" and made.finished["status"] == "completed":
            self.memory.complete(made.request, made.response | made.finished, made.context, made.items)

    def _delay_ms(self, by: Steering) -> int:
        return self._word_delay_ms if by.delay is None else by.delay

    async def _struck(self, by: Steering, response: Response) -> bool:
        """Whether a fault has taken the place of the stream."""
        fault = by.fault
        if fault is None or not self._strikes.due(by.clean, fault):
            return False
        self.stats.faults[fault.kind] += 1
        return await strike(fault, response, self._headers)

    async def _strike_title(self, by: Steering) -> None:
        if by.title_fault is not None:
            self.stats.faults[f"title {by.title_fault.kind}"] += 1
            await strike_title(by.title_fault)

    async def _complete_chat(self, request: Request, response: Response) -> None:
        """A title, or an answer without tools; streams are not told this way."""
        wanted = read(request.body, request.headers.get("content-type", ""), ChatRequest)
        check_chat(wanted)
        if wanted.stream:
            raise Refusal(400, "This stand-in does not stream chat completions: use /v1/responses.", param="stream")
        told = " ".join(message.text for message in wanted.messages if message.role in ("system", "developer"))
        question = Asked(steering(next((each.text for each in reversed(wanted.messages) if each.role == "user"), "")))
        if titled := wants_title(told, stream=False):
            await self._strike_title(question.steering)
        text = title(question.question, question.language) if titled else answer(question)
        await trio.sleep(len(text.split()) * self._word_delay_ms / 1000)
        await self._send(response, 200, _completion(wanted.model, text))

    async def _send(self, response: Response, status: int, body: object, headers: list[tuple[str, str]] | None = None) -> None:
        await response.send(status, msgspec.json.encode(body), headers=[*self._headers(status), *(headers or ())])

    def _headers(self, status: int) -> list[tuple[str, str]]:
        """What the real service says beside every answer; counts the status."""
        self.stats.statuses[str(status)] += 1
        return [
            ("x-request-id", new_id("req")),
            ("openai-version", "2020-10-01"),
            ("openai-processing-ms", "1"),
            ("x-ratelimit-limit-requests", str(REQUESTS_PER_MINUTE)),
            ("x-ratelimit-limit-tokens", str(TOKENS_PER_MINUTE)),
            ("x-ratelimit-remaining-requests", str(REQUESTS_PER_MINUTE - 1 - self._active)),
            ("x-ratelimit-remaining-tokens", str(TOKENS_PER_MINUTE - 1000 * self._active)),
            ("x-ratelimit-reset-requests", "6ms"),
            ("x-ratelimit-reset-tokens", "0s"),
        ]

    def _counted(self, *, reset: bool) -> Json:
        shown: Json = msgspec.to_builtins(self.stats)
        shown |= {"activeStreams": self._active, "conversations": len(self.memory.conversations)}
        if reset:
            self.stats = Stats()
        return shown


def _label(method: str, steps: list[str]) -> str:
    """A request's route, with a name for an id: few enough to count by."""
    match steps:
        case ["v1", "responses" | "conversations" | "models" | "assistants" | "threads" as kind, *rest]:
            return "/".join([f"{method} /v1", kind, *(":id" for _ in rest[:1]), *(["items"] if rest[1:] == ["items"] else [])])
        case ["v1", "chat", "completions"]:
            return f"{method} /v1/chat/completions"
        case _:
            return "unknown"


def _no_route(request: Request) -> Refusal:
    return Refusal(404, f"Invalid URL ({request.method} {request.path})")


def _model(name: str) -> Json:
    return {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": "ellara-sandbox",
        "shutdown_date": MODELS[name].shutdown_date,
    }


def _listed(items: list[Item]) -> Json:
    ids = [item.id for item in items]
    return {
        "object": "list",
        "data": items,
        "first_id": ids[0] if ids else None,
        "last_id": ids[-1] if ids else None,
        "has_more": False,
    }


def _completion(model: str, text: str) -> Json:
    message: Json = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
    used = {"prompt_tokens": 20, "completion_tokens": len(text) // 4 + 1, "total_tokens": 21 + len(text) // 4}
    return {
        "id": new_id("chatcmpl"),
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "service_tier": "default",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": used,
    }
