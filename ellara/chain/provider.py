"""web3's door to the node: one JSON-RPC request over httpx2, on trio. Loaded late (`rpc.open_rpc`): importing web3 takes 0.6 s.

Below web3 on purpose: an error object is raised as `RpcError` before web3 can interpret it, and a request that surely never left
(`NotSent`) is told apart from one whose answer is missing (`Unanswered`). No retries, no cache, no batches, no CCIP read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx2
import msgspec
import trio
from web3.providers.async_base import AsyncJSONBaseProvider
from web3.types import RPCEndpoint, RPCResponse

from ellara.chain.answers import NotSent, RpcError, Unanswered
from ellara.settings import Chain, Secret

REQUESTS_AT_ONCE = 16
"""More at once cost more each: 200 took 2.5 times the CPU of 16."""

ERROR_TEXT_MAX_CHARS = 2_000

UNREACHABLE = "The blockchain node cannot be reached; please try again in a moment"
NO_ANSWER = "The blockchain node did not answer; please try again in a moment"


class Provider(AsyncJSONBaseProvider):
    """One endpoint. Its URL carries a key with many hosts: it is in no error and no log line."""

    global_ccip_read_enabled = False  # else a contract could make us fetch URLs of its choice

    def __init__(self, url: Secret, settings: Chain) -> None:
        super().__init__()
        self._limiter = trio.CapacityLimiter(REQUESTS_AT_ONCE)
        self._deadlines_s = {"eth_sendRawTransaction": settings.send_timeout_s}
        self._read_timeout_s = settings.read_timeout_s
        self._url = url.reveal()
        self._client = httpx2.AsyncClient(
            headers={"content-type": "application/json"},
            timeout=httpx2.Timeout(max(settings.read_timeout_s, settings.send_timeout_s), connect=settings.connect_timeout_s),
            limits=httpx2.Limits(max_connections=REQUESTS_AT_ONCE, max_keepalive_connections=REQUESTS_AT_ONCE),
            trust_env=False,  # the node is reached directly: a proxy for web pages is not one for it
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """Raises `RpcError`, `NotSent` and `Unanswered`."""
        body = msgspec.json.encode(self.form_request(method, params), enc_hook=_as_hex)
        with trio.move_on_after(self._deadlines_s.get(method, self._read_timeout_s)):
            async with self._limiter:
                response = await self._post(body)
            return _result(response)
        raise Unanswered(NO_ANSWER)

    async def _post(self, body: bytes) -> httpx2.Response:
        try:
            return await self._client.post(self._url, content=body)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout):
            raise NotSent(UNREACHABLE) from None
        except (httpx2.RequestError, httpx2.InvalidURL):
            raise Unanswered(NO_ANSWER) from None


def _result(response: httpx2.Response) -> RPCResponse:
    """The answer that has a `result`. A status of an error with a JSON-RPC body is read as that body."""
    try:
        answer = msgspec.json.decode(response.content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        answer = None
    if isinstance(answer, dict) and answer.get("error") is not None:
        raise _error(answer["error"], response.status_code)
    if not response.is_success:
        raise RpcError(response.text[:ERROR_TEXT_MAX_CHARS], http_status=response.status_code)
    if not isinstance(answer, dict) or "result" not in answer:
        raise Unanswered(NO_ANSWER)
    return {"jsonrpc": "2.0", "id": answer.get("id"), "result": answer["result"]}


def _error(error: object, http_status: int) -> RpcError:
    """From the error object; some hosts send a bare text in its place."""
    if not isinstance(error, Mapping):
        return RpcError(str(error)[:ERROR_TEXT_MAX_CHARS], http_status=http_status)
    code = error.get("code")
    text = str(error.get("message", ""))[:ERROR_TEXT_MAX_CHARS]
    return RpcError(text, code if isinstance(code, int) else None, error.get("data"), http_status)


def _as_hex(value: object) -> str:
    if isinstance(value, bytes | bytearray):  # HexBytes: msgspec would write base64
        return "0x" + value.hex()
    raise TypeError(f"{type(value).__name__} has no place in a JSON-RPC request")
