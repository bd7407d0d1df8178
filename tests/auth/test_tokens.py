from __future__ import annotations

import base64
import json
import sys
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ellara.auth.tokens import Tokens, bearer
from ellara.errors import TokenExpired, TokenMissing, TokenRejected
from ellara.settings import Secret

SECRET = "the secret of the old backend: " + "x" * 40
NOW = datetime(2026, 11, 23, 16, 0, tzinfo=UTC)
TIMES = {"iat": NOW.timestamp(), "exp": NOW.timestamp() + 3_600}
tokens = Tokens(Secret(SECRET), ttl_s=3_600)


def signed(claims: object, secret: str = SECRET, algorithm: str = "HS256", **header: str) -> str:
    return jwt.api_jws.encode(json.dumps(claims).encode(), secret, algorithm, headers=header or None)


def rejection(token: str, now: datetime = NOW) -> str:
    with pytest.raises(TokenRejected) as caught:
        tokens.verify(token, now)
    return caught.value.message


def test_an_issued_token_names_its_user() -> None:
    assert tokens.verify(tokens.issue("user-1", NOW), NOW) == "user-1"


def test_an_issued_token_carries_the_claims_of_the_old_backend() -> None:
    claims = jwt.decode(tokens.issue("user-1", NOW), options={"verify_signature": False})
    assert claims == {"id": "user-1", "iat": int(NOW.timestamp()), "exp": int(NOW.timestamp()) + 3_600}


def test_a_token_of_the_old_backend_is_valid() -> None:
    assert tokens.verify(signed({"id": "user-1", **TIMES}), NOW) == "user-1"


def test_other_claims_are_ignored() -> None:
    assert tokens.verify(signed({"id": "user-1", **TIMES, "aud": ["x"], "sub": 7, "iss": None, "jti": 1}), NOW) == "user-1"


def test_a_token_ends_after_its_time() -> None:
    token = tokens.issue("user-1", NOW)
    assert tokens.verify(token, NOW + timedelta(seconds=3_599)) == "user-1"
    assert rejection(token, NOW + timedelta(seconds=3_600)) == "Token expired"


def test_an_expired_token_still_tells_whose_it_was() -> None:
    with pytest.raises(TokenExpired) as expired:
        tokens.verify(tokens.issue("user-1", NOW), NOW + timedelta(days=365))
    assert expired.value.user_id == "user-1"


@pytest.mark.parametrize(
    "claims",
    [
        {"id": "user-1"},
        {"id": "user-1", **TIMES, "exp": "never"},
        {"id": "user-1", **TIMES, "exp": True},
        {"id": "user-1", **TIMES, "exp": float("nan")},
        {"id": "user-1", **TIMES, "nbf": TIMES["exp"]},
        {"id": "user-1", **TIMES, "nbf": None},
        {"id": "", **TIMES},
        {"id": 7, **TIMES},
        {"id": "a\0b", **TIMES},
        {"id": "\ud800", **TIMES},
        TIMES,
        ["id"],
        "id",
    ],
)
def test_a_signed_token_with_wrong_claims_is_invalid(claims: object) -> None:
    assert rejection(signed(claims)) == "Invalid Token"


def test_a_token_of_another_secret_is_invalid() -> None:
    assert rejection(signed({"id": "user-1", **TIMES}, "another secret " + "x" * 32)) == "Invalid Token"


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_only_one_algorithm_is_taken(algorithm: str) -> None:
    assert rejection(signed({"id": "user-1", **TIMES}, algorithm=algorithm)) == "Invalid Token"


@pytest.mark.parametrize("name", ["none", "None", "NONE"])
def test_an_unsigned_token_is_invalid(name: str) -> None:
    head, body = ({"alg": name, "typ": "JWT"}, {"id": "user-1", **TIMES})
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (head, body)]
    assert rejection(".".join([*parts, ""])) == "Invalid Token"


@pytest.mark.parametrize("depth", [100_000, 300])
def test_a_token_nested_too_deep_is_invalid(depth: int) -> None:
    part = base64.urlsafe_b64encode(b"[" * depth).decode()
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)  # as py-ecc does on import; json then crashes the process past some 25,000 levels
    try:
        assert rejection(f"{part}.{part}.{part}") == "Invalid Token"
    finally:
        sys.setrecursionlimit(before)


def test_a_token_far_longer_than_any_of_ours_is_invalid() -> None:
    assert tokens.verify(signed({"id": "user-1", "more": "x" * 1_000, **TIMES}), NOW) == "user-1"
    assert rejection(signed({"id": "user-1", "more": "x" * 2_000, **TIMES})) == "Invalid Token"


@given(st.text())
def test_garbage_is_invalid(token: str) -> None:
    assert rejection(token) == "Invalid Token"


@given(st.data())
def test_a_token_changed_anywhere_is_invalid(data: st.DataObject) -> None:
    token = tokens.issue("user-1", NOW)
    place = data.draw(st.integers(0, len(token) - 2))  # the last character's low bits carry nothing
    other = data.draw(st.sampled_from("abcXYZ019-_.").filter(lambda char: char != token[place]))
    assert rejection(token[:place] + other + token[place + 1 :]) == "Invalid Token"


@pytest.mark.parametrize("header", ["Bearer abc.def", "bearer abc.def", "BEARER  abc.def "])
def test_the_scheme_is_bearer_in_any_case(header: str) -> None:
    assert bearer(header) == "abc.def"


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "abc.def", "Basic abc", "Token abc.def", "Bearer a b"])
def test_anything_else_is_a_missing_token(header: str | None) -> None:
    with pytest.raises(TokenMissing, match="Authentication failed, token is missing"):
        bearer(header)
