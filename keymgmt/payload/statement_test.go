package payload_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stellar/go-stellar-sdk/keypair"
	"github.com/stellar/go-stellar-sdk/txnbuild"
	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/payload"
)

const (
	home = "bank.example"
	web  = "auth.bank.example"
)

// challenge is one that another implementation built.
func challenge(t testing.TB, memo *txnbuild.MemoID) (body []byte, server, client string, hash []byte) {
	t.Helper()
	serverKey, clientKey := keypair.MustRandom(), keypair.MustRandom()
	tx, err := txnbuild.BuildChallengeTx(serverKey.Seed(), clientKey.Address(), web, home, string(passphrase), 15*time.Minute, memo)
	if err != nil {
		t.Fatal(err)
	}
	sum, err := tx.Hash(string(passphrase))
	if err != nil {
		t.Fatal(err)
	}
	return raw(t, tx.ToXDR()), serverKey.Address(), clientKey.Address(), sum[:]
}

func TestChallengeOfAnotherImplementation(t *testing.T) {
	memo := txnbuild.MemoID(17)
	for _, m := range []*txnbuild.MemoID{nil, &memo} {
		body, server, client, hash := challenge(t, m)
		meaning, err := payload.Decode(keymgmt.KindChallenge, body)
		if err != nil {
			t.Fatal(err)
		}
		c := meaning.Challenge
		if c.Server.String() != server || c.Client.String() != client || c.HomeDomain != home || c.WebAuthDomain != web ||
			c.ClientDomain != "" || c.Network != passphrase.NetworkID() || c.MaxTime.Sub(c.MinTime) != 15*time.Minute {
			t.Errorf("%+v", c)
		}
		if !bytes.Equal(message(meaning), hash) {
			t.Error("the message is not the transaction's hash")
		}
		words := strings.Join(meaning.Words(), "\n")
		if !strings.Contains(words, client) || !strings.Contains(words, home) || strings.Contains(words, "sub-account 17") != (m != nil) {
			t.Errorf("words: %s", words)
		}
		if _, err := payload.Decode(keymgmt.KindTransaction, body); !errors.Is(err, keymgmt.ErrMalformed) {
			t.Errorf("a challenge as a transaction: %v", err)
		}
	}
}

func TestChallengesThatAreNotUnderstood(t *testing.T) {
	edit := func(f func(tx *xdr.Transaction)) []byte {
		body, _, _, _ := challenge(t, nil)
		var p xdr.TransactionSignaturePayload
		if err := p.UnmarshalBinary(body); err != nil {
			t.Fatal(err)
		}
		f(p.TaggedTransaction.Tx)
		b, err := p.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	data := func(tx *xdr.Transaction, i int) *xdr.ManageDataOp { return tx.Operations[i].Body.ManageDataOp }
	addition := func(name, value string, by *xdr.MuxedAccount) func(tx *xdr.Transaction) {
		return func(tx *xdr.Transaction) {
			if by == nil {
				by = &tx.SourceAccount
			}
			tx.Operations = append(tx.Operations, xdr.Operation{SourceAccount: by, Body: xdr.OperationBody{Type: xdr.OperationTypeManageData,
				ManageDataOp: &xdr.ManageDataOp{DataName: xdr.String64(name), DataValue: ptr(xdr.DataValue(value))}}})
		}
	}
	stranger := xdr.MustMuxedAddress(other)
	for name, body := range map[string][]byte{
		"sequence 1":              edit(func(tx *xdr.Transaction) { tx.SeqNum = 1 }),
		"no start":                edit(func(tx *xdr.Transaction) { tx.Cond.TimeBounds.MinTime = 0 }),
		"text memo":               edit(func(tx *xdr.Transaction) { tx.Memo = xdr.MemoText("x") }),
		"no source":               edit(func(tx *xdr.Transaction) { tx.Operations[0].SourceAccount = nil }),
		"client is the server":    edit(func(tx *xdr.Transaction) { tx.Operations[0].SourceAccount = &tx.SourceAccount }),
		"first name":              edit(func(tx *xdr.Transaction) { data(tx, 0).DataName = "bank.example" }),
		"no domain":               edit(func(tx *xdr.Transaction) { data(tx, 0).DataName = " auth" }),
		"domain in capitals":      edit(func(tx *xdr.Transaction) { data(tx, 0).DataName = "Bank.Example auth" }),
		"no nonce":                edit(func(tx *xdr.Transaction) { data(tx, 0).DataValue = nil }),
		"short nonce":             edit(func(tx *xdr.Transaction) { data(tx, 0).DataValue = ptr(xdr.DataValue("AAAA")) }),
		"nonce not base64":        edit(func(tx *xdr.Transaction) { data(tx, 0).DataValue = ptr(xdr.DataValue(strings.Repeat("*", 64))) }),
		"server domain by client": edit(func(tx *xdr.Transaction) { tx.Operations[1].SourceAccount = tx.Operations[0].SourceAccount }),
		"payment first":           edit(func(tx *xdr.Transaction) { tx.Operations[0].Body = payment() }),
		"payment last":            edit(func(tx *xdr.Transaction) { tx.Operations[1].Body = payment() }),
		"unknown data":            edit(addition("note", "x", nil)),
		"server domain twice":     edit(addition("web_auth_domain", web, nil)),
		"client domain by server": edit(addition("client_domain", "wallet.example", nil)),
		"client domain garbled":   edit(addition("client_domain", "wallet example", &stranger)),
		"second nonce":            edit(addition("bank.example auth", base64.StdEncoding.EncodeToString(make([]byte, 48)), &stranger)),
	} {
		if _, err := payload.Decode(keymgmt.KindChallenge, body); !errors.Is(err, keymgmt.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	m, err := payload.Decode(keymgmt.KindChallenge, edit(addition("client_domain", "wallet.example", &stranger)))
	if err != nil || m.Challenge.ClientDomain != "wallet.example" || m.Challenge.ClientSigner.String() != other {
		t.Errorf("client domain: %v", err)
	}
}

func payment() xdr.OperationBody {
	return xdr.OperationBody{Type: xdr.OperationTypePayment, PaymentOp: &xdr.PaymentOp{Destination: xdr.MustMuxedAddress(other), Amount: 1}}
}

func TestCheckpoints(t *testing.T) {
	root := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))
	good := "bank.example/audit\n20852163\n" + root + "\n"
	m, err := payload.Decode(keymgmt.KindCheckpoint, []byte(good))
	if err != nil || string(message(m)) != good || m.Checkpoint.Origin != "bank.example/audit" || m.Checkpoint.Size != 20852163 || m.Checkpoint.Root[31] != 7 {
		t.Fatalf("%+v, %v", m.Checkpoint, err)
	}
	for name, bad := range map[string]string{
		"no end of line":   strings.TrimSuffix(good, "\n"),
		"extension":        good + "more\n",
		"signature":        good + "\n\u2014 bank.example/audit AAAA\n",
		"two lines":        "bank.example/audit\n1\n",
		"no origin":        "\n1\n" + root + "\n",
		"origin unprinted": "bank\x00\n1\n" + root + "\n",
		"origin disguised": "bank\u202e\n1\n" + root + "\n",
		"origin not UTF-8": "bank\xff\n1\n" + root + "\n",
		"carriage returns": strings.ReplaceAll(good, "\n", "\r\n"),
		"size 0":           "a\n0\n" + root + "\n",
		"negative size":    "a\n-1\n" + root + "\n",
		"size with zeros":  "a\n007\n" + root + "\n",
		"size with plus":   "a\n+7\n" + root + "\n",
		"size too large":   "a\n9223372036854775808\n" + root + "\n",
		"size with blank":  "a\n7 \n" + root + "\n",
		"short root":       "a\n7\nAAAA\n",
		"root not base64":  "a\n7\n" + strings.Repeat("*", 44) + "\n",
		"root of URL kind": "a\n7\n" + strings.Repeat("_", 43) + "=\n",
		"root not strict":  "a\n7\n" + root[:42] + "d=\n",
		"root without end": "a\n7\n" + root[:43] + "\n",
	} {
		if _, err := payload.Decode(keymgmt.KindCheckpoint, []byte(bad)); !errors.Is(err, keymgmt.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func input(header, claims string) []byte {
	return []byte(base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims)))
}

const (
	goodHeader = `{"alg":"EdDSA","typ":"JWT"}`
	goodClaims = `{"iss":"https://a.example/auth","sub":"G","iat":100,"exp":200}`
)

// Tokens as the usual library writes them, from a struct and from a map.
func TestTokensOfAnotherImplementation(t *testing.T) {
	registered := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.RegisteredClaims{Issuer: "https://a.example/auth?x=y", Subject: "G", ID: "7",
		Audience: jwt.ClaimStrings{"one", "two"}, IssuedAt: jwt.NewNumericDate(start), NotBefore: jwt.NewNumericDate(start), ExpiresAt: jwt.NewNumericDate(start.Add(time.Hour))})
	registered.Header["kid"] = "anchor/jwt"
	mapped := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{"iss": "https://a.example/auth?x=y", "sub": "G", "jti": "7", "aud": "one",
		"iat": start.Unix(), "exp": start.Add(time.Hour).Unix(), "client_domain": "wallet.example", "home_domain": home})
	for name, token := range map[string]*jwt.Token{"registered": registered, "mapped": mapped} {
		text, err := token.SigningString()
		if err != nil {
			t.Fatal(err)
		}
		m, err := payload.Decode(keymgmt.KindJWT, []byte(text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		c := m.JWT
		if string(message(m)) != text || c.Issuer != "https://a.example/auth?x=y" || c.Subject != "G" || c.ID != "7" || c.Audience[0] != "one" ||
			!c.IssuedAt.Equal(start) || !c.Expires.Equal(start.Add(time.Hour)) {
			t.Errorf("%s: %+v", name, c)
		}
		if name == "mapped" && (c.ClientDomain != "wallet.example" || c.HomeDomain != home || c.KeyID != "") || name == "registered" && (c.KeyID != "anchor/jwt" || len(c.Audience) != 2) {
			t.Errorf("%s: %+v", name, c)
		}
	}
}

func TestTokensThatAreNotUnderstood(t *testing.T) {
	if _, err := payload.Decode(keymgmt.KindJWT, input(goodHeader, goodClaims)); err != nil {
		t.Fatal(err)
	}
	with := func(member string) []byte {
		return input(goodHeader, strings.TrimSuffix(goodClaims, "}")+","+member+"}")
	}
	for name, body := range map[string][]byte{
		"one part":          []byte(base64.RawURLEncoding.EncodeToString([]byte(goodClaims))),
		"three parts":       append(input(goodHeader, goodClaims), ".AAAA"...),
		"padding":           []byte(base64.URLEncoding.EncodeToString([]byte(goodHeader)) + "=." + base64.RawURLEncoding.EncodeToString([]byte(goodClaims))),
		"alg none":          input(`{"alg":"none","typ":"JWT"}`, goodClaims),
		"alg HS256":         input(`{"alg":"HS256","typ":"JWT"}`, goodClaims),
		"no typ":            input(`{"alg":"EdDSA"}`, goodClaims),
		"alg RS256":         input(`{"alg":"RS256","typ":"JWT"}`, goodClaims),
		"alg ES256K":        input(`{"alg":"ES256K","typ":"JWT"}`, goodClaims),
		"alg es256":         input(`{"alg":"es256","typ":"JWT"}`, goodClaims),
		"alg of both":       input(`{"alg":["EdDSA","ES256"],"typ":"JWT"}`, goodClaims),
		"alg twice, differ": input(`{"alg":"EdDSA","alg":"ES256","typ":"JWT"}`, goodClaims),
		"no alg":            input(`{"typ":"JWT"}`, goodClaims),
		"other typ":         input(`{"alg":"EdDSA","typ":"at+jwt"}`, goodClaims),
		"jwk in the header": input(`{"alg":"EdDSA","typ":"JWT","jwk":"x"}`, goodClaims),
		"crit":              input(`{"alg":"EdDSA","crit":["exp"],"typ":"JWT"}`, goodClaims),
		"alg twice":         input(`{"alg":"EdDSA","alg":"EdDSA","typ":"JWT"}`, goodClaims),
		"alg in capitals":   input(`{"ALG":"EdDSA","typ":"JWT"}`, goodClaims),
		"blank in header":   input(`{"alg": "EdDSA","typ":"JWT"}`, goodClaims),
		"bytes after":       input(goodHeader+" ", goodClaims),
		"list":              input(goodHeader, `["a"]`),
		"no claims":         input(goodHeader, `{}`),
		"no issuer":         input(goodHeader, `{"sub":"G","iat":100,"exp":200}`),
		"no subject":        input(goodHeader, `{"iss":"a","iat":100,"exp":200}`),
		"no expiry":         input(goodHeader, `{"iss":"a","sub":"G","iat":100}`),
		"no birth":          input(goodHeader, `{"iss":"a","sub":"G","exp":100}`),
		"unknown claim":     with(`"admin":"yes"`),
		"boolean claim":     with(`"admin":true`),
		"null claim":        with(`"jti":null`),
		"object claim":      with(`"jti":{}`),
		"claim twice":       with(`"sub":"H"`),
		"claim by case":     with(`"Sub":"H"`),
		"number as text":    input(goodHeader, strings.Replace(goodClaims, "200", `"200"`, 1)),
		"text as number":    with(`"jti":7`),
		"fraction":          input(goodHeader, strings.Replace(goodClaims, "200", "200.5", 1)),
		"exponent":          input(goodHeader, strings.Replace(goodClaims, "200", "2e2", 1)),
		"leading zero":      input(goodHeader, strings.Replace(goodClaims, "200", "0200", 1)),
		"far future":        input(goodHeader, strings.Replace(goodClaims, "200", "99999999999999", 1)),
		"negative time":     input(goodHeader, strings.Replace(goodClaims, "200", "-200", 1)),
		"escape not needed": input(goodHeader, strings.Replace(goodClaims, "https", `\u0068ttps`, 1)),
		"control character": with(`"jti":"\u0000"`),
		"empty text":        with(`"jti":""`),
		"empty audience":    with(`"aud":[]`),
		"audience of lists": with(`"aud":[["a"]]`),
		"many audiences":    with(`"aud":["1","2","3","4","5","6","7","8","9"]`),
		"list of issuers":   input(goodHeader, `{"iss":["a"],"sub":"G","iat":100,"exp":200}`),
		"not UTF-8":         with("\"jti\":\"\xff\""),
		"long claim":        with(`"jti":"` + strings.Repeat("x", 513) + `"`),
		"deep":              input(goodHeader, strings.Repeat(`{"a":`, 10000)),
	} {
		if _, err := payload.Decode(keymgmt.KindJWT, body); !errors.Is(err, keymgmt.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

var p256Key = must(keymgmt.NewPublicKey(keymgmt.P256, append([]byte{2}, make([]byte, 32)...)))

// A token's header says what signs it. A key that is not of that kind has nothing to sign, whatever its caller says.
func TestTokensGoToTheKeyTheyName(t *testing.T) {
	edward, ecdsa := input(goodHeader, goodClaims), input(`{"alg":"ES256","typ":"JWT"}`, goodClaims)
	digest := sha256.Sum256(ecdsa)
	for _, test := range []struct {
		body    []byte
		key     keymgmt.PublicKey
		message []byte
		words   string
	}{{edward, anyKey, edward, "signed with ed25519"}, {edward, p256Key, nil, "signed with ed25519"}, {edward, ownKey, nil, "signed with ed25519"},
		{ecdsa, p256Key, digest[:], "signed with p256"}, {ecdsa, anyKey, nil, "signed with p256"}, {ecdsa, ownKey, nil, "signed with p256"}} {
		m, err := payload.Decode(keymgmt.KindJWT, test.body)
		if err != nil {
			t.Fatal(err)
		}
		got := m.Messages(test.key)
		if len(got) > 1 || (len(got) == 1) != (test.message != nil) || len(got) == 1 && !bytes.Equal(got[0], test.message) || m.Words()[len(m.Words())-1] != test.words {
			t.Errorf("%s for %s: %x, %q", test.body, test.key, got, m.Words())
		}
	}
	everyBitCounts(t, keymgmt.KindJWT, ecdsa, 0, p256Key)
}
