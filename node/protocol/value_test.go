package protocol_test

import (
	"crypto/sha256"
	"database/sql/driver"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"testing"

	"github.com/stellar/go-stellar-sdk/network"
	"github.com/stellar/go-stellar-sdk/xdr"
	"pgregory.net/rapid"

	"github.com/diamante/gateway/node/protocol"
)

// Addresses that others made: from SEP-23 and from the public network.
const (
	gAddress  = "GA7QYNF7SOWQ3GLR2BGMZEHXAVIRZA4KVWLTJJFC7MGXUA74P7UJVSGZ"
	mAddress  = "MA7QYNF7SOWQ3GLR2BGMZEHXAVIRZA4KVWLTJJFC7MGXUA74P7UJVAAAAAAAAAAAAAJLK"
	gKey      = "3f0c34bf93ad0d9971d04ccc90f705511c838aad9734a4a2fb0d7a03fc7fe89a"
	zeroKey   = "GAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAWHF"
	usdAsset  = "USD:" + gAddress
	longAsset = "ABCDEFGHIJKL:" + gAddress
)

func account(t testing.TB, s string) protocol.AccountID {
	t.Helper()
	id, err := protocol.ParseAccountID(s)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestAccountID(t *testing.T) {
	id := account(t, gAddress)
	if id.String() != gAddress || hex.EncodeToString(id.Key()) != gKey || id.Hint() != [4]byte(id.Key()[28:]) || id.IsZero() {
		t.Errorf("%s with key %x", id, id.Key())
	}
	if back, err := protocol.AccountIDFromXDR(id.XDR()); err != nil || back != id {
		t.Errorf("%s, %v", back, err)
	}
	muxed := id.Muxed()
	if plain := muxed.ToAccountId(); plain.Address() != gAddress || muxed.Address() != gAddress {
		t.Errorf("%s", muxed.Address())
	}
	id.Key()[0]++ // a copy
	if id.String() != gAddress {
		t.Error("a key that was handed out can be changed")
	}
	for _, bad := range []string{"", mAddress, zeroKey, strings.ToLower(gAddress), gAddress[:55], gAddress + "A", gAddress + "=", " " + gAddress,
		strings.Replace(gAddress, "GA7Q", "GA7R", 1), "S" + gAddress[1:], "native"} {
		if got, err := protocol.ParseAccountID(bad); !errors.Is(err, protocol.ErrInvalid) || !got.IsZero() {
			t.Errorf("%q is %s, %v", bad, got, err)
		}
	}
	for _, n := range []int{0, 31, 33} {
		if _, err := protocol.AccountIDFromKey(make([]byte, n)); !errors.Is(err, protocol.ErrInvalid) {
			t.Errorf("a key of %d bytes: %v", n, err)
		}
	}
	if _, err := protocol.AccountIDFromXDR(xdr.AccountId{}); !errors.Is(err, protocol.ErrInvalid) {
		t.Errorf("no key: %v", err)
	}
}

func TestAsset(t *testing.T) {
	for _, s := range []string{"native", usdAsset, longAsset, "a:" + gAddress, "ABCD:" + gAddress, "ABCDE:" + gAddress, "9:" + gAddress} {
		a, err := protocol.ParseAsset(s)
		if err != nil {
			t.Errorf("%q: %v", s, err)
			continue
		}
		back, err := protocol.AssetFromXDR(a.XDR())
		if err != nil || back != a || a.String() != s || a.IsZero() || a.IsNative() != (s == "native") {
			t.Errorf("%q is %q, then %q: %v", s, a, back, err)
		}
		if s != "native" && (a.Issuer() != account(t, gAddress) || a.Code() != strings.Split(s, ":")[0]) {
			t.Errorf("%q is code %q, issuer %q", s, a.Code(), a.Issuer())
		}
	}
	for _, bad := range []string{"", "DIAM", "Native", ":", "USD", "USD:", ":" + gAddress, "ABCDEFGHIJKLM:" + gAddress, "U D:" + gAddress, "Ü:" + gAddress,
		"USD:" + mAddress, "USD:" + gAddress + ":", "USD:" + zeroKey, "native:" + gAddress + "A"} {
		if a, err := protocol.ParseAsset(bad); !errors.Is(err, protocol.ErrInvalid) || !a.IsZero() {
			t.Errorf("%q is %q, %v", bad, a, err)
		}
	}
	if _, err := protocol.NewCredit("USD", protocol.AccountID{}); !errors.Is(err, protocol.ErrInvalid) {
		t.Errorf("credit of nobody: %v", err)
	}
	// A credit may be called native and is another thing than DIAM.
	if a, err := protocol.ParseAsset("native:" + gAddress); err != nil || a.IsNative() || a == protocol.Native() {
		t.Errorf("%q: %v", a, err)
	}
}

func TestAmount(t *testing.T) {
	for s, want := range map[string]int64{"0": 0, "1": 10_000_000, "1.5": 15_000_000, "0.0000001": 1, "922337203685.4775807": 1<<63 - 1, "007": 70_000_000, "0.0": 0} {
		if a, err := protocol.ParseAmount(s); err != nil || a.Stroops() != want || a.IsZero() != (want == 0) {
			t.Errorf("%q is %d, %v", s, a.Stroops(), err)
		}
	}
	for _, bad := range []string{"", ".", "1.", ".5", "-1", "+1", "1e3", "1,5", "1 ", " 1", "0x10", "1.00000000", "1.12345678", "922337203685.4775808", "9999999999999",
		"1_000", "NaN", "Inf", "١", "1.2.3"} {
		if a, err := protocol.ParseAmount(bad); !errors.Is(err, protocol.ErrInvalid) || !a.IsZero() {
			t.Errorf("%q is %s, %v", bad, a, err)
		}
	}
	if _, err := protocol.AmountFromStroops(-1); !errors.Is(err, protocol.ErrInvalid) {
		t.Errorf("-1 stroop: %v", err)
	}
}

// TestAmountArithmetic compares with numbers of any size.
func TestAmountArithmetic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		any := rapid.OneOf(rapid.Int64Range(0, 1<<63-1), rapid.Int64Range(1<<62, 1<<63-1), rapid.Int64Range(0, 9))
		x, y := any.Draw(t, "x"), any.Draw(t, "y")
		a, errA := protocol.AmountFromStroops(x)
		b, errB := protocol.AmountFromStroops(y)
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		sum := new(big.Int).Add(big.NewInt(x), big.NewInt(y))
		if got, err := a.Add(b); (err == nil) != sum.IsInt64() || err == nil && got.Stroops() != sum.Int64() {
			t.Errorf("%s + %s is %s, %v", a, b, got, err)
		}
		if got, err := a.Sub(b); (err == nil) != (x >= y) || err == nil && got.Stroops() != x-y {
			t.Errorf("%s - %s is %s, %v", a, b, got, err)
		}
		if a.Cmp(b) != big.NewInt(x).Cmp(big.NewInt(y)) {
			t.Errorf("%s against %s is %d", a, b, a.Cmp(b))
		}
		if back, err := protocol.ParseAmount(a.String()); err != nil || back != a {
			t.Errorf("%d prints as %s: %v", x, a, err)
		}
	})
}

func TestMemo(t *testing.T) {
	text, err := protocol.TextMemo("Überweisung 12345678901")
	if err != nil {
		t.Fatal(err)
	}
	hash := protocol.Hash{1, 2, 3}
	for _, c := range []struct {
		memo       protocol.Memo
		kind, text string
	}{
		{protocol.NoMemo(), "none", ""}, {text, "text", "Überweisung 12345678901"}, {protocol.IDMemo(1<<64 - 1), "id", "18446744073709551615"},
		{protocol.HashMemo(hash), "hash", hash.String()}, {protocol.ReturnMemo(hash), "return", hash.String()},
	} {
		back, err := protocol.MemoFromXDR(c.memo.XDR())
		if err != nil || back != c.memo || c.memo.Kind().String() != c.kind || c.memo.String() != c.text {
			t.Errorf("%s %q becomes %s %q: %v", c.memo.Kind(), c.memo, back.Kind(), back, err)
		}
	}
	if protocol.HashMemo(hash) == protocol.ReturnMemo(hash) || protocol.IDMemo(0) == protocol.NoMemo() {
		t.Error("memos of different kinds are equal")
	}
	for _, bad := range []string{strings.Repeat("x", 29), strings.Repeat("ü", 15), "\xff"} {
		if _, err := protocol.TextMemo(bad); !errors.Is(err, protocol.ErrInvalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	var zero protocol.Memo
	if zero.Kind().String() != "" || zero.XDR().Type != xdr.MemoTypeMemoNone {
		t.Errorf("the zero memo is %s", zero.Kind())
	}
	if _, err := protocol.MemoFromXDR(xdr.Memo{Type: 9}); !errors.Is(err, protocol.ErrInvalid) {
		t.Errorf("a memo of type 9: %v", err)
	}
	raw := "\xff\xfe"
	if m, err := protocol.MemoFromXDR(xdr.Memo{Type: xdr.MemoTypeMemoText, Text: &raw}); err != nil || m.String() != raw {
		t.Errorf("bytes that are no text: %q, %v", m, err)
	}
}

func TestHash(t *testing.T) {
	h := protocol.Hash(sha256.Sum256([]byte("x")))
	if back, err := protocol.ParseHash(h.String()); err != nil || back != h {
		t.Errorf("%s, %v", back, err)
	}
	for _, bad := range []string{"", h.String()[1:], h.String() + "0", strings.Repeat("g", 64), h.String()[:63] + " "} {
		if got, err := protocol.ParseHash(bad); !errors.Is(err, protocol.ErrInvalid) || !got.IsZero() {
			t.Errorf("%q is %s, %v", bad, got, err)
		}
	}
}

// TestNetwork compares the hashes with those of the SDK.
func TestNetwork(t *testing.T) {
	const passphrase protocol.Passphrase = "Diamante MainNet; SEP 2022"
	if id := passphrase.NetworkID(); id != network.ID(string(passphrase)) {
		t.Errorf("network id %s", id)
	}
	env := envelope(note([]byte{1}))
	bump := xdr.TransactionEnvelope{Type: xdr.EnvelopeTypeEnvelopeTypeTxFeeBump, FeeBump: &xdr.FeeBumpTransactionEnvelope{
		Tx: xdr.FeeBumpTransaction{FeeSource: env.V1.Tx.SourceAccount, Fee: 200, InnerTx: xdr.FeeBumpTransactionInnerTx{Type: xdr.EnvelopeTypeEnvelopeTypeTx, V1: env.V1}}}}
	for _, env := range []xdr.TransactionEnvelope{env, bump} {
		want, err := network.HashTransactionInEnvelope(env, string(passphrase))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := passphrase.TxHash(env); err != nil || got != want {
			t.Errorf("%s is %s, %v; want %x", env.Type, got, err, want)
		}
		base, err := passphrase.SignatureBase(env)
		if err != nil || sha256.Sum256(base) != want {
			t.Errorf("%s: the base hashes to another value: %v", env.Type, err)
		}
	}
	if _, err := passphrase.TxHash(xdr.TransactionEnvelope{Type: xdr.EnvelopeTypeEnvelopeTypeTxV0, V0: &xdr.TransactionV0Envelope{}}); !errors.Is(err, protocol.ErrInvalid) {
		t.Errorf("version 0: %v", err)
	}
	for _, bad := range []protocol.Passphrase{"", protocol.Passphrase(strings.Repeat("x", 257))} {
		if err := bad.Validate(); !errors.Is(err, protocol.ErrInvalid) {
			t.Errorf("%d bytes: %v", len(bad), err)
		}
	}
}

// TestForms puts every value through JSON and a database's forms.
func TestForms(t *testing.T) {
	type all struct {
		Account protocol.AccountID
		Asset   protocol.Asset
		Amount  protocol.Amount
		Hash    protocol.Hash
	}
	asset, err := protocol.ParseAsset(usdAsset)
	if err != nil {
		t.Fatal(err)
	}
	amount, err := protocol.ParseAmount("12.5")
	if err != nil {
		t.Fatal(err)
	}
	want := all{account(t, gAddress), asset, amount, protocol.Hash{1}}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), `"Amount":"12.5000000"`) || !strings.Contains(string(text), `"`+usdAsset+`"`) {
		t.Errorf("%s", text)
	}
	var got all
	if err := json.Unmarshal(text, &got); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{`{"Account":""}`, `{"Asset":"x"}`, `{"Amount":"-1"}`, `{"Amount":1}`, `{"Hash":"0"}`} {
		if err := json.Unmarshal([]byte(bad), new(all)); err == nil {
			t.Errorf("%s is read", bad)
		}
	}
	for _, empty := range []any{protocol.AccountID{}, protocol.Asset{}} {
		if text, err := json.Marshal(empty); err == nil {
			t.Errorf("the zero %T is written as %s", empty, text)
		}
	}
	id, asset2, hash := want.Account, want.Asset, want.Hash
	for _, c := range []struct {
		from interface{ Value() (any, error) }
		to   interface{ Scan(any) error }
	}{{valuer(id.Value), new(protocol.AccountID)}, {valuer(asset2.Value), new(protocol.Asset)}, {valuer(hash.Value), new(protocol.Hash)}} {
		v, err := c.from.Value()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.to.Scan([]byte(v.(string))); err != nil {
			t.Errorf("%v: %v", v, err)
		}
		if err := c.to.Scan(7); !errors.Is(err, protocol.ErrInvalid) {
			t.Errorf("a number is loaded: %v", err)
		}
	}
}

func TestTrustline(t *testing.T) {
	asset, err := protocol.ParseAsset(usdAsset)
	if err != nil {
		t.Fatal(err)
	}
	a := protocol.Account{Trustlines: []protocol.Trustline{{Asset: asset, Flags: 1}}}
	if line, ok := a.Trustline(asset); !ok || line.Flags != 1 {
		t.Errorf("%+v, %v", line, ok)
	}
	if _, ok := a.Trustline(protocol.Native()); ok {
		t.Error("a line to DIAM")
	}
	for s, want := range map[protocol.SubmissionStatus]string{protocol.SubmissionPending: "PENDING", protocol.SubmissionTryAgainLater: "TRY_AGAIN_LATER", 0: ""} {
		if s.String() != want {
			t.Errorf("%d is %q", s, s)
		}
	}
}

// valuer is the Value method of a value.
type valuer func() (driver.Value, error)

// Value calls it.
func (v valuer) Value() (any, error) { return v() }

func FuzzParseAccountID(f *testing.F) {
	for _, s := range []string{gAddress, mAddress, zeroKey, ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := protocol.ParseAccountID(s); err == nil && (id.String() != s || id.IsZero()) {
			t.Errorf("%q is %q", s, id)
		}
	})
}

func FuzzParseAsset(f *testing.F) {
	for _, s := range []string{"native", usdAsset, longAsset, "DIAM", ":"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := protocol.ParseAsset(s)
		if err != nil {
			return
		}
		if back, err := protocol.AssetFromXDR(a.XDR()); err != nil || back != a || a.String() != s {
			t.Errorf("%q is %q, then %q: %v", s, a, back, err)
		}
	})
}

func FuzzParseAmount(f *testing.F) {
	for _, s := range []string{"0", "1.5", "922337203685.4775807", "-1", "1e9", "."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := protocol.ParseAmount(s)
		if err != nil {
			return
		}
		want, ok := new(big.Rat).SetString(s)
		if !ok || want.Mul(want, big.NewRat(protocol.One, 1)).Cmp(big.NewRat(a.Stroops(), 1)) != 0 {
			t.Errorf("%q is %d stroops", s, a.Stroops())
		}
		if back, err := protocol.ParseAmount(a.String()); err != nil || back != a {
			t.Errorf("%q prints as %q: %v", s, a, err)
		}
	})
}
