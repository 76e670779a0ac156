package anchor

import (
	"context"
	"errors"
	"fmt"
	"math/big"

	"github.com/jackc/pgx/v5"
	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/anchor/flow"
	"github.com/diamante/gateway/compliance"
	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/custody/book"
	"github.com/diamante/gateway/custody/money"
	"github.com/diamante/gateway/node/protocol"
)

// keepEvery is how many ledgers without anything for us are read before the cursor is stored all the same.
const keepEvery = 64

// observe reads closed ledgers from the cursor on and carries out what they say, until ctx ends or something fails; the
// caller starts it again. Two observers on one database do no harm: a ledger counts for whoever moves the cursor past it.
func (s *Service) observe(ctx context.Context) error {
	stored, err := cursor(ctx, s.DB.Reader())
	if err != nil {
		return err
	}
	next := stored + 1
	for meta, err := range s.Network.Closes(ctx, next) {
		if err != nil {
			return fmt.Errorf("anchor: closed ledgers: %w", err)
		}
		f, err := s.read(meta)
		if err != nil {
			return err
		}
		if f.seq != next { // a ledger that is passed over could hold a transaction that is then taken for dead
			return fmt.Errorf("anchor: ledger %d came where %d was due", f.seq, next)
		}
		next++
		if f.seq > stored+keepEvery || f.concern() || s.awaits(ctx, f) {
			if err := s.carryOut(ctx, f); err != nil {
				return fmt.Errorf("anchor: ledger %d: %w", f.seq, err)
			}
			stored = f.seq
		}
		s.mu.Lock()
		s.observed = f.seq
		s.mu.Unlock()
	}
	return ctx.Err()
}

func cursor(ctx context.Context, r audit.Reader) (uint32, error) {
	var at int64
	if err := r.QueryRow(ctx, `SELECT ledger FROM anchor.cursor`).Scan(&at); err != nil {
		return 0, fmt.Errorf("anchor: cursor: %w", err)
	}
	return uint32(at), nil
}

// awaits reports whether a ledger ends one of our transactions: it holds it, or closed after its time. A transaction is
// stored before anybody can sign it, so none of a closed ledger can be missing here. Not knowing counts as yes.
func (s *Service) awaits(ctx context.Context, f facts) bool {
	hashes := make([]string, 0, len(f.results))
	for hash := range f.results {
		hashes = append(hashes, hash.String())
	}
	var ends bool
	err := s.DB.Reader().QueryRow(ctx, `SELECT EXISTS (SELECT FROM anchor.ledger_tx WHERE state IN ('built', 'signed') AND (not_after < $1 OR hash = ANY($2)))`,
		f.closed, hashes).Scan(&ends)
	return err != nil || ends
}

// carryOut does everything that a ledger says, and moves the cursor, in one transaction.
//
//  1. Move the cursor; if somebody else has, do nothing.
//  2. Change the supply by what the ledger changed.
//  3. Show what was done in our name and not by us.
//  4. Resolve our transactions that it holds, and those whose time has passed.
//  5. Place the payments that came.
//  6. Look at the lines that changed.
//  7. Show what could not be understood.
func (s *Service) carryOut(ctx context.Context, f facts) error {
	s.Failpoint("observe.before")
	defer s.Failpoint("observe.after")
	return audit.Do(ctx, s.DB, worker, func(ctx context.Context, tx *audit.Tx) error {
		tag, err := tx.Exec(ctx, `UPDATE anchor.cursor SET ledger = $1 WHERE ledger < $1`, int64(f.seq))
		if err != nil {
			return fmt.Errorf("anchor: cursor: %w", err)
		}
		if tag.RowsAffected() == 0 {
			return audit.ErrUnchanged
		}
		for asset, by := range f.supply {
			if err := addSupply(ctx, tx, asset, by); err != nil {
				return err
			}
		}
		if err := s.disown(ctx, tx, f); err != nil {
			return err
		}
		if err := s.resolve(ctx, tx, f); err != nil {
			return err
		}
		for _, p := range f.payments {
			if err := s.place(ctx, tx, f.seq, p); err != nil {
				return err
			}
		}
		for _, l := range f.lines {
			if err := s.look(ctx, tx, l); err != nil {
				return err
			}
		}
		for _, d := range f.defects {
			if err := s.quarantine(ctx, tx, heldEntry{statement: fmt.Sprintf("ledger %d", f.seq), reason: "not-understood", detail: d.detail, reference: d.hash.String()}); err != nil {
				return err
			}
		}
		_, err = tx.Record(ctx, audit.Event{Action: "cursor.advanced", Subject: fmt.Sprint(f.seq), Data: map[string]any{"payments": len(f.payments)}})
		return err
	})
}

// disown shows staff what was done with the keys of our accounts and that we know nothing of, or hold for dead or failed:
// somebody else has a key, or this database has lost rows.
func (s *Service) disown(ctx context.Context, tx *audit.Tx, f facts) error {
	for _, o := range f.own {
		var known bool
		hashes := make([]string, len(o.hashes))
		for i, hash := range o.hashes {
			hashes[i] = hash.String()
		}
		err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM anchor.ledger_tx WHERE hash = ANY($1)
			AND (state IN ('built', 'signed', 'blocked', 'succeeded') OR state = 'failed' AND NOT $2))`, hashes, o.successful).Scan(&known)
		if err != nil {
			return fmt.Errorf("anchor: ledger transactions: %w", err)
		}
		if known {
			continue
		}
		held := heldEntry{statement: fmt.Sprintf("ledger %d", f.seq), reason: "not-ours", detail: o.detail, reference: hashes[0]}
		if err := s.quarantine(ctx, tx, held); err != nil {
			return err
		}
	}
	return nil
}

// addSupply changes what holders of an asset have. It takes two statements: a row to insert is checked before the conflict
// is looked for, and a change may be negative.
func addSupply(ctx context.Context, tx *audit.Tx, asset string, by *big.Int) error {
	_, err := tx.Exec(ctx, `INSERT INTO anchor.supply (asset, units) VALUES ($1, 0) ON CONFLICT (asset) DO NOTHING`, asset)
	if err == nil {
		_, err = tx.Exec(ctx, `UPDATE anchor.supply SET units = units + $2::numeric WHERE asset = $1`, asset, by.String())
	}
	if err != nil {
		return fmt.Errorf("anchor: supply of %s: %w", asset, err)
	}
	return nil
}

// resolve says what became of our transactions.
func (s *Service) resolve(ctx context.Context, tx *audit.Tx, f facts) error {
	rows, err := tx.Query(ctx, `SELECT `+ledgerTxColumns+` WHERE state IN ('built', 'signed') ORDER BY n`)
	open, err := collect(rows, err, "ledger transactions", func(r pgx.CollectableRow) (ledgerTx, error) { return scanLedgerTx(r) })
	if err != nil {
		return err
	}
	for _, t := range open {
		result, there := f.results[t.hash]
		event := flow.Timeout
		switch {
		case there && result.Successful():
			event = flow.Success
		case there && failedForGood(result):
			event = flow.Failure
		case !f.closed.After(t.notAfter):
			continue
		}
		state, _, err := flow.Step(flow.LedgerTx, t.state, event)
		if err != nil {
			return err
		}
		code := ""
		if there {
			code = resultText(result)
		}
		if _, err := tx.Exec(ctx, `UPDATE anchor.ledger_tx SET state = $2, result = $3 WHERE id = $1`, t.id, string(state), code); err != nil {
			return fmt.Errorf("anchor: ledger transaction %s: %w", t.id, err)
		}
		_, err = tx.Record(ctx, audit.Event{Action: "ledger-tx." + string(state), Subject: t.id, Data: map[string]any{
			"kind": t.kind, "ref": t.ref, "ledger_tx": t.hash.String(), "ledger": int64(f.seq), "result": code}})
		if err != nil {
			return err
		}
		if err := s.endApproval(ctx, tx, t.id, ended[event], "its time has passed"); err != nil {
			return err
		}
		switch event {
		case flow.Success:
			err = s.succeeded(ctx, tx, t)
		case flow.Failure:
			err = s.failed(ctx, tx, t, code)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// resultText says how a transaction ended, down to its operations.
func resultText(r xdr.TransactionResult) string {
	text := r.Result.Code.String()
	ops, ok := r.OperationResults()
	if !ok || r.Successful() {
		return text
	}
	for _, op := range ops {
		raw, err := xdr.MarshalBase64(op)
		if err != nil {
			raw = err.Error()
		}
		text += " " + op.Code.String() + " " + raw
	}
	return text
}

// place finds what a payment was for, or sends it back.
func (s *Service) place(ctx context.Context, tx *audit.Tx, seq uint32, p payment) error {
	amount, err := p.units()
	if err != nil {
		return err
	}
	tag, err := tx.Exec(ctx, `INSERT INTO anchor.incoming (hash, op, ledger, payer, asset, units, memo, state, reason)
		VALUES ($1, $2, $3, $4, $5, $6::numeric, $7, 'seen', '') ON CONFLICT DO NOTHING`,
		p.hash, p.op, int64(seq), p.from, p.paid, amount.Numeric(), p.memo.Kind().String()+":"+clean(p.memo.String()))
	if err != nil {
		return fmt.Errorf("anchor: payment %s: %w", p.hash, err)
	}
	if tag.RowsAffected() == 0 {
		return nil
	}
	in := incoming{hash: p.hash, op: p.op, from: p.from, amount: p.amount}
	event, reason := flow.Match, ""
	if p.burnt {
		event, reason = flow.CannotPay, paidToIssuer
		if in.owed, err = s.owe(ctx, tx, p, amount); err != nil {
			return err
		}
	} else if p.paid != p.asset.asset() {
		event, reason = flow.CannotPay, "wrong-asset" // distribution sends its own asset only
	} else if reason, err = s.paid(ctx, tx, p); err != nil {
		return err
	} else if reason != "" {
		event = flow.NoMatch
		refund := compliance.Movement{Ref: in.backRef(), Kind: compliance.Refund, Subject: p.from, Amount: amount}
		var refusal *compliance.Refusal
		clearance, err := s.Gate.Check(ctx, tx, refund)
		if errors.As(err, &refusal) {
			event, reason = flow.CannotPay, reason+", refund refused:"+string(refusal.Reason)
		} else if err != nil {
			return err
		} else if err := clearance.SpendIn(tx, refund.Ref, amount); err != nil { // it moves on the ledger only, not in the book
			return err
		}
	}
	var effects []flow.Effect
	if in.state, effects, err = flow.Step(flow.Incoming, flow.Seen, event); err != nil {
		return err
	}
	if err := s.perform(ctx, tx, effects, step{ref: in.backRef(), id: in.ref()}); err != nil {
		return err
	}
	in.reason = reason
	return setIncoming(ctx, tx, in)
}

// paidToIssuer begins the reason of a payment that destroyed credit.
const paidToIssuer = "paid-to-issuer"

// owe books that a customer destroyed credit by paying its issuer: it is not in circulation any more and we still owe it.
// It happened whatever we think of it, so it clears as a receipt does; a person decides what becomes of the debt. Credit
// that the book does not know is owed to nobody: then the invariant tells what is wrong, since to stand still would help
// nobody.
func (s *Service) owe(ctx context.Context, tx *audit.Tx, p payment, amount money.Amount) (owed bool, err error) {
	covered, err := s.covered(ctx, tx, p.asset.issued(), amount)
	if err != nil || !covered {
		return false, err
	}
	return true, s.fact(ctx, tx, book.Transfer{Debit: p.asset.issued(), Credit: p.asset.payable(), Amount: amount,
		Ref: "burnt/" + incoming{hash: p.hash, op: p.op}.ref()})
}

// covered reports whether an account of the book has that much available. Credit in circulation that the book does not
// know was issued by somebody else with our key: it is not redeemed.
func (s *Service) covered(ctx context.Context, r audit.Reader, account book.Code, amount money.Amount) (bool, error) {
	balance, err := s.Custody.Balance(ctx, r, account)
	if errors.Is(err, book.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	there, err := balance.Available()
	if err != nil {
		return false, err
	}
	cmp, err := there.Cmp(amount)
	return cmp >= 0, err
}

// look asks for an authorisation that a customer's line lacks.
func (s *Service) look(ctx context.Context, tx *audit.Tx, l line) error {
	if l.authorised || !l.opened { // what was withdrawn from an old line is not given back by a machine
		return nil
	}
	if may, err := s.mayHold(ctx, tx, l.asset, l.holder); err != nil || !may {
		return err
	}
	return reopenJob(ctx, tx, jobAuthorise, l.asset.Code+"/"+l.holder.String())
}

// mayHold reports whether an account may hold a credit: ours, and that of a customer who is not frozen. Whoever is not
// enrolled waits until he is.
func (s *Service) mayHold(ctx context.Context, r audit.Reader, a AssetConfig, holder protocol.AccountID) (bool, error) {
	if holder == a.Distribution {
		return true, nil
	}
	c, err := compliance.CustomerByAccount(ctx, r, holder)
	if errors.Is(err, compliance.ErrUnknownCustomer) {
		return false, nil
	}
	return err == nil && c.Status == compliance.StatusActive, err
}
