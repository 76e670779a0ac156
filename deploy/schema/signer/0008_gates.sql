-- What the signer must remember to keep a validator from contradicting itself, credit from being issued beyond its
-- reserve, and collateral from leaving without its lien being discharged. Rows are only ever added.

-- +goose Up
-- High-water marks of validators, by the node and not by the key's id, which a policy could change: the newest step of a
-- series counts. The primary key alone keeps two processes from going on from the same mark. What was signed is the
-- request's body.
CREATE TABLE signer.scp (
    network text   NOT NULL CHECK (network ~ '^[0-9a-f]{64}$'),
    node    text   NOT NULL,
    series  text   NOT NULL CHECK (series IN ('nomination', 'ballot', 'value')),
    step    bigint NOT NULL CHECK (step > 0),
    key     text   NOT NULL,
    ref     text   NOT NULL,
    PRIMARY KEY (network, node, series, step),
    FOREIGN KEY (key, ref) REFERENCES signer.request (key, ref)
);

-- What attestors have said of reserves, as keymgmt.Attestation. Each is verified again whenever it is used, so a row that
-- nobody signed opens nothing.
CREATE TABLE signer.attestation (
    asset  text        NOT NULL,
    public text        NOT NULL, -- the attestor's address
    ledger bigint      NOT NULL CHECK (ledger > 0),
    body   jsonb       NOT NULL,
    at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (asset, public, ledger)
);

-- What issuers have signed of their own assets, whether or not a reserve is asked for: a rule that comes later must know.
CREATE TABLE signer.issuance (
    asset    text           NOT NULL,
    sequence bigint         NOT NULL CHECK (sequence > 0), -- of the issuer's account: the ledger applies one transaction of each at most
    max_time timestamptz    NOT NULL,                      -- no later ledger applies it
    amount   numeric(38, 0) NOT NULL CHECK (amount > 0 AND amount <> 'NaN'),
    key      text           NOT NULL,
    ref      text           NOT NULL,
    PRIMARY KEY (asset, sequence, key, ref),
    FOREIGN KEY (key, ref) REFERENCES signer.request (key, ref)
);

-- Discharges of liens, each used once: the primary key keeps a second use out, whatever the program does.
CREATE TABLE signer.discharge (
    nonce       text        PRIMARY KEY CHECK (nonce ~ '^[0-9a-f]{32}$'),
    lien        text        NOT NULL,
    holder      text        NOT NULL,
    asset       text        NOT NULL,
    amount      text        NOT NULL,
    destination text        NOT NULL,
    expires     timestamptz NOT NULL,
    signature   bytea       NOT NULL CHECK (octet_length(signature) = 64),
    key         text        NOT NULL,
    ref         text        NOT NULL,
    at          timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (key, ref) REFERENCES signer.request (key, ref)
);

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON signer.scp         FOR EACH STATEMENT EXECUTE FUNCTION signer.refuse();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON signer.attestation FOR EACH STATEMENT EXECUTE FUNCTION signer.refuse();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON signer.issuance    FOR EACH STATEMENT EXECUTE FUNCTION signer.refuse();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON signer.discharge   FOR EACH STATEMENT EXECUTE FUNCTION signer.refuse();
GRANT SELECT, INSERT ON signer.scp, signer.attestation, signer.issuance, signer.discharge TO diamante_signer;
