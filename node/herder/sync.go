package herder

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/scp"
)

const (
	// stuckAfter is how long no ledger may close before a validator asks what it has missed.
	stuckAfter = 35 * time.Second
	// stuckPause is how often it asks then.
	stuckPause = 10 * time.Second
	// behindPause is how often it asks when it knows that others are ahead.
	behindPause = time.Second
	// statePause is how often one peer is answered what it has missed, at most.
	statePause = 100 * time.Millisecond
	// maxTold bounds the peers of whom that is remembered.
	maxTold = 1000
	// stateSlots is how many slots one answer tells of, and how far one question leads.
	stateSlots = maxSlotsAhead
	// askedAtOnce is how many peers are asked for what was missed.
	askedAtOnce = 2
	// maxServed bounds the transaction sets of the past that are remembered because somebody was told of them.
	maxServed = 1000
)

// syncState is what a validator does about being behind.
type syncState struct {
	progressed time.Time // when the last ledger closed, or this process began
	asked      time.Time
	upTo       uint32 // what the last question led to
	turn       int    // whose turn it is to be asked
}

// progress notes that a ledger has closed. The caller may hold f.mu.
func (f *Federated) progress() { f.sync.progressed = f.cfg.Clock.Now() }

// keepUp hands over what waited for a slot, and asks others for what was missed. It returns when to look again.
func (f *Federated) keepUp(now time.Time) time.Time {
	pause, from := stuckPause, f.sync.progressed.Add(stuckAfter)
	if f.behind() {
		pause, from = behindPause, f.sync.asked
		if f.last >= f.sync.upTo {
			pause = 2 * statePause // what was asked for has come
		}
	}
	at := f.sync.asked.Add(pause)
	if at.Before(from) {
		at = from
	}
	switch {
	case f.cfg.Network == nil:
		return time.Time{}
	case now.Before(at):
		return at
	}
	f.sync.asked, f.sync.upTo = now, f.last+stateSlots
	f.sayAgain()
	peers := f.cfg.Network.Peers()
	for i := range min(askedAtOnce, len(peers)) {
		f.askState(peers[(f.sync.turn+i)%len(peers)])
	}
	f.sync.turn++
	return now.Add(statePause)
}

// behind reports whether those that this validator cannot do without speak of slots for which the one before is not closed
// here.
func (f *Federated) behind() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	var ahead []scp.NodeID
	for id, slot := range f.heard {
		if slot > f.last+1 {
			ahead = append(ahead, scp.NodeID(id.Key()))
		}
	}
	return f.node.IsBlocking(ahead)
}

func (f *Federated) askState(peer protocol.AccountID) {
	from := xdr.Uint32(f.last + 1)
	f.cfg.Network.Send(peer, xdr.StellarMessage{Type: xdr.MessageTypeGetScpState, GetScpLedgerSeq: &from})
}

// sayAgain sends what this validator said last about slots that are not closed.
func (f *Federated) sayAgain() {
	for _, env := range f.ownFrom(f.last + 1) {
		f.cfg.Network.Broadcast(envelopeMessage(env))
	}
}

func (f *Federated) ownFrom(slot uint32) (out []xdr.ScpEnvelope) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, key := range sortedKeys(f.own) {
		if key.slot >= slot {
			out = append(out, f.own[key])
		}
	}
	return out
}

// Joined tells of a new peer: each asks the other what it has missed.
func (f *Federated) Joined(peer protocol.AccountID) {
	f.enter(func(f *Federated) error {
		if f.cfg.Network != nil {
			f.askState(peer)
		}
		return nil
	})
}

// answerState tells a peer what was said about the slots from one on, as many as one answer holds: what is known of what decided
// those that are closed, and the newest of everybody.
func (f *Federated) answerState(to protocol.AccountID, from uint32) {
	if f.cfg.Network == nil || !f.mayAsk(to) {
		return
	}
	header, _ := f.cfg.Ledger.Header()
	for slot := from; slot < from+stateSlots && slot <= uint32(header.LedgerSeq)+maxSlotsAhead; slot++ {
		entry, err := f.cfg.Memory.WhatDecided(slot)
		if err != nil && !errors.Is(err, protocol.ErrNotFound) {
			f.cfg.Logger.Error("what decided a ledger cannot be told", "ledger", slot, "error", err)
			return
		}
		for _, env := range f.serve(slot, entry) {
			f.cfg.Network.Send(to, envelopeMessage(env))
		}
	}
}

// mayAsk reports whether it is time to answer a peer again.
func (f *Federated) mayAsk(peer protocol.AccountID) bool {
	now := f.cfg.Clock.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	if before, known := f.told[peer]; known && now.Before(before.Add(statePause)) && !now.Before(before) {
		return false
	}
	if len(f.told) >= maxTold {
		clear(f.told)
	}
	f.told[peer] = now
	return true
}

// serve returns the newest that is known of a slot, and remembers what the peer will ask for next.
func (f *Federated) serve(slot uint32, entry xdr.ScpHistoryEntryV0) (out []xdr.ScpEnvelope) {
	f.mu.Lock()
	defer f.mu.Unlock()
	told := map[envelopeKey]bool{}
	for _, list := range []map[envelopeKey]xdr.ScpEnvelope{f.own, f.latest} {
		for _, key := range sortedKeys(list) {
			if key.slot == slot {
				out, told[key] = append(out, list[key]), true
			}
		}
	}
	for _, env := range entry.LedgerMessages.Messages {
		if key, err := keyOf(env.Statement); err == nil && !told[key] {
			out = append(out, env)
		}
	}
	for _, set := range entry.QuorumSets {
		f.sets[hashOf(set)] = set
	}
	if len(f.served) >= maxServed {
		clear(f.served)
	}
	for _, env := range out {
		if values, err := valuesOf(env.Statement); err == nil {
			for _, v := range values {
				f.served[protocol.Hash(v.TxSetHash)] = slot
			}
		}
	}
	return out
}

// answerSet sends a transaction set, of a coming ledger or of one that has closed.
func (f *Federated) answerSet(to protocol.AccountID, hash protocol.Hash) {
	if f.cfg.Network == nil {
		return
	}
	set, known := f.driver.Set(hash)
	if !known {
		f.mu.Lock()
		slot := f.served[hash]
		f.mu.Unlock()
		if meta, err := f.cfg.Memory.Meta(slot); err == nil && meta.V1 != nil {
			set, known = meta.V1.TxSet, hashOf(meta.V1.TxSet) == hash
		}
	}
	if !known {
		f.dontHave(to, xdr.MessageTypeGetTxSet, hash)
		return
	}
	f.cfg.Network.Send(to, xdr.StellarMessage{Type: xdr.MessageTypeGeneralizedTxSet, GeneralizedTxSet: &set})
}

// answerQuorumSet sends a quorum set.
func (f *Federated) answerQuorumSet(to protocol.AccountID, hash protocol.Hash) {
	if f.cfg.Network == nil {
		return
	}
	f.mu.Lock()
	set, known := f.sets[hash]
	f.mu.Unlock()
	if !known {
		f.dontHave(to, xdr.MessageTypeGetScpQuorumset, hash)
		return
	}
	f.cfg.Network.Send(to, xdr.StellarMessage{Type: xdr.MessageTypeScpQuorumset, QSet: &set})
}

func (f *Federated) dontHave(to protocol.AccountID, kind xdr.MessageType, hash protocol.Hash) {
	f.cfg.Network.Send(to, xdr.StellarMessage{Type: xdr.MessageTypeDontHave, DontHave: &xdr.DontHave{Type: kind, ReqHash: xdr.Uint256(hash)}})
}

// setsOf returns the quorum sets that envelopes name. The caller holds f.mu.
func (f *Federated) setsOf(envs []xdr.ScpEnvelope) []xdr.ScpQuorumSet {
	out, seen := []xdr.ScpQuorumSet{}, map[protocol.Hash]bool{}
	for _, env := range envs {
		hash := quorumSetOf(env.Statement)
		if set, known := f.sets[hash]; known && !seen[hash] {
			out = append(out, set)
		}
		seen[hash] = true
	}
	return out
}

// sortedKeys returns the keys in the order of slots, then nodes, nominations first.
func sortedKeys[T any](m map[envelopeKey]T) []envelopeKey {
	return slices.SortedFunc(maps.Keys(m), func(a, b envelopeKey) int {
		nominal := 0
		if a.nominal != b.nominal {
			nominal = 1
			if a.nominal {
				nominal = -1
			}
		}
		return cmp.Or(cmp.Compare(a.slot, b.slot), nominal, slices.Compare(a.node.Key(), b.node.Key()))
	})
}
