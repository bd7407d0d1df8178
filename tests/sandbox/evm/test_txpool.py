"""geth's pool rules, rule by rule. Source: go-ethereum core/txpool/validation.go, core/txpool/legacypool."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ellara.sandbox.evm.jsonrpc import SERVER_ERROR, RpcError
from ellara.sandbox.evm.txpool import POOL_MAX, QUEUED_MAX, Account, PooledTx, TxPool

GAS_LIMIT = 30_000_000
RICH = Account(nonce=5, balance_wei=10**21)
ALICE, BOB = b"alice", b"bob"


def tx(nonce: int = 5, **fields: object) -> PooledTx:
    template = PooledTx(
        hash=repr((nonce, sorted(fields.items()))).encode(),
        sender=ALICE,
        nonce=nonce,
        gas=100_000,
        intrinsic_gas=21_000,
        floor_gas=21_000,
        fee_cap_wei=1_000,
        tip_cap_wei=100,
        value_wei=0,
        raw=b"",
    )
    return attrs.evolve(template, **fields)  # type: ignore[arg-type]  # each test names fields of the class


def pool_of(*transactions: PooledTx, account: Account = RICH) -> TxPool:
    pool = TxPool()
    for each in transactions:
        pool.add(each, account, GAS_LIMIT)
    return pool


def refusal(pool: TxPool, transaction: PooledTx, account: Account = RICH) -> str:
    with pytest.raises(RpcError) as caught:
        pool.add(transaction, account, GAS_LIMIT)
    assert caught.value.code == SERVER_ERROR
    return caught.value.message


def test_the_same_transaction_again_is_already_known() -> None:
    assert refusal(pool_of(tx()), tx()) == "already known"


def test_a_nonce_that_the_state_has_passed_is_too_low() -> None:
    assert refusal(TxPool(), tx(4)) == "nonce too low: next nonce 5, tx nonce 4"


@pytest.mark.parametrize(("fee_cap_wei", "tip_cap_wei"), [(1_099, 110), (1_100, 109), (5_000, 100), (1_000, 500)])
def test_less_than_ten_per_cent_more_on_either_fee_does_not_replace(fee_cap_wei: int, tip_cap_wei: int) -> None:
    pool = pool_of(tx())
    assert refusal(pool, tx(fee_cap_wei=fee_cap_wei, tip_cap_wei=tip_cap_wei)) == "replacement transaction underpriced"
    assert [each.fee_cap_wei for each in pool] == [1_000]


def test_ten_per_cent_more_on_both_fees_replaces() -> None:
    old, new = tx(), tx(fee_cap_wei=1_100, tip_cap_wei=110)
    pool = pool_of(old, new)
    assert list(pool) == [new]
    assert pool.get(old.hash) is None


def test_the_threshold_is_rounded_down_but_the_fee_must_rise() -> None:
    pool = pool_of(tx(fee_cap_wei=1_009, tip_cap_wei=9))
    assert refusal(pool, tx(fee_cap_wei=1_109, tip_cap_wei=9)) == "replacement transaction underpriced"
    pool.add(tx(fee_cap_wei=1_109, tip_cap_wei=10), RICH, GAS_LIMIT)


def test_a_gap_is_queued_and_filling_it_makes_it_executable() -> None:
    pool = pool_of(tx(5), tx(7))
    assert pool.next_nonce(ALICE, RICH) == 6
    pool.add(tx(6), RICH, GAS_LIMIT)
    assert pool.next_nonce(ALICE, RICH) == 8
    assert [each.nonce for each in pool.select({ALICE: RICH}, 10, GAS_LIMIT)] == [5, 6, 7]


def test_queued_ones_beyond_the_limit_are_cut_without_a_word_highest_first() -> None:
    pool = pool_of(*(tx(7 + at) for at in range(QUEUED_MAX)))
    pool.add(tx(1_000), RICH, GAS_LIMIT)
    assert tx(1_000).hash not in [each.hash for each in pool]
    pool.add(tx(6), RICH, GAS_LIMIT)
    assert sorted(each.nonce for each in pool) == list(range(6, 6 + QUEUED_MAX))


def test_pending_ones_are_not_cut() -> None:
    pool = pool_of(*(tx(5 + at) for at in range(QUEUED_MAX + 20)))
    assert pool.next_nonce(ALICE, RICH) == 5 + QUEUED_MAX + 20


def test_a_fee_cap_below_the_base_fee_waits_and_holds_up_its_sender() -> None:
    pool = pool_of(tx(5, fee_cap_wei=500), tx(6))
    assert pool.select({ALICE: RICH}, 501, GAS_LIMIT) == []
    assert [each.nonce for each in pool.select({ALICE: RICH}, 500, GAS_LIMIT)] == [5, 6]


def test_between_senders_the_better_tip_goes_first_each_in_nonce_order() -> None:
    alice = [tx(5, tip_cap_wei=10), tx(6, tip_cap_wei=900)]
    bob = [tx(5, sender=BOB, tip_cap_wei=50), tx(6, sender=BOB, tip_cap_wei=20)]
    chosen = pool_of(*alice, *bob).select({ALICE: RICH, BOB: RICH}, 100, GAS_LIMIT)
    assert chosen == [*bob, *alice]


def test_a_block_takes_no_more_gas_than_it_has() -> None:
    pool = pool_of(*(tx(5 + at) for at in range(10)))
    assert len(pool.select({ALICE: RICH}, 10, 350_000)) == 3


def test_funds_must_cover_one_transaction() -> None:
    poor = Account(5, 10**8 - 1)
    message = "balance 99999999, tx cost 100000000, overshot 1"
    assert refusal(TxPool(), tx(), poor) == f"insufficient funds for gas * price + value: {message}"


def test_funds_must_cover_everything_pending() -> None:
    account = Account(5, 2 * 10**8)
    pool = pool_of(tx(5), tx(6), account=account)
    message = "balance 200000000, queued cost 200000000, tx cost 100000000, overshot 100000000"
    assert refusal(pool, tx(7), account) == f"insufficient funds for gas * price + value: {message}"


def test_a_replacement_costs_only_what_it_adds() -> None:
    account = Account(5, 2 * 10**8)
    pool = pool_of(tx(5), tx(6, fee_cap_wei=800), account=account)
    pool.add(tx(6, fee_cap_wei=1_000, tip_cap_wei=200), account, GAS_LIMIT)
    assert "tx bumped 100000000, overshot 100000000" in refusal(pool, tx(6, fee_cap_wei=2_000, tip_cap_wei=400), account)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (tx(gas=20_999), "intrinsic gas too low: gas 20999, minimum needed 21000"),
        (tx(floor_gas=200_000), "insufficient gas for floor data gas cost: gas 100000, minimum needed 200000"),
        (tx(gas=GAS_LIMIT + 1), "exceeds block gas limit"),
        (tx(tip_cap_wei=1_001), "max priority fee per gas higher than max fee per gas"),
        (tx(tip_cap_wei=0), "transaction underpriced: gas tip cap 0, minimum needed 1"),
        (tx(fee_cap_wei=10**14), "tx fee (10.00 ether) exceeds the configured cap (1.00 ether)"),
        (tx(2**64 - 1), "nonce has max value"),
        (tx(raw=b"x" * 131_073), "oversized data: transaction size 131073, limit 131072"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_by_itself_is_refused(wrong: PooledTx, message: str) -> None:
    assert refusal(TxPool(), wrong) == message


def test_a_full_pool_takes_no_more_but_replacements() -> None:
    rich = Account(5, 10**30)
    pool = pool_of(*(tx(5 + at) for at in range(20)), account=rich)
    for at in range(POOL_MAX - 20):
        pool.add(tx(5, sender=at.to_bytes(4, "big"), hash=at.to_bytes(4, "big")), rich, GAS_LIMIT)
    assert refusal(pool, tx(25), rich) == "txpool is full"
    pool.add(tx(24, fee_cap_wei=2_000, tip_cap_wei=200), rich, GAS_LIMIT)


def test_after_a_block_what_was_mined_or_became_unpayable_is_forgotten() -> None:
    pool = pool_of(tx(5), tx(6), tx(7, value_wei=10**20))
    pool.advance({ALICE: Account(6, 10**19)})
    assert [each.nonce for each in pool] == [6]


def test_a_dropped_one_leaves_a_gap() -> None:
    pool = pool_of(tx(5), tx(6))
    assert pool.drop(tx(5).hash)
    assert not pool.drop(tx(5).hash)
    assert pool.next_nonce(ALICE, RICH) == 5
    assert len(pool) == 1


@given(st.lists(st.tuples(st.integers(0, 90), st.sampled_from([ALICE, BOB]), st.integers(1, 40)), max_size=60))
def test_whatever_comes_one_transaction_per_nonce_and_the_queue_is_bounded(steps: list[tuple[int, bytes, int]]) -> None:
    pool = TxPool()
    for at, (nonce, sender, fee) in enumerate(steps):
        try:
            pool.add(tx(nonce, sender=sender, fee_cap_wei=100 * fee, tip_cap_wei=fee, hash=b"%d" % at), RICH, GAS_LIMIT)
        except RpcError:
            continue
    slots = [(each.sender, each.nonce) for each in pool]
    assert len(slots) == len(set(slots)) == len(pool)
    for sender in pool.senders():
        queued = sum(1 for who, nonce in slots if who == sender and nonce > pool.next_nonce(sender, RICH))
        assert queued <= QUEUED_MAX
    assert {each.hash for each in pool} >= {each.hash for each in pool.select({ALICE: RICH, BOB: RICH}, 0, GAS_LIMIT)}
