package service

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/payload"
)

// writes are the rows that a group adds.
type writes struct {
	requests     []*entry
	seen         []*entry
	sequences    []*entry
	consents     []consent
	reservations []reservation
	checkpoints  []*payload.Checkpoint
	signatures   []*entry
	records      []audit.By
	steps        []step
	issuances    []issuance
	discharges   []discharge
}

// consent is an approval that a request has used up.
type consent struct {
	name
	keymgmt.Consent
}

func (w *writes) record(e *entry, action string, data map[string]any) {
	w.records = append(w.records, audit.By{Actor: actor(e.caller), Event: audit.Event{Action: action, Subject: e.request.Key.String(), Data: data}})
}

// flush adds the rows and the records of them, in one round trip. Rows that another process has added since the
// transaction began make the database refuse the whole, which is then decided again.
func (w *writes) flush(ctx context.Context, tx *audit.Tx, k *known) error {
	if len(w.records)+len(w.reservations) == 0 {
		return audit.ErrUnchanged
	}
	var b pgx.Batch
	w.queueRequests(&b, k)
	w.queueTime(&b, k)
	w.queueReservations(&b)
	w.queueGates(&b)
	w.queueConsents(&b)
	if len(w.checkpoints) > 0 {
		var origins []string
		var sizes []int64
		var roots [][]byte
		for _, c := range w.checkpoints {
			origins, sizes, roots = append(origins, c.Origin), append(sizes, c.Size), append(roots, c.Root[:])
		}
		b.Queue(`INSERT INTO signer.checkpoint (origin, size, root) SELECT * FROM unnest($1::text[], $2::bigint[], $3::bytea[])`, origins, sizes, roots)
	}
	if len(w.signatures) > 0 {
		var keys, refs, publics []string
		var sigs [][]byte
		for _, e := range w.signatures {
			n := e.name()
			keys, refs, publics, sigs = append(keys, n.key), append(refs, n.ref), append(publics, e.made.Public.String()), append(sigs, e.made.Bytes)
		}
		b.Queue(`INSERT INTO signer.signature (key, ref, public, signature) SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[])
			ON CONFLICT (key, ref) DO NOTHING`, keys, refs, publics, sigs)
	}
	if _, err := tx.RecordAll(&b, w.records); err != nil {
		return err
	}
	return tx.SendBatch(ctx, &b).Close()
}

func (w *writes) queueConsents(b *pgx.Batch) {
	if len(w.consents) == 0 {
		return
	}
	var nonces, officers, keys, refs []string
	var expires []time.Time
	var signatures, authenticators, clients [][]byte
	for _, c := range w.consents {
		var passkey keymgmt.Passkey
		if c.Passkey != nil {
			passkey = *c.Passkey
		}
		authenticators, clients = append(authenticators, passkey.Authenticator), append(clients, passkey.Client)
		nonces, officers, keys, refs = append(nonces, c.Nonce), append(officers, c.Officer), append(keys, c.key), append(refs, c.ref)
		expires, signatures = append(expires, c.Expires), append(signatures, c.Signature)
	}
	b.Queue(`INSERT INTO signer.consent (nonce, officer, key, ref, expires, signature, authenticator, client)
		SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::bytea[], $7::bytea[], $8::bytea[])`,
		nonces, officers, keys, refs, expires, signatures, authenticators, clients)
}

func (w *writes) queueRequests(b *pgx.Batch, k *known) {
	if len(w.requests) == 0 {
		return
	}
	var keys, refs, kinds, callers, initiators []string
	var bodies [][]byte
	for _, e := range w.requests {
		n := e.name()
		keys, refs, kinds = append(keys, n.key), append(refs, n.ref), append(kinds, e.request.Kind.String())
		callers, initiators, bodies = append(callers, e.caller), append(initiators, e.request.Initiator), append(bodies, e.request.Body)
	}
	b.Queue(`INSERT INTO signer.request (key, ref, kind, body, caller, initiator, policy)
		SELECT key, ref, kind, body, caller, initiator, $7 FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::text[], $6::text[])
			AS u (key, ref, kind, body, caller, initiator)
		ON CONFLICT (key, ref) DO NOTHING`, keys, refs, kinds, bodies, callers, initiators, int64(k.newest))
}
