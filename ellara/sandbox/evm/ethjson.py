"""Blocks, transactions, receipts and logs as geth writes them in JSON. Pure: py-evm's objects in, dicts out.

Called by ethapi.py. Source: ethereum/execution-apis, go-ethereum internal/ethapi/api.go (RPCMarshalBlock, newRPCTransaction,
marshalReceipt).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import rlp
from eth._utils.address import generate_contract_address
from eth.abc import BlockAPI, BlockHeaderAPI, ReceiptAPI, SignedTransactionAPI
from eth_bloom.bloom import BloomFilter

from ellara.sandbox.evm.jsonrpc import Json, data, quantity

LEGACY, ACCESS_LIST, DYNAMIC_FEE, SET_CODE = 0, 1, 2, 4
BLOOM_BYTES = 256
V_OF_CHAIN_ID = 35
"""EIP-155: a legacy signature's v is this plus twice the chain id, plus the parity."""


HEADER_DATA = {
    "hash": "hash",
    "parentHash": "parent_hash",
    "nonce": "nonce",
    "mixHash": "mix_hash",
    "sha3Uncles": "uncles_hash",
    "stateRoot": "state_root",
    "transactionsRoot": "transaction_root",
    "receiptsRoot": "receipt_root",
    "miner": "coinbase",
    "extraData": "extra_data",
    "withdrawalsRoot": "withdrawals_root",
    "parentBeaconBlockRoot": "parent_beacon_block_root",
    "requestsHash": "requests_hash",
}
HEADER_QUANTITIES = {
    "number": "block_number",
    "difficulty": "difficulty",
    "gasLimit": "gas_limit",
    "gasUsed": "gas_used",
    "timestamp": "timestamp",
    "baseFeePerGas": "base_fee_per_gas",
    "blobGasUsed": "blob_gas_used",
    "excessBlobGas": "excess_blob_gas",
}


def kind_of(tx: SignedTransactionAPI) -> int:
    """The EIP-2718 type; 0 for a legacy transaction."""
    return tx.type_id or LEGACY


def chain_id_of(tx: SignedTransactionAPI) -> int | None:
    """None: a legacy transaction signed for every chain."""
    if kind_of(tx) != LEGACY:
        assert tx.chain_id is not None
        return tx.chain_id
    v = int(tx.v)  # type: ignore[attr-defined]  # a legacy transaction's
    return (v - V_OF_CHAIN_ID) // 2 if v >= V_OF_CHAIN_ID else None


def price_wei(tx: SignedTransactionAPI, base_fee_wei: int) -> int:
    """What it pays per gas in a block of that base fee."""
    return min(tx.max_fee_per_gas, tx.max_priority_fee_per_gas + base_fee_wei)


def base_fee_of(header: BlockHeaderAPI) -> int:
    assert header.base_fee_per_gas is not None  # London and later
    return header.base_fee_per_gas


def header_json(header: BlockHeaderAPI) -> dict[str, Json]:
    fields: dict[str, Json] = {name: data(getattr(header, field)) for name, field in HEADER_DATA.items()}
    fields |= {name: quantity(getattr(header, field)) for name, field in HEADER_QUANTITIES.items()}
    return fields | {"logsBloom": data(header.bloom.to_bytes(BLOOM_BYTES, "big"))}


def block_json(block: BlockAPI, *, full: bool) -> dict[str, Json]:
    """`full`: with the transactions instead of their hashes."""
    transactions: list[Json] = [
        tx_json(tx, block.header, index) if full else data(tx.hash) for index, tx in enumerate(block.transactions)
    ]
    size = quantity(len(rlp.encode(block)))
    return header_json(block.header) | {"size": size, "transactions": transactions, "uncles": [], "withdrawals": []}


def tx_json(tx: SignedTransactionAPI, header: BlockHeaderAPI | None = None, index: int | None = None) -> dict[str, Json]:
    """`header` None: it is pending."""
    kind = kind_of(tx)
    base_fee_wei = base_fee_of(header) if header is not None else None
    fields: dict[str, Json] = {
        "blockHash": data(header.hash) if header is not None else None,
        "blockNumber": quantity(header.block_number) if header is not None else None,
        "transactionIndex": quantity(index) if index is not None else None,
        "type": quantity(kind),
        "hash": data(tx.hash),
        "from": data(tx.sender),
        "to": data(tx.to) if tx.to else None,
        "nonce": quantity(tx.nonce),
        "gas": quantity(tx.gas),
        "gasPrice": quantity(tx.max_fee_per_gas if base_fee_wei is None else price_wei(tx, base_fee_wei)),
        "value": quantity(tx.value),
        "input": data(tx.data),
        "v": quantity(tx.y_parity if kind != LEGACY else tx.v),  # type: ignore[attr-defined]  # a legacy transaction's
        "r": quantity(tx.r),
        "s": quantity(tx.s),
    }
    chain_id = chain_id_of(tx)
    if chain_id is not None:
        fields["chainId"] = quantity(chain_id)
    if kind != LEGACY:
        fields |= {"yParity": quantity(tx.y_parity), "accessList": _access_list(tx)}
    if kind >= DYNAMIC_FEE:
        fields |= {
            "maxFeePerGas": quantity(tx.max_fee_per_gas),
            "maxPriorityFeePerGas": quantity(tx.max_priority_fee_per_gas),
        }
    return fields


def receipt_json(block: BlockAPI, receipts: Sequence[ReceiptAPI], index: int) -> dict[str, Json]:
    tx, receipt = block.transactions[index], receipts[index]
    logs: list[Json] = [log for log in logs_json(block, receipts) if log["transactionIndex"] == quantity(index)]
    return _place(block, index) | {
        "type": quantity(kind_of(tx)),
        "status": quantity(int.from_bytes(receipt.state_root, "big")),
        "from": data(tx.sender),
        "to": data(tx.to) if tx.to else None,
        "contractAddress": None if tx.to else data(generate_contract_address(tx.sender, tx.nonce)),
        "cumulativeGasUsed": quantity(receipt.gas_used),
        "gasUsed": quantity(gas_used_of(receipts, index)),
        "effectiveGasPrice": quantity(price_wei(tx, base_fee_of(block.header))),
        "logsBloom": data(receipt.bloom.to_bytes(BLOOM_BYTES, "big")),
        "logs": logs,
    }


def logs_json(block: BlockAPI, receipts: Sequence[ReceiptAPI]) -> Iterator[dict[str, Json]]:
    """Every log of the block; the index counts through it."""
    number = 0
    for index, receipt in enumerate(receipts):
        for log in receipt.logs:
            yield _place(block, index) | {
                "address": data(log.address),
                "topics": [data(topic.to_bytes(32, "big")) for topic in log.topics],
                "data": data(log.data),
                "logIndex": quantity(number),
                "blockTimestamp": quantity(block.header.timestamp),
                "removed": False,
            }
            number += 1


def gas_used_of(receipts: Sequence[ReceiptAPI], index: int) -> int:
    """A receipt counts from the block's beginning."""
    return receipts[index].gas_used - (receipts[index - 1].gas_used if index else 0)


def may_log(header: BlockHeaderAPI, address: bytes) -> bool:
    """False: the block has no log of this contract."""
    return address in BloomFilter(header.bloom)


def _place(block: BlockAPI, index: int) -> dict[str, Json]:
    return {
        "blockHash": data(block.hash),
        "blockNumber": quantity(block.number),
        "transactionHash": data(block.transactions[index].hash),
        "transactionIndex": quantity(index),
    }


def _access_list(tx: SignedTransactionAPI) -> list[Json]:
    return [
        {"address": data(account), "storageKeys": [data(key.to_bytes(32, "big")) for key in keys]}
        for account, keys in tx.access_list
    ]
