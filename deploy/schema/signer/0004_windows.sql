-- Limits over sliding windows, and one reservation for all transactions that share a source account and a sequence number,
-- of which the ledger applies one at most.

-- +goose Up
-- Sums of a counter over one part of its window's time line. Both numbers can only grow.
CREATE TABLE signer.usage (
    key      text           NOT NULL,
    name     text           NOT NULL, -- an asset, or "fee"
    seconds  integer        NOT NULL CHECK (seconds > 0), -- of the window
    slot     bigint         NOT NULL,
    amount   numeric(38, 0) NOT NULL CHECK (amount >= 0),
    released numeric(38, 0) NOT NULL DEFAULT 0 CHECK (released BETWEEN 0 AND amount),
    PRIMARY KEY (key, name, seconds, slot)
);
-- What was counted by days counts as spent at each day's end.
INSERT INTO signer.usage (key, name, seconds, slot, amount)
    SELECT key, counter, 86400, floor(extract(epoch FROM least(now(), (day + 1)::timestamp AT TIME ZONE 'UTC')) / 900)::bigint AS slot, sum(amount)
    FROM signer.counter GROUP BY key, counter, slot;
DROP TABLE signer.counter;
DROP FUNCTION signer.only_grow;

-- Reservations become a journal of their own: a release is a row with a negative amount, and names who took over.
ALTER TABLE signer.reservation DROP CONSTRAINT reservation_pkey, DROP CONSTRAINT reservation_amount_check;
ALTER TABLE signer.reservation RENAME COLUMN counter TO name;
ALTER TABLE signer.reservation
    ADD COLUMN n       bigint  NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ADD COLUMN seconds integer NOT NULL DEFAULT 86400,
    ADD COLUMN slot    bigint  NOT NULL DEFAULT 0,
    ADD COLUMN by      text    NOT NULL DEFAULT '', -- in a release, the ref that took over
    ADD CHECK (amount >= 0 AND by = '' OR amount < 0 AND by <> '');
ALTER TABLE signer.reservation ALTER COLUMN seconds DROP DEFAULT, ALTER COLUMN slot DROP DEFAULT;
CREATE INDEX reservation_ref ON signer.reservation (key, ref);

-- Who has which sequence number: the newest row counts.
CREATE TABLE signer.sequence (
    n        bigint NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key      text   NOT NULL,
    source   text   NOT NULL,
    sequence bigint NOT NULL,
    ref      text   NOT NULL,
    FOREIGN KEY (key, ref) REFERENCES signer.request (key, ref)
);
CREATE INDEX sequence_holder ON signer.sequence (key, source, sequence, n);

-- The day of a request has no meaning any more.
ALTER TABLE signer.request DROP COLUMN day;

-- +goose StatementBegin
CREATE FUNCTION signer.only_grow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.amount < OLD.amount OR NEW.released < OLD.released OR (NEW.key, NEW.name, NEW.seconds, NEW.slot) IS DISTINCT FROM (OLD.key, OLD.name, OLD.seconds, OLD.slot) THEN
        RAISE EXCEPTION 'signer.usage only grows';
    END IF;
    RETURN NEW;
END $$;
-- +goose StatementEnd
CREATE TRIGGER no_removal  BEFORE DELETE OR TRUNCATE           ON signer.usage    FOR EACH STATEMENT EXECUTE FUNCTION signer.refuse();
CREATE TRIGGER only_grow   BEFORE UPDATE                       ON signer.usage    FOR EACH ROW       EXECUTE FUNCTION signer.only_grow();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON signer.sequence FOR EACH STATEMENT EXECUTE FUNCTION signer.refuse();

GRANT SELECT, INSERT ON signer.usage, signer.sequence TO diamante_signer;
GRANT UPDATE (amount, released) ON signer.usage TO diamante_signer;
