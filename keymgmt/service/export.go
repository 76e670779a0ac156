package service

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/policy"
)

// Export gives every request in the journal to add, in the order in which they were allowed, for policy.Simulate. It only
// reads, and stops at the first error of add.
func Export(ctx context.Context, r audit.Reader, add func(policy.Past) error) error {
	const all = `SELECT r.key, r.kind, r.body, r.ref, r.initiator, r.caller, r.policy, r.at,
			(SELECT min(s.at) FROM signer.seen s WHERE s.key = r.key AND s.ref = r.ref AND s.sha256 = sha256(convert_to(r.kind, 'UTF8') || '\x00'::bytea || r.body)),
			(SELECT json_agg(json_build_object('officer', c.officer, 'nonce', c.nonce, 'expires', to_char(c.expires AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
				'signature', translate(encode(c.signature, 'base64'), E'\n', ''),
				'passkey', CASE WHEN c.client IS NOT NULL THEN json_build_object('authenticator_data', translate(encode(c.authenticator, 'base64'), E'\n', ''),
					'client_data', translate(encode(c.client, 'base64'), E'\n', '')) END) ORDER BY c.at, c.nonce)
				FROM signer.consent c WHERE c.key = r.key AND c.ref = r.ref)
		FROM signer.request r ORDER BY r.at, r.key, r.ref`
	rows, err := r.Query(ctx, all)
	if err != nil {
		return unavailable(err)
	}
	defer rows.Close()
	for rows.Next() {
		var p policy.Past
		var key, kind string
		var version int64
		var seen *time.Time
		var consents []byte
		if err := rows.Scan(&key, &kind, &p.Body, &p.Ref, &p.Initiator, &p.Caller, &version, &p.At, &seen, &consents); err != nil {
			return unavailable(err)
		}
		if p.Key, err = keymgmt.ParseKeyID(key); err != nil {
			return err
		}
		if err := p.Kind.UnmarshalText([]byte(kind)); err != nil {
			return err
		}
		if consents != nil {
			if err := json.Unmarshal(consents, &p.Consents); err != nil {
				return fmt.Errorf("service: approvals of %s: %w", p.Ref, err)
			}
		}
		p.At, p.Policy, p.FirstSeen = p.At.UTC(), uint64(version), seen
		if err := add(p); err != nil {
			return err
		}
	}
	if rows.Err() != nil {
		return unavailable(rows.Err())
	}
	return nil
}
