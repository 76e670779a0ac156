package keymgmt

import (
	"fmt"
	"strings"
	"time"
)

// Attestation is the word of somebody outside the gateway, such as a bank's treasury or an auditor, on what stands behind
// an asset and how much of it there is. Whoever delivers it need not be trusted: it proves itself. Its figures are of one
// closed ledger, so that what was signed and may have been applied after that ledger can be told from the rest.
type Attestation struct {
	Asset       string    `json:"asset"`       // CODE:ISSUER
	Reserve     string    `json:"reserve"`     // what is held for it, in units of the asset with seven decimals
	Outstanding string    `json:"outstanding"` // all of it on the ledger that is not the issuer's, claimable balances and pools included
	Ledger      int64     `json:"ledger"`      // the ledger's number
	Closed      time.Time `json:"closed"`      // the ledger's close time, in whole seconds
	Sequence    int64     `json:"sequence"`    // the issuing account's sequence number there; 0 if it did not exist, and nothing is taken as over
	Issued      time.Time `json:"issued"`      // when this was signed, in whole seconds
	Attestor    string    `json:"attestor"`    // his name in the policy
	Signature   []byte    `json:"signature"`   // 64 bytes of Ed25519, base64
}

// Bounds of an Attestation and of a Discharge.
const (
	maxAssetText   = 80 // characters of CODE:ISSUER
	maxAmountText  = 46 // characters of an amount
	amountDecimals = 7
)

// Validate checks the shape of an attestation.
func (a Attestation) Validate() error {
	switch {
	case !assetText(a.Asset):
		return fmt.Errorf("%w: asset %.100q", ErrMalformed, a.Asset)
	case !amountText(a.Reserve):
		return fmt.Errorf("%w: reserve %.60q", ErrMalformed, a.Reserve)
	case !amountText(a.Outstanding):
		return fmt.Errorf("%w: outstanding %.60q", ErrMalformed, a.Outstanding)
	case a.Ledger < 1 || a.Sequence < 0:
		return fmt.Errorf("%w: ledger %d, sequence number %d", ErrMalformed, a.Ledger, a.Sequence)
	case !wholeSecond(a.Closed) || !wholeSecond(a.Issued):
		return fmt.Errorf("%w: a ledger closes and an attestation is issued at a whole second", ErrMalformed)
	case !person(a.Attestor):
		return fmt.Errorf("%w: attestor %.80q", ErrMalformed, a.Attestor)
	case len(a.Signature) != consentSize:
		return fmt.Errorf("%w: attestation with a signature of %d bytes", ErrMalformed, len(a.Signature))
	}
	return nil
}

// wholeSecond reports whether t is one in the years that a time's text has four digits for.
func wholeSecond(t time.Time) bool {
	return t.Unix() > 0 && t.Nanosecond() == 0 && t.UTC().Year() <= 9999
}

// assetText reports whether s could be CODE:ISSUER or the native asset: what it means is for the policy to read.
func assetText(s string) bool {
	return s != "" && len(s) <= maxAssetText && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != ':'
	})
}

// amountText reports whether s is an amount in its one form: no leading zeros, a point, seven digits.
func amountText(s string) bool {
	whole, frac, _ := strings.Cut(s, ".")
	return whole != "" && len(s) <= maxAmountText && len(frac) == amountDecimals && (whole == "0" || whole[0] != '0') &&
		!strings.ContainsFunc(whole+frac, func(r rune) bool { return r < '0' || r > '9' })
}
