package keymgmt

import (
	"fmt"
	"strings"
	"time"
)

// MaxDischarges bounds the discharges of a Request.
const MaxDischarges = 16

// Discharge is the word of a lien's holder that so much may leave an account that holds collateral, to one destination. It
// counts once, for one request.
type Discharge struct {
	Lien        string    `json:"lien"`        // its id in the policy
	Asset       string    `json:"asset"`       // "native" or CODE:ISSUER
	Amount      string    `json:"amount"`      // in units of the asset with seven decimals, exactly what leaves
	Destination string    `json:"destination"` // the account that gets it
	Nonce       string    `json:"nonce"`       // of NewNonce
	Expires     time.Time `json:"expires"`     // in whole seconds
	Holder      string    `json:"holder"`      // his name in the policy
	Signature   []byte    `json:"signature"`   // 64 bytes of Ed25519, base64
}

// addressSize is how many characters an account's address has.
const addressSize = 56

// Validate checks the shape of a discharge.
func (d Discharge) Validate() error {
	notAddress := func(r rune) bool { return (r < 'A' || r > 'Z') && (r < '2' || r > '7') }
	switch {
	case !person(d.Lien):
		return fmt.Errorf("%w: lien %.80q", ErrMalformed, d.Lien)
	case !assetText(d.Asset):
		return fmt.Errorf("%w: asset %.100q", ErrMalformed, d.Asset)
	case !amountText(d.Amount):
		return fmt.Errorf("%w: amount %.60q", ErrMalformed, d.Amount)
	case len(d.Destination) != addressSize || strings.ContainsFunc(d.Destination, notAddress):
		return fmt.Errorf("%w: destination %.80q", ErrMalformed, d.Destination)
	case !nonce(d.Nonce):
		return fmt.Errorf("%w: nonce %.80q", ErrMalformed, d.Nonce)
	case !wholeSecond(d.Expires):
		return fmt.Errorf("%w: a discharge expires at a whole second", ErrMalformed)
	case !person(d.Holder):
		return fmt.Errorf("%w: holder %.80q", ErrMalformed, d.Holder)
	case len(d.Signature) != consentSize:
		return fmt.Errorf("%w: discharge with a signature of %d bytes", ErrMalformed, len(d.Signature))
	}
	return nil
}

// validDischarges checks the shape of what lien holders say to a request.
func (r Request) validDischarges() error {
	if len(r.Discharges) > MaxDischarges {
		return fmt.Errorf("%w: %d discharges, at most %d", ErrMalformed, len(r.Discharges), MaxDischarges)
	}
	for _, d := range r.Discharges {
		if err := d.Validate(); err != nil {
			return err
		}
	}
	return nil
}
