-- The signer's journal. What is about to be signed is written down, with what it uses up of the day's limits, before a
-- key is touched; the signature is written down before anyone gets it. So a crash can cost a signature and never give
-- two answers, and no limit is ever forgotten.
--
-- Rows are only ever added. The one exception are the counters, which can only grow: whoever steals the signer's
-- database password can't give himself a fresh day.

-- +goose Up
CREATE SCHEMA signer;

-- Every policy that was ever in force. The signer refuses to start with a lower version than the highest here, or with
-- another file under a version that is here already.
CREATE TABLE signer.policy (
    version bigint      PRIMARY KEY CHECK (version > 0),
    hash    bytea       NOT NULL CHECK (octet_length(hash) = 32), -- SHA-256 of the signed file
    at      timestamptz NOT NULL DEFAULT now()
);

-- One row per request that the policy allowed: the intent.
CREATE TABLE signer.request (
    key    text        NOT NULL CHECK (octet_length(key) BETWEEN 1 AND 96),
    ref    text        NOT NULL CHECK (octet_length(ref) BETWEEN 1 AND 128),
    kind   text        NOT NULL,
    body   bytea       NOT NULL CHECK (octet_length(body) BETWEEN 1 AND 65536), -- all of it: what was signed must be provable later
    caller text        NOT NULL,
    policy bigint      NOT NULL REFERENCES signer.policy (version),
    day    date        NOT NULL, -- UTC; whose counters the reservations are in
    at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (key, ref)
);

-- What a request reserved. Kept apart from the counters so that each counter can be proved from its parts.
CREATE TABLE signer.reservation (
    key     text           NOT NULL,
    ref     text           NOT NULL,
    counter text           NOT NULL, -- an asset, or "fee"
    amount  numeric(38, 0) NOT NULL CHECK (amount >= 0),
    PRIMARY KEY (key, ref, counter),
    FOREIGN KEY (key, ref) REFERENCES signer.request (key, ref)
);

-- The sum of a day's reservations of a key.
CREATE TABLE signer.counter (
    key     text           NOT NULL,
    day     date           NOT NULL,
    counter text           NOT NULL,
    amount  numeric(38, 0) NOT NULL CHECK (amount >= 0),
    PRIMARY KEY (key, day, counter)
);

-- High-water marks of logs. The primary key alone keeps a second root for the same size out.
CREATE TABLE signer.checkpoint (
    origin text   NOT NULL,
    size   bigint NOT NULL CHECK (size > 0),
    root   bytea  NOT NULL CHECK (octet_length(root) = 32),
    PRIMARY KEY (origin, size)
);

-- The answer, once it was made and verified.
CREATE TABLE signer.signature (
    key       text        NOT NULL,
    ref       text        NOT NULL,
    public    bytea       NOT NULL CHECK (octet_length(public) = 32),
    signature bytea       NOT NULL CHECK (octet_length(signature) = 64),
    at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (key, ref),
    FOREIGN KEY (key, ref) REFERENCES signer.request (key, ref)
);

-- +goose StatementBegin
CREATE FUNCTION signer.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'signer.% is append-only', TG_TABLE_NAME;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION signer.only_grow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.amount < OLD.amount OR (NEW.key, NEW.day, NEW.counter) IS DISTINCT FROM (OLD.key, OLD.day, OLD.counter) THEN
        RAISE EXCEPTION 'signer.counter only grows';
    END IF;
    RETURN NEW;
END $$;
-- +goose StatementEnd

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON signer.policy      FOR EACH STATEMENT EXECUTE FUNCTION signer.refuse();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON signer.request     FOR EACH STATEMENT EXECUTE FUNCTION signer.refuse();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON signer.reservation FOR EACH STATEMENT EXECUTE FUNCTION signer.refuse();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON signer.checkpoint  FOR EACH STATEMENT EXECUTE FUNCTION signer.refuse();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON signer.signature   FOR EACH STATEMENT EXECUTE FUNCTION signer.refuse();
CREATE TRIGGER no_removal  BEFORE DELETE OR TRUNCATE           ON signer.counter     FOR EACH STATEMENT EXECUTE FUNCTION signer.refuse();
CREATE TRIGGER only_grow   BEFORE UPDATE                       ON signer.counter     FOR EACH ROW       EXECUTE FUNCTION signer.only_grow();

GRANT USAGE ON SCHEMA signer TO diamante_signer;
GRANT SELECT, INSERT ON signer.policy, signer.request, signer.reservation, signer.counter, signer.checkpoint, signer.signature TO diamante_signer;
GRANT UPDATE (amount) ON signer.counter TO diamante_signer;
