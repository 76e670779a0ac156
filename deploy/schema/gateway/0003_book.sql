-- The book: accounts, transfers between them, and how each transfer ended. The gateway's role inserts transfers and
-- resolutions and reads; it cannot touch a balance. Balances follow from the inserts, in triggers that run as the
-- schema's owner, so that a row of book.transfer and its effect on two balances are one thing.

-- +goose Up
CREATE SCHEMA book;

-- Domains rather than CHECKs of the tables: PostgreSQL checks a domain when a column is written, but all CHECKs of a
-- table at every update of a row, and balances are updated four times per transfer.
CREATE DOMAIN book.account_code AS text CHECK (VALUE ~ '^[a-z][a-z0-9_-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)+$' AND length(VALUE) <= 128);
CREATE DOMAIN book.currency AS text CHECK (VALUE ~ '^[A-Za-z0-9]{1,12}/([0-9]|1[0-8])$'); -- code and scale: USD/7
CREATE DOMAIN book.side AS text CHECK (VALUE IN ('debit', 'credit'));
CREATE DOMAIN book.name AS text CHECK (VALUE ~ '^[!-~]{1,128}$');
CREATE DOMAIN book.units AS numeric(38, 0) CHECK (VALUE >= 0);

-- One row per account. A balance is what came in less what went out; pending is counted on the side it leaves from
-- only, so held money can be neither spent twice nor spent before it has come.
CREATE TABLE book.account (
    code            book.account_code PRIMARY KEY,
    currency        book.currency     NOT NULL,
    normal          book.side         NOT NULL,
    overdraw        boolean           NOT NULL DEFAULT false, -- may the balance be on the other side?
    debits_pending  book.units        NOT NULL DEFAULT 0,
    debits_posted   book.units        NOT NULL DEFAULT 0,
    credits_pending book.units        NOT NULL DEFAULT 0,
    credits_posted  book.units        NOT NULL DEFAULT 0,
    opened          timestamptz       NOT NULL DEFAULT now(),
    CONSTRAINT account_currency UNIQUE (code, currency),
    CONSTRAINT account_covered CHECK (overdraw OR CASE normal
        WHEN 'credit' THEN debits_posted + debits_pending <= credits_posted
        ELSE credits_posted + credits_pending <= debits_posted END)
) WITH (fillfactor = 50); -- room for the next version of a busy row in the same page

-- One row per transfer, pending from here on. The caller chooses the id: doing it again is the same transfer.
CREATE TABLE book.transfer (
    id       book.name         PRIMARY KEY,
    n        bigint            NOT NULL GENERATED ALWAYS AS IDENTITY,
    debit    book.account_code NOT NULL,
    credit   book.account_code NOT NULL,
    currency book.currency     NOT NULL,
    amount   book.units        NOT NULL,
    ref      book.name         NOT NULL, -- the movement that compliance cleared
    created  timestamptz       NOT NULL DEFAULT now(),
    CONSTRAINT transfer_ref UNIQUE (ref), -- one clearance moves money once, also when it is given again after a crash
    CONSTRAINT transfer_moves CHECK (debit <> credit AND amount > 0),
    CONSTRAINT transfer_debit  FOREIGN KEY (debit, currency)  REFERENCES book.account (code, currency),
    CONSTRAINT transfer_credit FOREIGN KEY (credit, currency) REFERENCES book.account (code, currency)
);
CREATE UNIQUE INDEX transfer_order ON book.transfer (n);
CREATE INDEX transfer_debits ON book.transfer (debit, n);
CREATE INDEX transfer_credits ON book.transfer (credit, n);

-- How a transfer ended. The primary key alone keeps a second end out.
CREATE TABLE book.resolution (
    transfer book.name   PRIMARY KEY REFERENCES book.transfer (id),
    outcome  text        NOT NULL CHECK (outcome IN ('posted', 'voided')),
    at       timestamptz NOT NULL DEFAULT now()
);

-- The two accounts are always updated in the order of their codes, so that no two transfers wait for each other. An
-- account that does not exist in the transfer's currency is left to the foreign keys to refuse.
-- +goose StatementBegin
CREATE FUNCTION book.transferred() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.debit < NEW.credit THEN
        UPDATE book.account SET debits_pending = debits_pending + NEW.amount WHERE code = NEW.debit AND currency = NEW.currency;
        UPDATE book.account SET credits_pending = credits_pending + NEW.amount WHERE code = NEW.credit AND currency = NEW.currency;
    ELSE
        UPDATE book.account SET credits_pending = credits_pending + NEW.amount WHERE code = NEW.credit AND currency = NEW.currency;
        UPDATE book.account SET debits_pending = debits_pending + NEW.amount WHERE code = NEW.debit AND currency = NEW.currency;
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION book.resolved() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    debited  text;
    credited text;
    pending  numeric;
    posted   numeric := 0;
BEGIN
    SELECT debit, credit, amount INTO debited, credited, pending FROM book.transfer WHERE id = NEW.transfer;
    IF NEW.outcome = 'posted' THEN
        posted := pending;
    END IF;
    IF debited < credited THEN
        UPDATE book.account SET debits_pending = debits_pending - pending, debits_posted = debits_posted + posted WHERE code = debited;
        UPDATE book.account SET credits_pending = credits_pending - pending, credits_posted = credits_posted + posted WHERE code = credited;
    ELSE
        UPDATE book.account SET credits_pending = credits_pending - pending, credits_posted = credits_posted + posted WHERE code = credited;
        UPDATE book.account SET debits_pending = debits_pending - pending, debits_posted = debits_posted + posted WHERE code = debited;
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION book.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'book.% is not changed by %', TG_TABLE_NAME, TG_OP;
END $$;
-- +goose StatementEnd

-- Nobody calls these but the triggers.
REVOKE ALL ON FUNCTION book.transferred, book.resolved FROM PUBLIC;

-- Triggers fire in the order of their names, and those that check foreign keys begin with "RI". Balances come first:
-- the check then finds the account's row already ours, and does not mark a busy row as shared by every transfer.
CREATE TRIGGER "0_balance" AFTER INSERT ON book.transfer   FOR EACH ROW EXECUTE FUNCTION book.transferred();
CREATE TRIGGER "0_balance" AFTER INSERT ON book.resolution FOR EACH ROW EXECUTE FUNCTION book.resolved();

-- Even the owner changes no history, and no balance but through the triggers above.
CREATE TRIGGER append_only   BEFORE UPDATE OR DELETE OR TRUNCATE ON book.transfer   FOR EACH STATEMENT EXECUTE FUNCTION book.refuse();
CREATE TRIGGER append_only   BEFORE UPDATE OR DELETE OR TRUNCATE ON book.resolution FOR EACH STATEMENT EXECUTE FUNCTION book.refuse();
CREATE TRIGGER no_removal    BEFORE DELETE OR TRUNCATE           ON book.account    FOR EACH STATEMENT EXECUTE FUNCTION book.refuse();
CREATE TRIGGER only_by_trigger BEFORE UPDATE                     ON book.account    FOR EACH STATEMENT
    WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION book.refuse();

GRANT USAGE ON SCHEMA book TO diamante_gateway;
GRANT SELECT ON book.account, book.transfer, book.resolution TO diamante_gateway;
-- An account is born empty and a transfer is stamped by the database: these columns only.
GRANT INSERT (code, currency, normal, overdraw) ON book.account TO diamante_gateway;
GRANT INSERT (id, debit, credit, currency, amount, ref) ON book.transfer TO diamante_gateway;
GRANT INSERT (transfer, outcome) ON book.resolution TO diamante_gateway;
