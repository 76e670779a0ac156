package anchor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/anchor/flow"
	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/txbuild"
)

// resubmitAfter is how long a submission is waited for before the very same transaction is handed over again.
const resubmitAfter = 3 * time.Second

// ledgerTx is one of our transactions on the ledger.
type ledgerTx struct {
	id, kind, ref string
	attempt       int
	source        protocol.AccountID
	key           keymgmt.KeyID
	hash          protocol.Hash
	envelope      []byte
	signed        []byte
	notAfter      time.Time
	state         flow.State
	initiator     string // on whose word
	patient       bool   // lives long enough for people to decide on it
}

const ledgerTxColumns = `id, kind, ref, attempt, source, key, hash, envelope, signed, not_after, state, initiator, patient FROM anchor.ledger_tx`

func scanLedgerTx(r pgx.Row) (t ledgerTx, err error) {
	var key string
	if err = r.Scan(&t.id, &t.kind, &t.ref, &t.attempt, &t.source, &key, &t.hash, &t.envelope, &t.signed, &t.notAfter, &t.state, &t.initiator, &t.patient); err == nil {
		t.key, err = keymgmt.ParseKeyID(key)
	}
	return t, err
}

// inFlight returns the transaction of the source account whose fate is not known, or ErrNotFound.
func inFlight(ctx context.Context, r audit.Reader, source protocol.AccountID) (ledgerTx, error) {
	t, err := scanLedgerTx(r.QueryRow(ctx, `SELECT `+ledgerTxColumns+` WHERE source = $1 AND state IN ('built', 'signed', 'blocked')`, source))
	return t, missing(err, "ledger transaction")
}

// plan is what a job wants done on the ledger.
type plan struct {
	source protocol.AccountID
	key    keymgmt.KeyID
	memo   protocol.Memo
	ops    []txbuild.Operation
}

// advance takes a job on the ledger one step further: build and store, sign and store, submit. Each step may be repeated
// by anybody at any time; the observer ends it.
func (s *Service) advance(ctx context.Context, j job, p plan) error {
	// 1. Is a transaction of the source account under way? Another job's must end first.
	before, err := lastOf(ctx, s.DB.Reader(), p.source)
	if err != nil {
		return err
	}
	t, err := inFlight(ctx, s.DB.Reader(), p.source)
	if errors.Is(err, ErrNotFound) {
		// 2. Build and store it, with its hash, before anybody signs. One that nobody approved in time lets others go first.
		if err := s.turn(ctx, j, p.source); err != nil {
			return err
		}
		t, err = s.build(ctx, j, p, before)
	}
	if err != nil || t.kind != string(j.kind) || t.ref != j.ref {
		return err
	}
	// 3. Have it signed, and store that. The same ref and body give the same signature, for ever.
	switch t.state {
	case flow.Blocked:
		return fmt.Errorf("%w: %s", errBlocked, t.id)
	case flow.Built:
		t, err = s.sign(ctx, t)
		if errors.Is(err, errBusy) {
			return nil // stored by another process, or resolved: the next round sees which
		}
		if err != nil {
			return err
		}
	}
	// 4. Hand it over, again and again. What became of it is learned from closed ledgers.
	return s.submit(ctx, t)
}

// lastOf returns the place of the newest transaction of a source account, 0 when there is none.
func lastOf(ctx context.Context, r audit.Reader, source protocol.AccountID) (n int64, err error) {
	if err = r.QueryRow(ctx, `SELECT coalesce(max(n), 0) FROM anchor.ledger_tx WHERE source = $1`, source).Scan(&n); err != nil {
		err = fmt.Errorf("anchor: ledger transactions: %w", err)
	}
	return n, err
}

// build makes the job's transaction and stores it, unless the source account has had another since the one at before:
// then the sequence number that was read may be used up.
func (s *Service) build(ctx context.Context, j job, p plan, before int64) (ledgerTx, error) {
	account, err := s.Network.Account(ctx, p.source)
	if err != nil {
		return ledgerTx{}, fmt.Errorf("anchor: source account: %w", err)
	}
	patient, err := neededPeople(ctx, s.DB.Reader(), j)
	if err != nil {
		return ledgerTx{}, err
	}
	life := s.cfg.TxLife
	if patient {
		life = s.cfg.PeopleLife
	}
	u, err := txbuild.Build(txbuild.Params{Passphrase: s.cfg.Passphrase, Source: p.source, Sequence: account.Sequence + 1,
		FeePerOp: s.cfg.FeePerOp, NotAfter: s.Now().Add(life), Memo: p.memo, Operations: p.ops})
	if err != nil {
		return ledgerTx{}, err
	}
	t := ledgerTx{id: newID(), kind: string(j.kind), ref: j.ref, source: p.source, key: p.key, hash: u.Hash(), envelope: u.Envelope(),
		notAfter: u.NotAfter(), state: flow.Built, initiator: j.initiator, patient: patient}
	s.Failpoint("store.before")
	err = audit.Do(ctx, s.DB, worker, func(ctx context.Context, tx *audit.Tx) error { return s.storeBuilt(ctx, tx, j, &t, before) })
	s.Failpoint("store.after")
	if errors.Is(err, errBusy) {
		return ledgerTx{}, nil // another process was faster; the next round sees its transaction
	}
	return t, err
}

// errBlocked: the signer has signed something else under the name of this transaction. This database lost rows.
var errBlocked = errors.New("anchor: the signer knows another transaction by this name; rows were lost here, and a person must find out what is on the ledger")

// errBusy: the source account has a transaction under way, or the job is done.
var errBusy = errors.New("anchor: not now")

// storeBuilt stores a transaction if its job is open and its source has had no other since the one at before.
func (s *Service) storeBuilt(ctx context.Context, tx *audit.Tx, j job, t *ledgerTx, before int64) error {
	open, err := jobOpen(ctx, tx, j)
	if err != nil {
		return err
	}
	// On whose word it is may be another than when the job was listed: it may have been done and opened again since.
	if err := tx.QueryRow(ctx, `SELECT initiator FROM anchor.job WHERE kind = $1 AND ref = $2`, t.kind, t.ref).Scan(&t.initiator); err != nil {
		return missing(err, "job")
	}
	last, err := lastOf(ctx, tx, t.source)
	if err != nil {
		return err
	}
	if !open || last != before {
		return errBusy
	}
	if err := tx.QueryRow(ctx, `SELECT coalesce(max(attempt), 0) + 1 FROM anchor.ledger_tx WHERE kind = $1 AND ref = $2`, t.kind, t.ref).Scan(&t.attempt); err != nil {
		return fmt.Errorf("anchor: attempts: %w", err)
	}
	tag, err := tx.Exec(ctx, `INSERT INTO anchor.ledger_tx (id, kind, ref, attempt, source, key, hash, envelope, not_after, state, initiator, patient)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'built', $10, $11) ON CONFLICT DO NOTHING`, t.id, t.kind, t.ref, t.attempt, t.source, t.key.String(), t.hash,
		t.envelope, t.notAfter, t.initiator, t.patient)
	if err != nil {
		return fmt.Errorf("anchor: ledger transaction: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return errBusy // another process stored the very same one, or one of the same source, in the same moment
	}
	_, err = tx.Record(ctx, audit.Event{Action: "ledger-tx.built", Subject: t.id, Data: map[string]any{"kind": t.kind, "ref": t.ref,
		"attempt": t.attempt, "ledger_tx": t.hash.String()}})
	return err
}

// signerRef names a transaction to the signer, the same whenever it is built: should this database lose it, the signer
// refuses a second one.
func (t ledgerTx) signerRef() string { return fmt.Sprintf("%s/%s/%d", t.kind, t.ref, t.attempt) }

// sign has a transaction signed and stores that. errBusy: it may not be submitted from here, because another process has
// stored it or ended it.
func (s *Service) sign(ctx context.Context, t ledgerTx) (ledgerTx, error) {
	u, err := txbuild.Parse(s.cfg.Passphrase, t.envelope)
	if err != nil {
		return t, err
	}
	s.Failpoint("sign.before")
	sig, err := s.ask(ctx, t, keymgmt.Request{Key: t.key, Kind: keymgmt.KindTransaction, Body: u.SignatureBase(), Ref: t.signerRef(), Initiator: t.initiator})
	s.noteSigner(err)
	if errors.Is(err, errWaiting) {
		return t, err
	}
	if takesTime(err) {
		return t, errors.Join(err, s.await(ctx, t, err))
	}
	if errors.Is(err, keymgmt.ErrDenied) || errors.Is(err, keymgmt.ErrMalformed) {
		return t, s.denied(ctx, t, err)
	}
	if errors.Is(err, keymgmt.ErrRefUsed) {
		return t, errors.Join(errBlocked, s.block(ctx, t, err))
	}
	if err != nil {
		return t, fmt.Errorf("anchor: sign %s: %w", t.id, err)
	}
	s.Failpoint("sign.after")
	env, err := u.Attach(txbuild.Signature{Account: t.source, Bytes: sig.Bytes})
	if err != nil {
		return t, err
	}
	if t.signed, err = env.MarshalBinary(); err != nil {
		return t, fmt.Errorf("anchor: signed transaction: %w", err)
	}
	state, _, err := flow.Step(flow.LedgerTx, t.state, flow.Signature)
	if err != nil {
		return t, err
	}
	err = audit.Do(ctx, s.DB, worker, func(ctx context.Context, tx *audit.Tx) error {
		tag, err := tx.Exec(ctx, `UPDATE anchor.ledger_tx SET signed = $2, state = $3 WHERE id = $1 AND state = 'built'`, t.id, t.signed, string(state))
		if err != nil {
			return fmt.Errorf("anchor: signed transaction: %w", err)
		}
		if tag.RowsAffected() == 0 {
			return errBusy // another process stored the same signature, or had it denied, or it is resolved
		}
		if _, err = tx.Record(ctx, audit.Event{Action: "ledger-tx.signed", Subject: t.id, Data: map[string]any{"ledger_tx": t.hash.String()}}); err != nil {
			return err
		}
		return s.endApproval(ctx, tx, t.id, approvalGranted, "")
	})
	t.state = state
	return t, err
}

// block keeps a transaction from ever being replaced, and its source account from having another, until a person has
// looked.
func (s *Service) block(ctx context.Context, t ledgerTx, why error) error {
	state, _, err := flow.Step(flow.LedgerTx, t.state, flow.Conflict)
	if err != nil {
		return err
	}
	return audit.Do(ctx, s.DB, worker, func(ctx context.Context, tx *audit.Tx) error {
		tag, err := tx.Exec(ctx, `UPDATE anchor.ledger_tx SET state = $2, result = $3 WHERE id = $1 AND state = 'built'`, t.id, string(state), clean(why.Error()))
		if err != nil {
			return fmt.Errorf("anchor: blocked transaction: %w", err)
		}
		if tag.RowsAffected() == 0 {
			return audit.ErrUnchanged
		}
		if _, err = tx.Record(ctx, audit.Event{Action: "ledger-tx.blocked", Subject: t.id, Data: map[string]any{"kind": t.kind, "ref": t.ref, "why": clean(why.Error())}}); err != nil {
			return err
		}
		return s.endApproval(ctx, tx, t.id, approvalClosed, clean(why.Error()))
	})
}

// denied carries out that the signer refused a transaction. What can be given to a person is. Another process may get it
// signed all the same, a moment later or earlier, since a refusal binds nobody: what it signed is never submitted, because
// only who stores a signature submits it, and it is stored only while the transaction is built and not denied.
func (s *Service) denied(ctx context.Context, t ledgerTx, why error) error {
	err := audit.Do(ctx, s.DB, worker, func(ctx context.Context, tx *audit.Tx) error {
		return s.abandon(ctx, tx, t, "the signer refuses: "+clean(why.Error()))
	})
	return errors.Join(err, fmt.Errorf("anchor: sign %s: %w", t.id, why))
}

// abandon ends a transaction that nobody has signed as far as this database knows, and its job as one that failed.
// audit.ErrUnchanged: another process was faster.
func (s *Service) abandon(ctx context.Context, tx *audit.Tx, t ledgerTx, why string) error {
	state, _, err := flow.Step(flow.LedgerTx, t.state, flow.Denied)
	if err != nil {
		return err
	}
	tag, err := tx.Exec(ctx, `UPDATE anchor.ledger_tx SET state = $2, result = $3 WHERE id = $1 AND state = 'built'`, t.id, string(state), why)
	if err != nil {
		return fmt.Errorf("anchor: refused transaction: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return audit.ErrUnchanged
	}
	_, err = tx.Record(ctx, audit.Event{Action: "ledger-tx.denied", Subject: t.id, Data: map[string]any{"kind": t.kind, "ref": t.ref,
		"ledger_tx": t.hash.String(), "why": why}})
	if err != nil {
		return err
	}
	if err := s.endApproval(ctx, tx, t.id, approvalClosed, why); err != nil {
		return err
	}
	return s.failed(ctx, tx, t, why)
}

// noteSigner remembers how the last signature went, for Health.
func (s *Service) noteSigner(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.signerErr = err
}

func (s *Service) submit(ctx context.Context, t ledgerTx) error {
	s.mu.Lock()
	recent := time.Since(s.submitted[t.id]) < resubmitAfter
	if !recent {
		s.submitted[t.id] = time.Now()
	}
	s.mu.Unlock()
	if recent {
		return nil
	}
	var env xdr.TransactionEnvelope
	if err := env.UnmarshalBinary(t.signed); err != nil {
		return fmt.Errorf("anchor: signed transaction %s: %w", t.id, err)
	}
	s.Failpoint("submit.before")
	answer, err := s.Network.Submit(ctx, env)
	s.Failpoint("submit.after")
	if err != nil {
		return fmt.Errorf("anchor: submit %s: %w", t.id, err)
	}
	if answer.Status == protocol.SubmissionError && answer.Result != nil {
		// It may be taken later, and if not its time will pass. Until then those who watch see why it waits.
		return fmt.Errorf("anchor: the node refuses %s for now: %s", t.hash, answer.Result.Result.Code)
	}
	return nil
}
