-- The audit log, the same in the gateway's and the signer's database. The programs' roles can INSERT and SELECT here and
-- nothing else; triggers refuse the rest even to the owner.

-- +goose Up
-- +goose StatementBegin
DO $$ BEGIN
    IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'diamante_recorder') THEN
        CREATE ROLE diamante_recorder NOLOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; -- another database of the cluster made it just now
END $$;
-- +goose StatementEnd

CREATE SCHEMA audit;

-- One row per event. (xid, n) orders the log: a record is sequenced only once every transaction with a lower xid has
-- ended, so that none can appear behind the sequencer's back.
CREATE TABLE audit.record (
    id     text        PRIMARY KEY CHECK (id ~ '^[0-9a-f]{32}$'),
    xid    xid8        NOT NULL DEFAULT pg_current_xact_id(),
    n      bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    at     timestamptz NOT NULL,
    action text        NOT NULL,
    body   bytea       NOT NULL -- canonical JSON, the leaf's preimage
);
CREATE UNIQUE INDEX record_order ON audit.record (xid, n);
CREATE INDEX record_at ON audit.record (at);

-- The sequencer's: which record has which index in the log.
CREATE TABLE audit.leaf (
    idx    bigint PRIMARY KEY CHECK (idx >= 0),
    record text   NOT NULL UNIQUE REFERENCES audit.record (id),
    xid    xid8   NOT NULL,
    n      bigint NOT NULL
);

-- Stored hashes of the tree, in the numbering of golang.org/x/mod/sumdb/tlog.
CREATE TABLE audit.hash (
    idx  bigint PRIMARY KEY CHECK (idx >= 0),
    hash bytea  NOT NULL CHECK (octet_length(hash) = 32)
);

-- Signed checkpoints: a tree size has at most one.
CREATE TABLE audit.checkpoint (
    size bigint      PRIMARY KEY CHECK (size > 0),
    root bytea       NOT NULL CHECK (octet_length(root) = 32),
    note text        NOT NULL,
    at   timestamptz NOT NULL
);

-- +goose StatementBegin
CREATE FUNCTION audit.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit.% is append-only', TG_TABLE_NAME;
END $$;
-- +goose StatementEnd

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit.record     FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit.leaf       FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit.hash       FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit.checkpoint FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse();

GRANT USAGE ON SCHEMA audit TO diamante_recorder;
GRANT SELECT, INSERT ON audit.record, audit.leaf, audit.hash, audit.checkpoint TO diamante_recorder;
