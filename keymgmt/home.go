package keymgmt

import "fmt"

// Home is where a private key is when it signs, as a policy names it and a keyring reports it. Zero is invalid.
type Home uint8

// The homes of keys, the safest first.
const (
	// Hardware: in a device that never lets it out, which PKCS#11 speaks to.
	Hardware Home = iota + 1
	// Vault: in the Vault server, which never lets it out.
	Vault
	// SoftwareSealed: at rest encrypted by a key in Vault, and in the signer's own memory for the time of a signature. A
	// policy gives it less.
	SoftwareSealed
)

var homeNames = map[Home]string{Hardware: "hardware", Vault: "vault", SoftwareSealed: "software-sealed"}

// String returns the name in policies, "" when it is invalid.
func (h Home) String() string { return homeNames[h] }

// MarshalText returns the name; an invalid home is an error.
func (h Home) MarshalText() ([]byte, error) {
	if homeNames[h] == "" {
		return nil, fmt.Errorf("%w: home %d", ErrMalformed, h)
	}
	return []byte(homeNames[h]), nil
}

// UnmarshalText reads a name.
func (h *Home) UnmarshalText(b []byte) error {
	for home, name := range homeNames {
		if name == string(b) {
			*h = home
			return nil
		}
	}
	return fmt.Errorf("%w: home %.40q", ErrMalformed, b)
}
