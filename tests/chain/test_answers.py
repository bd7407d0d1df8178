"""What a node's words mean, string by string as the clients write them."""

from __future__ import annotations

import re

import pytest

from ellara.chain.answers import TABLE, Outcome, RpcError, classify, is_broken_call, is_revert

WORDS: dict[Outcome, tuple[str, ...]] = {
    Outcome.EXECUTION_REVERTED: (
        "execution reverted: Order does not exist",
        "Execution reverted",
        "VM execution error.",
        "Reverted 0x08c379a0",
        "RPC error response: execution reverted",
    ),
    Outcome.RATE_LIMITED: (
        "Too Many Requests",
        "rate limit exceeded",
        "project ID request rate exceeded",
        "daily request count exceeded, request rate limited",
        "Your app has exceeded its compute units per second capacity",
        "credits limited to 6000/sec",
        "over rate limit",
        "qps limit reached",
        "usage limit reached",
    ),
    Outcome.ALREADY_KNOWN: (
        "already known",
        "ALREADY_EXISTS: already known",
        "AlreadyKnown",
        "Known transaction",
        "transaction already imported",
        "existing txn with same hash",
    ),
    Outcome.NONCE_TOO_LOW: (
        "nonce too low: next nonce 5, tx nonce 4",
        "OldNonce",
        "nonce has already been used",
        "INTERNAL_ERROR: mined",
    ),
    Outcome.REPLACEMENT_UNDERPRICED: (
        "replacement transaction underpriced",
        "insufficient gas price to replace existing transaction",
        "INTERNAL_ERROR: could not replace existing tx",
        "ReplacementNotAllowed",
        "another transaction with same nonce",
    ),
    Outcome.FEE_TOO_LOW: (
        "transaction underpriced: gas tip cap 1, minimum needed 2",
        "underpriced",
        "Gas price below configured minimum gas price",
        "max fee per gas less than block base fee",
        "FeeTooLow",
        "fee too low",
        "gas price is below chain minimum",
        "priority fee below minimum",
    ),
    Outcome.FEE_BUG: (
        "max priority fee per gas higher than max fee per gas: maxPriorityFeePerGas: 2, maxFeePerGas: 1",
        "max priority fee per gas exceeds max fee per gas",
        "Transaction fee cap exceeded",
        "tx fee (2.00 ether) exceeds the configured cap (1.00 ether)",
    ),
    Outcome.INSUFFICIENT_FUNDS: (
        "insufficient funds for gas * price + value: balance 1, queued cost 2, overshot 1",
        "Upfront cost exceeds account balance",
        "transaction overdraws from account",
        "InsufficientFunds, Balance is 0",
        "insufficient balance",
    ),
    Outcome.NONCE_TOO_HIGH: (
        "Nonce too high",
        "Transaction nonce too distant",
        "nonce is too distant from current sender nonce",
        "NonceGap",
        "nonce too far in the future",
        "gapped-nonce tx from delegated accounts",
        "delegation nonce gap",
        "future transaction tries to replace pending",
        "Pending transaction with lower nonce exists",
    ),
    Outcome.POOL_FULL: (
        "txpool is full",
        "INTERNAL_ERROR: queued sub-pool is full",
        "transaction's pool size constraints",
        "account limit exceeded",
        "in-flight transaction limit reached for delegated accounts",
        "account has pending transaction",
        "spammer",
        "address already reserved",
        "pending transaction type conflict",
    ),
    Outcome.INVALID_TX: (
        "invalid sender",
        "failed to recover sender",
        "Invalid signature",
        "invalid chain id for signer: have 1 want 2",
        "Wrong chainId",
        "only replay-protected (EIP-155) transactions allowed over RPC",
        "intrinsic gas too low: have 20000, want 21000",
        "Intrinsic gas exceeds gas limit",
        "intrinsic gas too high -- CallGasCostMoreThanGasLimit",
        "exceeds block gas limit",
        "gas limit too high",
        "Transaction gas limit reached",
        "insufficient gas for floor data gas cost",
        "oversized data: transaction size 200000",
        "rlp: expected input list for types.DynamicFeeTx",
        "Failed to decode transaction",
        "empty transaction data",
        "transaction type not supported",
        "tx type 3 is not supported",
        "nonce has max value",
        "sender not an eoa",
    ),
    Outcome.TRANSIENT: (
        "502 Bad Gateway",
        "Service Unavailable",
        "request timeout",
        "header not found",
        "node is syncing",
        "initial sync in progress",
        "no available nodes",
        "upstream request failed",
        "connection reset by peer",
        "Method not found",
    ),
    Outcome.UNKNOWN: ("", "something new", "unknown transaction type", "undetermined"),
}


@pytest.mark.parametrize(("outcome", "text"), [(outcome, text) for outcome, texts in WORDS.items() for text in texts])
def test_each_known_text_has_its_meaning(outcome: Outcome, text: str) -> None:
    assert classify(RpcError(text, -32000)) is outcome


@pytest.mark.parametrize(("outcome", "text"), [(outcome, text) for outcome, texts in WORDS.items() for text in texts])
def test_it_is_found_in_the_data_too(outcome: Outcome, text: str) -> None:
    assert classify(RpcError("", -32000, {"message": text, "details": {"x": 1}})) is outcome


@pytest.mark.parametrize(("outcome", "pattern"), [(outcome, each) for outcome, patterns in TABLE.items() for each in patterns])
def test_no_pattern_is_without_a_text_that_proves_it(outcome: Outcome, pattern: str) -> None:
    assert any(re.search(pattern, text.lower()) for text in WORDS[outcome])


def test_a_revert_is_seen_before_any_text_of_the_contracts_choice() -> None:
    assert classify(RpcError("nonce too low", 3, "0x")) is Outcome.EXECUTION_REVERTED
    assert is_revert(RpcError("execution reverted: already known"))


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (RpcError("<html>", http_status=429), Outcome.RATE_LIMITED),
        (RpcError("slow down", 429), Outcome.RATE_LIMITED),
        (RpcError("slow down", -32005, {"rate": {"backoff_seconds": 30}}), Outcome.RATE_LIMITED),
        (RpcError("<html>", http_status=503), Outcome.TRANSIENT),
        (RpcError("nonce too low", http_status=500), Outcome.NONCE_TOO_LOW),
        (RpcError("no such thing", -32601), Outcome.TRANSIENT),
    ],
)
def test_status_and_code_count_where_the_text_says_nothing(error: RpcError, outcome: Outcome) -> None:
    assert classify(error) is outcome


def test_codes_that_mean_different_things_to_different_nodes_are_not_believed() -> None:
    assert {classify(RpcError("?", code)) for code in (-32000, -32001, -32003, -32005)} == {Outcome.UNKNOWN}


@pytest.mark.parametrize("text", ["Out of gas: gas required exceeds allowance: 30000000", "EVM error InvalidFEOpcode"])
def test_a_call_without_the_contracts_word_is_known(text: str) -> None:
    assert is_broken_call(RpcError(text, -32003))
