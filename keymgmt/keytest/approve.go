package keytest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"testing"
	"time"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/payload"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/node/protocol"
)

// Names in the policies that the suite writes.
const (
	network = protocol.Passphrase("Keyring Conformance Network ; 2026")
	origin  = "keytest.example/log"
	client  = "gateway.keytest.example"
)

// Approver makes Approvals for the suite the only way there is: from a request, by a policy that an officer signed.
type Approver struct {
	policy *policy.Policy
}

// NewApprover returns an Approver whose policy lets each of keys sign checkpoints.
func NewApprover(t testing.TB, keys ...keymgmt.KeyID) *Approver {
	t.Helper()
	file := policy.File{Format: policy.Format, Version: 1, Network: network}
	for _, id := range keys {
		// Decide does not look at the key itself: that is the service's part.
		public, _, err := ed25519.GenerateKey(rand.Reader)
		must(t, err)
		account, err := protocol.AccountIDFromKey(public)
		must(t, err)
		file.Keys = append(file.Keys, policy.Key{ID: id, Public: policy.Ledger(account), Callers: []string{client},
			Checkpoint: &policy.CheckpointRule{Origin: origin}})
	}
	text, err := policy.Marshal(file)
	must(t, err)
	public, officer, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	sig, err := policy.Sign(text, officer)
	must(t, err)
	p, err := policy.Load(text, sig, policy.Alone(public))
	must(t, err)
	return &Approver{p}
}

// Approve returns an Approval for key to sign the n-th of many messages, n from 1, and that message.
func (a *Approver) Approve(key keymgmt.KeyID, n int) (*policy.Approval, []byte, error) {
	root := sha256.Sum256([]byte(fmt.Sprint(key, n)))
	body := fmt.Appendf(nil, "%s\n%d\n%s\n", origin, n, base64.StdEncoding.EncodeToString(root[:]))
	r := keymgmt.Request{Key: key, Kind: keymgmt.KindCheckpoint, Body: body, Ref: fmt.Sprint("keytest/", n)}
	meaning, err := payload.Decode(r.Kind, r.Body)
	if err != nil {
		return nil, nil, err
	}
	approval, err := a.policy.Decide(r, meaning, policy.Facts{Caller: client, Now: time.Now(), Last: &policy.Last{}})
	return approval, bytes.Clone(body), err
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
