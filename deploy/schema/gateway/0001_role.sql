-- The gateway's role. It owns nothing.

-- +goose Up
-- +goose StatementBegin
DO $$ BEGIN
    IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'diamante_gateway') THEN
        CREATE ROLE diamante_gateway LOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$;
-- +goose StatementEnd
GRANT diamante_recorder TO diamante_gateway;
