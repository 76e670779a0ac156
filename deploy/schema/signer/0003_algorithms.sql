-- Keys of more than one algorithm: the journal names the algorithm with the public key, "ed25519:HEX", and holds as many
-- signatures as the body has messages for the key.

-- +goose Up
ALTER TABLE signer.signature DROP CONSTRAINT signature_public_check, DROP CONSTRAINT signature_signature_check;
ALTER TABLE signer.signature ALTER COLUMN public TYPE text USING 'ed25519:' || encode(public, 'hex');
ALTER TABLE signer.signature
    ADD CHECK (public ~ '^ed25519:[0-9a-f]{64}$' AND octet_length(signature) = 64
            OR public ~ '^secp256k1:0[23][0-9a-f]{64}$' AND octet_length(signature) > 0 AND octet_length(signature) % 65 = 0
            OR public ~ '^p256:0[23][0-9a-f]{64}$' AND octet_length(signature) = 64);
