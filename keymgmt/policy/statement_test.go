package policy_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/node/protocol"
)

// challenge is what a SEP-10 challenge is made of.
type challenge struct {
	network            protocol.Passphrase
	server             protocol.AccountID
	home, web, client  string
	notBefore, notLate time.Time
}

func (b *bank) challenge(change func(*challenge)) keymgmt.Request {
	b.t.Helper()
	c := challenge{network: passphrase, server: b.setup.Publics.Challenge, home: "bank.example", web: "auth.bank.example",
		notBefore: now, notLate: now.Add(15 * time.Minute)}
	change(&c)
	data := func(source protocol.AccountID, name, value string) xdr.Operation {
		m, v := source.Muxed(), xdr.DataValue(value)
		return xdr.Operation{SourceAccount: &m, Body: xdr.OperationBody{Type: xdr.OperationTypeManageData,
			ManageDataOp: &xdr.ManageDataOp{DataName: xdr.String64(name), DataValue: &v}}}
	}
	ops := []xdr.Operation{data(b.other, c.home+" auth", base64.StdEncoding.EncodeToString(make([]byte, 48)))}
	if c.web != "" {
		ops = append(ops, data(c.server, "web_auth_domain", c.web))
	}
	if c.client != "" {
		ops = append(ops, data(b.setup.Publics.Root, "client_domain", c.client))
	}
	tx := xdr.Transaction{SourceAccount: c.server.Muxed(), Fee: 100, Operations: ops, Cond: xdr.Preconditions{Type: xdr.PreconditionTypePrecondTime,
		TimeBounds: &xdr.TimeBounds{MinTime: xdr.TimePoint(c.notBefore.Unix()), MaxTime: xdr.TimePoint(c.notLate.Unix())}}}
	base, err := c.network.SignatureBase(xdr.TransactionEnvelope{Type: xdr.EnvelopeTypeEnvelopeTypeTx, V1: &xdr.TransactionV1Envelope{Tx: tx}})
	if err != nil {
		b.t.Fatal(err)
	}
	return b.request("anchor/sep10", keymgmt.KindChallenge, base)
}

func TestChallenges(t *testing.T) {
	for _, test := range []struct {
		name, rule string // no rule: allowed
		change     func(*challenge)
	}{
		{"plain", "", func(*challenge) {}},
		{"with a client domain", "", func(c *challenge) { c.client = "wallet.example" }},
		{"by a clock a little ahead", "", func(c *challenge) { c.notBefore, c.notLate = now.Add(50*time.Second), now.Add(950*time.Second) }},
		{"other network", "network", func(c *challenge) { c.network = "Another Network" }},
		{"other home domain", "challenge.home_domains", func(c *challenge) { c.home = "evil.example" }},
		{"other server domain", "challenge.web_auth_domain", func(c *challenge) { c.web = "evil.example" }},
		{"no server domain", "challenge.web_auth_domain", func(c *challenge) { c.web = "" }},
		{"lives too long", "challenge.max_seconds", func(c *challenge) { c.notLate = now.Add(901 * time.Second) }},
		{"for later", "challenge.max_seconds", func(c *challenge) { c.notBefore, c.notLate = now.Add(time.Hour), now.Add(time.Hour+time.Minute) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBank(t)
			if test.rule != "" {
				wantDenial(t, b, b.challenge(test.change), facts(), test.rule)
			} else if _, err := b.decide(b.challenge(test.change), facts()); err != nil {
				t.Fatal(err)
			}
		})
	}
	b := newBank(t)
	b.rule("anchor/sep10").Challenge.ClientDomain = false
	wantDenial(t, b, b.challenge(func(c *challenge) { c.client = "wallet.example" }), facts(), "challenge.client_domain")
	wantDenial(t, b, b.challenge(func(c *challenge) { c.server = b.setup.Publics.Issuing }), facts(), "challenge.server")
	r := b.challenge(func(*challenge) {})
	r.Key = b.rule(issuing).ID
	wantDenial(t, b, r, facts(), "kind")
}

func TestCheckpoints(t *testing.T) {
	b := newBank(t)
	const origin = "bank.example/audit"
	at := func(size int64, root byte) policy.Facts {
		f := facts()
		f.Last.Size, f.Last.Root[0] = size, root
		return f
	}
	ask := func(origin string, size int64, root byte) keymgmt.Request {
		return b.request("audit/log", keymgmt.KindCheckpoint, checkpointBody(origin, size, root))
	}
	wantDenial(t, b, ask("evil.example/audit", 9, 1), at(1, 1), "checkpoint.origin")
	wantDenial(t, b, ask(origin, 8, 1), at(9, 1), "checkpoint.size")
	wantDenial(t, b, ask(origin, 9, 2), at(9, 1), "checkpoint.root")
	for name, f := range map[string]policy.Facts{"the first": at(0, 0), "the same again": at(9, 1), "a longer one": at(8, 7)} {
		if _, err := b.decide(ask(origin, 9, 1), f); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func (b *bank) token(change func(header, claims map[string]any)) keymgmt.Request {
	b.t.Helper()
	header := map[string]any{"alg": "EdDSA", "typ": "JWT"}
	claims := map[string]any{"iss": "https://auth.bank.example/auth", "sub": b.other.String(), "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "jti": "1"}
	change(header, claims)
	part := func(m map[string]any) string {
		raw, err := json.Marshal(m)
		if err != nil {
			b.t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	return b.request("anchor/jwt", keymgmt.KindJWT, []byte(part(header)+"."+part(claims)))
}

func TestTokens(t *testing.T) {
	set := func(name string, value any) func(_, claims map[string]any) {
		return func(_, claims map[string]any) { claims[name] = value }
	}
	for _, test := range []struct {
		name, rule string // no rule: allowed
		change     func(header, claims map[string]any)
	}{
		{"plain", "", func(_, _ map[string]any) {}},
		{"with key id", "", func(h, _ map[string]any) { h["kid"] = "anchor/jwt" }},
		{"with domains", "", func(_, c map[string]any) { c["home_domain"], c["client_domain"] = "bank.example", "wallet.example" }},
		{"a day", "", set("exp", now.Add(24*time.Hour).Unix())},
		{"other key id", "jwt.key_id", func(h, _ map[string]any) { h["kid"] = "anchor/sep10" }},
		{"other issuer", "jwt.issuers", set("iss", "https://evil.example/auth")},
		{"subject is a person", "jwt.subject", set("sub", "alice")},
		{"subject's memo is text", "jwt.subject", set("sub", subjectAccount+":a")},
		{"subject's memo is not canonical", "jwt.subject", set("sub", subjectAccount+":007")},
		{"subject's memo is empty", "jwt.subject", set("sub", subjectAccount+":")},
		{"audience", "jwt.audiences", set("aud", "https://other.example")},
		{"home domain", "jwt.home_domains", set("home_domain", "evil.example")},
		{"issued in the future", "jwt.issued_at", func(_, c map[string]any) {
			c["iat"], c["exp"] = now.Add(2*time.Minute).Unix(), now.Add(time.Hour).Unix()
		}},
		{"lives too long", "jwt.max_seconds", set("exp", now.Add(24*time.Hour+time.Second).Unix())},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newBank(t)
			if test.rule != "" {
				wantDenial(t, b, b.token(test.change), facts(), test.rule)
			} else if _, err := b.decide(b.token(test.change), facts()); err != nil {
				t.Fatal(err)
			}
		})
	}
	b := newBank(t)
	b.rule("anchor/jwt").JWT.ClientDomain = false
	wantDenial(t, b, b.token(set("client_domain", "wallet.example")), facts(), "jwt.client_domain")
	b.rule("anchor/jwt").JWT.Audiences = []string{"a", "b"}
	wantDenial(t, b, b.token(func(_, _ map[string]any) {}), facts(), "jwt.audiences")
	wantDenial(t, b, b.token(set("aud", []string{"a", "c"})), facts(), "jwt.audiences")
	if _, err := b.decide(b.token(set("aud", []string{"b", "a"})), facts()); err != nil {
		t.Error(err)
	}
	if _, err := b.decide(b.token(func(_, c map[string]any) { delete(c, "aud"); c["aud"] = "a"; c["sub"] = b.other.String() + ":17" }), facts()); err != nil {
		t.Error(err)
	}
}

const subjectAccount = "GA5ZSEJYB37JRC5AVCIA5MOP4RHTM335X2KGX3IHOJAPP5RE34K4KZVN"

// Each change makes the officer's file say something that it must not.
func TestFilesThatMeanNothing(t *testing.T) {
	for name, change := range map[string]func(*policy.File){
		"other format":      func(f *policy.File) { f.Format = "diamante-policy/1" },
		"no version":        func(f *policy.File) { f.Version = 0 },
		"no network":        func(f *policy.File) { f.Network = "" },
		"no keys":           func(f *policy.File) { f.Keys = nil },
		"key twice":         func(f *policy.File) { f.Keys[1].ID = f.Keys[0].ID },
		"public key twice":  func(f *policy.File) { f.Keys[1].Public = f.Keys[0].Public },
		"no callers":        func(f *policy.File) { f.Keys[0].Callers = nil },
		"blank caller":      func(f *policy.File) { f.Keys[0].Callers = []string{"a b"} },
		"two purposes":      func(f *policy.File) { f.Keys[0].JWT = f.Keys[4].JWT },
		"no purpose":        func(f *policy.File) { f.Keys[0].Transaction = nil },
		"no max fee":        func(f *policy.File) { f.Keys[0].Transaction.MaxFee = policy.Quantity{} },
		"no fee per day":    func(f *policy.File) { f.Keys[0].Transaction.FeeWindows = nil },
		"no seconds":        func(f *policy.File) { f.Keys[0].Transaction.MaxSeconds = 0 },
		"months":            func(f *policy.File) { f.Keys[0].Transaction.MaxSeconds = 90 * 86400 },
		"no operations":     func(f *policy.File) { f.Keys[0].Transaction.MaxOperations = 0 },
		"limit without day": func(f *policy.File) { f.Keys[0].Transaction.Limits[0].Windows[0].Max = policy.Quantity{} },
		"limit twice":       func(f *policy.File) { l := &f.Keys[0].Transaction.Limits; *l = append(*l, (*l)[0]) },
		"no destinations":   func(f *policy.File) { f.Keys[0].Transaction.CreateAccount.Destinations = nil },
		"any and one": func(f *policy.File) {
			f.Keys[1].Transaction.Payments[0].Destinations = append(policy.Anyone(), f.Keys[0].Transaction.CreateAccount.Destinations...)
		},
		"no starting":        func(f *policy.File) { f.Keys[0].Transaction.CreateAccount.MaxStarting = policy.Quantity{} },
		"no assets":          func(f *policy.File) { f.Keys[1].Transaction.Payments[0].Assets = nil },
		"unknown flag":       func(f *policy.File) { f.Keys[1].Transaction.SetOptions.SetFlags = []string{"auth_optional"} },
		"unknown line flag":  func(f *policy.File) { f.Keys[1].Transaction.SetTrustLineFlags.Set = []string{"yes"} },
		"no data names":      func(f *policy.File) { f.Keys[1].Transaction.ManageData = &policy.ManageDataRule{} },
		"no home domains":    func(f *policy.File) { f.Keys[3].Challenge.HomeDomains = nil },
		"challenge too long": func(f *policy.File) { f.Keys[3].Challenge.MaxSeconds = 901 },
		"no issuers":         func(f *policy.File) { f.Keys[4].JWT.Issuers = nil },
		"token too long":     func(f *policy.File) { f.Keys[4].JWT.MaxSeconds = 86401 },
		"no origin":          func(f *policy.File) { f.Keys[5].Checkpoint.Origin = "" },
	} {
		b := newBank(t)
		change(&b.file)
		if _, err := policy.Marshal(b.file); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestTextThatMeansNothing(t *testing.T) {
	b := newBank(t)
	good, err := policy.Marshal(b.file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := policy.Check(good); err != nil {
		t.Fatal(err)
	}
	text := string(good)
	for name, bad := range map[string]string{
		"unknown field":          "max_everything = 1\n" + text,
		"unknown field of a key": strings.Replace(text, "frozen = false", "frozen = false\nallow_raw = true", 1),
		"another spelling":       strings.Replace(text, "frozen = false", "frozen = false\nFrozen = true", 1),
		"name twice":             strings.Replace(text, "frozen = false", "frozen = false\nfrozen = true", 1),
		"amount as a float":      replaceField(text, "max_fee", "0.01"),
		"amount with 8 decimals": replaceField(text, "max_fee", `"0.00000001"`),
		"negative amount":        replaceField(text, "max_fee", `"-1"`),
		"amount in scientific":   replaceField(text, "max_fee", `"1e9"`),
		"amount without end":     replaceField(text, "max_fee", `"`+strings.Repeat("9", 40)+`"`),
		"negative version":       replaceField(text, "version", "-1"),
		"key id in capitals":     strings.Replace(text, "network/root", "Network/root", 1),
		"account with a bad sum": strings.Replace(text, b.setup.Publics.Root.String(), b.setup.Publics.Root.String()[:55]+"!", 1),
		"destination by name":    strings.Replace(text, `'any'`, `'everyone'`, 1),
		"not TOML":               "{}",
		"nothing":                "",
	} {
		if bad == text {
			t.Fatalf("%s: the test changes nothing", name)
		}
		if _, err := policy.Check([]byte(bad)); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func replaceField(text, name, value string) string {
	var out []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, name+" = ") {
			line = fmt.Sprintf("%s = %s\n", name, value)
		}
		out = append(out, line)
	}
	return strings.Join(out, "")
}
