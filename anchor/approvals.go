package anchor

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/node/txbuild"
)

// Bounds of what is kept of one request: from everybody, and from one who hands approvals in.
const (
	maxOffers   = 64
	maxOffersBy = 16
)

// Consent is an officer's approval, as he made it.
type Consent = keymgmt.Consent

// ApprovalRequest is a transaction that the signer signs once enough people have approved it. What they approve is Key, Kind,
// Body, Ref and Initiator, each of which they must read for themselves.
type ApprovalRequest struct {
	ID        string
	Key, Kind string
	Body      []byte
	SHA256    string // of Body, in hex
	Ref       string
	Initiator string // "" when there is none
	Why       string // whom the signer wants to hear
	State     string // "open", "granted" or "closed"
	Outcome   string // why it was closed
	At, Until time.Time
	Given     []GivenConsent
}

// GivenConsent is what became of an officer's approval.
type GivenConsent struct {
	Officer, Nonce string
	Expires, At    time.Time
	By             string // who handed it in
	State          string // "new", "good" or "refused"
	Reason         string // the signer's, of a refusal
}

const approvalColumns = `a.id, t.key, t.kind, t.ref, t.attempt, t.initiator, t.envelope, a.why, a.state, a.outcome, a.at, t.not_after
	FROM anchor.approval a JOIN anchor.ledger_tx t ON t.id = a.id`

func (s *Service) scanApproval(r pgx.Row) (a ApprovalRequest, err error) {
	var t ledgerTx
	if err := r.Scan(&a.ID, &a.Key, &t.kind, &t.ref, &t.attempt, &a.Initiator, &t.envelope, &a.Why, &a.State, &a.Outcome, &a.At, &a.Until); err != nil {
		return a, err
	}
	u, err := txbuild.Parse(s.cfg.Passphrase, t.envelope)
	if err != nil {
		return a, err
	}
	a.Kind, a.Ref, a.Body = keymgmt.KindTransaction.String(), t.signerRef(), u.SignatureBase()
	sum := sha256.Sum256(a.Body)
	a.SHA256 = hex.EncodeToString(sum[:])
	return a, nil
}

// withGiven adds what officers said.
func (s *Service) withGiven(ctx context.Context, list []ApprovalRequest) error {
	var ids []string
	for _, a := range list {
		ids = append(ids, a.ID)
	}
	given, err := consentsOf(ctx, s.DB.Reader(), ids...)
	if err != nil {
		return err
	}
	for i := range list {
		for _, c := range given[list[i].ID] {
			list[i].Given = append(list[i].Given, GivenConsent{c.Officer, c.Nonce, c.Expires, c.at, c.by, c.state, c.reason})
		}
	}
	return nil
}

// Approvals lists what waits for people's approval, or with all also what has, oldest first.
func (s *Service) Approvals(ctx context.Context, all bool, p Page) ([]ApprovalRequest, error) {
	rows, err := s.DB.Reader().Query(ctx, `SELECT `+approvalColumns+` WHERE ($1 OR a.state = 'open')
		AND a.n > coalesce((SELECT n FROM anchor.approval WHERE id = $2), 0) ORDER BY a.n LIMIT $3`, all, p.After, p.limit())
	list, err := collect(rows, err, "approvals", func(r pgx.CollectableRow) (ApprovalRequest, error) { return s.scanApproval(r) })
	if err != nil {
		return nil, err
	}
	return list, s.withGiven(ctx, list)
}

// Approval returns one request, or ErrNotFound.
func (s *Service) Approval(ctx context.Context, id string) (ApprovalRequest, error) {
	a, err := s.scanApproval(s.DB.Reader().QueryRow(ctx, `SELECT `+approvalColumns+` WHERE a.id = $1`, id))
	if err := missing(err, "approval"); err != nil {
		return a, err
	}
	one := []ApprovalRequest{a}
	err = s.withGiven(ctx, one)
	return one[0], err
}

// Approve takes an officer's approval of a request that waits. Whoever hands it in need not be the officer, and nothing in it
// is believed here: the signer verifies it, and Approval shows what it thought of it. The same again changes nothing.
// Errors: ErrNotFound, ErrInvalid, ErrConflict when the request does not wait any more or has enough to look at.
func (s *Service) Approve(ctx context.Context, who audit.Actor, id string, c Consent) error {
	if err := (keymgmt.Request{Consents: []Consent{c}}).ValidPeople(); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if !s.Now().Before(c.Expires) {
		return fmt.Errorf("%w: the approval has expired", ErrInvalid)
	}
	body, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return audit.Do(ctx, s.DB, who, func(ctx context.Context, tx *audit.Tx) error {
		if err := stillWaits(ctx, tx, id); err != nil {
			return err
		}
		given, err := consentsOf(ctx, tx, id)
		if err != nil {
			return err
		}
		mine := 0
		for _, g := range given[id] {
			if g.Nonce == c.Nonce {
				return audit.ErrUnchanged
			}
			if g.by == who.Name {
				mine++
			}
		}
		if len(given[id]) >= maxOffers || mine >= maxOffersBy {
			return fmt.Errorf("%w: there are approvals enough to look at", ErrConflict)
		}
		_, err = tx.Exec(ctx, `INSERT INTO anchor.consent (approval, nonce, officer, expires, body, by) VALUES ($1, $2, $3, $4, $5, $6)`,
			id, c.Nonce, c.Officer, c.Expires, body, who.Name)
		if err != nil {
			return fmt.Errorf("anchor: approval: %w", err)
		}
		_, err = tx.Record(ctx, audit.Event{Action: "approval.given", Subject: id, Data: map[string]any{"approval": c}})
		return err
	})
}

func stillWaits(ctx context.Context, r audit.Reader, id string) error {
	var state string
	err := missing(r.QueryRow(ctx, `SELECT state FROM anchor.approval WHERE id = $1`, id).Scan(&state), "approval")
	if err == nil && state != "open" {
		err = fmt.Errorf("%w: the request is %s", ErrConflict, state)
	}
	return err
}

// Decline ends the wait for people's approval of a request: its transaction is not made, and its job ends as when the signer
// refuses. Errors: ErrNotFound, ErrInvalid, ErrConflict when it does not wait.
func (s *Service) Decline(ctx context.Context, who audit.Actor, id, note string) error {
	note = strings.TrimSpace(note)
	if note == "" || len(note) > maxDetail {
		return fmt.Errorf("%w: a note of at most %d bytes must say why", ErrInvalid, maxDetail)
	}
	var late bool
	err := audit.Do(ctx, s.DB, who, func(ctx context.Context, tx *audit.Tx) error {
		late = false
		if err := stillWaits(ctx, tx, id); err != nil {
			return err
		}
		t, err := scanLedgerTx(tx.QueryRow(ctx, `SELECT `+ledgerTxColumns+` WHERE id = $1`, id))
		if err != nil {
			return missing(err, "approval")
		}
		err = s.abandon(ctx, tx, t, "declined by "+clean(who.Name)+": "+clean(note))
		late = errors.Is(err, audit.ErrUnchanged)
		return err
	})
	if late {
		return fmt.Errorf("%w: it is signed", ErrConflict)
	}
	return err
}
