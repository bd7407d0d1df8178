"""The published HTTP interface, sentence by sentence: the seed document, then what its frontends were seen to rely on.

Each test quotes what it proves. They speak HTTP alone, to whatever `base_url` names.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import httpx2
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contract.frontend import MOMENT, Client, address, refused


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
