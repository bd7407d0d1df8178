"""The settlement ledger: orders and their rounds, nonces, signed bytes, what became of them. The settler alone writes it.

One function for each transition, one statement or one transaction of the caller for each. A transition names the states it starts
from and answers whether it happened. Its tables and the promise of their keys: `migrations/0003_settlement.sql`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import attrs
from psycopg.rows import TupleRow

from ellara.model import Address, Attempt, Hash32, Mined, OrderHash, Settlement, SettlementState, TxHash
from ellara.storage.connection import Connection


@attrs.frozen
class Ledger:
    """Which chain, which contract, whose nonces: what all of the settler's statements are about."""

    chain: int
    """The row of ellara.chain."""
    contract: Address
    signer: Address


@attrs.frozen
class OpenSettlement:
    """A row to be taken up again, with all that was ever signed for it, the newest last."""

    settlement: Settlement
    attempts: tuple[Attempt, ...]
    mined: Mined | None


@attrs.frozen
class Sending:
    """One broadcast, for the log. `outcome` is one of chain/answers.py's."""

    tx_hash: TxHash
    started_at: datetime
    finished_at: datetime
    outcome: str
    code: int | None
    text: str


FIND_BY_ORDER = """
SELECT * FROM ellara.settlement_told
WHERE chain = (SELECT id FROM ellara.chain_in_use) AND order_hash = %(order)s ORDER BY id DESC
"""

FIND_BY_TX_HASH = """
SELECT * FROM ellara.settlement_told WHERE id = (
    SELECT slot.settlement FROM ellara.slot JOIN ellara.attempt USING (chain, signer, nonce)
    WHERE attempt.chain = (SELECT id FROM ellara.chain_in_use) AND attempt.tx_hash = %(tx_hash)s
)
"""

FIND_NEWEST = """
SELECT * FROM ellara.settlement_told
WHERE chain = %(chain)s AND contract = %(contract)s AND order_hash = %(order)s ORDER BY round DESC LIMIT 1
"""


async def find_settlements(connection: Connection, order: OrderHash) -> list[Settlement]:
    """All rounds of an order on the chain in use, the newest first."""
    return [_settlement(row) for row in await connection.rows(FIND_BY_ORDER, order=order.raw)]


async def find_by_tx_hash(connection: Connection, tx_hash: TxHash) -> Settlement | None:
    """By any of its attempts, also one that was replaced."""
    row = await connection.row(FIND_BY_TX_HASH, tx_hash=tx_hash.raw)
    return _settlement(row) if row else None


FIND_OTHER_GENESIS = "SELECT 1 FROM ellara.chain WHERE chain_id = %(chain_id)s AND genesis_hash <> %(genesis)s LIMIT 1"

ADOPT_CHAIN = """
INSERT INTO ellara.chain (chain_id, genesis_hash) VALUES (%(chain_id)s, %(genesis)s)
ON CONFLICT (chain_id, genesis_hash) DO UPDATE SET adopted_at = now() RETURNING id
"""

ADOPT_SIGNER = """
INSERT INTO ellara.signer (chain, address, next_nonce) VALUES (%(chain)s, %(signer)s, %(count)s)
ON CONFLICT (chain, address) DO UPDATE SET next_nonce = greatest(signer.next_nonce, %(count)s)
RETURNING next_nonce
"""


async def has_other_genesis(connection: Connection, chain_id: int, genesis: Hash32) -> bool:
    """Whether a chain of this id was settled on that began otherwise."""
    return bool(await connection.rows(FIND_OTHER_GENESIS, chain_id=chain_id, genesis=genesis.raw))


async def adopt_chain(connection: Connection, chain_id: int, genesis: Hash32) -> int:
    """Makes this the chain in use. Answers its row."""
    row = await connection.row(ADOPT_CHAIN, chain_id=chain_id, genesis=genesis.raw)
    assert row is not None
    return int(row[0])


async def adopt_signer(connection: Connection, ledger: Ledger, count: int) -> int:
    """The next nonce: the ledger's own, or the chain's `count` where that is ahead (a key used elsewhere). Never lowered."""
    row = await connection.row(ADOPT_SIGNER, chain=ledger.chain, signer=ledger.signer.raw, count=count)
    assert row is not None
    return int(row[0])


FIND_OPEN = """
SELECT * FROM ellara.settlement_told
WHERE chain = %(chain)s AND (contract = %(contract)s OR signer = %(signer)s)
  AND state IN ('received', 'ready', 'signed', 'sent', 'mined', 'reverted', 'lost')
ORDER BY id
"""

FIND_OPEN_ATTEMPTS = """
SELECT slot.settlement, a.nonce, a.seq, a.tx_hash, a.raw, a.fee_cap_wei, a.tip_wei, a.gas, a.created_block,
       slot.mined_seq, slot.mined_block_number, slot.mined_block_hash
FROM ellara.slot JOIN ellara.attempt a USING (chain, signer, nonce)
WHERE slot.chain = %(chain)s AND slot.signer = %(signer)s AND slot.state IN ('open', 'mined')
ORDER BY a.nonce, a.seq
"""


async def take_up(connection: Connection, ledger: Ledger) -> list[OpenSettlement]:
    """Every settlement that is not at its end, in the order they were asked for."""
    attempts: dict[int, list[Attempt]] = {}
    mined: dict[int, Mined] = {}
    rows = await connection.rows(FIND_OPEN, chain=ledger.chain, contract=ledger.contract.raw, signer=ledger.signer.raw)
    states = {row[0]: row[6] for row in rows}
    for row in await connection.rows(FIND_OPEN_ATTEMPTS, chain=ledger.chain, signer=ledger.signer.raw):
        attempt = _attempt(row[1:9])
        attempts.setdefault(row[0], []).append(attempt)
        if attempt.seq == row[9]:
            succeeded = states.get(row[0]) == SettlementState.MINED
            mined[row[0]] = Mined(attempt.tx_hash, row[10], Hash32(row[11]), succeeded)
    return [OpenSettlement(_settlement(row), tuple(attempts.get(row[0], ())), mined.get(row[0])) for row in rows]


RECEIVE = """
INSERT INTO ellara.settlement (chain, contract, order_hash, round, beneficiary, user_id, state)
VALUES (%(chain)s, %(contract)s, %(order)s, %(round)s, %(beneficiary)s, %(user_id)s, 'received')
ON CONFLICT DO NOTHING
RETURNING id, order_hash, round, beneficiary, user_id, native, state, NULL, NULL, reason, created_at, updated_at
"""

TRY_AGAIN = """
UPDATE ellara.settlement SET state = 'received', reason = NULL, native = NULL, beneficiary = %(beneficiary)s,
       user_id = %(user_id)s, updated_at = now()
WHERE id = %(id)s AND state = 'rejected'
"""


async def receive(
    connection: Connection, ledger: Ledger, order: OrderHash, beneficiary: Address, user_id: str, *, round_number: int = 1
) -> Settlement:
    """Writes down what was asked; the insert alone decides between two that ask at once. Answers the order's newest round."""
    key = {"chain": ledger.chain, "contract": ledger.contract.raw, "order": order.raw}
    row = await connection.row(RECEIVE, **key, round=round_number, beneficiary=beneficiary.raw, user_id=user_id)
    row = row or await connection.row(FIND_NEWEST, **key)
    assert row is not None
    return _settlement(row)


async def try_again(connection: Connection, settlement: Settlement, beneficiary: Address, user_id: str) -> bool:
    """rejected → received, perhaps for another beneficiary: nothing was signed."""
    return bool(await connection.run(TRY_AGAIN, id=settlement.id, beneficiary=beneficiary.raw, user_id=user_id))


MARK_READY = """
UPDATE ellara.settlement SET state = 'ready', updated_at = now() WHERE id = ANY(%(ids)s) AND state = 'received'
"""

MARK_REJECTED = """
UPDATE ellara.settlement SET state = 'rejected', reason = %(reason)s, updated_at = now()
WHERE id = %(id)s AND state IN ('received', 'ready')
"""


async def mark_ready(connection: Connection, waiting: Iterable[Settlement]) -> None:
    """Simulated, and no nonce is free yet. Who gets one at once is never written down as ready."""
    await connection.run(MARK_READY, ids=[settlement.id for settlement in waiting])


async def mark_rejected(connection: Connection, settlement: Settlement, reason: str) -> bool:
    return bool(await connection.run(MARK_REJECTED, id=settlement.id, reason=reason))


TAKE_NONCES = """
UPDATE ellara.signer SET next_nonce = next_nonce + %(count)s WHERE chain = %(chain)s AND address = %(signer)s
RETURNING next_nonce - %(count)s
"""

MARK_SIGNED = """
WITH signed AS (
    SELECT * FROM unnest(%(settlements)s::bigint[], %(natives)s::boolean[], %(nonces)s::bigint[], %(tx_hashes)s::bytea[])
        AS signed (id, native, nonce, tx_hash)
), opened AS (
    INSERT INTO ellara.slot (chain, signer, nonce, settlement) SELECT %(chain)s, %(signer)s, nonce, id FROM signed
)
UPDATE ellara.settlement s SET state = 'signed', native = signed.native, answered_hash = signed.tx_hash, updated_at = now()
FROM signed WHERE s.id = signed.id AND s.state IN ('received', 'ready')
"""

ADD_ATTEMPTS = """
INSERT INTO ellara.attempt (chain, signer, nonce, seq, tx_hash, raw, fee_cap_wei, tip_wei, gas, created_block)
SELECT %(chain)s, %(signer)s, * FROM unnest(%(nonces)s::bigint[], %(seqs)s::integer[], %(tx_hashes)s::bytea[], %(raws)s::bytea[],
    %(caps)s::numeric[], %(tips)s::numeric[], %(gases)s::bigint[], %(blocks)s::bigint[])
"""


async def take_nonces(connection: Connection, ledger: Ledger, count: int) -> int:
    """The first of `count` nonces that are the caller's once its transaction commits; until then the signer's row is locked."""
    row = await connection.row(TAKE_NONCES, chain=ledger.chain, signer=ledger.signer.raw, count=count)
    assert row is not None, "the signer was adopted"
    return int(row[0])


async def mark_signed(connection: Connection, ledger: Ledger, signed: Sequence[tuple[Settlement, Attempt]]) -> bool:
    """Slots and bytes, in the transaction that took the nonces. False, and to be rolled back: not all were waiting for one."""
    attempts = [attempt for _, attempt in signed]
    moved = await connection.run(
        MARK_SIGNED,
        chain=ledger.chain,
        signer=ledger.signer.raw,
        settlements=[settlement.id for settlement, _ in signed],
        natives=[settlement.native for settlement, _ in signed],
        nonces=[attempt.nonce for attempt in attempts],
        tx_hashes=[attempt.tx_hash.raw for attempt in attempts],
    )
    await add_attempts(connection, ledger, attempts)
    return moved == len(signed)


async def add_attempts(connection: Connection, ledger: Ledger, attempts: Sequence[Attempt]) -> None:
    """Bytes to be sent are stored before they are sent: what is lost in a crash was never seen by anyone."""
    await connection.run(
        ADD_ATTEMPTS,
        chain=ledger.chain,
        signer=ledger.signer.raw,
        nonces=[attempt.nonce for attempt in attempts],
        seqs=[attempt.seq for attempt in attempts],
        tx_hashes=[attempt.tx_hash.raw for attempt in attempts],
        raws=[attempt.raw for attempt in attempts],
        caps=[attempt.fee_cap_wei for attempt in attempts],
        tips=[attempt.tip_wei for attempt in attempts],
        gases=[attempt.gas for attempt in attempts],
        blocks=[attempt.created_block for attempt in attempts],
    )


MARK_SENT = """
WITH sent AS (
    INSERT INTO ellara.send_log (chain, tx_hash, started_at, finished_at, outcome, code, message)
    SELECT %(chain)s, * FROM unnest(%(tx_hashes)s::bytea[], %(starts)s::timestamptz[], %(ends)s::timestamptz[],
        %(outcomes)s::text[], %(codes)s::bigint[], %(texts)s::text[])
    RETURNING tx_hash
)
UPDATE ellara.settlement s SET state = 'sent', updated_at = now()
FROM sent JOIN ellara.attempt a ON a.chain = %(chain)s AND a.tx_hash = sent.tx_hash
    JOIN ellara.slot USING (chain, signer, nonce)
WHERE s.id = slot.settlement AND s.state = 'signed'
"""


async def mark_sent(connection: Connection, ledger: Ledger, sendings: Sequence[Sending]) -> None:
    """signed → sent, whatever the node said."""
    await connection.run(
        MARK_SENT,
        chain=ledger.chain,
        tx_hashes=[sending.tx_hash.raw for sending in sendings],
        starts=[sending.started_at for sending in sendings],
        ends=[sending.finished_at for sending in sendings],
        outcomes=[sending.outcome for sending in sendings],
        codes=[sending.code for sending in sendings],
        texts=[sending.text for sending in sendings],
    )


MARK_MINED = """
WITH seen AS (
    SELECT * FROM unnest(%(tx_hashes)s::bytea[], %(numbers)s::bigint[], %(hashes)s::bytea[], %(states)s::text[])
        AS seen (tx_hash, block_number, block_hash, state)
), moved AS (
    UPDATE ellara.slot SET state = 'mined', mined_seq = a.seq, mined_block_hash = seen.block_hash,
           mined_block_number = seen.block_number
    FROM seen JOIN ellara.attempt a ON a.chain = %(chain)s AND a.tx_hash = seen.tx_hash
    WHERE slot.chain = a.chain AND slot.signer = a.signer AND slot.nonce = a.nonce AND slot.state IN ('open', 'mined')
    RETURNING slot.settlement, seen.state
)
UPDATE ellara.settlement s SET state = moved.state, updated_at = now() FROM moved
WHERE s.id = moved.settlement AND s.state IN ('signed', 'sent', 'lost', 'mined', 'reverted')
"""

MARK_UNMINED = """
WITH moved AS (
    UPDATE ellara.slot SET state = 'open', mined_seq = NULL, mined_block_hash = NULL, mined_block_number = NULL
    WHERE settlement = ANY(%(ids)s) AND state = 'mined'
)
UPDATE ellara.settlement SET state = 'sent', updated_at = now()
WHERE id = ANY(%(ids)s) AND state IN ('mined', 'reverted', 'lost')
"""

MARK_LOST = """
UPDATE ellara.settlement SET state = 'lost', updated_at = now() WHERE id = ANY(%(ids)s) AND state IN ('signed', 'sent')
"""

MARK_FINAL = """
WITH ended AS (
    SELECT * FROM unnest(%(ids)s::bigint[], %(states)s::text[], %(reasons)s::text[]) AS ended (id, state, reason)
), closed AS (
    UPDATE ellara.slot SET state = 'final' FROM ended WHERE slot.settlement = ended.id AND slot.state = 'mined'
)
UPDATE ellara.settlement s SET state = ended.state, reason = ended.reason, updated_at = now() FROM ended
WHERE s.id = ended.id AND s.state IN ('mined', 'reverted')
"""

GIVE_UP_SLOTS = """
WITH moved AS (
    UPDATE ellara.slot SET state = 'dead' WHERE settlement = ANY(%(ids)s) AND state = 'open'
)
UPDATE ellara.settlement SET state = 'received', updated_at = now() WHERE id = ANY(%(ids)s) AND state = 'lost'
"""


async def mark_mined(connection: Connection, ledger: Ledger, mined: Sequence[Mined]) -> None:
    """An attempt of each is in a block: mined, or reverted when it failed there. Not final yet."""
    states = [SettlementState.MINED if each.succeeded else SettlementState.REVERTED for each in mined]
    await connection.run(
        MARK_MINED,
        chain=ledger.chain,
        tx_hashes=[each.tx_hash.raw for each in mined],
        numbers=[each.block_number for each in mined],
        hashes=[each.block_hash.raw for each in mined],
        states=[state.value for state in states],
    )


async def mark_unmined(connection: Connection, settlements: Iterable[Settlement]) -> None:
    """Back to sent: the block that held it is gone, or the nonce is free after all."""
    await connection.run(MARK_UNMINED, ids=[settlement.id for settlement in settlements])


async def mark_lost(connection: Connection, settlements: Iterable[Settlement]) -> None:
    """Its nonce is used up on chain, and none of its attempts is known there."""
    await connection.run(MARK_LOST, ids=[settlement.id for settlement in settlements])


async def mark_final(connection: Connection, ended: Sequence[Settlement]) -> None:
    """settled, settled_elsewhere or failed, as each says of itself, with its reason."""
    await connection.run(
        MARK_FINAL,
        ids=[settlement.id for settlement in ended],
        states=[settlement.state.value for settlement in ended],
        reasons=[settlement.reason for settlement in ended],
    )


async def give_up_slots(connection: Connection, settlements: Iterable[Settlement]) -> None:
    """lost → received: its bytes can never be mined any more, so it may get another nonce."""
    await connection.run(GIVE_UP_SLOTS, ids=[settlement.id for settlement in settlements])


def _settlement(row: TupleRow) -> Settlement:
    order, number, beneficiary, user_id, native, state, tx_hash, block_number, reason, created_at, updated_at = row[1:12]
    return Settlement(
        id=row[0],
        order=OrderHash(order),
        round=number,
        beneficiary=Address(beneficiary),
        user_id=user_id,
        native=native,
        state=SettlementState(state),
        tx_hash=TxHash(tx_hash) if tx_hash else None,
        block_number=block_number,
        reason=reason,
        created_at=created_at,
        updated_at=updated_at,
    )


def _attempt(row: TupleRow) -> Attempt:
    nonce, seq, tx_hash, raw, fee_cap_wei, tip_wei, gas, created_block = row
    return Attempt(nonce, seq, TxHash(tx_hash), raw, int(fee_cap_wei), int(tip_wei), gas, created_block)
