"""One look-alike and the real SDK beside it, for the tests of this folder."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import httpx2
import openai
import trio

from ellara.sandbox.assistant.server import run_assistant

KEY = "sk-test"
CHECK: dict[str, object] = {
    "type": "function",
    "name": "cek_transaksi",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"limit": {"type": ["integer", "null"], "minimum": 1, "maximum": 50}},
        "required": ["limit"],
        "additionalProperties": False,
    },
}
Body = dict[str, Any]


@attrs.frozen
class Room:
    """`client`: the SDK, without retries. `raw`: plain HTTP with the key."""

    url: str
    client: openai.AsyncOpenAI
    raw: httpx2.AsyncClient

    async def post(self, path: str, **body: object) -> Body:
        """By the SDK, unchecked by it. Raises its `APIStatusError`."""
        answer = await self.client.post(path, body=body, cast_to=object)
        assert isinstance(answer, dict)
        return answer

    async def respond(self, input_: object, **more: object) -> Body:
        return await self.post("/responses", **{"model": "gpt-4o", "input": input_, **more})

    async def refused(self, path: str, **body: object) -> openai.APIStatusError:
        try:
            answer = await self.post(path, **body)
        except openai.APIStatusError as error:
            return error
        raise AssertionError(answer)

    async def events(self, question: object, **more: object) -> list[Body]:
        """The events of a stream as the SDK reads them, in order, until it ends."""
        options = {"model": "gpt-4o", "input": question, **more, "stream": True}
        stream = await self.client.responses.create(**options)  # type: ignore[call-overload]  # any mixture, also wrong ones
        async with stream:
            return [event.to_dict() async for event in stream]

    async def hear(self, question: str, note: Callable[[str], None]) -> None:
        """Notes the type of each event; gives up after 0.1 s of silence."""
        stream = await self.client.with_options(timeout=0.1).responses.create(model="gpt-4o", input=question, stream=True)
        async with stream:
            async for event in stream:
                note(event.type)

    async def stream_bytes(self, question: str, **more: object) -> list[bytes]:
        """The chunks as they came."""
        body = {"model": "gpt-4o", "input": question, "stream": True, **more}
        async with self.raw.stream("POST", f"{self.url}/responses", json=body) as answer:
            return [chunk async for chunk in answer.aiter_raw()]

    async def stats(self) -> dict[str, int]:
        counted: dict[str, int] = (await self.raw.get(self.url.removesuffix("/v1") + "/_stats")).json()
        return counted

    async def until(self, **wanted: int) -> None:
        """Waits until the counts are these."""
        while not wanted.items() <= (await self.stats()).items():
            await trio.lowlevel.checkpoint()


@asynccontextmanager
async def room(word_delay_ms: int = 0) -> AsyncIterator[Room]:
    async with trio.open_nursery() as nursery:
        url = await nursery.start(run_assistant, KEY, word_delay_ms)
        async with (
            openai.AsyncOpenAI(base_url=url, api_key=KEY, max_retries=0, timeout=5) as client,
            httpx2.AsyncClient(headers={"authorization": f"Bearer {KEY}"}, timeout=5, trust_env=False) as raw,
        ):
            yield Room(url, client, raw)
        nursery.cancel_scope.cancel()


def text(events: list[Body]) -> str:
    return "".join(str(event["delta"]) for event in events if event["type"] == "response.output_text.delta")


def kinds(events: list[Body]) -> list[object]:
    """The types in order, without repetitions and without `response.`."""
    named = [str(event["type"]).removeprefix("response.") for event in events]
    return [name for number, name in enumerate(named) if number == 0 or named[number - 1] != name]
