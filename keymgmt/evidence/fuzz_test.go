package evidence_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/keymgmt/evidence"
)

// pen is a log in memory: whatever it is given is in a signed tree.
type pen struct {
	private ed25519.PrivateKey
	key     audit.LogKey
}

func newPen(t testing.TB) pen {
	t.Helper()
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	return pen{private, must(audit.NewLogKey("log.example", private.Public().(ed25519.PublicKey)))(t)}
}

// bundle returns a bundle with these records, each with its proof.
func (p pen) bundle(t testing.TB, records ...[]byte) evidence.Bundle {
	t.Helper()
	var hashes []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) (found []tlog.Hash, err error) {
		for _, i := range indexes {
			found = append(found, hashes[i])
		}
		return found, nil
	})
	for i, r := range records {
		hashes = append(hashes, must(tlog.StoredHashes(int64(i), r, reader))(t)...)
	}
	size := int64(len(records))
	c := audit.Checkpoint{Origin: p.key.Origin(), Size: size, Root: must(tlog.TreeHash(size, reader))(t)}
	c = must(p.key.Seal(c, ed25519.Sign(p.private, []byte(c.Text()))))(t)
	b := evidence.Bundle{Format: evidence.Format, Checkpoint: c.Note}
	for i, r := range records {
		proof := append([]tlog.Hash{}, must(tlog.ProveRecord(size, int64(i), reader))(t)...)
		b.Records = append(b.Records, evidence.Record{Index: int64(i), Proof: proof, Record: r})
	}
	return b
}

// record writes a record as the signer does, with any data.
func record(t testing.TB, action, subject string, data []byte) ([]byte, bool) {
	t.Helper()
	text, err := audit.Canonical(map[string]any{"v": audit.RecordVersion, "id": strings.Repeat("0", 32), "at": "2026-03-01T12:00:00Z",
		"actor": audit.Actor{Kind: "worker", Name: gateway}, "action": action, "subject": subject, "data": json.RawMessage(data)})
	return text, err == nil
}

// FuzzRecords: records with any data in a log that is signed, as who has the password of the signer's database can have
// them, beside any body, signature and policy. Nothing makes the verifier panic, and nobody's signature becomes one.
func FuzzRecords(f *testing.F) {
	adopted := []byte(`{"board":["GA3HUZDUWTKK6LNGJHXO6SEBUBX3VAK5FUL44GISFAQZKNMJPIZAICVD"],"quorum":1,"sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","signatures_sha256":""}`)
	for _, action := range []string{"signature.approved", "signature.refused", "approval.used", "signature.made", "key.frozen", "key.thawed", "policy.adopted", "reservation.moved"} {
		f.Add(action, issuing, adopted, []byte(`{"ref":"tx/1","kind":"jwt","sha256":"","words":null,"policy":7,"public":"","initiator":"x","approvals":[{"officer":"a"}]}`), []byte("a.b"), []byte("sig"), "format = 'x'")
	}
	f.Add("key.frozen", "*", adopted, []byte(`{"order":{"action":"freeze","key":"*","nonce":"","issued":"2026-03-01T12:00:00Z","reason":"","signatures":[]},"policy":7}`), []byte{}, []byte{}, "")
	f.Add("signature.approved", ownLog, adopted, []byte(`{"ref":"c","kind":"checkpoint","sha256":"`+sum([]byte(checkpointBody))+`","words":["log \"log.example\" has 1 records and root `+strings.Repeat("00", 32)+`"],"policy":7,"public":"ed25519:`+strings.Repeat("07", 32)+`"}`), []byte(checkpointBody), bytes.Repeat([]byte{1}, 64), "")
	p := newPen(f)
	f.Fuzz(func(t *testing.T, action, subject string, adoption, data, body, signature []byte, file string) {
		first, ok1 := record(t, "policy.adopted", "7", adoption)
		second, ok2 := record(t, action, subject, data)
		if !ok1 || !ok2 {
			return
		}
		b := p.bundle(t, first, second)
		b.Body, b.Signature = body, signature
		if file != "" {
			b.Policy = &evidence.Policy{File: file, Signatures: file}
		}
		text, err := b.Encode()
		if err != nil {
			return
		}
		report, err := evidence.Verify(text, p.key)
		switch {
		case err != nil && !errors.Is(err, evidence.ErrInvalid):
			t.Fatal(err)
		case err == nil && report.Of == evidence.OfSignature:
			t.Fatalf("%s: a signature that nobody made", text)
		case err == nil:
			for _, line := range report.Lines() {
				if strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
					t.Fatalf("%q", line)
				}
			}
		}
	})
}

var checkpointBody = "log.example\n1\n" + strings.Repeat("A", 43) + "=\n"

// FuzzVerify: no input makes the verifier panic, and what it accepts is what Encode wrote.
func FuzzVerify(f *testing.F) {
	p := newPen(f)
	adopted, _ := record(f, "policy.adopted", "7", []byte(`{"board":[],"quorum":0,"sha256":"","signatures_sha256":""}`))
	refused, _ := record(f, "signature.refused", issuing, []byte(`{"caller":"x","policy":7,"reason":"no","ref":"tx/1","sha256":""}`))
	good := must(p.bundle(f, adopted, refused).Encode())(f)
	if _, err := evidence.Verify(good, p.key); err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(strings.Repeat("[", 100_000)))
	f.Add([]byte("{}\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		_, err := evidence.Verify(file, p.key)
		if err != nil && !errors.Is(err, evidence.ErrInvalid) {
			t.Fatal(err)
		}
		if err == nil && !bytes.Equal(must(read(t, file).Encode())(t), file) {
			t.Fatalf("accepted %s", file)
		}
	})
}
