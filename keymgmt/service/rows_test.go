package service_test

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// Whoever has the signer's password, or is the owner, cannot add rows that name what is not there, or a signature that has
// not the form of one.
func TestRowsNameWhatIsThere(t *testing.T) {
	r := newRig(t)
	if _, err := r.open().For(gateway).Sign(t.Context(), checkpoint(1, 1)); err != nil {
		t.Fatal(err)
	}
	const request = `INSERT INTO signer.request (key, ref, kind, body, caller, policy) VALUES `
	const signed = `INSERT INTO signer.signature (key, ref, public, signature) `
	for statement, code := range map[string]string{
		request + `('k', 'one', 'jwt', 'x', 'c', 1)`:                                                                                                                    "",
		request + `('k', 'two', 'jwt', 'x', 'c', 1), ('k', 'no', 'jwt', 'x', 'c', 9)`:                                                                                   "23503",
		`INSERT INTO signer.sequence (key, source, sequence, ref) SELECT key, 'x', 1, ref FROM signer.request UNION SELECT 'k', 'x', 1, 'no'`:                           "23503",
		`INSERT INTO signer.reservation (key, ref, name, seconds, slot, amount) SELECT key, ref, 'x', 1, 1, 1 FROM signer.request UNION SELECT 'k', 'no', 'x', 1, 1, 1`: "23503",
		`INSERT INTO signer.consent (nonce, officer, key, ref, expires, signature) SELECT repeat('ab', 16), 'x', key, 'no', now(), signature FROM signer.signature`:     "23503",
		`INSERT INTO signer.consent (nonce, officer, key, ref, expires, signature) SELECT repeat('AB', 16), 'x', key, ref, now(), signature FROM signer.signature`:      "23514",
		signed + `SELECT key, 'no', public, signature FROM signer.signature`:                                                                                            "23503",
		signed + `SELECT key, ref, public, signature FROM signer.signature ON CONFLICT DO NOTHING`:                                                                      "",
		signed + `SELECT key, ref || 2, upper(public), signature FROM signer.signature`:                                                                                 "23514",
		signed + `SELECT key, ref || 3, replace(public, ':', ':0'), signature FROM signer.signature`:                                                                    "23514",
		signed + `SELECT key, ref || 4, public, signature || signature FROM signer.signature`:                                                                           "23514",
		signed + `SELECT key, ref || 5, 'secp256k1:04' || repeat('ab', 32), signature || '\x00' FROM signer.signature`:                                                  "23514",
		signed + `SELECT key, ref || 6, 'p256:02' || repeat('AB', 32), signature FROM signer.signature`:                                                                 "23514",
		signed + `SELECT key, ref || 7, left(public, 70) || 'xy', signature FROM signer.signature`:                                                                      "22023",
	} {
		err := r.exec(statement)
		var pg *pgconn.PgError
		if errors.As(err, &pg); (err == nil) != (code == "") || pg != nil && pg.Code != code {
			t.Errorf("%s: %v, want %q", statement, err, code)
		}
	}
}
