package protocol

import (
	"database/sql/driver"
	"fmt"
	"strings"

	"github.com/stellar/go-stellar-sdk/xdr"
)

// NativeCode is how the native asset is shown to people. On the wire and in Horizon's JSON it is "native".
const NativeCode = "DIAM"

// Asset is the native asset or a credit: a code and the account that issues it. It is comparable; the zero value is
// no asset.
type Asset struct {
	code   string
	issuer AccountID
}

// Native returns the native asset, DIAM.
func Native() Asset { return Asset{code: "native"} }

// NewCredit makes a credit asset: a code of 1 to 12 ASCII letters and digits, and its issuer.
func NewCredit(code string, issuer AccountID) (Asset, error) {
	if len(code) < 1 || len(code) > 12 {
		return Asset{}, fmt.Errorf("%w: asset code %.20q must have 1 to 12 characters", ErrInvalid, code)
	}
	for _, r := range code {
		if !(r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z') {
			return Asset{}, fmt.Errorf("%w: asset code %q has a character that is not a letter or digit", ErrInvalid, code)
		}
	}
	if issuer.IsZero() {
		return Asset{}, fmt.Errorf("%w: asset %s has no issuer", ErrInvalid, code)
	}
	return Asset{code: code, issuer: issuer}, nil
}

// ParseAsset reads "native" or CODE:ISSUER.
func ParseAsset(s string) (Asset, error) {
	if s == "native" {
		return Native(), nil
	}
	code, issuer, ok := strings.Cut(s, ":")
	if !ok {
		return Asset{}, fmt.Errorf("%w: asset %.80q is neither native nor CODE:ISSUER", ErrInvalid, s)
	}
	id, err := ParseAccountID(issuer)
	if err != nil {
		return Asset{}, err
	}
	return NewCredit(code, id)
}

// AssetFromXDR reads the wire form.
func AssetFromXDR(x xdr.Asset) (Asset, error) {
	if x.Type == xdr.AssetTypeAssetTypeNative {
		return Native(), nil
	}
	var typ, code, issuer string
	if err := x.Extract(&typ, &code, &issuer); err != nil {
		return Asset{}, fmt.Errorf("%w: asset: %v", ErrInvalid, err)
	}
	id, err := ParseAccountID(issuer)
	if err != nil {
		return Asset{}, err
	}
	return NewCredit(code, id)
}

// IsZero reports whether a is no asset.
func (a Asset) IsZero() bool { return a == Asset{} }

// IsNative reports whether a is DIAM.
func (a Asset) IsNative() bool { return a.issuer.IsZero() && a.code == "native" }

// Code returns the asset code, "native" for DIAM.
func (a Asset) Code() string { return a.code }

// Issuer returns the issuing account, zero for DIAM.
func (a Asset) Issuer() AccountID { return a.issuer }

// String returns "native" or CODE:ISSUER.
func (a Asset) String() string {
	if a.issuer.IsZero() {
		return a.code
	}
	return a.code + ":" + a.issuer.String()
}

// XDR returns the wire form.
func (a Asset) XDR() xdr.Asset {
	switch {
	case a.IsNative():
		return xdr.Asset{Type: xdr.AssetTypeAssetTypeNative}
	case len(a.code) <= 4:
		x := &xdr.AlphaNum4{Issuer: a.issuer.XDR()}
		copy(x.AssetCode[:], a.code)
		return xdr.Asset{Type: xdr.AssetTypeAssetTypeCreditAlphanum4, AlphaNum4: x}
	default:
		x := &xdr.AlphaNum12{Issuer: a.issuer.XDR()}
		copy(x.AssetCode[:], a.code)
		return xdr.Asset{Type: xdr.AssetTypeAssetTypeCreditAlphanum12, AlphaNum12: x}
	}
}

// MarshalText returns String; the zero value is an error.
func (a Asset) MarshalText() ([]byte, error) {
	if a.IsZero() {
		return nil, fmt.Errorf("%w: empty asset", ErrInvalid)
	}
	return []byte(a.String()), nil
}

// UnmarshalText reads "native" or CODE:ISSUER.
func (a *Asset) UnmarshalText(b []byte) (err error) { *a, err = ParseAsset(string(b)); return err }

// Value stores the text form.
func (a Asset) Value() (driver.Value, error) {
	b, err := a.MarshalText()
	return string(b), err
}

// Scan loads the text form.
func (a *Asset) Scan(src any) error { return scanText(src, a) }
