-- The same demands on a signature as before, without a regular expression, which takes as long as all else that is done to
-- add the row.

-- +goose Up
ALTER TABLE signer.signature DROP CONSTRAINT signature_check;
ALTER TABLE signer.signature ADD CONSTRAINT signature_check CHECK (
    CASE left(public, strpos(public, ':'))
        WHEN 'ed25519:'   THEN octet_length(public) = 72 AND encode(decode(substr(public, 9), 'hex'), 'hex') = substr(public, 9)
                               AND octet_length(signature) = 64
        WHEN 'secp256k1:' THEN octet_length(public) = 76 AND encode(decode(substr(public, 11), 'hex'), 'hex') = substr(public, 11)
                               AND substr(public, 11, 2) IN ('02', '03') AND octet_length(signature) > 0 AND octet_length(signature) % 65 = 0
        WHEN 'p256:'      THEN octet_length(public) = 71 AND encode(decode(substr(public, 6), 'hex'), 'hex') = substr(public, 6)
                               AND substr(public, 6, 2) IN ('02', '03') AND octet_length(signature) = 64
        ELSE false
    END);
