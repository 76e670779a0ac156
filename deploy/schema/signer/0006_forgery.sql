-- What a thief of the signer's password must not be able to do to evidence and to limits.

-- +goose Up
-- Where a record stands in the log follows from its transaction, and only the database says which one that was.
REVOKE INSERT ON audit.record FROM diamante_recorder;
GRANT INSERT (id, at, action, body) ON audit.record TO diamante_recorder;

-- "Not a number" passes every check that an amount is not negative, and spoils every sum that it is in.
ALTER TABLE signer.reservation ADD CHECK (amount <> 'NaN');
ALTER TABLE signer.usage       ADD CHECK (amount <> 'NaN' AND released <> 'NaN');
