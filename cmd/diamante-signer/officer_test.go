package main

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/diamante/gateway/cmd/internal/paper"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/pkcs11"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/node/protocol"
)

// TestOfficersToken: an officer's key is made in his token and signs there what is read from a paper, and nothing that is
// no paper.
func TestOfficersToken(t *testing.T) {
	r := newRig(t)
	r.initToken()
	token := OfficerToken{Module: r.hsm.Module, TokenLabel: "signer test", Key: r.key("officer/alice"), PINFile: r.hsm.PINFile, SoftHSMConf: r.hsm.Conf}
	text, err := toml.Marshal(token)
	r.must(err)
	config := r.write("officer.toml", text)
	ask := func(in any, command string, out any) error {
		raw, err := json.Marshal(in)
		r.must(err)
		var answer bytes.Buffer
		if err := officer(t.Context(), []string{command, "-token", config}, bytes.NewReader(raw), &answer); err != nil {
			return err
		}
		return json.Unmarshal(answer.Bytes(), out)
	}
	var made struct {
		Address protocol.AccountID `json:"address"`
	}
	r.must(ask(nil, "keygen", &made))
	if err := ask(nil, "keygen", &made); !errors.Is(err, pkcs11.ErrExists) {
		t.Errorf("made twice: %v", err)
	}
	o := keymgmt.Order{Network: network.NetworkID().String(), Action: keymgmt.Freeze, Key: "*", Nonce: keymgmt.NewNonce(), Issued: time.Now().UTC().Truncate(time.Second), Reason: "a drill"}
	a := paper.Approval{Request: paper.Request{Key: r.key("signer/log"), Kind: keymgmt.KindCheckpoint, Body: []byte("bank.example/audit\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"), Ref: "r"},
		Version: 3, Consent: keymgmt.Consent{Officer: "alice", Nonce: keymgmt.NewNonce(), Expires: o.Issued.Add(time.Hour)}}
	i, err := a.Request.Intent(3)
	r.must(err)
	for name, tt := range map[string]struct {
		paper paper.Paper
		want  []byte
	}{"an order": {paper.Paper{Order: &o}, policy.OrderText(o)}, "an approval": {paper.Paper{Approve: &a}, i.Message(a.Consent)}} {
		var signed struct{ Signature []byte }
		if err := ask(tt.paper, "sign", &signed); err != nil || !ed25519.Verify(made.Address.Key(), tt.want, signed.Signature) {
			t.Errorf("%s: %v", name, err)
		}
	}
	bare := a
	bare.Request.Body = make([]byte, 32)
	for name, in := range map[string]any{"a digest": map[string]any{"digest": make([]byte, 32)}, "bytes that mean nothing": paper.Paper{Approve: &bare}, "nothing": paper.Paper{}} {
		if err := ask(in, "sign", &struct{}{}); err == nil {
			t.Errorf("%s was signed", name)
		}
	}
	for _, args := range [][]string{{}, {"sign"}, {"export", "-token", config}, {"sign", "-token", config, "more"}} {
		if err := officer(t.Context(), args, strings.NewReader("{}"), &bytes.Buffer{}); err == nil {
			t.Errorf("%v is taken", args)
		}
	}
}
