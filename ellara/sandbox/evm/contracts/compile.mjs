// UMKMQRPayment.sol → contracts.json (abi and bytecode of each contract, and the digest of the source they were made from).
// npm install --no-save solc@0.8.37 && node ellara/sandbox/contracts/compile.mjs
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";

const solc = createRequire(`${process.cwd()}/`)("solc");
const source = readFileSync(new URL("UMKMQRPayment.sol", import.meta.url), "utf8");
const input = {
  language: "Solidity",
  sources: { "UMKMQRPayment.sol": { content: source } },
  settings: {
    evmVersion: "shanghai",
    optimizer: { enabled: true, runs: 200 },
    metadata: { bytecodeHash: "none" },
    outputSelection: { "*": { "*": ["abi", "evm.bytecode.object"] } },
  },
};
const output = JSON.parse(solc.compile(JSON.stringify(input)));
for (const message of output.errors ?? []) console.error(message.formattedMessage);
if (output.errors?.some(({ severity }) => severity === "error")) process.exit(1);

const contracts = {};
for (const [name, { abi, evm }] of Object.entries(output.contracts["UMKMQRPayment.sol"])) {
  if (evm.bytecode.object) contracts[name] = { abi, bytecode: `0x${evm.bytecode.object}` };
}
const sourceSha256 = createHash("sha256").update(source).digest("hex");
const artefact = { compiler: solc.version(), sourceSha256, contracts };
writeFileSync(new URL("contracts.json", import.meta.url), `${JSON.stringify(artefact, null, 1)}\n`);
