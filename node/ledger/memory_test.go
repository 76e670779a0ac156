package ledger

import (
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/nodetest"
	"github.com/diamante/gateway/node/protocol"
)

func nominate(id protocol.AccountID, slot uint32, votes ...string) xdr.ScpStatement {
	n := xdr.ScpNomination{Votes: []xdr.Value{}, Accepted: []xdr.Value{}}
	for _, v := range votes {
		n.Votes = append(n.Votes, xdr.Value(v))
	}
	return xdr.ScpStatement{NodeId: xdr.NodeId(id.XDR()), SlotIndex: xdr.Uint64(slot),
		Pledges: xdr.ScpStatementPledges{Type: xdr.ScpStatementTypeScpStNominate, Nominate: &n}}
}

func prepare(id protocol.AccountID, slot uint32, counter uint32) xdr.ScpStatement {
	return xdr.ScpStatement{NodeId: xdr.NodeId(id.XDR()), SlotIndex: xdr.Uint64(slot), Pledges: xdr.ScpStatementPledges{
		Type: xdr.ScpStatementTypeScpStPrepare, Prepare: &xdr.ScpStatementPrepare{Ballot: xdr.ScpBallot{Counter: xdr.Uint32(counter), Value: xdr.Value("x")}}}}
}

// TestSaidSurvives: what was said is there after a crash that lost everything that was not synced.
func TestSaidSurvives(t *testing.T) {
	fs := vfs.NewCrashableMem()
	g := testGenesis(t, nodetest.NewWallet(t).ID)
	l := open(t, fs, g)
	me := nodetest.NewWallet(t).ID
	n := &network{t: t, l: l, genesis: g}
	set, _ := n.set()
	for _, s := range []xdr.ScpStatement{nominate(me, 2, "x"), prepare(me, 2, 1), prepare(me, 2, 2), nominate(me, 3, "x"), nominate(me, 2, "x", "y")} {
		if err := l.Say([]xdr.ScpStatement{s}, []xdr.GeneralizedTransactionSet{set}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Signed(xdr.ScpEnvelope{Statement: prepare(me, 2, 2), Signature: make([]byte, 64)}); err != nil {
		t.Fatal(err)
	}
	check := func(l *Ledger, signed int) {
		t.Helper()
		said, err := l.Said()
		if err != nil || len(said) != 2 || said[0].Slot != 2 || said[1].Slot != 3 || len(said[0].Envelopes) != 2 || len(said[0].Sets) != 1 {
			t.Fatalf("%+v %v", said, err)
		}
		nomination, ballot := said[0].Envelopes[0], said[0].Envelopes[1]
		if len(nomination.Statement.Pledges.Nominate.Votes) != 2 || ballot.Statement.Pledges.Prepare.Ballot.Counter != 2 || len(ballot.Signature) != signed {
			t.Errorf("%+v", said[0])
		}
	}
	check(l, 64)
	crashed := open(t, fs.CrashClone(vfs.CrashCloneCfg{}), g)
	check(crashed, 0)

	// Once the slot is closed its transaction sets are forgotten, and later what was said.
	if _, err := l.WhatDecided(2); !errors.Is(err, protocol.ErrNotFound) {
		t.Errorf("an open slot: %v", err)
	}
	n.close()
	entry := xdr.ScpHistoryEntryV0{QuorumSets: []xdr.ScpQuorumSet{}, LedgerMessages: xdr.LedgerScpMessages{LedgerSeq: 2,
		Messages: []xdr.ScpEnvelope{{Statement: prepare(me, 2, 2), Signature: make([]byte, 64)}}}}
	if err := l.Decided(entry); err != nil {
		t.Fatal(err)
	}
	said, err := l.Said()
	if err != nil || len(said) != 2 || len(said[0].Envelopes) != 2 || len(said[0].Sets) != 0 || len(said[1].Sets) != 1 {
		t.Errorf("%+v %v", said, err)
	}
	if got, err := l.WhatDecided(2); err != nil || len(got.LedgerMessages.Messages) != 1 {
		t.Errorf("%+v %v", got, err)
	}
	entry.LedgerMessages.LedgerSeq = 3 + saidSlots
	if err := l.Decided(entry); err != nil {
		t.Fatal(err)
	}
	if said, err := l.Said(); err != nil || len(said) != 1 || said[0].Slot != 3 || len(said[0].Sets) != 0 {
		t.Errorf("%+v %v", said, err)
	}
}
