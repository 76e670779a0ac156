-- The signer's role. It owns nothing, and has no rights on the gateway's database.

-- +goose Up
-- +goose StatementBegin
DO $$ BEGIN
    IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'diamante_signer') THEN
        CREATE ROLE diamante_signer LOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$;
-- +goose StatementEnd
GRANT diamante_recorder TO diamante_signer;
