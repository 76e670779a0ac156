package policy

import (
	"bytes"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/signature"
)

// Passkey says where to find an officer's key that is in a passkey: a P-256 key that no program can read, and which signs
// only on a page of its relying party, when its holder is there and has proved to be himself.
type Passkey struct {
	// RP is the relying party, the domain that the passkey was made for: "localhost" for the pages of the operator's command.
	RP string `toml:"rp"`
	// Credential is the passkey's own name, in base64url. It proves nothing: an officer's program finds the key by it.
	Credential string `toml:"credential"`
}

// Bounds of passkeys in a roster.
const (
	maxOrigins    = 10
	maxRP         = 253
	maxCredential = 1023 // bytes, as WebAuthn has it
)

// The flags in authenticator data.
const (
	userPresent    = 0x01
	userVerified   = 0x04
	backupEligible = 0x08
	backedUp       = 0x10
)

// rpHash, the flags and a counter are all of the authenticator data that there may be.
const authenticatorSize = sha256.Size + 1 + 4

// proof is how an officer signed something.
type proof struct {
	signature []byte
	passkey   *keymgmt.Passkey
}

// signed checks that an officer has signed message. The error says what is wrong with it.
func (f *File) signed(o Officer, message []byte, p proof) error {
	switch {
	case (o.Passkey != nil) != (p.passkey != nil):
		return errors.New("it is of another kind than his key")
	case o.Passkey != nil:
		return o.asserted(message, p, f.PasskeyOrigins)
	case !ed25519.Verify(o.Public.Bytes(), message, p.signature):
		return errors.New("the signature does not verify")
	}
	return nil
}

// asserted checks what a passkey made, by the parts of WebAuthn level 2, section 7.2, that have to do with this: there is no
// session to end, and the counter of signatures is not relied upon, since many passkeys have none and a nonce keeps an
// approval from counting twice.
func (o Officer) asserted(message []byte, p proof, origins []string) error {
	data := p.passkey.Authenticator
	rp := sha256.Sum256([]byte(o.Passkey.RP))
	if len(data) != authenticatorSize || subtle.ConstantTimeCompare(data[:sha256.Size], rp[:]) != 1 {
		return errors.New("the passkey signed for another relying party")
	}
	flags := data[sha256.Size]
	switch {
	case flags&userPresent == 0:
		return errors.New("the passkey signed without anybody there")
	case flags&userVerified == 0:
		return errors.New("the passkey has not verified who was there")
	case flags&^(userPresent|userVerified|backupEligible|backedUp) != 0 || flags&(backupEligible|backedUp) == backedUp:
		return fmt.Errorf("authenticator data with flags %#02x", flags)
	}
	if err := checkClient(p.passkey.Client, sha256.Sum256(message), origins); err != nil {
		return err
	}
	client := sha256.Sum256(p.passkey.Client)
	digest := sha256.Sum256(slices.Concat(data, client[:]))
	if !signature.Verify(o.Public.PublicKey, digest[:], p.signature) {
		return errors.New("the signature does not verify")
	}
	return nil
}

// checkClient reads the client data, in which a browser says what it was asked to sign and by whom.
func checkClient(raw []byte, challenge [sha256.Size]byte, origins []string) error {
	client, err := readClient(raw)
	if err != nil {
		return err
	}
	switch {
	case client["type"] != "webauthn.get":
		return fmt.Errorf("client data of type %.40q", client["type"])
	case client["challenge"] != base64.RawURLEncoding.EncodeToString(challenge[:]):
		return errors.New("the passkey signed another challenge")
	case !slices.ContainsFunc(origins, func(o string) bool { return client["origin"] == o }):
		return fmt.Errorf("the passkey was used on %.80q", client["origin"])
	case client["crossOrigin"] != nil && client["crossOrigin"] != false || client["topOrigin"] != nil:
		return errors.New("the passkey was used inside another page")
	}
	return nil
}

// readClient reads a JSON object of plain values, each named once.
func readClient(raw []byte) (map[string]any, error) {
	bad := func(why string) (map[string]any, error) { return nil, fmt.Errorf("client data: %s", why) }
	if !utf8.Valid(raw) {
		return bad("not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return bad("no JSON object")
	}
	client := map[string]any{}
	for dec.More() {
		t, err := dec.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return bad("no JSON object")
		}
		if _, twice := client[name]; twice {
			return bad("a member is there twice")
		}
		value, err := dec.Token()
		if _, nested := value.(json.Delim); err != nil || nested {
			return bad("a member is no plain value")
		}
		client[name] = value
	}
	if _, err := dec.Token(); err != nil {
		return bad("no JSON object")
	}
	if _, err := dec.Token(); err != io.EOF {
		return bad("something follows the object")
	}
	return client, nil
}

// CheckConsent says what is wrong with an approval of i before it is handed in: the officer's side of what the signer
// checks, but for the time and what was used before.
func (f *File) CheckConsent(i Intent, c keymgmt.Consent) error {
	at := slices.IndexFunc(f.Officers, func(o Officer) bool { return o.Name == c.Officer })
	switch {
	case i.version != f.Version:
		return fmt.Errorf("%w: the approval is for policy %d, this is %d", ErrInvalid, i.version, f.Version)
	case at < 0:
		return fmt.Errorf("%w: %q is no officer", ErrInvalid, c.Officer)
	case c.Officer == i.request.Initiator:
		return fmt.Errorf("%w: %s cannot approve what he asked for", ErrInvalid, c.Officer)
	}
	return f.signed(f.Officers[at], i.Message(c), proof{c.Signature, c.Passkey})
}

// CheckOrder is the same of the newest signature of an order.
func (f *File) CheckOrder(o keymgmt.Order) error {
	if err := o.Validate(); err != nil {
		return err
	}
	if id := f.Network.NetworkID(); o.Network != id.String() {
		return fmt.Errorf("%w: the order is for network %s, the policy for %s", ErrInvalid, o.Network, id)
	}
	s := o.Signers[len(o.Signers)-1]
	at := slices.IndexFunc(f.Officers, func(officer Officer) bool { return officer.Name == s.Officer })
	if at < 0 {
		return fmt.Errorf("%w: %q is no officer", ErrInvalid, s.Officer)
	}
	return f.signed(f.Officers[at], OrderText(o), proof{s.Signature, s.Passkey})
}

// validKey checks an officer's key and what is said of it.
func (f *File) validKey(o Officer) error {
	if o.Passkey == nil {
		if o.Public.Algorithm() != keymgmt.Ed25519 {
			return errors.New("the key is no Ed25519 key, and no passkey")
		}
		return nil
	}
	credential, err := base64.RawURLEncoding.Strict().DecodeString(o.Passkey.Credential)
	if err != nil || len(credential) == 0 || len(credential) > maxCredential {
		return errors.New("passkey.credential is not a credential id in base64url")
	}
	if o.Public.Algorithm() != keymgmt.P256 {
		return errors.New("the key of a passkey is a P-256 key")
	}
	if x, _ := elliptic.UnmarshalCompressed(elliptic.P256(), o.Public.Bytes()); x == nil {
		return errors.New("the key is no point of P-256")
	}
	if len(o.Passkey.RP) > maxRP || !plainHost(o.Passkey.RP) {
		return fmt.Errorf("passkey.rp %.80q is no domain", o.Passkey.RP)
	}
	if !slices.ContainsFunc(f.PasskeyOrigins, func(s string) bool { return under(host(s), o.Passkey.RP) }) {
		return fmt.Errorf("passkey_origins has no page of %s", o.Passkey.RP)
	}
	return nil
}

// validOrigins checks the pages on which passkeys are used: they are on TLS, or on this machine.
func (f *File) validOrigins() error {
	if len(f.PasskeyOrigins) > maxOrigins {
		return fmt.Errorf("%d passkey_origins, at most %d", len(f.PasskeyOrigins), maxOrigins)
	}
	for i, s := range f.PasskeyOrigins {
		u, err := url.Parse(s)
		if err != nil || u.Scheme+"://"+u.Host != s || !plainHost(u.Hostname()) || slices.Contains(f.PasskeyOrigins[:i], s) ||
			u.Scheme != "https" && (u.Scheme != "http" || u.Hostname() != "localhost") {
			return fmt.Errorf("passkey_origins: %.80q is not https://HOST or http://localhost:PORT, or there twice", s)
		}
	}
	return nil
}

func host(origin string) string {
	u, err := url.Parse(origin)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

func under(host, domain string) bool { return host == domain || strings.HasSuffix(host, "."+domain) }

func plainHost(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '.' && r != '-' })
}

func (o Officer) explain() string {
	key, err := o.Public.MarshalText()
	if err != nil {
		key = []byte("none")
	}
	of := "key " + string(key)
	if o.Passkey != nil {
		of = fmt.Sprintf("passkey %s of %s", key, o.Passkey.RP)
	}
	return fmt.Sprintf("officer %s with %s approves for %s", o.Name, of, strings.Join(o.Groups, ", "))
}

// EnrolmentText is what an officer signs with a new passkey to show that it works: his entry in the roster, and c's nonce.
func EnrolmentText(o Officer, c keymgmt.Consent) []byte {
	return fmt.Appendf(nil, "diamante enrolment 1\nofficer %s\nkey %s\nnonce %s\n", o.Name, o.Public.PublicKey, c.Nonce)
}

// CheckEnrolment checks that the passkey of an officer signed his enrolment on a page of origin, as the signer will check
// what he approves.
func CheckEnrolment(o Officer, c keymgmt.Consent, origin string) error {
	f := File{Officers: []Officer{o}, PasskeyOrigins: []string{origin}}
	if err := f.validateOfficers(); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return f.signed(o, EnrolmentText(o, c), proof{c.Signature, c.Passkey})
}
