package service

import (
	"bytes"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/diamante/gateway/keymgmt"
)

// findRequests returns what the journal has of some requests. Each is looked up by itself: the planner, who thinks that an
// array is long, would read whole tables to join them.
const findRequests = `SELECT q.key, q.ref, r.kind, r.body, s.public, s.signature FROM unnest($1::text[], $2::text[]) AS q (key, ref)
	CROSS JOIN LATERAL (SELECT kind, body FROM signer.request r WHERE r.key = q.key AND r.ref = q.ref LIMIT 1) r
	LEFT JOIN LATERAL (SELECT public, signature FROM signer.signature s WHERE s.key = q.key AND s.ref = q.ref LIMIT 1) s ON true`

// name is what a request is known by: its key and its ref.
type name struct{ key, ref string }

// intent is a request that is in the journal.
type intent struct {
	kind   string
	body   []byte
	stored *keymgmt.Signature // its answer, nil when it has none yet
}

func scanIntent(rows pgx.Rows) (n name, in intent, err error) {
	var public *string
	var sig keymgmt.Signature
	if err := rows.Scan(&n.key, &n.ref, &in.kind, &in.body, &public, &sig.Bytes); err != nil {
		return n, in, err
	}
	if public != nil {
		if err := sig.Public.UnmarshalText([]byte(*public)); err != nil {
			return n, in, fmt.Errorf("service: journal: %v", err)
		}
		in.stored = &sig
	}
	return n, in, nil
}

// same returns keymgmt.ErrRefUsed when the journal has another kind or body under the Ref of r.
func (in intent) same(r keymgmt.Request) error {
	if in.kind != r.Kind.String() || !bytes.Equal(in.body, r.Body) {
		return fmt.Errorf("%w: %s of key %s", keymgmt.ErrRefUsed, r.Ref, r.Key)
	}
	return nil
}
