-- Orders of officers to freeze keys and to thaw them: the newest for a key counts. A nonce is there once, so an old order
-- is worth nothing.

-- +goose Up
CREATE TABLE signer.orders (
    n      bigint      NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    nonce  text        NOT NULL UNIQUE CHECK (nonce ~ '^[0-9a-f]{32}$'),
    key    text        NOT NULL, -- '*' for every key
    action text        NOT NULL CHECK (action IN ('freeze', 'thaw')),
    body   jsonb       NOT NULL, -- the order with its signatures
    at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX orders_key ON signer.orders (key, n);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON signer.orders FOR EACH STATEMENT EXECUTE FUNCTION signer.refuse();
GRANT SELECT, INSERT ON signer.orders TO diamante_signer;
