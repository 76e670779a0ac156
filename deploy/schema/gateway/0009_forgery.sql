-- What a thief of the program's password must not be able to do to evidence and to balances.

-- +goose Up
-- Where a record stands in the log follows from its transaction, and only the database says which one that was: under a
-- low number it would lie behind the sequencer's back for ever, under a high one ahead of it.
REVOKE INSERT ON audit.record FROM diamante_recorder;
GRANT INSERT (id, at, action, body) ON audit.record TO diamante_recorder;

-- "Not a number" is larger than zero, and larger than any balance: an account with it in its credits covers everything,
-- and can't be mended, since nothing taken from it makes it a number again.
ALTER DOMAIN book.units ADD CONSTRAINT units_number CHECK (VALUE <> 'NaN');
ALTER TABLE compliance.decision ADD CONSTRAINT decision_number CHECK (units <> 'NaN');
