-- What a passkey signed besides the intent, so that an approval given with one can be verified again.

-- +goose Up
ALTER TABLE signer.consent
    ADD COLUMN authenticator bytea CHECK (octet_length(authenticator) = 37),
    ADD COLUMN client        bytea CHECK (octet_length(client) BETWEEN 1 AND 512),
    ADD CHECK ((authenticator IS NULL) = (client IS NULL));
