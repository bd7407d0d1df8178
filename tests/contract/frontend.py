"""A frontend's HTTP side, and what it expects of answers."""

from __future__ import annotations

import re
import secrets
from typing import Any

import attrs
import httpx2

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def address() -> str:
    return "0x" + secrets.token_hex(20)


def tx_hash() -> str:
    return "0x" + secrets.token_hex(32)


@attrs.frozen
class Client:
    """A frontend: signed in once it has a token."""

    http: httpx2.AsyncClient
    token: str | None = None

    async def ask(self, method: str, path: str, json: object = None, **headers: str) -> httpx2.Response:
        sent = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        content = {} if json is None else {"json": json}
        return await self.http.request(method, path, headers=sent | headers, **content)  # type: ignore[arg-type]  # keywords

    async def get(self, path: str, **headers: str) -> httpx2.Response:
        return await self.ask("GET", path, **headers)

    async def post(self, path: str, json: object) -> httpx2.Response:
        return await self.ask("POST", path, json)

    async def record(self, **more: object) -> Any:
        answer = await self.post("/api/v1/tx", {"amount": 100_000, "type": "USDT"} | more)
        assert answer.status_code == 200, answer.text
        return answer.json()


def refused(answer: httpx2.Response, status: int, message: str | None = None) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/json")
    assert list(answer.json()) == ["message"]
    assert message is None or answer.json()["message"] == message
