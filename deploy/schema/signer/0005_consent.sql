-- Approvals of people, each used once: the primary key keeps a second use out, whatever the program does.

-- +goose Up
CREATE TABLE signer.consent (
    nonce     text        PRIMARY KEY CHECK (nonce ~ '^[0-9a-f]{32}$'),
    officer   text        NOT NULL,
    key       text        NOT NULL,
    ref       text        NOT NULL,
    expires   timestamptz NOT NULL,
    signature bytea       NOT NULL CHECK (octet_length(signature) = 64),
    at        timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (key, ref) REFERENCES signer.request (key, ref)
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON signer.consent FOR EACH STATEMENT EXECUTE FUNCTION signer.refuse();
GRANT SELECT, INSERT ON signer.consent TO diamante_signer;
