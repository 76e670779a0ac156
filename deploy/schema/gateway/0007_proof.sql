-- What an import and a ledger must prove beyond single entries: a batch is booked as a sum or by its payments and not both,
-- balances follow from one another, and nothing happens on our accounts behind our back.

-- +goose Up
-- Of the bank's whole entry: into how many payments it was split when it was booked. 0 in rows that stand for one payment of
-- a batch.
ALTER TABLE anchor.entry ADD COLUMN parts integer NOT NULL DEFAULT 1;

-- The last closing balance that the bank told of each account, signed, in the currency's smallest unit.
CREATE TABLE anchor.bank (
    account   text           PRIMARY KEY,
    statement text           NOT NULL,
    currency  text           NOT NULL,
    closing   numeric(38, 0) NOT NULL,
    until     timestamptz    NOT NULL
);
GRANT SELECT, INSERT, UPDATE ON anchor.bank TO diamante_gateway;

-- Pages of payments need an order.
ALTER TABLE anchor.incoming ADD COLUMN n bigint NOT NULL GENERATED ALWAYS AS IDENTITY;
CREATE UNIQUE INDEX incoming_n ON anchor.incoming (n);

-- A transaction whose Ref the signer knows with another body is blocked: rows of this database were lost, and nobody may
-- build another before a person has looked. It keeps its source account from having any other.
ALTER TABLE anchor.ledger_tx DROP CONSTRAINT ledger_tx_state_check;
ALTER TABLE anchor.ledger_tx ADD CHECK (state IN ('built', 'signed', 'blocked', 'succeeded', 'failed', 'dead'));
DROP INDEX anchor.ledger_tx_in_flight;
CREATE UNIQUE INDEX ledger_tx_in_flight ON anchor.ledger_tx (source) WHERE state IN ('built', 'signed', 'blocked');
