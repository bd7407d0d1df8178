// What viem, the old backend's and the frontend's library, makes of a settlement: node settlement.mjs RPC_URL CONTRACT TX_HASH ORDER_HASH.
// One JSON object: chainId, status, settled (the OrderSettled events), outstanding (total less issued), in decimal texts.
import { createPublicClient, http, parseAbi, parseEventLogs } from "viem";
import { sepolia } from "viem/chains";

const [rpcUrl, contract, hash, order] = process.argv.slice(2);
const abi = parseAbi([
  "struct PaymentAmounts { address tokenAddress; uint256 tokenAmountTotal; uint256 rupiahAmountTotal; uint256 tokenAmountIssued; }",
  "function getPaymentInfo(bytes32 orderHash) view returns (PaymentAmounts)",
  "event OrderSettled(address indexed beneficiary, address indexed tokenAddress, uint256 tokenAmount, uint256 rupiahAmount, bytes32 orderDataHash)",
]);
const client = createPublicClient({ chain: sepolia, transport: http(rpcUrl), pollingInterval: 50 });
const receipt = await client.waitForTransactionReceipt({ hash, confirmations: 2, timeout: 20_000 });
const [settled] = parseEventLogs({ abi, logs: receipt.logs, eventName: "OrderSettled" });
const paid = await client.readContract({ address: contract, abi, functionName: "getPaymentInfo", args: [order] });
const told = {
  chainId: await client.getChainId(),
  status: receipt.status,
  beneficiary: settled.args.beneficiary,
  order: settled.args.orderDataHash,
  outstanding: paid.tokenAmountTotal - paid.tokenAmountIssued,
};
console.log(JSON.stringify(told, (_key, value) => (typeof value === "bigint" ? String(value) : value)));
