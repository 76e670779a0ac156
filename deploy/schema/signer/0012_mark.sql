-- How often officers have accepted that this database was lost and an older copy of it took its place. The mark in the
-- device has the same number: within one epoch, nothing that it remembers may be missing here.

-- +goose Up
CREATE TABLE signer.epoch (
    epoch bigint PRIMARY KEY CHECK (epoch > 0),
    xid   xid8   NOT NULL DEFAULT pg_current_xact_id() -- of the record that says why
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON signer.epoch FOR EACH STATEMENT EXECUTE FUNCTION signer.refuse();
GRANT SELECT, INSERT ON signer.epoch TO diamante_signer;
