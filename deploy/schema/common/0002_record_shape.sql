-- A record's columns say what its body says, whoever inserts it. The columns are what ranges and searches go by; with
-- other columns than the signed body a thief of the program's password could hide a record from an export.

-- +goose Up
ALTER TABLE audit.record ADD CONSTRAINT record_shape CHECK (
    octet_length(body) BETWEEN 2 AND 65536
    AND position('\x0a'::bytea IN body) = 0 -- one line each in an export
    AND (convert_from(body, 'UTF8')::jsonb ->> 'id') = id
    AND (convert_from(body, 'UTF8')::jsonb ->> 'action') = action
    AND (convert_from(body, 'UTF8')::jsonb ->> 'at')::timestamptz = at
);

-- The last checkpoint before a time, for exports.
CREATE INDEX checkpoint_at ON audit.checkpoint (at);
