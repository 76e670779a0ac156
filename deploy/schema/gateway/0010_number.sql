-- "Not a number" passes every check that an amount is not negative, and spoils every sum that it is in.

-- +goose Up
ALTER TABLE anchor.supply      ADD CHECK (units <> 'NaN');
ALTER TABLE anchor.transaction ADD CHECK (expected <> 'NaN'), ADD CHECK (amount <> 'NaN');
ALTER TABLE anchor.quarantine  ADD CHECK (units <> 'NaN');
ALTER TABLE anchor.incoming    ADD CHECK (units <> 'NaN');
ALTER TABLE anchor.payout      ADD CHECK (units <> 'NaN');
ALTER TABLE anchor.bank        ADD CHECK (closing <> 'NaN');
