"""Sign-in and tokens, sentence by sentence: the seed document, then what its frontends were seen to rely on."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta

import jwt
import pytest

from ellara.auth.tokens import Tokens
from ellara.settings import Secret
from tests.contract.frontend import UUID, Client, address, refused

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
