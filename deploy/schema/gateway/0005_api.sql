-- What the public API itself must remember: answers to keyed requests, and which login challenges are used up.

-- +goose Up
CREATE SCHEMA api;

-- One row per Idempotency-Key of a caller. It binds the key to one request from the first time on; the answer is added
-- when there is one. claimed_until is how long the request that is being answered has the key for itself: after a crash
-- the next one takes over when it is past, and the domain's own unique key keeps it from doing anything twice.
CREATE TABLE api.idempotency (
    scope         text        NOT NULL CHECK (scope <> ''),
    key           text        NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    request       bytea       NOT NULL CHECK (octet_length(request) = 32), -- SHA-256 of the request
    claimed_until timestamptz NOT NULL,
    status        integer     CHECK (status BETWEEN 200 AND 299),
    content_type  text,
    body          bytea       CHECK (octet_length(body) <= 262144),
    at            timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (scope, key),
    CHECK ((status IS NULL) = (body IS NULL) AND (status IS NULL) = (content_type IS NULL))
);
CREATE INDEX idempotency_at ON api.idempotency (at);

-- One row per SEP-10 challenge that was answered. The primary key is what makes a challenge good for one token.
CREATE TABLE api.challenge (
    hash    text        PRIMARY KEY CHECK (hash ~ '^[0-9a-f]{64}$'), -- of the challenge transaction
    account text        NOT NULL,
    expires timestamptz NOT NULL,
    at      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX challenge_expires ON api.challenge (expires);

-- Rows go when they no longer protect anything, and not before, whatever the program thinks.
-- +goose StatementBegin
CREATE FUNCTION api.challenge_lives() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.expires > now() - interval '1 hour' THEN
        RAISE EXCEPTION 'api.challenge: % can still be replayed', OLD.hash;
    END IF;
    RETURN OLD;
END $$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE FUNCTION api.key_lives() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.at > now() - interval '1 day' THEN
        RAISE EXCEPTION 'api.idempotency: a key is kept for a day';
    END IF;
    RETURN OLD;
END $$;
-- +goose StatementEnd
CREATE TRIGGER lives BEFORE DELETE ON api.challenge   FOR EACH ROW EXECUTE FUNCTION api.challenge_lives();
CREATE TRIGGER lives BEFORE DELETE ON api.idempotency FOR EACH ROW EXECUTE FUNCTION api.key_lives();

GRANT USAGE ON SCHEMA api TO diamante_gateway;
GRANT SELECT, INSERT, DELETE ON api.challenge, api.idempotency TO diamante_gateway;
-- A key's owner and request never change.
GRANT UPDATE (claimed_until, status, content_type, body) ON api.idempotency TO diamante_gateway;
