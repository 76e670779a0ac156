-- What waits for people: transactions that the signer signs once enough officers have approved them, or later.

-- +goose Up
-- On whose word a job is done, '' when on nobody's. Who asks for something cannot approve it.
ALTER TABLE anchor.job       ADD COLUMN initiator text NOT NULL DEFAULT '';
ALTER TABLE anchor.ledger_tx ADD COLUMN initiator text NOT NULL DEFAULT '',
    ADD COLUMN patient boolean NOT NULL DEFAULT false; -- lives long enough for people to decide
GRANT UPDATE (done, initiator) ON anchor.job TO diamante_gateway;

-- One row per transaction that the signer did not sign without people. What they approve is the transaction's envelope, its
-- key, its name to the signer and its initiator, all of which are in ledger_tx and never change there.
CREATE TABLE anchor.approval (
    id      text        PRIMARY KEY REFERENCES anchor.ledger_tx (id),
    n       bigint      NOT NULL GENERATED ALWAYS AS IDENTITY UNIQUE,
    why     text        NOT NULL, -- whom the signer wants to hear
    state   text        NOT NULL CHECK (state IN ('open', 'granted', 'closed')),
    outcome text        NOT NULL DEFAULT '', -- why it was closed
    at      timestamptz NOT NULL DEFAULT now(),
    ended   timestamptz
);
CREATE INDEX approval_open ON anchor.approval (n) WHERE state = 'open';

-- What officers said to it. Nothing here is believed: the signer verifies each.
CREATE TABLE anchor.consent (
    approval text        NOT NULL REFERENCES anchor.approval (id),
    nonce    text        NOT NULL CHECK (nonce ~ '^[0-9a-f]{32}$'),
    n        bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    officer  text        NOT NULL,
    expires  timestamptz NOT NULL,
    body     bytea       NOT NULL CHECK (octet_length(body) <= 4096), -- all of it, as JSON
    by       text        NOT NULL,                                   -- who handed it in
    state    text        NOT NULL DEFAULT 'new' CHECK (state IN ('new', 'good', 'refused')),
    reason   text        NOT NULL DEFAULT '',                        -- the signer's, of a refusal
    at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (approval, nonce)
);

GRANT SELECT, INSERT ON anchor.approval, anchor.consent TO diamante_gateway;
GRANT UPDATE (why, state, outcome, ended) ON anchor.approval TO diamante_gateway;
GRANT UPDATE (state, reason) ON anchor.consent TO diamante_gateway;
