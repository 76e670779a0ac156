-- When a request that has to lie was first seen, also by the database's own clock, which the signer's role cannot give: a
-- row that a thief of its password dates back opens nothing. The later of the two counts.

-- +goose Up
ALTER TABLE signer.seen ADD COLUMN noted timestamptz;
-- Rows from before have none: for them the signer's clock stands alone.
ALTER TABLE signer.seen ALTER COLUMN noted SET DEFAULT clock_timestamp();
REVOKE INSERT ON signer.seen FROM diamante_signer;
GRANT INSERT (key, ref, sha256, at, caller) ON signer.seen TO diamante_signer;
