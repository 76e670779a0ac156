package anchor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/diamante/gateway/anchor/flow"
	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/node/protocol"
)

// askAgain is how long the signer is left alone with a request that people have not said anything new to: another policy may
// want something else.
const askAgain = 10 * time.Minute

// How the wait for people ends.
const (
	approvalGranted = "granted"
	approvalClosed  = "closed"
)

// ended says what a ledger's word on a transaction means for the wait for people.
var ended = map[flow.Event]string{flow.Success: approvalGranted, flow.Failure: approvalGranted, flow.Timeout: approvalClosed}

// consent is what an officer said to a request.
type consent struct {
	keymgmt.Consent
	by, state, reason string
	at                time.Time
}

// The states of a consent. The signer has not seen a new one, would count a good one, and denies what has a refused one.
const (
	consentNew     = "new"
	consentGood    = "good"
	consentRefused = "refused"
)

// consentsOf returns what officers said to the requests of these transactions, in the order in which it came.
func consentsOf(ctx context.Context, r audit.Reader, ids ...string) (map[string][]consent, error) {
	out := map[string][]consent{}
	rows, err := r.Query(ctx, `SELECT approval, body, by, state, reason, at FROM anchor.consent WHERE approval = ANY($1) ORDER BY n`, ids)
	_, err = collect(rows, err, "approvals", func(r pgx.CollectableRow) (c consent, err error) {
		var id string
		var body []byte
		if err = r.Scan(&id, &body, &c.by, &c.state, &c.reason, &c.at); err == nil {
			err = json.Unmarshal(body, &c.Consent)
		}
		out[id] = append(out[id], c)
		return c, err
	})
	return out, err
}

// ask asks the signer for a transaction's signature, with the approvals that were collected. Each new one is first shown to
// the signer alone: one that is not good denies the whole request, and must not take the others with it.
//
// An error for which takesTime holds: it waits for more, or for its hour. What is asked here can be asked by anybody at any time: the signer counts
// an approval once, and the same Ref and Body give the same signature.
func (s *Service) ask(ctx context.Context, t ledgerTx, r keymgmt.Request) (keymgmt.Signature, error) {
	said, err := consentsOf(ctx, s.DB.Reader(), t.id)
	if err != nil {
		return keymgmt.Signature{}, err
	}
	given := said[t.id]
	if s.nothingNew(t, given) {
		return keymgmt.Signature{}, errWaiting
	}
	var good []keymgmt.Consent
	for i, c := range given {
		if c.state == consentNew {
			sig, err := s.try(ctx, t, r, &given[i])
			if err != nil || len(sig.Bytes) > 0 {
				return sig, err
			}
		}
		if given[i].state == consentGood && s.Now().Before(c.Expires) {
			good = withNewest(good, c.Consent)
		}
	}
	r.Consents = good
	sig, err := s.Signer.Sign(ctx, r)
	if takesTime(err) {
		due, _ := keymgmt.NotBefore(err)
		s.mu.Lock()
		s.asked[t.id] = asked{time.Now(), due, summary(given)}
		s.mu.Unlock()
	}
	if !errors.Is(err, keymgmt.ErrDenied) || len(good) == 0 {
		return sig, err
	}
	// The rules refuse it, or one of the approvals is not good any more: the policy is another now, or the hour.
	if sig, bare := s.bare(ctx, r); !takesTime(bare) {
		return sig, bare
	}
	for _, c := range given {
		if c.state == consentGood {
			if err := s.judge(ctx, t, c, consentNew, ""); err != nil {
				return keymgmt.Signature{}, err
			}
		}
	}
	return keymgmt.Signature{}, fmt.Errorf("%w: the approvals are looked at again: %w", keymgmt.ErrApprovalNeeded, err)
}

// withNewest adds an approval and leaves out an earlier one of the same officer: nobody counts twice.
func withNewest(list []keymgmt.Consent, c keymgmt.Consent) []keymgmt.Consent {
	for i := range list {
		if list[i].Officer == c.Officer {
			list[i] = c
			return list
		}
	}
	if len(list) == keymgmt.MaxConsents {
		return list
	}
	return append(list, c)
}

// try shows the signer one new approval by itself and keeps what it thinks of it. No signature and no error: the approval
// is good or refused, and stored as that.
func (s *Service) try(ctx context.Context, t ledgerTx, r keymgmt.Request, c *consent) (keymgmt.Signature, error) {
	r.Consents = []keymgmt.Consent{c.Consent}
	sig, err := s.Signer.Sign(ctx, r)
	switch {
	case err == nil:
		return sig, nil
	case takesTime(err):
		c.state = consentGood
	case errors.Is(err, keymgmt.ErrDenied) || errors.Is(err, keymgmt.ErrMalformed):
		if sig, bare := s.bare(ctx, r); !takesTime(bare) {
			return sig, bare // it is the request that is refused
		}
		c.state, c.reason = consentRefused, clean(err.Error())
	default:
		return keymgmt.Signature{}, err
	}
	return keymgmt.Signature{}, s.judge(ctx, t, *c, c.state, c.reason)
}

// bare asks without anybody's approval.
func (s *Service) bare(ctx context.Context, r keymgmt.Request) (keymgmt.Signature, error) {
	r.Consents = nil
	return s.Signer.Sign(ctx, r)
}

// judge stores what the signer thinks of an approval.
func (s *Service) judge(ctx context.Context, t ledgerTx, c consent, state, reason string) error {
	return audit.Do(ctx, s.DB, worker, func(ctx context.Context, tx *audit.Tx) error {
		tag, err := tx.Exec(ctx, `UPDATE anchor.consent SET state = $3, reason = $4 WHERE approval = $1 AND nonce = $2 AND state <> $3`, t.id, c.Nonce, state, reason)
		if err != nil {
			return fmt.Errorf("anchor: approval: %w", err)
		}
		if tag.RowsAffected() == 0 {
			return audit.ErrUnchanged // another process was faster
		}
		_, err = tx.Record(ctx, audit.Event{Action: "approval." + state, Subject: t.id, Data: map[string]any{"officer": c.Officer, "nonce": c.Nonce, "why": reason}})
		return err
	})
}

// errWaiting: the signer was asked a while ago, wanted more people's approval, and nobody has said anything since.
var errWaiting = fmt.Errorf("anchor: it waits for people: %w", keymgmt.ErrApprovalNeeded)

// takesTime reports whether the signer signs once people have approved, or only later.
func takesTime(err error) bool {
	return errors.Is(err, keymgmt.ErrApprovalNeeded) || errors.Is(err, keymgmt.ErrNotYet)
}

// asked is when the signer last wanted to wait with a transaction, until when if it said so, and what people had said.
type asked struct {
	at, due time.Time
	said    string
}

// summary is what people have said, to be compared.
func summary(given []consent) (said string) {
	for _, c := range given {
		said += c.Nonce + c.state + " "
	}
	return said
}

func (s *Service) nothingNew(t ledgerTx, given []consent) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, ok := s.asked[t.id]
	return ok && time.Since(before.at) < askAgain && before.said == summary(given) && (before.due.IsZero() || s.Now().Before(before.due))
}

// await carries out that the signer wants people to approve a transaction, or wants it to lie. One that was built to be signed at once gives way
// to another with the same sequence number and more time; what people approve is that one.
func (s *Service) await(ctx context.Context, t ledgerTx, why error) error {
	err := s.storeWait(ctx, t, why)
	if err != nil {
		s.mu.Lock()
		delete(s.asked, t.id) // so that it is tried again soon
		s.mu.Unlock()
	}
	return err
}

func (s *Service) storeWait(ctx context.Context, t ledgerTx, why error) error {
	replace := !t.patient && s.cfg.PeopleLife > s.cfg.TxLife
	state, _, err := flow.Step(flow.LedgerTx, t.state, flow.Wanted)
	if err != nil {
		return err
	}
	s.Failpoint("await.before")
	defer s.Failpoint("await.after")
	return audit.Do(ctx, s.DB, worker, func(ctx context.Context, tx *audit.Tx) error {
		tag, err := tx.Exec(ctx, `INSERT INTO anchor.approval (id, why, state) SELECT id, $2, 'open' FROM anchor.ledger_tx WHERE id = $1 AND state = 'built'
			ON CONFLICT (id) DO UPDATE SET why = excluded.why WHERE approval.why <> excluded.why AND approval.state = 'open'`, t.id, clean(why.Error()))
		if err != nil {
			return fmt.Errorf("anchor: approval: %w", err)
		}
		if tag.RowsAffected() == 0 {
			return audit.ErrUnchanged // it is known, or resolved
		}
		_, err = tx.Record(ctx, audit.Event{Action: "approval.wanted", Subject: t.id, Data: map[string]any{"key": t.key.String(), "ref": t.signerRef(),
			"ledger_tx": t.hash.String(), "initiator": t.initiator, "why": clean(why.Error())}})
		if err != nil || !replace {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE anchor.ledger_tx SET state = $2, result = $3 WHERE id = $1`, t.id, string(state), tooShort); err != nil {
			return fmt.Errorf("anchor: ledger transaction: %w", err)
		}
		return s.endApproval(ctx, tx, t.id, approvalClosed, tooShort)
	})
}

const tooShort = "people need more time: it is built again with more"

// endApproval ends the wait for people, if they were waited for. It ends now and not when the transaction's time was over:
// after a silence of ours, too, others have their turn.
func (s *Service) endApproval(ctx context.Context, tx *audit.Tx, id, state, outcome string) error {
	if state == approvalGranted {
		outcome = ""
	}
	tag, err := tx.Exec(ctx, `UPDATE anchor.approval SET state = $2, outcome = $3, ended = $4 WHERE id = $1 AND state = 'open'`, id, state, outcome, s.Now())
	if err != nil {
		return fmt.Errorf("anchor: approval: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return nil
	}
	_, err = tx.Record(ctx, audit.Event{Action: "approval." + state, Subject: id, Data: map[string]any{"why": outcome}})
	return err
}

// neededPeople reports whether the signer wanted people to approve a job's transaction before.
func neededPeople(ctx context.Context, r audit.Reader, j job) (yes bool, err error) {
	err = r.QueryRow(ctx, `SELECT EXISTS (SELECT FROM anchor.approval a JOIN anchor.ledger_tx t ON t.id = a.id WHERE t.kind = $1 AND t.ref = $2)`, string(j.kind), j.ref).Scan(&yes)
	if err != nil {
		err = fmt.Errorf("anchor: approvals: %w", err)
	}
	return yes, err
}

// errTurn: a transaction that people did not approve had the account to itself, and jobs that need nobody have their turn
// before another one that needs people is built.
var errTurn = errors.New("anchor: it needs people, and the account was theirs until now; it is tried again once others had their turn")

// turn returns errTurn to a job that needs people, for as long as a transaction lives after one of the same account that
// waited for them has ended without: any job's, since two that take turns would leave the others nothing.
func (s *Service) turn(ctx context.Context, j job, source protocol.AccountID) error {
	needs, err := neededPeople(ctx, s.DB.Reader(), j)
	if err != nil || !needs {
		return err
	}
	var ended *time.Time
	err = s.DB.Reader().QueryRow(ctx, `SELECT max(a.ended) FROM anchor.ledger_tx t JOIN anchor.approval a ON a.id = t.id
		WHERE t.source = $1 AND t.patient AND t.signed IS NULL AND t.state IN ('dead', 'failed')`, source).Scan(&ended)
	if err != nil {
		return fmt.Errorf("anchor: attempts: %w", err)
	}
	if ended != nil && s.Now().Before(ended.Add(s.cfg.TxLife)) {
		return errTurn
	}
	return nil
}
