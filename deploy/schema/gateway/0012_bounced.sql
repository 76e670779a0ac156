-- Payouts that the bank refuses, and those whose money comes back.

-- +goose Up
ALTER TABLE anchor.payout DROP CONSTRAINT payout_state_check,
    ADD CONSTRAINT payout_state_check CHECK (state IN ('written', 'paid', 'refused', 'returned'));
