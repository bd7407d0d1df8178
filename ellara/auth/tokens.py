"""JSON Web Tokens: HS256, the user's id in the claim `id`, as the old backend makes them with the same secret.

Called by `web` for each protected request and each socket's handshake. Reads `id` and the times; any other claim is ignored.
"""

from __future__ import annotations

import re
import warnings
from datetime import datetime, timedelta
from typing import Any, TypeGuard

import attrs
import jwt
from jwt.warnings import InsecureKeyLengthWarning

from ellara.errors import TokenExpired, TokenMissing, TokenRejected
from ellara.model import storable
from ellara.settings import Secret

ALGORITHM = "HS256"
TOKEN_MAX_CHARS = 2_000
"""Ours have some 190. What nests deeper than fits in here can crash the process, where a library raised the recursion limit."""

_BEARER = re.compile(r"Bearer +(\S+) *", re.IGNORECASE)
_TIMES_ARE_OURS: Any = {f"verify_{claim}": False for claim in ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")}

warnings.simplefilter(
    "ignore", InsecureKeyLengthWarning
)  # a short secret of an old installation works; production refuses it at start


def bearer(authorization: str | None) -> str:
    """The token in an `Authorization` header. Raises `TokenMissing` when there is none, or another scheme."""
    if authorization is None or not (found := _BEARER.fullmatch(authorization)):
        raise TokenMissing("Authentication failed, token is missing")
    return found[1]


@attrs.frozen
class Tokens:
    secret: Secret
    ttl_s: int

    def issue(self, user_id: str, now: datetime) -> str:
        claims = {"id": user_id, "iat": int(now.timestamp()), "exp": int((now + timedelta(seconds=self.ttl_s)).timestamp())}
        return jwt.encode(claims, self.secret.reveal(), ALGORITHM)

    def verify(self, token: str, now: datetime) -> str:
        """The user's id. Raises `TokenRejected`, of which `TokenExpired` is one.

        A token without `exp` is refused, though the old backend's library would take it: neither backend makes any, and it would
        never end.
        """
        claims = self._signed_claims(token)
        user_id, expires, begins = claims.get("id"), claims.get("exp"), claims.get("nbf", 0)
        if not _is_time(expires) or not _is_time(begins) or begins > now.timestamp():
            raise TokenRejected("Invalid Token")
        if not isinstance(user_id, str) or not user_id or not storable(user_id):
            raise TokenRejected("Invalid Token")
        if expires <= now.timestamp():
            raise TokenExpired(user_id)
        return user_id

    def _signed_claims(self, token: str) -> dict[str, Any]:
        if len(token) > TOKEN_MAX_CHARS:
            raise TokenRejected("Invalid Token")
        try:
            return jwt.decode(token, self.secret.reveal(), algorithms=[ALGORITHM], options=_TIMES_ARE_OURS)
        except (jwt.PyJWTError, RecursionError, ValueError):  # the last two: JSON nested too deep, not UTF-8
            raise TokenRejected("Invalid Token") from None


def _is_time(value: object) -> TypeGuard[float]:
    """Seconds since 1970, as a number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value
