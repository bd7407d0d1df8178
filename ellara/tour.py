"""`ellara try`: shows the main job in a terminal, as a client of the running daemon, by its public interface alone.

Signs in with a wallet, asks a question and shows the answer as it streams (Socket.IO over polling), records a payment, settles an
open order of the dev chain and shows its receipt. Deliberately absent: any way around the front.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any, Protocol

import attrs
import httpx2
import trio

from ellara.errors import EllaraError, Unavailable
from ellara.protocol import engineio, socketio
from ellara.settings import Settings

REQUEST_TIMEOUT_S, ANSWER_TIMEOUT_S = 70.0, 300.0


class Say(Protocol):
    def __call__(self, text: str, newline: bool = True) -> None: ...


def url_of(settings: Settings) -> str:
    """Where the daemon of these settings listens, seen from this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.server.host, settings.server.host)  # noqa: S104 - not bound to
    return f"http://{host}:{settings.server.port}"


async def run(url: str, state_dir: Path, question: str, say: Say) -> None:
    """The whole tour. Raises `Unavailable` when nobody listens, `EllaraError` with the daemon's own words when it refuses."""
    async with httpx2.AsyncClient(base_url=url, timeout=REQUEST_TIMEOUT_S, trust_env=False) as http:
        try:
            await _Tour(http, say).run(state_dir, question)
        except httpx2.ConnectError:
            raise Unavailable(f"nobody listens on {url}: start the daemon with ./scripts/serve, then try again") from None
        except httpx2.HTTPError as error:
            raise Unavailable(f"{url} broke off: {error!r}") from None


@attrs.define
class _Tour:
    _http: httpx2.AsyncClient
    _say: Say
    _headers: dict[str, str] = attrs.field(factory=dict)

    async def run(self, state_dir: Path, question: str) -> None:
        health = await self._call("GET", "/health")
        self._say(f"GET /health: {health['status']}, up {health['uptime']:.1f} s\n")
        user = await self._call("POST", "/api/v1/auth/me", {"publicKey": "0x" + secrets.token_hex(20)})
        self._headers = {"authorization": f"Bearer {user['token']}"}
        self._say(f"Signed in as {user['publicKey']}\n\nAnda: {question}")
        with trio.fail_after(ANSWER_TIMEOUT_S):
            chat_id = await self._converse(user, question)
        rows = await self._call("GET", f"/api/v1/chat/{chat_id}")
        self._say(f"({len(rows)} messages stored in chat {chat_id})\n")
        await self._record_payment()
        await self._settle(user["publicKey"], state_dir)

    async def _converse(self, user: dict[str, Any], question: str) -> str:
        """Asks, prints the words as they come, answers the chat's id."""
        payload = {"question": question, "userId": user["id"]}
        socket = await _Polling.open(self._http)
        await socket.send(socketio.Connect("/", {"token": user["token"]}))
        titled = False
        while True:
            for packet in await socket.receive():
                match packet:
                    case socketio.Connect():
                        await socket.send(socketio.Event("/", ["message", payload]))
                    case socketio.ConnectError(_, reason):
                        raise EllaraError(str(reason))
                    case socketio.Event(_, ["chat_title", title, *_]) if not titled:  # a better one may follow
                        titled = True
                        self._say(f"[{title}]\nEllara: ", newline=False)
                    case socketio.Event(_, ["bot_chunk", {"content": [{"text": {"value": words}}]}, *_]):
                        self._say(words, newline=False)
                    case socketio.Event(_, ["bot_end", {"chatId": chat_id}, *_]):
                        self._say("")
                        await socket.close()
                        return str(chat_id)
                    case socketio.Event(_, ["bot_error", sentence, *_]):
                        raise EllaraError(str(sentence))

    async def _record_payment(self) -> None:
        row = await self._call("POST", "/api/v1/tx", {"amount": 150_000, "type": "USDT"})
        listed = await self._call("GET", "/api/v1/tx")
        self._say(f"Recorded a payment of {row['amount']} {row['type']}: {row['status']}, {listed['meta']['total']} on record\n")

    async def _settle(self, beneficiary: str, state_dir: Path) -> None:
        file = trio.Path(state_dir / "orders.json")
        if not await file.exists():
            self._say("No order to settle: the chain is not the sandbox's own.")
            return
        chain = json.loads(await file.read_text(encoding="utf-8"))
        for order in chain["orders"]:
            known = await self._http.get(f"/api/v1/settlement/{order['orderHash']}", headers=self._headers)
            if known.status_code == 404:
                break
        else:
            self._say("All the dev chain's orders are settled: restart the daemon for new ones.")
            return
        self._say(f"Settling order {order['orderHash']} for {beneficiary} ...")
        body = {"beneficiary": beneficiary, "orderHash": order["orderHash"]}
        done = await self._call("POST", "/api/v1/settlement/settle?wait=mined", body)
        receipt = await self._receipt(chain["rpcUrl"], done["txHash"])
        self._say(f"{done['message']}: {done['txHash']}")
        status = "success" if receipt["status"] == "0x1" else "reverted"
        self._say(f"Receipt: {status} in block {int(receipt['blockNumber'], 16)}, gas used {int(receipt['gasUsed'], 16)}")

    async def _receipt(self, rpc_url: str, tx_hash: str) -> dict[str, Any]:
        call = {"jsonrpc": "2.0", "id": 1, "method": "eth_getTransactionReceipt", "params": [tx_hash]}
        receipt = (await self._http.post(rpc_url, json=call)).json()["result"]
        if receipt is None:
            raise Unavailable(f"the chain has no receipt for {tx_hash} yet")
        return dict(receipt)

    async def _call(self, method: str, path: str, body: object = None) -> Any:
        answer = await self._http.request(method, path, json=body, headers=self._headers)
        try:
            said = answer.json()
        except ValueError:
            url = str(self._http.base_url).rstrip("/")
            raise EllaraError(f"{url} does not answer as Ellara does: is another program listening there?") from None
        if answer.status_code != 200:
            raise EllaraError(f"{method} {path} answered {answer.status_code}: {said['message']}")
        return said


@attrs.define
class _Polling:
    """A Socket.IO connection over polling: the smallest client that there can be."""

    _http: httpx2.AsyncClient
    _sid: str
    _decoder: socketio.Decoder = attrs.field(factory=socketio.Decoder)

    @classmethod
    async def open(cls, http: httpx2.AsyncClient) -> _Polling:
        opened = engineio.decode_frame(await cls(http, "")._request("GET"))
        return cls(http, json.loads(opened.data)["sid"])

    async def send(self, packet: socketio.Packet) -> None:
        await self._post(*(engineio.Packet(engineio.Type.MESSAGE, frame) for frame in socketio.encode(packet)))

    async def receive(self) -> list[socketio.Packet]:
        """What one poll brings; pings are answered. Raises `Unavailable` once the server has closed."""
        found = []
        for frame in engineio.split_payload(await self._request("GET")):
            match (packet := engineio.decode_frame(frame)).type:
                case engineio.Type.PING:
                    await self._post(engineio.Packet(engineio.Type.PONG))
                case engineio.Type.CLOSE:
                    raise Unavailable("the connection ended before the answer did")
                case engineio.Type.MESSAGE if received := self._decoder.receive(packet.data):
                    found.append(received)
        return found

    async def close(self) -> None:
        await self._post(engineio.CLOSE)

    async def _post(self, *packets: engineio.Packet) -> None:
        await self._request("POST", engineio.encode_payload(packets))

    async def _request(self, method: str, body: str | None = None) -> str:
        query = {"EIO": "4", "transport": "polling"} | ({"sid": self._sid} if self._sid else {})
        answer = await self._http.request(method, "/socket.io/", params=query, content=body)
        if answer.status_code != 200:
            raise EllaraError(f"Socket.IO answered {answer.status_code}: {answer.text}")
        return answer.text
