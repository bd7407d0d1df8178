"""The published HTTP interface, sentence by sentence: the seed document, then what its frontends were seen to rely on.

Each test quotes what it proves. They speak HTTP alone, to whatever `base_url` names.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import httpx2
import jwt
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from ellara.auth.tokens import Tokens
from ellara.settings import Secret

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
MISSING, EXPIRED, INVALID = "Authentication failed, token is missing", "Token expired", "Invalid Token"
PROTECTED = [
    ("GET", "/api/v1/chat"),
    ("GET", "/api/v1/chat/some-id"),
    ("DELETE", "/api/v1/chat/some-id"),
    ("GET", "/api/v1/tx"),
    ("POST", "/api/v1/tx"),
    ("PUT", "/api/v1/tx/some-id"),
    ("POST", "/api/v1/settlement/settle"),
    ("GET", "/api/v1/settlement/0x" + "00" * 32),
]


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


@pytest.fixture
async def visitor(base_url: str) -> AsyncIterator[Client]:
    async with httpx2.AsyncClient(base_url=base_url, timeout=10, trust_env=False) as http:
        yield Client(http)


@pytest.fixture
async def merchant(visitor: Client) -> Client:
    answer = await visitor.post("/api/v1/auth/me", {"publicKey": address()})
    return Client(visitor.http, answer.json()["token"])


def refused(answer: httpx2.Response, status: int, message: str | None = None) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/json")
    assert list(answer.json()) == ["message"]
    assert message is None or answer.json()["message"] == message


class TestAuthentication:
    async def test_a_wallet_address_signs_in(self, visitor: Client) -> None:
        """Response: {"id": "uuid", "publicKey": "0x...", "token": "jwt-token"}"""
        key = address()
        answer = await visitor.post("/api/v1/auth/me", {"publicKey": key})
        assert answer.status_code == 200
        assert list(answer.json()) == ["id", "publicKey", "token"]
        assert UUID.fullmatch(answer.json()["id"])
        assert answer.json()["publicKey"] == key
        assert answer.headers["content-type"].startswith("application/json")

    async def test_a_known_address_gets_the_same_user(self, visitor: Client) -> None:
        """If user exists: Retrieve user record."""
        key = address()
        first, second = [(await visitor.post("/api/v1/auth/me", {"publicKey": key})).json() for _ in range(2)]
        assert first["id"] == second["id"]

    async def test_another_letter_case_is_the_same_user_as_first_stored(self, visitor: Client) -> None:
        """`publicKey` is answered as stored at first login."""
        key = "0x" + secrets.token_hex(19) + "aF"
        first = (await visitor.post("/api/v1/auth/me", {"publicKey": key})).json()
        again = (await visitor.post("/api/v1/auth/me", {"publicKey": "0x" + key[2:].swapcase()})).json()
        assert (again["id"], again["publicKey"]) == (first["id"], key)

    async def test_the_token_has_the_user_id_and_ends_in_an_hour(self, visitor: Client) -> None:
        """Server generates JWT token with: User ID, Expiration: 1 hour."""
        user = (await visitor.post("/api/v1/auth/me", {"publicKey": address()})).json()
        claims = jwt.decode(user["token"], options={"verify_signature": False})
        assert (claims["id"], claims["exp"] - claims["iat"]) == (user["id"], 3_600)
        assert jwt.get_unverified_header(user["token"])["alg"] == "HS256"

    @pytest.mark.parametrize("body", [{}, {"publicKey": ""}, {"publicKey": None}])
    async def test_no_address_is_refused(self, visitor: Client, body: object) -> None:
        refused(await visitor.post("/api/v1/auth/me", body), 400, "publicKey is required")

    @pytest.mark.parametrize("key", ["0x1", "0x" + "g" * 40, "vitalik.eth", 7, ["0x"], {"$ne": ""}])
    async def test_what_is_no_address_is_refused(self, visitor: Client, key: object) -> None:
        refused(await visitor.post("/api/v1/auth/me", {"publicKey": key}), 400, "publicKey must be 0x and 40 hex digits")


class TestTokens:
    @pytest.mark.parametrize(("method", "path"), PROTECTED)
    async def test_a_protected_route_needs_a_token(self, visitor: Client, method: str, path: str) -> None:
        """All routes except `/health` and `/api/v1/auth/me` require authentication; 401: Unauthorized (missing token)."""
        refused(await visitor.ask(method, path), 401, MISSING)

    @pytest.mark.parametrize(("method", "path"), PROTECTED)
    async def test_a_bad_token_is_forbidden(self, visitor: Client, method: str, path: str) -> None:
        """403: Forbidden (invalid/expired token)."""
        refused(await Client(visitor.http, "abc.def.ghi").ask(method, path), 403, INVALID)

    async def test_an_old_token_is_forbidden(self, visitor: Client, jwt_secret: str) -> None:
        """Signature and expiration checked on every request."""
        token = Tokens(Secret(jwt_secret), 3_600).issue("anybody", datetime.now(UTC) - timedelta(hours=1))
        refused(await Client(visitor.http, token).get("/api/v1/tx"), 403, EXPIRED)

    async def test_a_token_of_the_old_backend_is_valid(self, merchant: Client, jwt_secret: str) -> None:
        """The old backend's tokens carry only `{id, iat, exp}` (HS256, 1 h)."""
        now = int(datetime.now(UTC).timestamp())
        user_id = jwt.decode(str(merchant.token), options={"verify_signature": False})["id"]
        token = jwt.encode({"id": user_id, "iat": now, "exp": now + 3_600}, jwt_secret, "HS256")
        assert (await Client(merchant.http, token).get("/api/v1/tx")).status_code == 200

    @pytest.mark.parametrize("scheme", ["bearer", "BEARER"])
    async def test_the_scheme_is_bearer_in_any_case(self, merchant: Client, scheme: str) -> None:
        visitor = Client(merchant.http)
        assert (await visitor.get("/api/v1/tx", Authorization=f"{scheme} {merchant.token}")).status_code == 200
        refused(await visitor.get("/api/v1/tx", Authorization=f"Basic {merchant.token}"), 401, MISSING)

    @pytest.mark.parametrize(
        ("method", "path", "body"),
        [
            ("GET", "/api/v1/chat", None),
            ("GET", "/api/v1/chat/some-id", None),
            ("DELETE", "/api/v1/chat/some-id", None),
            ("GET", "/api/v1/tx", None),
            ("POST", "/api/v1/tx", {"amount": 1}),
            ("PUT", "/api/v1/tx/some-id", {"status": "SUCCESS"}),
            ("POST", "/api/v1/settlement/settle", {"beneficiary": "0x" + "11" * 20, "orderHash": "0x" + "22" * 32}),
        ],
    )
    async def test_a_user_that_is_gone_is_told_so(
        self, visitor: Client, jwt_secret: str, method: str, path: str, body: object
    ) -> None:
        """An unknown user behind a valid token: `{message:"User not found"}`, 400; never a created ghost."""
        token = Tokens(Secret(jwt_secret), 3_600).issue("7d9ff5de-0000-4000-8000-000000000000", datetime.now(UTC))
        refused(await Client(visitor.http, token).ask(method, path, body), 400, "User not found")


class TestTransactions:
    async def test_a_payment_is_recorded(self, merchant: Client) -> None:
        """POST /api/v1/tx: {"id", "userId", "amount": 100000, "type": "USDT", "status": "PENDING", "txHash": null, …}"""
        row = await merchant.record()
        assert list(row) == ["id", "userId", "amount", "type", "status", "txHash", "createdAt"]
        assert UUID.fullmatch(row["id"])
        assert (row["amount"], row["type"], row["status"], row["txHash"]) == (100_000, "USDT", "PENDING", None)
        assert MOMENT.fullmatch(row["createdAt"])

    async def test_a_type_left_out_is_native(self, merchant: Client) -> None:
        """`POST /tx`: `type` left out means NATIVE."""
        assert (await merchant.post("/api/v1/tx", {"amount": 0})).json()["type"] == "NATIVE"

    async def test_a_list_has_the_newest_first_and_its_total(self, merchant: Client) -> None:
        """`take` (default: 10), `page` (default: 1), `sortBy` (default: "createdAt"), `sortOrder` (default: "desc")."""
        rows = [await merchant.record(amount=number) for number in range(12)]
        answer = (await merchant.get("/api/v1/tx")).json()
        assert list(answer) == ["data", "meta"]
        assert answer["meta"] == {"page": 1, "take": 10, "total": 12}
        newest = sorted(rows, key=lambda row: (row["createdAt"], row["id"]), reverse=True)
        assert answer["data"] == newest[:10]

    async def test_a_list_goes_on_with_the_next_page(self, merchant: Client) -> None:
        rows = {(await merchant.record(amount=number))["id"] for number in range(7)}
        pages = [(await merchant.get(f"/api/v1/tx?take=3&page={page}")).json()["data"] for page in (1, 2, 3, 4)]
        assert [len(page) for page in pages] == [3, 3, 1, 0]
        assert {row["id"] for page in pages for row in page} == rows

    @pytest.mark.parametrize(("order", "amounts"), [("asc", [1, 2, 3]), ("desc", [3, 2, 1])])
    async def test_a_list_is_sorted_as_asked(self, merchant: Client, order: str, amounts: list[int]) -> None:
        for amount in (2, 3, 1):
            await merchant.record(amount=amount)
        answer = (await merchant.get(f"/api/v1/tx?sortBy=amount&sortOrder={order}")).json()
        assert [row["amount"] for row in answer["data"]] == amounts

    async def test_a_search_finds_part_of_a_hash_in_any_case(self, merchant: Client) -> None:
        """`search` (optional): Search by transaction hash."""
        wanted, other = await merchant.record(), await merchant.record()
        name = secrets.token_hex(30) + "abcd"
        await merchant.ask("PUT", f"/api/v1/tx/{wanted['id']}", {"txHash": f"0x{name}"})
        await merchant.ask("PUT", f"/api/v1/tx/{other['id']}", {"txHash": tx_hash()})
        answer = (await merchant.get(f"/api/v1/tx?search={name[-40:].upper()}")).json()
        assert [row["id"] for row in answer["data"]] == [wanted["id"]]
        assert answer["meta"]["total"] == 1

    @pytest.mark.parametrize("search", ["%25", "_", "%5C", "%27", "a%25b"])
    async def test_nothing_in_a_search_is_special(self, merchant: Client, search: str) -> None:
        """`%` and `_` are ordinary characters."""
        row = await merchant.record()
        await merchant.ask("PUT", f"/api/v1/tx/{row['id']}", {"txHash": tx_hash()})
        assert (await merchant.get(f"/api/v1/tx?search={search}")).json()["data"] == []

    async def test_a_user_sees_their_own_alone(self, merchant: Client, visitor: Client) -> None:
        row = await merchant.record()
        token = (await visitor.post("/api/v1/auth/me", {"publicKey": address()})).json()["token"]
        other = Client(visitor.http, token)
        assert (await other.get("/api/v1/tx")).json() == {"data": [], "meta": {"page": 1, "take": 10, "total": 0}}
        refused(await other.ask("PUT", f"/api/v1/tx/{row['id']}", {"status": "FAILED"}), 404, "Transaction not found")

    async def test_status_and_hash_are_updated(self, merchant: Client) -> None:
        """PUT /api/v1/tx/:txId: {"status": "OK", "message": "Transaction updated successfully"}"""
        row, name = await merchant.record(), tx_hash()
        answer = await merchant.ask("PUT", f"/api/v1/tx/{row['id']}", {"status": "SUCCESS", "txHash": name})
        assert answer.status_code == 200
        assert answer.json() == {"status": "OK", "message": "Transaction updated successfully"}
        assert (await merchant.get("/api/v1/tx")).json()["data"] == [row | {"status": "SUCCESS", "txHash": name}]

    async def test_a_field_left_out_stays_as_it_is(self, merchant: Client) -> None:
        """`PUT /tx/{id}`: `txHash` optional; a field left out stays as it is."""
        row, name = await merchant.record(), tx_hash()
        await merchant.ask("PUT", f"/api/v1/tx/{row['id']}", {"txHash": name})
        await merchant.ask("PUT", f"/api/v1/tx/{row['id']}", {"status": "FAILED", "txHash": None})
        assert (await merchant.get("/api/v1/tx")).json()["data"] == [row | {"status": "FAILED", "txHash": name}]

    async def test_an_update_of_nothing_is_refused(self, merchant: Client) -> None:
        row = await merchant.record()
        refused(await merchant.ask("PUT", f"/api/v1/tx/{row['id']}", {}), 400, "status or txHash is required")

    @pytest.mark.parametrize("txid", ["7d9ff5de-0000-4000-8000-000000000000", "1", "%00", "%ff", "a'b"])
    async def test_an_unknown_transaction_is_not_found(self, merchant: Client, txid: str) -> None:
        refused(await merchant.ask("PUT", f"/api/v1/tx/{txid}", {"status": "SUCCESS"}), 404, "Transaction not found")

    async def test_a_hash_of_another_transaction_is_a_conflict(self, merchant: Client) -> None:
        first, second = await merchant.record(), await merchant.record()
        body = {"txHash": tx_hash()}
        await merchant.ask("PUT", f"/api/v1/tx/{first['id']}", body)
        refused(await merchant.ask("PUT", f"/api/v1/tx/{second['id']}", body), 409)

    @pytest.mark.parametrize("status", ["success", "DONE", "", 1, True, []])
    async def test_an_unknown_status_is_refused(self, merchant: Client, status: object) -> None:
        """`PENDING`, `SUCCESS`, `FAILED`"""
        row = await merchant.record()
        answer = await merchant.ask("PUT", f"/api/v1/tx/{row['id']}", {"status": status})
        refused(answer, 400, "status must be one of PENDING, SUCCESS, FAILED")

    @pytest.mark.parametrize("kind", ["usdt", "IDR", 1, []])
    async def test_an_unknown_type_is_refused(self, merchant: Client, kind: object) -> None:
        """`NATIVE`, `USDT`"""
        refused(await merchant.post("/api/v1/tx", {"amount": 1, "type": kind}), 400, "type must be one of NATIVE, USDT")

    @pytest.mark.parametrize("amount", [0, 1, 2_147_483_647, "100000", 100000.0])
    async def test_an_amount_comes_back_as_a_number(self, merchant: Client, amount: Any) -> None:
        row = await merchant.record(amount=amount)
        assert row["amount"] == int(amount)
        assert type(row["amount"]) is int

    @pytest.mark.parametrize(
        "amount", [None, -1, 0.5, "", "abc", "-1", "1.0", True, [], {}, 2**53, 10**30, "1" + "0" * 80, "9" * 78]
    )
    async def test_what_is_no_amount_or_does_not_fit_is_refused(self, merchant: Client, amount: object) -> None:
        """What the column cannot hold is 400, never 500 and never rounded."""
        refused(await merchant.post("/api/v1/tx", {"amount": amount, "type": "USDT"}), 400)
        assert (await merchant.get("/api/v1/tx")).json()["meta"]["total"] == 0


class TestListParameters:
    @pytest.mark.parametrize("path", ["/api/v1/tx", "/api/v1/chat"])
    @pytest.mark.parametrize(
        "query", ["take=0", "take=-1", "take=abc", "take=1.5", "take=1e9", "page=0", "page=x", "page=99999999999999999999"]
    )
    async def test_garbage_is_refused(self, merchant: Client, path: str, query: str) -> None:
        """Integers ≥ 1 (empty: the default; else 400)."""
        refused(await merchant.get(f"{path}?{query}"), 400)

    @pytest.mark.parametrize("path", ["/api/v1/tx", "/api/v1/chat"])
    @pytest.mark.parametrize("query", ["sortBy=password", "sortBy=__proto__", "sortOrder=sideways", "search=%00"])
    async def test_choices_outside_the_list_are_refused(self, merchant: Client, path: str, query: str) -> None:
        """From a fixed list (else 400)."""
        refused(await merchant.get(f"{path}?{query}"), 400)

    @pytest.mark.parametrize("path", ["/api/v1/tx", "/api/v1/chat"])
    async def test_empty_values_are_the_defaults(self, merchant: Client, path: str) -> None:
        answer = await merchant.get(f"{path}?take=&page=&sortBy=&sortOrder=&search=")
        assert answer.json() == {"data": [], "meta": {"page": 1, "take": 10, "total": 0}}

    @pytest.mark.parametrize("path", ["/api/v1/tx", "/api/v1/chat"])
    async def test_more_than_a_hundred_are_cut(self, merchant: Client, path: str) -> None:
        """`take` at most 100 (more is cut to 100, and `meta.take` says so)."""
        assert (await merchant.get(f"{path}?take=5000")).json()["meta"]["take"] == 100

    @pytest.mark.parametrize("path", ["/api/v1/tx", "/api/v1/chat"])
    async def test_a_page_past_the_end_is_empty(self, merchant: Client, path: str) -> None:
        answer = await merchant.get(f"{path}?page=9007199254740991&take=100")
        assert answer.json() == {"data": [], "meta": {"page": 2**53 - 1, "take": 100, "total": 0}}


class TestChats:
    async def test_there_are_none_at_first(self, merchant: Client) -> None:
        """GET /api/v1/chat: {"data": [], "meta": {"page": 1, "take": 10, "total": 0}}"""
        assert (await merchant.get("/api/v1/chat")).json() == {"data": [], "meta": {"page": 1, "take": 10, "total": 0}}

    @pytest.mark.parametrize("method", ["GET", "DELETE"])
    @pytest.mark.parametrize("chat_id", ["7d9ff5de-0000-4000-8000-000000000000", "undefined", "%00", "%ff", "%F0%9F%90%98"])
    async def test_an_unknown_chat_is_not_found(self, merchant: Client, method: str, chat_id: str) -> None:
        """Another's or an unknown chat: an error `{message:"Chat not found"}`."""
        refused(await merchant.ask(method, f"/api/v1/chat/{chat_id}"), 404, "Chat not found")


class TestSettlement:
    @pytest.mark.parametrize(
        "body", [{}, {"beneficiary": "0x" + "11" * 20}, {"orderHash": "0x" + "22" * 32}, {"beneficiary": ""}]
    )
    async def test_both_fields_are_needed(self, merchant: Client, body: object) -> None:
        """Without a field: 400 `{success:false, message: "beneficiary and orderHash are required"}`."""
        answer = await merchant.post("/api/v1/settlement/settle", body)
        assert answer.status_code == 400
        assert answer.json() == {"success": False, "message": "beneficiary and orderHash are required"}

    @pytest.mark.parametrize(
        ("beneficiary", "order", "reason"),
        [
            ("0x123", "0x" + "22" * 32, "beneficiary must be 0x and 40 hex digits"),
            ("0x" + "11" * 20, "0x22", "orderHash must be 0x and 64 hex digits"),
            (7, "0x" + "22" * 32, "beneficiary must be 0x and 40 hex digits"),
        ],
    )
    async def test_a_malformed_field_is_refused(self, merchant: Client, beneficiary: object, order: str, reason: str) -> None:
        """Failures read "Failed to settle order: …" with 400."""
        answer = await merchant.post("/api/v1/settlement/settle", {"beneficiary": beneficiary, "orderHash": order})
        refused(answer, 400, f"Failed to settle order: {reason}")

    async def test_an_order_that_nobody_settled_is_not_found(self, merchant: Client) -> None:
        refused(await merchant.get("/api/v1/settlement/0x" + "00" * 32), 404, "Settlement not found")

    async def test_what_is_no_order_hash_is_refused(self, merchant: Client) -> None:
        refused(await merchant.get("/api/v1/settlement/0x12"), 400, "orderHash must be 0x and 64 hex digits")


class TestHealth:
    async def test_it_has_the_fields_of_the_old_backend(self, visitor: Client) -> None:
        """GET /health: status, timestamp, version, uptime, memoryUsage, cpuUsage."""
        answer = await visitor.get("/health")
        health = answer.json()
        assert answer.status_code == 200
        assert list(health) == ["status", "timestamp", "version", "uptime", "memoryUsage", "cpuUsage"]
        assert health["status"] == "ok"
        assert MOMENT.fullmatch(health["timestamp"])
        assert re.fullmatch(r"\d+\.\d+\.\d+", health["version"])
        assert 0 <= health["uptime"] < 86_400

    async def test_memory_is_in_bytes_and_cpu_in_microseconds(self, visitor: Client) -> None:
        """Same keys and units as Node's `process.memoryUsage()` and `process.cpuUsage()`."""
        health = (await visitor.get("/health")).json()
        assert list(health["memoryUsage"]) == ["rss", "heapTotal", "heapUsed", "external", "arrayBuffers"]
        assert all(type(number) is int for number in [*health["memoryUsage"].values(), *health["cpuUsage"].values()])
        assert 10_000_000 < health["memoryUsage"]["heapUsed"] <= health["memoryUsage"]["heapTotal"] < health["memoryUsage"]["rss"]
        assert list(health["cpuUsage"]) == ["user", "system"]
        assert health["cpuUsage"]["user"] > 10_000

    async def test_readiness_and_counters_need_no_token(self, visitor: Client) -> None:
        assert (await visitor.get("/ready")).json() == {"status": "ready"}
        answer = await visitor.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain")
        assert "ellara_http_requests_total" in answer.text


class TestErrors:
    @pytest.mark.parametrize(
        "path", ["/", "/api", "/api/v1", "/api/v1/nope", "/api/v1/tx/a/b", "//api/v1/tx", "/health/x", "/%00"]
    )
    async def test_an_unknown_route_is_not_found(self, visitor: Client, path: str) -> None:
        """All API endpoints return standardized error responses: {"message": "Error description"}"""
        refused(await visitor.get(path), 404)

    @pytest.mark.parametrize(("method", "path"), [("DELETE", "/health"), ("GET", "/api/v1/auth/me"), ("PATCH", "/api/v1/tx")])
    async def test_a_wrong_method_says_which_are_right(self, visitor: Client, method: str, path: str) -> None:
        answer = await visitor.ask(method, path)
        refused(answer, 405)
        assert answer.headers["allow"]

    async def test_a_slash_at_the_end_changes_nothing(self, visitor: Client, merchant: Client) -> None:
        assert (await visitor.get("/health/")).status_code == 200
        assert (await merchant.get("/api/v1/tx/")).status_code == 200

    @pytest.mark.parametrize("body", [b"{", b"\xff", b"null", b"[]", b'"text"', b'{"publicKey": "\\ud800"}', b"[" * 50_000])
    async def test_a_body_that_is_no_json_object_is_refused(self, visitor: Client, body: bytes) -> None:
        refused(await visitor.http.post("/api/v1/auth/me", content=body, headers={"Content-Type": "application/json"}), 400)

    async def test_a_body_of_another_type_is_refused(self, visitor: Client) -> None:
        refused(await visitor.http.post("/api/v1/auth/me", data={"publicKey": address()}), 415)

    @pytest.mark.parametrize("chunked", [False, True])
    async def test_a_body_over_the_limit_is_refused(self, visitor: Client, chunked: bool) -> None:
        async def parts() -> AsyncIterator[bytes]:
            for _ in range(30):
                yield b" " * 100_000

        content = parts() if chunked else b" " * 3_000_000
        answer = await visitor.http.post("/api/v1/auth/me", content=content, headers={"Content-Type": "application/json"})
        refused(answer, 413)
        assert (await visitor.get("/health")).status_code == 200

    async def test_an_answer_to_head_has_no_body(self, visitor: Client) -> None:
        answer = await visitor.ask("HEAD", "/health")
        assert (answer.status_code, answer.content) == (200, b"")
        assert int(answer.headers["content-length"]) > 0


TARGETS = st.binary(max_size=30).map(b"/%s".__mod__) | st.binary(max_size=20) | st.sampled_from([b"*", b"?", b"http://a", b"//"])
PATHS = st.sampled_from(
    [b"/api/v1/chat/", b"/api/v1/tx?", b"/api/v1/tx?search=", b"/api/v1/chat?sortBy=", b"/api/v1/settlement/"]
)
METHODS = st.sampled_from([b"GET", b"PUT", b"DELETE", b"OPTIONS", b"HEAD"])


@pytest.fixture(scope="session")
def bearer(base_url: str) -> bytes:
    user = httpx2.post(f"{base_url}/api/v1/auth/me", json={"publicKey": address()}, trust_env=False).json()
    return f"Bearer {user['token']}".encode()


@settings(max_examples=150, deadline=None)
@given(target=TARGETS | st.builds(bytes.__add__, PATHS, st.binary(max_size=12)), method=METHODS)
async def test_no_request_line_is_answered_with_a_fault_of_ours(
    base_url: str, bearer: bytes, target: bytes, method: bytes
) -> None:
    head = b"%s %s HTTP/1.1\r\nhost: a\r\nauthorization: %s\r\nconnection: close\r\n\r\n" % (method, target, bearer)
    url = httpx2.URL(base_url)
    async with await trio.open_tcp_stream(url.host, url.port or 80) as stream:
        await stream.send_all(head)
        answer = b"".join([part async for part in stream])
    assert 200 <= int(answer[9:12]) < 500 or int(answer[9:12]) == 505, answer
    assert b"<" not in answer


class TestBrowsers:
    @pytest.mark.parametrize("path", ["/health", "/nope", "/api/v1/tx"])
    async def test_every_answer_may_be_read_from_any_origin(self, visitor: Client, path: str) -> None:
        """CORS enabled for all origins (`*`)."""
        answer = await visitor.get(path, Origin="https://app.example")
        assert answer.headers["access-control-allow-origin"] == "*"

    @pytest.mark.parametrize("path", ["/api/v1/tx/some-id", "/api/v1/auth/me", "/nope"])
    @pytest.mark.parametrize("method", ["PUT", "DELETE", "POST"])
    async def test_a_preflight_allows_what_the_frontends_send(self, visitor: Client, path: str, method: str) -> None:
        """Preflight must allow both headers and PUT, DELETE."""
        asked = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": "authorization,content-type"}
        answer = await visitor.ask("OPTIONS", path, Origin="https://app.example", **asked)
        assert (answer.status_code, answer.content) == (204, b"")
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.headers["access-control-allow-headers"] == "authorization,content-type"
        assert method in answer.headers["access-control-allow-methods"].split(",")

    async def test_a_large_answer_is_compressed_for_who_takes_it(self, merchant: Client) -> None:
        for amount in range(10):
            await merchant.record(amount=amount)
        small = await merchant.get("/api/v1/tx", **{"Accept-Encoding": "gzip"})
        plain = await merchant.get("/api/v1/tx", **{"Accept-Encoding": "identity"})
        assert (small.headers["content-encoding"], small.headers["vary"]) == ("gzip", "Accept-Encoding")
        assert "content-encoding" not in plain.headers
        assert plain.headers["vary"] == "Accept-Encoding"
        assert small.json() == plain.json()
        assert int(small.headers["content-length"]) < int(plain.headers["content-length"])
