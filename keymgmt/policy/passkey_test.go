package policy_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/node/protocol"
)

const page = "http://localhost:7465"

// passkey is an authenticator in software that does what it is told.
type passkey struct {
	key    *ecdsa.PrivateKey
	rp     string
	flags  byte
	client string // with %s for the challenge
	highS  bool
}

func newPasskey(t testing.TB) *passkey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &passkey{key: key, rp: "localhost", flags: 5, client: `{"type":"webauthn.get","challenge":"%s","origin":"` + page + `","crossOrigin":false}`}
}

func (p *passkey) public(t testing.TB) policy.PublicKey {
	t.Helper()
	public, err := keymgmt.NewPublicKey(keymgmt.P256, elliptic.MarshalCompressed(elliptic.P256(), p.key.X, p.key.Y))
	if err != nil {
		t.Fatal(err)
	}
	return policy.PublicKey{PublicKey: public}
}

func (p *passkey) sign(t testing.TB, message []byte) ([]byte, *keymgmt.Passkey) {
	t.Helper()
	challenge, rp := sha256.Sum256(message), sha256.Sum256([]byte(p.rp))
	k := &keymgmt.Passkey{Authenticator: slices.Concat(rp[:], []byte{p.flags}, []byte{0, 0, 0, 9}),
		Client: []byte(strings.Replace(p.client, "%s", base64.RawURLEncoding.EncodeToString(challenge[:]), 1))}
	client := sha256.Sum256(k.Client)
	digest := sha256.Sum256(slices.Concat(k.Authenticator, client[:]))
	r, s, err := ecdsa.Sign(rand.Reader, p.key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	n := elliptic.P256().Params().N
	if high := s.Cmp(new(big.Int).Rsh(n, 1)) > 0; high != p.highS {
		s.Sub(n, s)
	}
	return slices.Concat(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))), k
}

// approve makes Petra's approval of an intent.
func (p *passkey) approve(t testing.TB, i policy.Intent) keymgmt.Consent {
	c := keymgmt.Consent{Officer: "petra", Nonce: keymgmt.NewNonce(), Expires: now.Add(time.Hour)}
	c.Signature, c.Passkey = p.sign(t, i.Message(c))
	return c
}

func withPetra(t *testing.T, b *bank) *passkey {
	t.Helper()
	p := newPasskey(t)
	b.file.PasskeyOrigins = []string{"https://approve.bank.example", page}
	b.file.Officers = append(b.file.Officers, policy.Officer{Name: "petra", Public: p.public(t), Groups: []string{"compliance"},
		Passkey: &policy.Passkey{RP: "localhost", Credential: "AQIDBA"}})
	return p
}

// TestPasskeys: an assertion of an officer's passkey counts as his approval, and none that was made for anything else, by
// anything else or in another form.
func TestPasskeys(t *testing.T) {
	b := newBank(t)
	all := withOfficers(t, b)
	p := withPetra(t, b)
	r := b.by(issuing, b.pay("500"))
	others := all.approve(t, r, b.file.Version, "alice", "dan")
	intent := intentOf(t, r, b.file.Version)
	decide := func(c keymgmt.Consent) error {
		asked := r
		asked.Consents = append(slices.Clone(others), c)
		_, err := b.decide(asked, facts())
		return err
	}
	for range 8 { // half of them are flipped
		c := p.approve(t, intent)
		if err := decide(c); err != nil {
			t.Fatal(err)
		}
		if err := b.file.CheckConsent(intent, c); err != nil {
			t.Error(err)
		}
	}
	flags := func(f byte) func(p *passkey) { return func(p *passkey) { p.flags = f } }
	client := func(old, new string) func(p *passkey) {
		return func(p *passkey) { p.client = strings.Replace(p.client, old, new, 1) }
	}
	for name, tt := range map[string]struct {
		why    string
		change func(p *passkey)
	}{
		"another relying party":       {"relying party", func(p *passkey) { p.rp = "bank.example" }},
		"nobody there":                {"without anybody", flags(4)},
		"not verified":                {"has not verified", flags(1)},
		"attested data":               {"flags", flags(0x45)},
		"extensions":                  {"flags", flags(0x85)},
		"a reserved flag":             {"flags", flags(0x07)},
		"backed up, not eligible":     {"flags", flags(0x15)},
		"another origin":              {"used on", client(page, "http://localhost:8000")},
		"a port that begins the same": {"used on", client(page, page+"0")},
		"upper case":                  {"used on", client("localhost", "LOCALHOST")},
		"an enrolment":                {"type", client("webauthn.get", "webauthn.create")},
		"another challenge":           {"challenge", client("%s", "AAAA")},
		"the challenge padded":        {"challenge", client("%s", "%s=")},
		"in a frame":                  {"inside another page", client("false", "true")},
		"in a frame, said as text":    {"inside another page", client("false", `"false"`)},
		"in a frame of":               {"inside another page", client("false", `false,"topOrigin":"https://evil.example"`)},
		"origin twice":                {"twice", client(`"type"`, `"origin":"https://evil.example","type"`)},
		"something after":             {"follows", func(p *passkey) { p.client += "{}" }},
		"nested":                      {"plain", client("false", `false,"tokenBinding":{"status":"present"}`)},
		"not UTF-8":                   {"UTF-8", client("false", "false,\"x\":\"\xff\"")},
		"no object":                   {"object", func(p *passkey) { p.client = `["webauthn.get"]` }},
		"cut":                         {"object", func(p *passkey) { p.client = p.client[:len(p.client)-1] }},
		"high S":                      {"does not verify", func(p *passkey) { p.highS = true }},
		"another key":                 {"does not verify", func(p *passkey) { p.key = newPasskey(t).key }},
	} {
		bent := *p
		tt.change(&bent)
		if err := decide(bent.approve(t, intent)); !errors.Is(err, keymgmt.ErrDenied) || !strings.Contains(err.Error(), tt.why) {
			t.Errorf("%s: %v, want %q", name, err, tt.why)
		}
	}
	extended := *p
	extended.client = strings.Replace(p.client, "{", `{"other_keys_can_be_added_here":"do not compare clientDataJSON against a template","hash":null,`, 1)
	extended.flags = 0x1d // synchronised
	if err := decide(extended.approve(t, intent)); err != nil {
		t.Errorf("what browsers may add: %v", err)
	}
	good := p.approve(t, intent)
	for name, change := range map[string]func(c *keymgmt.Consent){
		"of another request":     func(c *keymgmt.Consent) { *c = p.approve(t, intentOf(t, b.by(issuing, b.pay("501")), b.file.Version)) },
		"under another policy":   func(c *keymgmt.Consent) { *c = p.approve(t, intentOf(t, r, b.file.Version+1)) },
		"with another nonce":     func(c *keymgmt.Consent) { c.Nonce = keymgmt.NewNonce() },
		"with a longer life":     func(c *keymgmt.Consent) { c.Expires = c.Expires.Add(time.Second) },
		"without its passkey":    func(c *keymgmt.Consent) { c.Passkey = nil },
		"with nought":            func(c *keymgmt.Consent) { c.Signature = make([]byte, 64) },
		"by one with a key file": func(c *keymgmt.Consent) { c.Officer = "carol" },
		"with more data":         func(c *keymgmt.Consent) { c.Passkey.Authenticator = append(c.Passkey.Authenticator, 0) },
	} {
		c := good
		k := *good.Passkey
		c.Passkey = &k
		change(&c)
		if err := decide(c); !errors.Is(err, keymgmt.ErrDenied) {
			t.Errorf("an approval %s: %v", name, err)
		}
	}
	used := facts()
	used.Used = map[string]bool{good.Nonce: true}
	asked := r
	asked.Consents = append(slices.Clone(others), good)
	if _, err := b.decide(asked, used); !errors.Is(err, keymgmt.ErrDenied) {
		t.Errorf("used before: %v", err)
	}
	asked.Initiator = "petra"
	asked.Consents = append(all.approve(t, asked, b.file.Version, "alice", "dan"), p.approve(t, intentOf(t, asked, b.file.Version)))
	if _, err := b.decide(asked, facts()); !errors.Is(err, keymgmt.ErrDenied) || !strings.Contains(err.Error(), "approval.initiator") {
		t.Errorf("the initiator's passkey: %v", err)
	}
}

// TestPasskeyOrders: an officer freezes with his passkey.
func TestPasskeyOrders(t *testing.T) {
	b := newBank(t)
	p := withPetra(t, b)
	o := keymgmt.Order{Network: passphrase.NetworkID().String(), Action: keymgmt.Freeze, Key: keymgmt.EveryKey, Nonce: keymgmt.NewNonce(), Issued: now, Reason: "a test", Signers: []keymgmt.OrderSignature{{Officer: "petra"}}}
	o.Signers[0].Signature, o.Signers[0].Passkey = p.sign(t, policy.OrderText(o))
	loaded := load(t, b.file)
	if err := errors.Join(loaded.Order(o, now), b.file.CheckOrder(o)); err != nil {
		t.Error(err)
	}
	// The same officers may serve another installation, whose thaw must not be a thaw here.
	other := o
	other.Network = protocol.Passphrase("Another Network").NetworkID().String()
	other.Signers = []keymgmt.OrderSignature{{Officer: "petra"}}
	other.Signers[0].Signature, other.Signers[0].Passkey = p.sign(t, policy.OrderText(other))
	if err := loaded.Order(other, now); !errors.Is(err, keymgmt.ErrDenied) || !strings.Contains(err.Error(), "order.network") || b.file.CheckOrder(other) == nil {
		t.Errorf("the order of another installation: %v", err)
	}
	o.Reason = "another"
	if err := loaded.Order(o, now); !errors.Is(err, keymgmt.ErrDenied) {
		t.Errorf("another order: %v", err)
	}
	o.Signers[0].Passkey = nil
	if err := loaded.Order(o, now); !errors.Is(err, keymgmt.ErrDenied) {
		t.Errorf("without its passkey: %v", err)
	}
}

func TestRostersWithPasskeysThatMeanNothing(t *testing.T) {
	for name, change := range map[string]func(f *policy.File, o *policy.Officer){
		"no origins":               func(f *policy.File, _ *policy.Officer) { f.PasskeyOrigins = nil },
		"no origin of the party":   func(f *policy.File, _ *policy.Officer) { f.PasskeyOrigins = f.PasskeyOrigins[:1] },
		"an origin in the clear":   func(f *policy.File, _ *policy.Officer) { f.PasskeyOrigins[0] = "http://approve.bank.example" },
		"an origin with a path":    func(f *policy.File, _ *policy.Officer) { f.PasskeyOrigins[0] += "/" },
		"an origin twice":          func(f *policy.File, _ *policy.Officer) { f.PasskeyOrigins[0] = page },
		"a look-alike party":       func(_ *policy.File, o *policy.Officer) { o.Passkey.RP = "ocalhost" },
		"no party":                 func(_ *policy.File, o *policy.Officer) { o.Passkey.RP = "" },
		"no credential":            func(_ *policy.File, o *policy.Officer) { o.Passkey.Credential = "" },
		"a credential with blanks": func(_ *policy.File, o *policy.Officer) { o.Passkey.Credential = "AQ ID" },
		"no passkey":               func(_ *policy.File, o *policy.Officer) { o.Passkey = nil },
		"a passkey of Ed25519":     func(f *policy.File, o *policy.Officer) { o.Public = f.Keys[0].Public },
		"no point": func(_ *policy.File, o *policy.Officer) {
			public, err := keymgmt.NewPublicKey(keymgmt.P256, append([]byte{2}, bytes.Repeat([]byte{0xff}, 32)...))
			if err != nil {
				t.Fatal(err)
			}
			o.Public = policy.PublicKey{PublicKey: public}
		},
	} {
		b := newBank(t)
		withPetra(t, b)
		change(&b.file, &b.file.Officers[len(b.file.Officers)-1])
		if _, err := policy.Marshal(b.file); !errors.Is(err, policy.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzPasskey: nothing but the very bytes that a passkey made is its signature.
func FuzzPasskey(f *testing.F) {
	p := newPasskey(f)
	file := policy.File{Network: passphrase, PasskeyOrigins: []string{page}, Officers: []policy.Officer{{Name: "petra", Public: p.public(f), Passkey: &policy.Passkey{RP: "localhost", Credential: "AQ"}}}}
	o := keymgmt.Order{Network: passphrase.NetworkID().String(), Action: keymgmt.Freeze, Key: keymgmt.EveryKey, Nonce: keymgmt.NewNonce(), Issued: now, Signers: []keymgmt.OrderSignature{{Officer: "petra"}}}
	sig, made := p.sign(f, policy.OrderText(o))
	f.Add(made.Authenticator, made.Client, sig)
	f.Add(made.Authenticator, []byte(`{"type":"webauthn.get","challenge":"AAAA","origin":"x","a":1e9,"b":[{}]}`), sig)
	f.Fuzz(func(t *testing.T, authenticator, client, signature []byte) {
		o.Signers = []keymgmt.OrderSignature{{Officer: "petra", Signature: signature, Passkey: &keymgmt.Passkey{Authenticator: authenticator, Client: client}}}
		same := bytes.Equal(authenticator, made.Authenticator) && bytes.Equal(client, made.Client) && bytes.Equal(signature, sig)
		if err := file.CheckOrder(o); (err == nil) != same {
			t.Fatal(fmt.Sprintf("%x %q %x", authenticator, client, signature), err)
		}
	})
}
