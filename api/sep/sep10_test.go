package sep_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stellar/go-stellar-sdk/keypair"
	"github.com/stellar/go-stellar-sdk/txnbuild"
	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/api/sep"
	"github.com/diamante/gateway/api/web"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/node/protocol"
)

func TestChallenge(t *testing.T) {
	f := newFixture(t)
	key := keypair.MustRandom()
	tx := f.challenge(t, key.Address())
	now := time.Now().Unix()
	bounds, ops := tx.Timebounds(), tx.Operations()
	if bounds.MinTime > now || bounds.MinTime < now-10 || bounds.MaxTime != bounds.MinTime+900 || tx.SourceAccount().Sequence != 0 || len(ops) != 2 || len(tx.Signatures()) != 1 {
		t.Errorf("%+v, %d operations, %d signatures", bounds, len(ops), len(tx.Signatures()))
	}
	again := f.challenge(t, key.Address())
	if a, b := ops[0].(*txnbuild.ManageData), again.Operations()[0].(*txnbuild.ManageData); bytes.Equal(a.Value, b.Value) {
		t.Error("two challenges with one nonce")
	}
	muxed, err := xdr.MuxedAccountFromAccountId(key.Address(), 7)
	if err != nil {
		t.Fatal(err)
	}
	for name, query := range map[string]string{
		"no account": "", "empty": "account=", "secret": "account=" + key.Seed(), "cut": "account=" + key.Address()[:55], "lower": "account=" + strings.ToLower(key.Address()),
		"muxed": "account=" + muxed.Address(), "memo": "account=" + key.Address() + "&memo=7", "ourselves": "account=" + f.server.String(),
		"other domain": "account=" + key.Address() + "&home_domain=evil.test", "twice": "account=" + key.Address() + "&account=" + key.Address(),
		"long": "account=" + strings.Repeat("G", 9000), "escapes": "account=%zz",
	} {
		t.Run(name, func(t *testing.T) {
			if res, v := f.do(t, "GET", "/auth?"+query, "", "", nil); res.StatusCode != 400 {
				t.Errorf("%d %v", res.StatusCode, v)
			}
		})
	}
}

func TestToken(t *testing.T) {
	f := newFixture(t)
	key := keypair.MustRandom()
	tx := sign(t, f.challenge(t, key.Address()), key)
	text, _ := tx.Base64()
	res, v := f.do(t, "POST", "/auth", "application/x-www-form-urlencoded", url.Values{"transaction": {text}}.Encode(), nil)
	if res.StatusCode != 200 || len(v) != 1 {
		t.Fatalf("%d %v", res.StatusCode, v)
	}
	parts := strings.Split(v["token"].(string), ".")
	header, _ := base64.RawURLEncoding.DecodeString(parts[0])
	if string(header) != `{"alg":"EdDSA","typ":"JWT"}` {
		t.Errorf("header %s", header)
	}
	var claims map[string]any
	raw, _ := base64.RawURLEncoding.DecodeString(parts[1])
	if err := json.Unmarshal(raw, &claims); err != nil {
		t.Fatal(err)
	}
	if claims["iss"] != origin || claims["sub"] != key.Address() || claims["exp"].(float64)-claims["iat"].(float64) != 3600 || len(claims["jti"].(string)) != 64 {
		t.Errorf("claims %s", raw)
	}
	if n := f.records(t, "session.opened"); n != 1 {
		t.Errorf("%d records", n)
	}
	// Replayed, in either form, it is worth nothing.
	if status, v := f.post(t, tx); status != 400 || !strings.Contains(v["error"].(string), "before") {
		t.Errorf("%d %v", status, v)
	}
	if n := f.records(t, "session.opened"); n != 1 {
		t.Errorf("%d records after a replay", n)
	}
}

func TestManyAtOnceGetOneToken(t *testing.T) {
	f := newFixture(t)
	key := keypair.MustRandom()
	text, err := sign(t, f.challenge(t, key.Address()), key).Base64()
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	status := make([]int, 8)
	for i := range status {
		wg.Go(func() { status[i], _ = f.postText(t, text) })
	}
	wg.Wait()
	good := 0
	for _, s := range status {
		switch s {
		case 200:
			good++
		case 400:
		default:
			t.Errorf("status %d", s)
		}
	}
	if good != 1 || f.records(t, "session.opened") != 1 {
		t.Errorf("%d tokens: %v", good, status)
	}
}

func TestThresholds(t *testing.T) {
	f := newFixture(t)
	master, second, third, stranger := keypair.MustRandom(), keypair.MustRandom(), keypair.MustRandom(), keypair.MustRandom()
	set := func(thresholds xdr.Thresholds, signers ...xdr.Signer) {
		id, err := protocol.ParseAccountID(master.Address())
		if err != nil {
			t.Fatal(err)
		}
		f.ledger.accounts = map[account]protocol.Account{id: {ID: id, Thresholds: thresholds, Signers: signers}}
	}
	with := func(key *keypair.Full, weight uint32) xdr.Signer {
		return xdr.Signer{Key: xdr.MustSigner(key.Address()), Weight: xdr.Uint32(weight)}
	}
	server := xdr.Signer{Key: xdr.MustSigner(f.server.String()), Weight: 255}
	tests := []struct {
		name       string
		thresholds xdr.Thresholds
		signers    []xdr.Signer
		keys       []*keypair.Full
		status     int
	}{
		{"master", xdr.Thresholds{1, 0, 0, 0}, nil, []*keypair.Full{master}, 200},
		{"nobody", xdr.Thresholds{1, 0, 0, 0}, nil, nil, 400},
		{"stranger", xdr.Thresholds{1, 0, 0, 0}, nil, []*keypair.Full{stranger}, 400},
		{"master and stranger", xdr.Thresholds{1, 0, 0, 0}, nil, []*keypair.Full{master, stranger}, 400},
		{"master twice", xdr.Thresholds{1, 0, 2, 0}, nil, []*keypair.Full{master, master}, 400},
		{"master retired", xdr.Thresholds{0, 0, 0, 0}, []xdr.Signer{with(second, 1)}, []*keypair.Full{master}, 400},
		{"another signer", xdr.Thresholds{0, 0, 1, 2}, []xdr.Signer{with(second, 1)}, []*keypair.Full{second}, 200},
		{"too little", xdr.Thresholds{1, 1, 3, 3}, []xdr.Signer{with(second, 1), with(third, 1)}, []*keypair.Full{master, second}, 400},
		{"together", xdr.Thresholds{1, 1, 3, 3}, []xdr.Signer{with(second, 1), with(third, 1)}, []*keypair.Full{master, second, third}, 200},
		{"medium, not high", xdr.Thresholds{1, 1, 1, 3}, nil, []*keypair.Full{master}, 200},
		{"the server does not help", xdr.Thresholds{1, 1, 2, 3}, []xdr.Signer{server}, []*keypair.Full{master}, 400},
		{"weight 0", xdr.Thresholds{0, 0, 0, 0}, []xdr.Signer{with(second, 0), with(third, 1)}, []*keypair.Full{second}, 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			set(tt.thresholds, tt.signers...)
			status, v := f.post(t, sign(t, f.challenge(t, master.Address()), tt.keys...))
			if status != tt.status {
				t.Errorf("%d %v", status, v)
			}
		})
	}
	t.Run("no such account, other key", func(t *testing.T) {
		f.ledger.accounts = nil
		if status, v := f.post(t, sign(t, f.challenge(t, master.Address()), second)); status != 400 {
			t.Errorf("%d %v", status, v)
		}
	})
}

func TestBadAnswers(t *testing.T) {
	f := newFixture(t)
	key := keypair.MustRandom()
	good, _ := sign(t, f.challenge(t, key.Address()), key).Base64()
	raw, _ := base64.StdEncoding.DecodeString(good)
	const j, form = "application/json", "application/x-www-form-urlencoded"
	body := func(tx string) string { return `{"transaction":"` + tx + `"}` }
	// A challenge that another server made for itself, and one of ours that is over.
	other, err := txnbuild.BuildChallengeTx(keypair.MustRandom().Seed(), key.Address(), webDomain, homeDomain, string(passphrase), time.Minute, nil)
	if err != nil {
		t.Fatal(err)
	}
	foreign, _ := sign(t, other, key).Base64()
	for name, tt := range map[string]struct{ contentType, body string }{
		"empty":            {j, ""},
		"no transaction":   {j, "{}"},
		"unknown member":   {j, `{"transaction":"` + good + `","token":"x"}`},
		"number":           {j, `{"transaction":1}`},
		"twice":            {j, `{"transaction":"` + good + `","transaction":"` + good + `"}`},
		"not base64":       {j, body("****")},
		"not XDR":          {j, body("AAAA")},
		"cut":              {j, body(base64.StdEncoding.EncodeToString(raw[:len(raw)-4]))},
		"trailing":         {j, body(base64.StdEncoding.EncodeToString(append(raw[:len(raw):len(raw)], 0, 0, 0, 0)))},
		"huge":             {j, body(strings.Repeat("A", 10<<10))},
		"larger than read": {j, body(strings.Repeat("A", 100<<10))},
		"another server's": {j, body(foreign)},
		"tampered":         {j, body(base64.StdEncoding.EncodeToString(tamper(raw)))},
		"form, none":       {form, ""},
		"form, twice":      {form, "transaction=a&transaction=b"},
		"form, JSON":       {form, body(good)},
		"multipart":        {"multipart/form-data; boundary=x", "--x--"},
		"no type":          {"", body(good)},
	} {
		t.Run(name, func(t *testing.T) {
			if res, v := f.do(t, "POST", "/auth", tt.contentType, tt.body, nil); res.StatusCode != 400 {
				t.Errorf("%d %v", res.StatusCode, v)
			}
		})
	}
	if n := f.records(t, "session.opened"); n != 0 {
		t.Errorf("%d sessions", n)
	}
	if res, v := f.do(t, "POST", "/auth", j, body(good), nil); res.StatusCode != 200 {
		t.Errorf("the good one is spoilt: %d %v", res.StatusCode, v)
	}
}

func tamper(raw []byte) []byte {
	b := bytes.Clone(raw)
	b[len(b)/2] ^= 1
	return b
}

// forge makes a challenge as our own key would, but wrong in one respect.
func (f *fixture) forge(t *testing.T, client string, change func(*xdr.Transaction)) string {
	t.Helper()
	text, _ := f.challenge(t, client).Base64()
	var env xdr.TransactionEnvelope
	if err := xdr.SafeUnmarshalBase64(text, &env); err != nil {
		t.Fatal(err)
	}
	change(&env.V1.Tx)
	hash, err := passphrase.TxHash(env)
	if err != nil {
		t.Fatal(err)
	}
	env.V1.Signatures = []xdr.DecoratedSignature{{Hint: f.server.Hint(), Signature: ed25519.Sign(f.challenges.key, hash[:])}}
	text, err = xdr.MarshalBase64(env)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestForgedChallenges(t *testing.T) {
	f := newFixture(t)
	key := keypair.MustRandom()
	for name, tt := range map[string]struct {
		change func(*xdr.Transaction)
		status int
	}{
		"unchanged": {func(*xdr.Transaction) {}, 200},
		"over": {func(tx *xdr.Transaction) {
			tx.Cond.TimeBounds.MinTime, tx.Cond.TimeBounds.MaxTime = 1000, 2000
		}, 400},
		"not yet":         {func(tx *xdr.Transaction) { tx.Cond.TimeBounds.MinTime += 3600; tx.Cond.TimeBounds.MaxTime += 3600 }, 400},
		"for ever":        {func(tx *xdr.Transaction) { tx.Cond.TimeBounds.MaxTime = 0 }, 400},
		"no bounds":       {func(tx *xdr.Transaction) { tx.Cond = xdr.Preconditions{} }, 400},
		"a real sequence": {func(tx *xdr.Transaction) { tx.SeqNum = 1 }, 400},
		"a memo": {func(tx *xdr.Transaction) {
			id := xdr.Uint64(7)
			tx.Memo = xdr.Memo{Type: xdr.MemoTypeMemoId, Id: &id}
		}, 400},
		"another domain": {func(tx *xdr.Transaction) { tx.Operations[0].Body.ManageDataOp.DataName = "evil.test auth" }, 400},
		"another server": {func(tx *xdr.Transaction) {
			v := xdr.DataValue("evil.test")
			tx.Operations[1].Body.ManageDataOp.DataValue = &v
		}, 400},
		"one operation":    {func(tx *xdr.Transaction) { tx.Operations = tx.Operations[:1] }, 400},
		"three operations": {func(tx *xdr.Transaction) { tx.Operations = append(tx.Operations, tx.Operations[1]) }, 400},
		"no source":        {func(tx *xdr.Transaction) { tx.Operations[0].SourceAccount = nil }, 400},
	} {
		t.Run(name, func(t *testing.T) {
			parsed, err := txnbuild.TransactionFromXDR(f.forge(t, key.Address(), tt.change))
			if err != nil {
				t.Fatal(err)
			}
			tx, _ := parsed.Transaction()
			if status, v := f.post(t, sign(t, tx, key)); status != tt.status {
				t.Errorf("%d %v", status, v)
			}
		})
	}
}

func TestPartsDown(t *testing.T) {
	f := newFixtureOn(t, "host=/nonexistent user=nobody dbname=none")
	key := keypair.MustRandom()
	check := func(res int, v map[string]any, part string) {
		t.Helper()
		if res != 503 || v["type"] != web.TypeBase+part+"-unavailable" {
			t.Errorf("%d %v", res, v)
		}
	}
	f.challenges.fail(fmt.Errorf("%w: connection refused", sep.ErrSigner))
	res, v := f.do(t, "GET", "/auth?account="+key.Address(), "", "", nil)
	check(res.StatusCode, v, "signer")
	if res.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	f.challenges.fail(nil)
	tx := sign(t, f.challenge(t, key.Address()), key)
	f.ledger.err = fmt.Errorf("dial: %w", protocol.ErrUnavailable)
	status, v := f.post(t, tx)
	check(status, v, "node")
	f.ledger.err = nil
	status, v = f.post(t, tx)
	check(status, v, "database")
	// A signer that answers with a wrong signature is a fault of ours, and nobody gets to see what it made.
	f.challenges.key = newSigner(keymgmt.KindChallenge).key
	if res, v := f.do(t, "GET", "/auth?account="+key.Address(), "", "", nil); res.StatusCode != 500 || v["detail"] != nil {
		t.Errorf("%d %v", res.StatusCode, v)
	}
}

func TestTokenSignerDownBurnsTheChallenge(t *testing.T) {
	f := newFixture(t)
	key := keypair.MustRandom()
	tx := sign(t, f.challenge(t, key.Address()), key)
	f.tokens.fail(sep.ErrSigner)
	if status, v := f.post(t, tx); status != 503 || v["type"] != web.TypeBase+"signer-unavailable" {
		t.Errorf("%d %v", status, v)
	}
	f.tokens.fail(nil)
	if status, _ := f.post(t, tx); status != 400 {
		t.Errorf("%d", status)
	}
	f.login(t, key)
}
