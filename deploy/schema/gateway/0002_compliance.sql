-- Whom we may serve, and what was decided about each movement of money.

-- +goose Up
CREATE SCHEMA compliance;

-- A customer of a partner, by his account on the ledger. Nobody else gets credit.
CREATE TABLE compliance.customer (
    account text        PRIMARY KEY CHECK (account ~ '^G[A-Z2-7]{55}$'),
    partner text        NOT NULL CHECK (octet_length(partner) BETWEEN 1 AND 128),
    ref     text        NOT NULL CHECK (octet_length(ref) BETWEEN 1 AND 128), -- the partner's own name of him
    status  text        NOT NULL CHECK (status IN ('active', 'frozen')),
    created timestamptz NOT NULL DEFAULT now(),
    UNIQUE (partner, ref)
);

-- What the gate answered, once for each movement. The row is what makes a second question get the first answer.
CREATE TABLE compliance.decision (
    ref      text           PRIMARY KEY CHECK (octet_length(ref) BETWEEN 1 AND 128),
    kind     text           NOT NULL CHECK (kind IN ('receipt', 'deposit', 'withdrawal', 'payout', 'refund')),
    subject  text           CHECK (subject ~ '^G[A-Z2-7]{55}$'), -- null: no customer is involved
    currency text           NOT NULL,
    units    numeric(38, 0) NOT NULL CHECK (units > 0),
    outcome  text           NOT NULL CHECK (outcome IN ('cleared', 'refused')),
    reason   text           NOT NULL CHECK ((outcome = 'refused') = (reason <> '')),
    at       timestamptz    NOT NULL DEFAULT now()
);
CREATE INDEX decision_subject ON compliance.decision (subject, at);

-- +goose StatementBegin
CREATE FUNCTION compliance.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'compliance.%: % is refused', TG_TABLE_NAME, TG_OP;
END $$;
-- +goose StatementEnd

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON compliance.decision FOR EACH STATEMENT EXECUTE FUNCTION compliance.refuse();
CREATE TRIGGER no_removal  BEFORE DELETE OR TRUNCATE           ON compliance.customer FOR EACH STATEMENT EXECUTE FUNCTION compliance.refuse();

GRANT USAGE ON SCHEMA compliance TO diamante_gateway;
GRANT SELECT, INSERT ON compliance.customer, compliance.decision TO diamante_gateway;
GRANT UPDATE (status) ON compliance.customer TO diamante_gateway;
