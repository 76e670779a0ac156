package ledger

import (
	"errors"
	"strings"
	"testing"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/nodetest"
	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/txbuild"
)

func TestCheckSet(t *testing.T) {
	n := newNetwork(t)
	w := n.fund(4)
	pay := func(from nodetest.Wallet, seq int64, amount string) xdr.TransactionEnvelope {
		env, _ := from.Sign(t, testNet, n.account(from.ID).Sequence+seq, txbuild.Payment{Destination: n.root.ID, Asset: protocol.Native(), Amount: nodetest.Amount(t, amount)})
		return env
	}
	bump := func(env xdr.TransactionEnvelope, fee int64) xdr.TransactionEnvelope {
		out, _ := w[3].Bump(t, testNet, env, fee)
		return out
	}
	const most = 990 * 10_000_000 // w[3] has 1000, of which 1 must stay
	for name, tt := range map[string]struct {
		envs []xdr.TransactionEnvelope
		want string
	}{
		"none":                   {nil, ""},
		"one":                    {[]xdr.TransactionEnvelope{pay(w[0], 1, "1")}, ""},
		"two":                    {[]xdr.TransactionEnvelope{pay(w[0], 1, "1"), pay(w[1], 1, "1")}, ""},
		"two of one source":      {[]xdr.TransactionEnvelope{pay(w[0], 1, "1"), pay(w[0], 1, "2")}, "two transactions"},
		"a number too far":       {[]xdr.TransactionEnvelope{pay(w[0], 2, "1")}, "BadSeq"},
		"one that fails":         {[]xdr.TransactionEnvelope{pay(w[0], 1, "5000")}, ""},
		"one payer":              {[]xdr.TransactionEnvelope{bump(pay(w[0], 1, "1"), most)}, ""},
		"one payer of too much":  {[]xdr.TransactionEnvelope{bump(pay(w[0], 1, "1"), most), bump(pay(w[1], 1, "1"), most)}, "cannot pay for all"},
		"one payer and himself":  {[]xdr.TransactionEnvelope{bump(pay(w[0], 1, "1"), most), pay(w[3], 1, "1")}, ""},
		"one payer of much more": {[]xdr.TransactionEnvelope{bump(pay(w[0], 1, "1"), 1<<62), bump(pay(w[1], 1, "1"), 1<<62)}, "InsufficientBalance"},
	} {
		set, v := n.set(tt.envs...)
		err := n.l.CheckSet(set, v)
		if tt.want == "" && err != nil || tt.want != "" && (!errors.Is(err, ErrSet) || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	set, v := n.set(pay(w[0], 1, "1"))
	v.TxSetHash[0] ^= 1
	if err := n.l.CheckSet(set, v); !errors.Is(err, ErrSet) {
		t.Errorf("another hash: %v", err)
	}
	v.TxSetHash[0] ^= 1
	n.succeed(pay(w[0], 1, "1"))
	if err := n.l.CheckSet(set, v); !errors.Is(err, ErrSet) {
		t.Errorf("of the ledger before: %v", err)
	}
}
