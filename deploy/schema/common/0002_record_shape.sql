-- A record's columns say what its body says, whoever inserts it. The columns are what ranges and searches go by; with
-- other columns than the signed body a thief of the program's password could hide a record from an export.

-- +goose Up
ALTER TABLE audit.record ADD CONSTRAINT record_shape CHECK (
    octet_length(body) BETWEEN 2 AND 65536
    AND position('\x0a'::bytea IN body) = 0 -- one line each in an export
    -- The server can't read a JSON text with an escaped character zero, which a record of bad input may have to quote.
    -- It never belongs into these three, so another control character stands in for it. IS NOT DISTINCT FROM, since a
    -- check that is null because a field is missing would pass.
    AND (replace(convert_from(body, 'UTF8'), '\u0000', '\u0001')::json ->> 'id') IS NOT DISTINCT FROM id
    AND (replace(convert_from(body, 'UTF8'), '\u0000', '\u0001')::json ->> 'action') IS NOT DISTINCT FROM action
    AND (replace(convert_from(body, 'UTF8'), '\u0000', '\u0001')::json ->> 'at')::timestamptz IS NOT DISTINCT FROM at
);

-- The last checkpoint before a time, for exports.
CREATE INDEX checkpoint_at ON audit.checkpoint (at);
