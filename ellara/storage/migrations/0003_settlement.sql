-- The settlement ledger. Its keys carry the promise that no outstanding amount is paid out twice, also where code is wrong:
-- one open round per order, one live slot per settlement, one use per nonce; signed bytes are never changed and never deleted.

-- A chain is known by its first block: a development chain that was made anew has the same id and is another chain.
CREATE TABLE ellara.chain (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    chain_id bigint NOT NULL,
    genesis_hash bytea NOT NULL CHECK (octet_length(genesis_hash) = 32),
    adopted_at timestamptz(3) NOT NULL DEFAULT now(),
    UNIQUE (chain_id, genesis_hash)
);

CREATE VIEW ellara.chain_in_use AS SELECT id FROM ellara.chain ORDER BY adopted_at DESC, id DESC LIMIT 1;

-- next_nonce is a column and no sequence: it rolls back with the transaction that took it, so no gap is left behind.
CREATE TABLE ellara.signer (
    chain integer NOT NULL REFERENCES ellara.chain,
    address bytea NOT NULL CHECK (octet_length(address) = 20),
    next_nonce bigint NOT NULL CHECK (next_nonce >= 0),
    epoch bigint NOT NULL DEFAULT 0,
    holder text,
    lease_until timestamptz(3),
    PRIMARY KEY (chain, address)
);

CREATE TABLE ellara.settlement (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    chain integer NOT NULL REFERENCES ellara.chain,
    contract bytea NOT NULL CHECK (octet_length(contract) = 20),
    order_hash bytea NOT NULL CHECK (octet_length(order_hash) = 32),
    round integer NOT NULL CHECK (round >= 1),
    native boolean, -- which of the contract's two functions; null until the order's token was read
    beneficiary bytea NOT NULL CHECK (octet_length(beneficiary) = 20),
    user_id text NOT NULL, -- who asked
    state text NOT NULL CHECK (state IN ('received', 'ready', 'rejected', 'signed', 'sent', 'mined', 'reverted', 'lost',
                                         'settled', 'settled_elsewhere', 'failed')),
    answered_hash bytea CHECK (octet_length(answered_hash) = 32), -- the hash told first: after a raised fee another is mined
    reason text,
    created_at timestamptz(3) NOT NULL DEFAULT now(),
    updated_at timestamptz(3) NOT NULL DEFAULT now(),
    UNIQUE (chain, contract, order_hash, round)
);
CREATE UNIQUE INDEX settlement_one_open_round ON ellara.settlement (chain, contract, order_hash)
    WHERE state NOT IN ('settled', 'settled_elsewhere', 'failed');
CREATE INDEX settlement_by_user ON ellara.settlement (user_id, id);
CREATE INDEX settlement_by_order ON ellara.settlement (order_hash, id);

CREATE TABLE ellara.slot (
    chain integer NOT NULL,
    signer bytea NOT NULL,
    nonce bigint NOT NULL CHECK (nonce >= 0),
    settlement bigint REFERENCES ellara.settlement, -- null: a filler
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'mined', 'final', 'dead')),
    mined_seq integer, -- which attempt
    mined_block_hash bytea CHECK (octet_length(mined_block_hash) = 32),
    mined_block_number bigint,
    PRIMARY KEY (chain, signer, nonce),
    FOREIGN KEY (chain, signer) REFERENCES ellara.signer
);
CREATE UNIQUE INDEX slot_one_live_per_settlement ON ellara.slot (settlement) WHERE state <> 'dead';

CREATE TABLE ellara.attempt (
    chain integer NOT NULL,
    signer bytea NOT NULL,
    nonce bigint NOT NULL,
    seq integer NOT NULL CHECK (seq >= 1),
    kind text NOT NULL DEFAULT 'settle' CHECK (kind IN ('settle', 'cancel')),
    tx_hash bytea NOT NULL CHECK (octet_length(tx_hash) = 32),
    raw bytea NOT NULL,
    fee_cap_wei numeric(78, 0) NOT NULL,
    tip_wei numeric(78, 0) NOT NULL,
    gas bigint NOT NULL,
    created_block bigint NOT NULL,
    created_at timestamptz(3) NOT NULL DEFAULT now(),
    PRIMARY KEY (chain, signer, nonce, seq),
    FOREIGN KEY (chain, signer, nonce) REFERENCES ellara.slot,
    UNIQUE (chain, tx_hash)
);

CREATE FUNCTION ellara.never() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of ellara.% is never allowed', TG_OP, TG_TABLE_NAME;
END
$$;
CREATE TRIGGER attempt_is_for_ever BEFORE UPDATE OR DELETE ON ellara.attempt FOR EACH ROW EXECUTE FUNCTION ellara.never();
CREATE TRIGGER slot_is_for_ever BEFORE DELETE ON ellara.slot FOR EACH ROW EXECUTE FUNCTION ellara.never();

-- What nodes answered to each broadcast, written after the answer: bytes that are stored count as "maybe sent" without it.
CREATE TABLE ellara.send_log (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    chain integer NOT NULL,
    tx_hash bytea NOT NULL,
    endpoint smallint NOT NULL DEFAULT 0, -- its place in the settings: the URL is a secret
    started_at timestamptz(3) NOT NULL,
    finished_at timestamptz(3) NOT NULL,
    outcome text NOT NULL,
    code bigint,
    message text NOT NULL,
    FOREIGN KEY (chain, tx_hash) REFERENCES ellara.attempt (chain, tx_hash)
);
CREATE INDEX send_log_by_attempt ON ellara.send_log (chain, tx_hash);

-- A settlement as it is told: with the hash of the attempt that was mined, or else of its newest.
CREATE VIEW ellara.settlement_told AS
SELECT s.id, s.order_hash, s.round, s.beneficiary, s.user_id, s.native, s.state, a.tx_hash, slot.mined_block_number AS block_number,
       s.reason, s.created_at, s.updated_at, s.chain, s.contract, slot.signer
FROM ellara.settlement s
LEFT JOIN ellara.slot ON slot.settlement = s.id AND slot.state <> 'dead'
LEFT JOIN LATERAL (
    SELECT tx_hash FROM ellara.attempt a
    WHERE a.chain = slot.chain AND a.signer = slot.signer AND a.nonce = slot.nonce AND a.seq = coalesce(slot.mined_seq, a.seq)
    ORDER BY a.seq DESC LIMIT 1
) a ON true;
