"""web3 understands the dev chain's answers: each passes its result formatters."""

from __future__ import annotations

from typing import Any

import pytest
from eth_typing import HexStr
from web3 import AsyncWeb3
from web3.exceptions import ContractLogicError
from web3.providers.async_base import AsyncJSONBaseProvider
from web3.types import RPCEndpoint, RPCResponse, TxParams

from ellara.sandbox.evm.server import DevChain
from tests.devchain import CHAIN_ID, Rpc, owner_of, settlement_data, signed


class PlainPost(AsyncJSONBaseProvider):
    def __init__(self, rpc: Rpc) -> None:
        super().__init__()
        self._rpc = rpc

    async def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        answer: RPCResponse = await self._rpc.post({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        return answer


@pytest.fixture
def web3(rpc: Rpc) -> AsyncWeb3[PlainPost]:
    return AsyncWeb3(PlainPost(rpc), middleware=[])


async def test_blocks_transactions_and_receipts(dev_chain: DevChain, rpc: Rpc, web3: AsyncWeb3[PlainPost]) -> None:
    data = settlement_data(dev_chain.orders[0].order_hash)
    raw = signed(owner_of(dev_chain), 6, to=dev_chain.payment_address, data=data)
    tx_hash = await web3.eth.send_raw_transaction(HexStr(raw))
    await rpc.mined("0x" + tx_hash.hex())
    receipt, transaction = await web3.eth.get_transaction_receipt(tx_hash), await web3.eth.get_transaction(tx_hash)
    assert (receipt["status"], receipt["type"], receipt["transactionIndex"], len(receipt["logsBloom"])) == (1, 2, 0, 256)
    assert (transaction["nonce"], transaction["chainId"], transaction["maxFeePerGas"]) == (6, CHAIN_ID, 20 * 10**9)
    block = await web3.eth.get_block(receipt["blockNumber"], full_transactions=True)
    assert (block["hash"], block["transactions"]) == (receipt["blockHash"], [transaction])
    logs = await web3.eth.get_logs({"fromBlock": receipt["blockNumber"], "toBlock": receipt["blockNumber"]})
    assert logs == receipt["logs"]


async def test_fees_counts_and_reverts(dev_chain: DevChain, web3: AsyncWeb3[PlainPost]) -> None:
    owner = owner_of(dev_chain).address
    assert await web3.eth.chain_id == CHAIN_ID
    assert await web3.eth.get_transaction_count(owner, "pending") == 6
    history = await web3.eth.fee_history(10, "latest", [50])
    assert len(history["baseFeePerGas"]) == len(history["reward"]) + 1
    call: TxParams = {
        "from": owner,
        "to": web3.to_checksum_address(dev_chain.payment_address),
        "data": HexStr(settlement_data("0x" + "00" * 32)),
    }
    with pytest.raises(ContractLogicError, match="Order does not exist"):
        await web3.eth.estimate_gas(call)
