-- What the anchor knows: who is to pay what, what came, and what it does on the ledger. Amounts are in the book's units.

-- +goose Up
CREATE SCHEMA anchor;

-- Assets that staff have registered; ready once the ledger agrees with the configuration.
CREATE TABLE anchor.asset (
    code  text PRIMARY KEY,
    ready boolean NOT NULL DEFAULT false
);

-- How far the ledger has been read, one row, and what of each asset is in the hands of holders there. Both change in the
-- transaction that carries out what the ledger said.
CREATE TABLE anchor.cursor (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    ledger bigint  NOT NULL CHECK (ledger >= 1)
);
INSERT INTO anchor.cursor (ledger) VALUES (1);
CREATE TABLE anchor.supply (
    asset text           PRIMARY KEY, -- CODE:ISSUER
    units numeric(38, 0) NOT NULL CHECK (units >= 0)
);

-- Deposits and withdrawals.
CREATE TABLE anchor.transaction (
    id        text        PRIMARY KEY CHECK (id ~ '^[0-9a-f]{32}$'),
    n         bigint      NOT NULL GENERATED ALWAYS AS IDENTITY UNIQUE,
    kind      text        NOT NULL CHECK (kind IN ('deposit', 'withdrawal')),
    state     text        NOT NULL,
    account   text        NOT NULL,
    asset     text        NOT NULL,
    expected  numeric(38, 0),                          -- what the customer said; null when he did not
    amount    numeric(38, 0) CHECK (amount > 0),       -- what came
    reference text        UNIQUE,                      -- of a deposit, in the bank's transfer
    memo      bigint      UNIQUE CHECK (memo > 0),     -- of a withdrawal, on the ledger
    iban      text        NOT NULL DEFAULT '',         -- where a withdrawal goes
    name      text        NOT NULL DEFAULT '',
    key       text        NOT NULL DEFAULT '',         -- the caller's idempotency key
    round     integer     NOT NULL DEFAULT 1,          -- which movement of money this is at: a refused one is never asked again
    ledger_tx text        NOT NULL DEFAULT '',         -- the transaction on the ledger that the customer looks for
    external  text        NOT NULL DEFAULT '',         -- the bank's reference
    message   text        NOT NULL DEFAULT '',
    created   timestamptz NOT NULL DEFAULT now(),
    updated   timestamptz NOT NULL DEFAULT now(),
    completed timestamptz,
    CHECK ((kind = 'deposit') = (reference IS NOT NULL)),
    CHECK ((kind = 'withdrawal') = (memo IS NOT NULL))
);
CREATE UNIQUE INDEX transaction_key ON anchor.transaction (account, kind, key) WHERE key <> '';
CREATE INDEX transaction_account ON anchor.transaction (account, n);

-- Bank statements, by the hash of their bytes, and the entries in them, by the bank's reference.
CREATE TABLE anchor.statement (
    hash    text        PRIMARY KEY,
    id      text        NOT NULL,
    summary jsonb       NOT NULL,
    at      timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE anchor.entry (
    iban       text NOT NULL,
    ref        text NOT NULL,
    statement  text NOT NULL,
    payer      text NOT NULL, -- whom the money could be returned to: his account, his name, his bank
    payer_name text NOT NULL,
    payer_bic  text NOT NULL,
    PRIMARY KEY (iban, ref)
);

-- What could not be placed, for a person. held says that the money of it is in the suspense account.
CREATE TABLE anchor.quarantine (
    id         text        PRIMARY KEY,
    n          bigint      NOT NULL GENERATED ALWAYS AS IDENTITY UNIQUE,
    statement  text        NOT NULL,
    reason     text        NOT NULL,
    detail     text        NOT NULL,
    reference  text        NOT NULL,
    amount     text        NOT NULL,
    currency   text        NOT NULL,
    asset      text        NOT NULL,          -- set when held
    units      numeric(38, 0),                -- set when held
    payer      text        NOT NULL,          -- his account at his bank
    payer_name text        NOT NULL,
    payer_bic  text        NOT NULL,          -- of the payer's bank
    deposit    text        NOT NULL,          -- the deposit it was for, when that is known
    at         timestamptz NOT NULL DEFAULT now(),
    resolution text        NOT NULL DEFAULT ''
);

-- Payments that came to a distribution account.
CREATE TABLE anchor.incoming (
    hash    text        NOT NULL,
    op      integer     NOT NULL,
    ledger  bigint      NOT NULL,
    payer   text        NOT NULL,
    asset   text        NOT NULL,
    units   numeric(38, 0) NOT NULL,
    memo    text        NOT NULL,
    state   text        NOT NULL,
    reason  text        NOT NULL,
    at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (hash, op)
);

-- What is to be done outside this database, one row until it is done. The worker needs no claim on it: what it does is
-- made harmless to repeat by the rows of ledger_tx and payout.
CREATE TABLE anchor.job (
    kind    text        NOT NULL,
    ref     text        NOT NULL,
    n       bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    created timestamptz NOT NULL DEFAULT now(),
    done    boolean     NOT NULL DEFAULT false,
    PRIMARY KEY (kind, ref)
);
CREATE INDEX job_open ON anchor.job (n) WHERE NOT done;

-- Our transactions on the ledger, stored before anybody signs them.
CREATE TABLE anchor.ledger_tx (
    id        text        PRIMARY KEY CHECK (id ~ '^[0-9a-f]{32}$'),
    n         bigint      NOT NULL GENERATED ALWAYS AS IDENTITY UNIQUE,
    kind      text        NOT NULL,
    ref       text        NOT NULL,
    attempt   integer     NOT NULL CHECK (attempt > 0),
    source    text        NOT NULL,
    key       text        NOT NULL,
    hash      text        NOT NULL UNIQUE,
    envelope  bytea       NOT NULL,
    signed    bytea,
    not_after timestamptz NOT NULL,
    state     text        NOT NULL CHECK (state IN ('built', 'signed', 'succeeded', 'failed', 'dead')),
    result    text        NOT NULL DEFAULT '',
    created   timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (kind, ref) REFERENCES anchor.job (kind, ref),
    UNIQUE (kind, ref, attempt)
);
-- A source account has at most one transaction whose fate is not known: decision 4.
CREATE UNIQUE INDEX ledger_tx_in_flight ON anchor.ledger_tx (source) WHERE state IN ('built', 'signed');
CREATE INDEX ledger_tx_source ON anchor.ledger_tx (source, n);

-- Files for the bank.
CREATE TABLE anchor.payout (
    id       text           PRIMARY KEY, -- also the EndToEndId of its one payment
    n        bigint         NOT NULL GENERATED ALWAYS AS IDENTITY UNIQUE,
    origin   text           NOT NULL UNIQUE, -- withdrawal/ID or return/QUARANTINE
    transfer text           NOT NULL,
    asset    text           NOT NULL,
    units    numeric(38, 0) NOT NULL,
    state    text           NOT NULL CHECK (state IN ('written', 'paid')),
    file     bytea          NOT NULL,
    at       timestamptz    NOT NULL DEFAULT now()
);

GRANT USAGE ON SCHEMA anchor TO diamante_gateway;
GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA anchor TO diamante_gateway;
GRANT UPDATE (ready) ON anchor.asset TO diamante_gateway;
GRANT UPDATE (ledger) ON anchor.cursor TO diamante_gateway;
GRANT UPDATE (units) ON anchor.supply TO diamante_gateway;
GRANT UPDATE (state, amount, round, ledger_tx, external, message, updated, completed) ON anchor.transaction TO diamante_gateway;
GRANT UPDATE (resolution) ON anchor.quarantine TO diamante_gateway;
GRANT UPDATE (state, reason) ON anchor.incoming TO diamante_gateway;
GRANT UPDATE (done) ON anchor.job TO diamante_gateway;
GRANT UPDATE (signed, state, result) ON anchor.ledger_tx TO diamante_gateway;
GRANT UPDATE (state) ON anchor.payout TO diamante_gateway;
