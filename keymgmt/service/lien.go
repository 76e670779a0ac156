package service

import (
	"github.com/jackc/pgx/v5"

	"github.com/diamante/gateway/keymgmt"
)

// discharge is a lien holder's word that a request has used up.
type discharge struct {
	name
	keymgmt.Discharge
}

// queueDischarges asks which of a group's discharges were used.
func (k *known) queueDischarges(b *pgx.Batch, group []*entry) {
	var nonces []string
	for _, e := range group {
		for _, d := range e.request.Discharges {
			nonces = append(nonces, d.Nonce)
		}
	}
	if len(nonces) == 0 {
		return
	}
	b.Queue(`SELECT nonce, key, ref FROM signer.discharge WHERE nonce = ANY($1)`, nonces).Query(each(func(rows pgx.Rows) error {
		var nonce string
		var n name
		err := rows.Scan(&nonce, &n.key, &n.ref)
		k.discharged[nonce] = n
		return err
	}))
}

// usedDischarges returns the nonces of a request's discharges that were used for another one.
func (k *known) usedDischarges(e *entry) map[string]bool {
	used := map[string]bool{}
	for _, d := range e.request.Discharges {
		if by, ok := k.discharged[d.Nonce]; ok && by != e.name() {
			used[d.Nonce] = true
		}
	}
	return used
}

// discharge writes down the discharges that a request has used up, with it and for ever.
func (k *known) discharge(e *entry, w *writes) {
	var used []keymgmt.Discharge
	for _, d := range e.request.Discharges {
		if _, before := k.discharged[d.Nonce]; !before {
			k.discharged[d.Nonce] = e.name()
			w.discharges = append(w.discharges, discharge{e.name(), d})
			used = append(used, d)
		}
	}
	if len(used) > 0 {
		w.record(e, "lien.discharged", map[string]any{"ref": e.request.Ref, "discharges": used})
	}
}

// queueDischarges adds the discharges that were used up.
func (w *writes) queueDischarges(b *pgx.Batch) {
	for _, d := range w.discharges {
		b.Queue(`INSERT INTO signer.discharge (nonce, lien, holder, asset, amount, destination, expires, signature, key, ref) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
			d.Nonce, d.Lien, d.Holder, d.Asset, d.Amount, d.Destination, d.Expires, d.Signature, d.key, d.ref)
	}
}
