package service

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/node/protocol"
)

// newest finds the newest attestation of the reserve of an asset by one of some attestors, of each of which there is an
// order in the index.
const newest = `SELECT n.ledger, n.body FROM unnest($2::text[]) AS u (public)
	CROSS JOIN LATERAL (SELECT ledger, body FROM signer.attestation a WHERE a.asset = $1 AND a.public = u.public ORDER BY ledger DESC LIMIT 1) n
	ORDER BY n.ledger DESC LIMIT 1`

// backing is what stands behind an asset, and what was signed of it that may have been applied after the attested ledger.
type backing struct {
	attestation keymgmt.Attestation
	since       *big.Int           // of each sequence number the largest; nil without an attestation
	largest     map[int64]*big.Int // of the sequence numbers that the group asks for
}

// issuance is a row of the journal of what issuers have signed.
type issuance struct {
	asset    protocol.Asset
	sequence int64
	maxTime  time.Time
	amount   *big.Int
	name
}

// queueBacking asks for what stands behind the assets that a group issues.
func (s *Service) queueBacking(b *pgx.Batch, k *known, group []*entry) {
	numbers := map[protocol.Asset][]int64{}
	for _, e := range group {
		if t := policy.Transaction(e.meaning); t != nil && e.made == nil {
			for asset := range policy.Issued(t) {
				numbers[asset] = append(numbers[asset], t.Sequence)
			}
		}
	}
	for asset, sequences := range numbers {
		publics := s.attestors(asset)
		if len(publics) == 0 {
			continue
		}
		back := &backing{largest: map[int64]*big.Int{}}
		k.backing[asset] = back
		b.Queue(`WITH n AS (`+newest+`), o AS (SELECT i.sequence, max(i.amount) AS amount FROM signer.issuance i, n WHERE i.asset = $1
				AND i.sequence > (n.body->>'sequence')::bigint AND i.max_time >= (n.body->>'closed')::timestamptz GROUP BY i.sequence)
			SELECT n.ledger, n.body, (n.body->>'sequence')::bigint, (n.body->>'closed')::timestamptz, (SELECT coalesce(sum(o.amount), 0)::text FROM o),
				ARRAY(SELECT o.sequence FROM o WHERE o.sequence = ANY($3) ORDER BY o.sequence), ARRAY(SELECT o.amount::text FROM o WHERE o.sequence = ANY($3) ORDER BY o.sequence)
			FROM n`, asset.String(), publics, sequences).Query(each(back.scan))
	}
}

func (b *backing) scan(rows pgx.Rows) error {
	var ledger, sequence int64
	var closed time.Time
	var body []byte
	var since string
	var numbers []int64
	var amounts []string
	if err := rows.Scan(&ledger, &body, &sequence, &closed, &since, &numbers, &amounts); err != nil {
		return err
	}
	var err error
	if b.attestation, err = readAttestation(ledger, body); err != nil {
		return err
	}
	// The signature is verified over what was read here, and what is over was reckoned from what the database reads there:
	// of two names in JSON that differ in a letter's size, it is not the same one.
	if sequence != b.attestation.Sequence || !closed.Equal(b.attestation.Closed) {
		return fmt.Errorf("service: the attestation of ledger %d can be read in two ways", ledger)
	}
	if b.since, err = wholeNumber(since); err != nil {
		return err
	}
	for i, n := range numbers {
		if b.largest[n], err = wholeNumber(amounts[i]); err != nil {
			return err
		}
	}
	return nil
}

// readAttestation reads a row. The ledger is in it twice, and an old one under a new number would be a way back.
func readAttestation(ledger int64, body []byte) (a keymgmt.Attestation, err error) {
	if err := json.Unmarshal(body, &a); err != nil || a.Validate() != nil || a.Ledger != ledger {
		return a, fmt.Errorf("service: the attestation of ledger %d is not what was delivered", ledger)
	}
	return a, nil
}

func wholeNumber(s string) (*big.Int, error) {
	n, ok := new(big.Int).SetString(s, 10)
	if !ok || n.Sign() < 0 {
		return nil, fmt.Errorf("service: %.60q issued", s)
	}
	return n, nil
}

// backingFacts adds what stands behind the assets that a transaction issues.
func (k *known) backingFacts(e *entry, facts *policy.Facts) {
	t := policy.Transaction(e.meaning)
	if t == nil {
		return
	}
	facts.Backing = map[protocol.Asset]*policy.Backing{}
	for asset := range policy.Issued(t) {
		b := k.backing[asset]
		if b == nil || b.since == nil {
			continue
		}
		since, same := b.since, b.largest[t.Sequence]
		if same != nil {
			since = new(big.Int).Sub(since, same)
		}
		facts.Backing[asset] = &policy.Backing{Newest: b.attestation, Since: since, Same: same}
	}
}

// issue writes down what a transaction issues, with its intent.
func (k *known) issue(e *entry, w *writes) {
	t := policy.Transaction(e.meaning)
	if t == nil {
		return
	}
	for asset, amount := range policy.Issued(t) {
		if t.Source != asset.Issuer() {
			continue // the policy lets no such transaction through
		}
		w.issuances = append(w.issuances, issuance{asset, t.Sequence, t.MaxTime, amount, e.name()})
		b := k.backing[asset]
		if b == nil || b.since == nil {
			continue
		}
		if same := b.largest[t.Sequence]; same == nil || same.Cmp(amount) < 0 {
			b.since = new(big.Int).Add(b.since, amount)
			if same != nil {
				b.since.Sub(b.since, same)
			}
			b.largest[t.Sequence] = amount
		}
	}
}

// loadIssued reads what the journal of issuances has of intents that it has no answer to. There are some after a crash only,
// so that it seldom asks anything.
func (k *known) loadIssued(ctx context.Context, tx *audit.Tx, group []*entry) error {
	var keys, refs []string
	for _, e := range group {
		if in, journalled := k.intents[e.name()]; journalled && in.stored == nil && e.made == nil && policy.Transaction(e.meaning) != nil {
			keys, refs = append(keys, e.name().key), append(refs, e.name().ref)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	rows, err := tx.Query(ctx, `SELECT i.asset, i.sequence, i.max_time, i.amount::text, i.key, i.ref FROM unnest($1::text[], $2::text[]) AS q (key, ref)
		JOIN signer.issuance i USING (key, ref)`, keys, refs)
	if err != nil {
		return err
	}
	defer rows.Close()
	return each(func(rows pgx.Rows) error {
		var i issuance
		var asset, amount string
		err := rows.Scan(&asset, &i.sequence, &i.maxTime, &amount, &i.key, &i.ref)
		if err == nil {
			i.asset, err = protocol.ParseAsset(asset)
		}
		if err == nil {
			i.amount, err = wholeNumber(amount)
		}
		k.issued[i.name] = append(k.issued[i.name], i)
		return err
	})(rows)
}

// hasIssued reports whether what a transaction issues was written down with its intent.
func (k *known) hasIssued(e *entry) bool {
	t := policy.Transaction(e.meaning)
	if t == nil {
		return true
	}
	for asset, amount := range policy.Issued(t) {
		if !slices.ContainsFunc(k.issued[e.name()], func(i issuance) bool {
			return i.asset == asset && i.sequence == t.Sequence && i.maxTime.Equal(t.MaxTime) && i.amount.Cmp(amount) == 0
		}) {
			return false
		}
	}
	return true
}

// queueIssuances adds what was issued.
func (w *writes) queueIssuances(b *pgx.Batch) {
	if len(w.issuances) == 0 {
		return
	}
	var assets, amounts, keys, refs []string
	var sequences []int64
	var times []time.Time
	for _, i := range w.issuances {
		assets, sequences, times, amounts = append(assets, i.asset.String()), append(sequences, i.sequence), append(times, i.maxTime), append(amounts, i.amount.String())
		keys, refs = append(keys, i.key), append(refs, i.ref)
	}
	b.Queue(`INSERT INTO signer.issuance (asset, sequence, max_time, amount, key, ref)
		SELECT asset, sequence, max_time, amount::numeric, key, ref FROM unnest($1::text[], $2::bigint[], $3::timestamptz[], $4::text[], $5::text[], $6::text[])
		AS u (asset, sequence, max_time, amount, key, ref)`, assets, sequences, times, amounts, keys, refs)
}

func (s *Service) attestors(asset protocol.Asset) (addresses []string) {
	for _, a := range s.cfg.Policy.Attestors(asset) {
		addresses = append(addresses, a.String())
	}
	return addresses
}

// Attest takes an attestation of a reserve. From its commit on it is the newest, in every process over this journal. The
// same one again changes nothing and is no error; one that is not newer is denied. Errors are those of a Signer.
func (s *Service) Attest(ctx context.Context, caller string, a keymgmt.Attestation) error {
	asset, address, err := s.cfg.Policy.Attestation(a, s.cfg.Now())
	if err == nil {
		err = s.attest(ctx, caller, asset, address, a)
	}
	if err != nil {
		return s.refuseWord(ctx, caller, audit.Event{Action: "attestation.refused", Subject: "attestations"}, err)
	}
	return nil
}

// attest writes down an attestation that is good, if it is newer than the newest.
func (s *Service) attest(ctx context.Context, caller string, asset protocol.Asset, attestor protocol.AccountID, a keymgmt.Attestation) error {
	a.Closed, a.Issued = a.Closed.UTC(), a.Issued.UTC()
	body, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("%w: %v", keymgmt.ErrMalformed, err)
	}
	err = audit.Do(ctx, s.cfg.DB, actor(cut(caller, maxCaller)), func(ctx context.Context, tx *audit.Tx) error {
		var ledger int64
		var raw []byte
		err := tx.QueryRow(ctx, newest, asset.String(), s.attestors(asset)).Scan(&ledger, &raw)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		if err == nil {
			last, err := readAttestation(ledger, raw)
			if err != nil {
				return err
			}
			if last.Ledger == a.Ledger && bytes.Equal(last.Signature, a.Signature) {
				return audit.ErrUnchanged
			}
			if err := policy.Newer(a, last); err != nil {
				return err
			}
		}
		const insert = `INSERT INTO signer.attestation (asset, public, ledger, body) VALUES ($1, $2, $3, $4)`
		if _, err := tx.Exec(ctx, insert, asset.String(), attestor.String(), a.Ledger, body); err != nil {
			return err
		}
		_, err = tx.Record(ctx, audit.Event{Action: "reserve.attested", Subject: asset.String(), Data: map[string]any{"attestation": a}})
		return err
	})
	if err == nil || refused(err) {
		return err
	}
	return unavailable(err)
}
