-- What rules about time, lists and homes of keys are held to.

-- +goose Up
-- When the signer first saw a request that has to lie before it is signed, by the signer's own clock.
CREATE TABLE signer.seen (
    key    text        NOT NULL CHECK (octet_length(key) BETWEEN 1 AND 96),
    ref    text        NOT NULL CHECK (octet_length(ref) BETWEEN 1 AND 128),
    sha256 bytea       NOT NULL CHECK (octet_length(sha256) = 32), -- of the kind's name, a zero byte and the body
    at     timestamptz NOT NULL,
    caller text        NOT NULL,
    PRIMARY KEY (key, ref, sha256)
);

-- The signer's clock, as often as it went on by a minute or more while something was written: it must not go back.
CREATE TABLE signer.moment (
    at timestamptz PRIMARY KEY
);

-- Every version of every list that was ever in force.
CREATE TABLE signer.list (
    name       text        NOT NULL,
    version    bigint      NOT NULL CHECK (version > 0),
    hash       bytea       NOT NULL CHECK (hash = sha256(file)),
    file       bytea       NOT NULL,
    signatures bytea       NOT NULL,
    at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (name, version)
);

-- What each key id has stood for, and where that key is: the newest row counts.
CREATE TABLE signer.key (
    n      bigint      NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key    text        NOT NULL,
    public text        NOT NULL,
    home   text        NOT NULL,
    policy bigint      NOT NULL REFERENCES signer.policy (version), -- that said so first
    at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX key_newest ON signer.key (key, n);

-- On whose word a request was made, so that it can be judged again. Not known of those that are older.
ALTER TABLE signer.request ADD COLUMN initiator text NOT NULL DEFAULT '';

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON signer.seen   FOR EACH STATEMENT EXECUTE FUNCTION signer.refuse();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON signer.moment FOR EACH STATEMENT EXECUTE FUNCTION signer.refuse();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON signer.list   FOR EACH STATEMENT EXECUTE FUNCTION signer.refuse();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON signer.key    FOR EACH STATEMENT EXECUTE FUNCTION signer.refuse();
GRANT SELECT, INSERT ON signer.seen, signer.moment, signer.list, signer.key TO diamante_signer;
