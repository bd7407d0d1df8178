"""Which origins a browser may come from."""

from __future__ import annotations

import pytest

from ellara.web.cors import allow_origin

TWO = ("https://a.id", "https://b.id")


@pytest.mark.parametrize("origin", ["", "https://a.id", "null", "\xff"])
def test_a_star_is_anybody_and_never_comes_with_credentials(origin: str) -> None:
    assert allow_origin(("*",), origin) == [(b"access-control-allow-origin", b"*")]


def test_a_listed_origin_is_named_with_credentials() -> None:
    named = [(b"access-control-allow-origin", b"https://b.id"), (b"access-control-allow-credentials", b"true")]
    assert allow_origin(TWO, "https://b.id") == [*named, (b"vary", b"Origin")]


@pytest.mark.parametrize("origin", ["", "null", "https://c.id", "https://a.id.evil", "\xff"])
def test_for_others_a_cache_is_told_that_it_depends(origin: str) -> None:
    assert allow_origin(TWO, origin) == [(b"vary", b"Origin")]
