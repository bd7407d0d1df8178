"""Who is let in as a session, and who is told to come back later."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ellara.settings import Socket
from ellara.web.admission import Admission, Places, Refusal
from tests.counted import counted

HERE, THERE = "192.0.2.1", "192.0.2.2"


def answer(refusal: Refusal | None) -> tuple[int, str] | None:
    return None if refusal is None else (refusal.status, refusal.reason)


def test_without_limits_everybody_is_let_in() -> None:
    admission = Admission(Socket())
    assert {admission.admit(HERE, 0.0) for _ in range(1_000)} == {None}


def test_past_the_number_of_all_sessions_the_next_is_unavailable_until_one_ends() -> None:
    admission, before = Admission(Socket(sessions_max=2)), counted("sessions_refused_total", reason="full")
    assert [answer(admission.admit(address, 0.0)) for address in (HERE, THERE, "")] == [None, None, (503, "full")]
    assert counted("sessions_refused_total", reason="full") == before + 1
    admission.release(HERE)
    assert admission.admit(THERE, 0.0) is None


def test_past_the_number_of_one_address_that_address_alone_is_refused() -> None:
    admission, before = Admission(Socket(sessions_per_address_max=1)), counted("sessions_refused_total", reason="address")
    asked = (HERE, HERE, THERE, "2001:db8::1", "2001:db8::2", "", "")
    assert [answer(admission.admit(address, 0.0)) for address in asked] == [
        None,
        (429, "address"),
        None,
        None,
        (429, "address"),
        None,
        None,
    ]
    assert counted("sessions_refused_total", reason="address") == before + 2
    admission.release("2001:db8::1")
    assert admission.admit("2001:db8::3", 0.0) is None


@pytest.mark.parametrize("per_s", [0.01, 0.5, 3.0])
def test_an_address_that_comes_too_often_is_let_in_after_the_pause_it_was_told(per_s: float) -> None:
    admission, before = Admission(Socket(handshakes_per_address_per_s=per_s)), counted("sessions_refused_total", reason="rate")
    refusals = [refusal for _ in range(100) if (refusal := admission.admit(HERE, 0.0))]
    assert len(refusals) == 100 - max(int(per_s * 10), 1)
    assert counted("sessions_refused_total", reason="rate") == before + len(refusals)
    assert answer(refusals[-1]) == (429, "rate")
    assert answer(admission.admit(THERE, 0.0)) is None
    assert answer(admission.admit(HERE, 0.0 + refusals[-1].retry_after_s)) is None


@given(st.lists(st.sampled_from([HERE, THERE, "2001:db8::1", "2001:db8::2", ""])))
def test_no_place_is_lost_or_given_twice(addresses: list[str]) -> None:
    places = Places(5, 2, "things")
    taken = [address for address in addresses if places.take(address) is None]
    assert len(places) == len(taken) <= 5
    for address in taken:
        places.release(address)
    assert len(places) == 0
    assert places.take(HERE) is None


def test_a_refusal_says_what_to_do() -> None:
    places = Places(1, 0, "sessions")
    places.take(HERE)
    refusal = places.take(HERE)
    assert refusal is not None
    assert refusal.message == "The server has as many sessions as it can serve; please try again later"
    assert refusal.retry_after_s > 0
