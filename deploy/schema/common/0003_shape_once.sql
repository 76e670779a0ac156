-- The same demands on a record as before, of one reading of its body instead of six: they took a third of the time that a
-- record takes.

-- +goose Up
-- What a record's body says of the columns beside it.
CREATE TYPE audit.told AS (id text, action text, at timestamptz);

ALTER TABLE audit.record DROP CONSTRAINT record_id_check, DROP CONSTRAINT record_shape;
ALTER TABLE audit.record
    ADD CONSTRAINT record_id_check CHECK (octet_length(id) = 32 AND encode(decode(id, 'hex'), 'hex') = id),
    ADD CONSTRAINT record_shape CHECK (
        octet_length(body) BETWEEN 2 AND 65536
        AND position('\x0a'::bytea IN body) = 0 -- one line each in an export
        -- As to the character zero, see 0002. What is missing in the body is null here, and distinct from every column.
        AND ROW(id, action, at)::audit.told IS NOT DISTINCT FROM
            json_populate_record(NULL::audit.told, replace(convert_from(body, 'UTF8'), '\u0000', '\u0001')::json)
    );
