-- What the evidence of one signature, refusal, order or policy is made of, found again without reading the whole log: the
-- transaction whose records they are. It needs no index of its own, since the records have one by transaction.

-- +goose Up
ALTER TABLE signer.policy      ADD COLUMN xid xid8, ADD COLUMN file bytea, ADD COLUMN signatures bytea;
ALTER TABLE signer.request     ADD COLUMN xid xid8;
ALTER TABLE signer.signature   ADD COLUMN xid xid8;
ALTER TABLE signer.consent     ADD COLUMN xid xid8;
ALTER TABLE signer.orders      ADD COLUMN xid xid8;
ALTER TABLE signer.seen        ADD COLUMN xid xid8;
ALTER TABLE signer.list        ADD COLUMN xid xid8;
ALTER TABLE signer.attestation ADD COLUMN xid xid8;
-- Rows from before have none: when they were written is not known any more.
ALTER TABLE signer.policy      ALTER COLUMN xid SET DEFAULT pg_current_xact_id();
ALTER TABLE signer.request     ALTER COLUMN xid SET DEFAULT pg_current_xact_id();
ALTER TABLE signer.signature   ALTER COLUMN xid SET DEFAULT pg_current_xact_id();
ALTER TABLE signer.consent     ALTER COLUMN xid SET DEFAULT pg_current_xact_id();
ALTER TABLE signer.orders      ALTER COLUMN xid SET DEFAULT pg_current_xact_id();
ALTER TABLE signer.seen        ALTER COLUMN xid SET DEFAULT pg_current_xact_id();
ALTER TABLE signer.list        ALTER COLUMN xid SET DEFAULT pg_current_xact_id();
ALTER TABLE signer.attestation ALTER COLUMN xid SET DEFAULT pg_current_xact_id();
CREATE INDEX consent_request ON signer.consent (key, ref);

-- The policy itself, with the board's signatures: what was decided by it must be provable when it is long replaced.
ALTER TABLE signer.policy ADD CHECK (file IS NULL OR sha256(file) = hash), ADD CHECK ((file IS NULL) = (signatures IS NULL));

-- Refusals that are on record.
CREATE TABLE signer.refusal (
    n   bigint NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key text   NOT NULL CHECK (octet_length(key) BETWEEN 1 AND 96),
    ref text   NOT NULL CHECK (octet_length(ref) BETWEEN 1 AND 128),
    xid xid8   NOT NULL DEFAULT pg_current_xact_id()
);
CREATE INDEX refusal_request ON signer.refusal (key, ref);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON signer.refusal FOR EACH STATEMENT EXECUTE FUNCTION signer.refuse();
GRANT SELECT, INSERT ON signer.refusal TO diamante_signer;
