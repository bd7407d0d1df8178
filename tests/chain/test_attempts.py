"""What is done next with a nonce; each test is one rule of the sheet."""

from __future__ import annotations

import pytest

from ellara.chain.answers import Outcome
from ellara.chain.attempts import AFTER_SENDING, LOST_S, MISSING_LOOKS, STALE_BLOCKS, Facts, Next, Sent, decide
from ellara.model import Hash32, Mined, SettlementState, TxHash

SENT, MINED, REVERTED, LOST = (
    SettlementState.SENT,
    SettlementState.MINED,
    SettlementState.REVERTED,
    SettlementState.LOST,
)
IN_A_BLOCK = Mined(TxHash(bytes(32)), 7, Hash32(bytes(32)), succeeded=True)


def test_every_outcome_of_a_broadcast_has_a_rule() -> None:
    assert AFTER_SENDING.keys() == set(Outcome)


def test_unclear_outcomes_send_the_same_bytes_again() -> None:
    for unclear in (Outcome.UNKNOWN, Outcome.TRANSIENT, Outcome.NOT_SENT, Outcome.RATE_LIMITED):
        assert AFTER_SENDING[unclear] is Sent.AGAIN


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (Facts(SENT, None), Next.WAIT),
        (Facts(SENT, None, known=True), Next.WAIT),
        (Facts(SENT, None, known=False), Next.SEND),
        (Facts(SENT, None, blocks_waiting=STALE_BLOCKS - 1), Next.WAIT),
        (Facts(SENT, None, blocks_waiting=STALE_BLOCKS), Next.RAISE),
        (Facts(SENT, None, affordable=False), Next.RAISE),
        (Facts(SENT, IN_A_BLOCK, confirmations=1, used_up=True), Next.MINED),
        (Facts(SENT, IN_A_BLOCK, confirmations=2, used_up=True), Next.FINAL),
        (Facts(MINED, IN_A_BLOCK, confirmations=1, used_up=True), Next.WAIT),
        (Facts(MINED, IN_A_BLOCK, confirmations=2, used_up=True), Next.FINAL),
        (Facts(REVERTED, IN_A_BLOCK, confirmations=1, used_up=True), Next.WAIT),
        (Facts(MINED, None, used_up=False), Next.UNMINED),
        (Facts(REVERTED, None, used_up=True), Next.UNMINED),
        (Facts(LOST, IN_A_BLOCK, confirmations=1, used_up=True), Next.MINED),
        (Facts(LOST, None, used_up=False), Next.UNMINED),
    ],
)
def test_what_follows_from_the_facts(facts: Facts, expected: Next) -> None:
    assert decide(facts, confirmations=2) is expected


def test_being_mined_outranks_every_sign_of_loss() -> None:
    facts = Facts(LOST, IN_A_BLOCK, confirmations=1, used_up=True, used_up_finally=True, lost_for_s=99, known=False)
    assert decide(facts, confirmations=2) is Next.MINED


def test_a_missing_receipt_is_lost_only_after_several_looks() -> None:
    early = Facts(SENT, None, used_up=True, looks_missing=MISSING_LOOKS - 1)
    late = Facts(SENT, None, used_up=True, looks_missing=MISSING_LOOKS)
    assert (decide(early, 2), decide(late, 2)) == (Next.WAIT, Next.LOST)


@pytest.mark.parametrize(("finally_", "lost_for_s", "expected"), [
    (False, 99.0, Next.WAIT), (True, LOST_S / 2, Next.WAIT), (True, LOST_S, Next.FREE),
])  # fmt: skip
def test_an_order_is_freed_only_when_its_bytes_can_never_be_mined(finally_: bool, lost_for_s: float, expected: Next) -> None:
    facts = Facts(LOST, None, used_up=True, used_up_finally=finally_, lost_for_s=lost_for_s)
    assert decide(facts, confirmations=2) is expected
