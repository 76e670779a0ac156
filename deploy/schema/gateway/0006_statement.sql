-- Statements are read in pieces, each in a transaction of its own; what cannot be placed belongs to the partner who keeps
-- the bank account, and a person can book what the machine would not.

-- +goose Up
ALTER TABLE anchor.statement
    ADD COLUMN partner text        NOT NULL DEFAULT '',    -- who brought it
    ADD COLUMN file    bytea       NOT NULL DEFAULT '',    -- as it came, so that any process can read on
    ADD COLUMN next    integer     NOT NULL DEFAULT 0,     -- the first entry that was not placed yet
    ADD COLUMN done    boolean     NOT NULL DEFAULT true,
    ADD COLUMN touched timestamptz NOT NULL DEFAULT now(); -- when somebody last read on
ALTER TABLE anchor.statement ALTER COLUMN done SET DEFAULT false;
-- The same bytes from two partners are two statements: one of them is about an account that is not his.
ALTER TABLE anchor.statement DROP CONSTRAINT statement_pkey, ADD PRIMARY KEY (partner, hash);
GRANT UPDATE (summary, next, done, touched) ON anchor.statement TO diamante_gateway;

ALTER TABLE anchor.quarantine
    ADD COLUMN partner text    NOT NULL DEFAULT '',    -- who may see and resolve it; '' is for staff only
    ADD COLUMN account text    NOT NULL DEFAULT '',    -- our account at the bank that it was on
    ADD COLUMN debit   boolean NOT NULL DEFAULT false, -- money went out
    ADD COLUMN booked  boolean NOT NULL DEFAULT false; -- the book has it
UPDATE anchor.quarantine SET booked = true WHERE units IS NOT NULL;
GRANT UPDATE (asset, units, booked) ON anchor.quarantine TO diamante_gateway;

ALTER TABLE anchor.incoming
    ADD COLUMN owed  boolean NOT NULL DEFAULT false, -- the credit was destroyed, and the book has it as a debt
    ADD COLUMN round integer NOT NULL DEFAULT 0;     -- how often a person has had it sent back
GRANT UPDATE (state, reason, owed, round) ON anchor.incoming TO diamante_gateway;
