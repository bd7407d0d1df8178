"""The one connection to OpenAI: requests with retries, fall-back models and deadlines; its library's errors end here.

The SDK is imported when the client is opened, not with this module: it costs up to a second and 40 MiB. It sends the requests
and reads the errors; the streams' bytes go to `stream.Reader`. What is asked is decided in `assistant.py`.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from importlib import import_module
from ipaddress import ip_address
from math import inf
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import attrs
import msgspec
import trio

from ellara.errors import AssistantFailed
from ellara.llm.faults import Fault, pause_s
from ellara.llm.stream import Item, Reader, Reply
from ellara.llm.translation import translated
from ellara.log import get_logger
from ellara.settings import Model, OpenAI

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai._response import AsyncAPIResponse

    from ellara.llm.pools import Pools

log = get_logger(__name__)

OPENAI_URL = "https://api.openai.com/v1"
WRITE_TIMEOUT_S = 30.0
KEEP_ALIVE_S = 60.0
"""A new TLS connection costs the next answer's first word three round trips."""
LINGER_S = 0.02
"""Patience for the end of the bytes after the last event: read to its end, a connection can be used again."""

RENEWAL = 0.1
"""Of the silence limit, which is as much too short at most: moving a deadline with every delta costs more than decoding it."""

OnText = Callable[[str], None]
"""Called with the text that arrived together; must not wait."""


class Screen:
    """Passes an answer's text on, and remembers that there was any: from then on a retry would repeat it."""

    def __init__(self, on_text: OnText) -> None:
        self._on_text = on_text
        self.used = False

    def show(self, text: str) -> None:
        self.used = True
        self._on_text(text)


@attrs.frozen
class Request:
    """What is asked of whichever model answers."""

    instructions: str
    items: Sequence[Item]
    tools: Sequence[Item]
    cache_key: str
    safety_identifier: str
    max_tokens: int
    may_call: bool = True


class ChatMessage(msgspec.Struct):
    content: str | None = None


class ChatChoice(msgspec.Struct):
    message: ChatMessage


class ChatCompletion(msgspec.Struct):
    choices: list[ChatChoice]


_COMPLETION = msgspec.json.Decoder(ChatCompletion)


class OpenAIClient:
    """Any number of requests at once. Remembers which models are gone, as long as another one is there."""

    def __init__(self, sdk: AsyncOpenAI, pools: Pools, settings: OpenAI) -> None:
        self._sdk = sdk
        self._pools = pools
        self._settings = settings
        self._gone: set[str] = set()

    async def respond(self, request: Request, screen: Screen) -> Reply:
        """One whole response of the first model that is there. Raises `AssistantFailed`; tried again until text was shown."""
        tries = 0
        while True:
            model = self._present(self._settings.models)
            try:
                return await self._respond_once(model, request, screen)
            except AssistantFailed as failure:
                log.warning(
                    "openai failed",
                    kind=failure.kind,
                    model=model.name,
                    tries=tries + 1,
                    reason=failure.message,
                    shown=screen.used,
                )
                if failure.kind == Fault.MODEL_GONE:
                    self._gone.add(model.name)
                    continue
                tries += 1
                chance = random.random()
                pause = pause_s(failure, tries, self._settings.retry_pause_ms / 1000, chance)
                if screen.used or pause is None or tries >= self._settings.tries_max:
                    raise
            await trio.sleep(pause)

    async def complete(self, instructions: str, text: str, max_tokens: int) -> str:
        """A short text at once, from the first title model that is there, tried once. Raises `AssistantFailed`."""
        while True:
            model = self._present(self._settings.title_models)
            try:
                return await self._complete_once(model, instructions, text, max_tokens)
            except AssistantFailed as failure:
                if failure.kind != Fault.MODEL_GONE:
                    raise
                self._gone.add(model.name)

    def _present(self, models: Sequence[Model]) -> Model:
        for model in models:
            if model.name not in self._gone:
                return model
        self._gone.difference_update(model.name for model in models)  # the next question looks again
        raise AssistantFailed(Fault.MODEL_GONE, "none of the configured models is there", 0.0)

    async def _respond_once(self, model: Model, request: Request, screen: Screen) -> Reply:
        reader = Reader(screen.used)
        first_event_by = trio.current_time() + self._settings.first_event_timeout_s
        with self._pools.one_more(), trio.CancelScope(deadline=first_event_by) as patience:
            try:
                with translated():
                    # As `extra_body` it is sent as it is: walking through a transcript to check it costs the SDK a millisecond.
                    async with self._sdk.responses.with_streaming_response.create(extra_body=_body(model, request)) as response:
                        await self._read(response, reader, patience, screen.show)
            except AssistantFailed:
                if reader.ending is None:  # else it broke while only its end was awaited
                    raise
        if patience.cancelled_caught and reader.ending is None:
            raise AssistantFailed(Fault.STALLED if reader.events else Fault.TIMED_OUT, "no event came in time", 0.0)
        return reader.finish()

    async def _read(self, response: AsyncAPIResponse[Any], reader: Reader, patience: trio.CancelScope, on_text: OnText) -> None:
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            raise AssistantFailed(Fault.BAD_EVENT, f"not an event stream: {response.headers.get('content-type')}", 0.0)
        silence_s, renewed, ended = self._settings.silence_timeout_s, -inf, False
        async for chunk in response.iter_bytes():
            if ended:
                continue
            events = reader.events
            if text := reader.receive(chunk):
                on_text(text)
            now = trio.current_time()
            if reader.ending is not None:
                ended = True
                patience.deadline = now + LINGER_S
            elif reader.events > events and now > renewed + silence_s * RENEWAL:
                renewed, patience.deadline = now, now + silence_s

    async def _complete_once(self, model: Model, instructions: str, text: str, max_tokens: int) -> str:
        messages = [{"role": "system", "content": instructions}, {"role": "user", "content": text}]
        optional: dict[str, Any] = {}
        if model.temperature is not None:
            optional["temperature"] = model.temperature
        if model.reasoning_effort is not None:
            optional["reasoning_effort"] = model.reasoning_effort
        parameters: dict[str, Any] = {"model": model.name, "messages": messages, "max_completion_tokens": max_tokens, **optional}
        with translated():
            async with self._sdk.chat.completions.with_streaming_response.create(**parameters) as response:
                body = await response.read()
        try:
            return _COMPLETION.decode(body).choices[0].message.content or ""
        except (msgspec.DecodeError, IndexError) as error:
            raise AssistantFailed(Fault.BAD_EVENT, f"a completion cannot be read: {error}", 0.0) from None


@asynccontextmanager
async def open_client(settings: OpenAI) -> AsyncIterator[OpenAIClient]:
    """The client, for as long as the daemon runs. Nothing is sent before the first question."""
    for module in ("openai.resources.responses", "openai.resources.chat"):  # up to a second, in which other rooms can start
        await trio.to_thread.run_sync(import_module, module)
    import httpx2
    import openai

    from ellara.llm.pools import STREAMS_PER_POOL, Pools

    url = settings.base_url or OPENAI_URL
    streams = settings.runs_max * 2  # an answer and its title
    limits = httpx2.Limits(max_connections=streams, max_keepalive_connections=STREAMS_PER_POOL, keepalive_expiry=KEEP_ALIVE_S)
    pools = Pools(limits)
    http = openai.DefaultAsyncHttpxClient(
        transport=pools, proxy=proxy_for(url), limits=limits, follow_redirects=False, trust_env=False
    )
    # Reading has no timeout of its own: `patience` counts events, not bytes, and is one deadline instead of one a read.
    timeout = httpx2.Timeout(
        connect=settings.connect_timeout_s, read=None, write=WRITE_TIMEOUT_S, pool=settings.connect_timeout_s
    )
    key = settings.api_key.reveal()
    async with openai.AsyncOpenAI(api_key=key, base_url=url, max_retries=0, http_client=http, timeout=timeout) as sdk:
        yield OpenAIClient(sdk, pools, settings)


def proxy_for(url: str) -> str | None:
    """As the environment has it (HTTPS_PROXY, NO_PROXY), but none towards this machine: it would not reach a stand-in."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if _is_loopback(host) or proxy_bypass(host):
        return None
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _body(model: Model, request: Request) -> dict[str, object]:
    """The request to the Responses API. Nothing that is not configured is sent: models refuse what they do not know."""
    body: dict[str, object] = {
        "model": model.name,
        "instructions": request.instructions,
        "input": request.items,
        "max_output_tokens": request.max_tokens,
        "prompt_cache_key": request.cache_key,
        "safety_identifier": request.safety_identifier,
        "store": False,
        "stream": True,
        "stream_options": {"include_obfuscation": False},
    }
    if request.tools:
        body |= {"tools": request.tools, "tool_choice": "auto" if request.may_call else "none", "parallel_tool_calls": True}
    if model.temperature is not None:
        body["temperature"] = model.temperature
    if model.reasoning_effort is not None:
        body |= {"reasoning": {"effort": model.reasoning_effort}, "include": ["reasoning.encrypted_content"]}
    return body
