package herder

import (
	"context"
	"fmt"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/scp"
)

// maxMembers bounds the validators whose word matters: those of our quorum set, and of theirs.
const maxMembers = 1000

// maxVotes bounds the values that a nomination names. Each leader of a round adds one.
const maxVotes = 100

// Verdict is what is to become of a message, and of the peer who sent it. Zero is invalid.
type Verdict uint8

// The verdicts.
const (
	Done       Verdict = iota + 1 // nothing more
	Flood                         // worth passing on to all others
	Misbehaved                    // nobody who keeps to the protocol sends this
)

// maxQuorumSets bounds the quorum sets that are known. Past it those that nobody names now are forgotten.
const maxQuorumSets = 1000

// incoming is something that came in, for the goroutine of Step.
type incoming func(f *Federated) error

const (
	// maxWaiting bounds the envelopes of one kind that a node has waiting for one slot. The oldest go first.
	maxWaiting = 16
	// maxBrought bounds the transaction sets that one node can have this one look for, for one slot: who names more is not listened
	// to. An honest one proposes one, and names those that others have proposed.
	maxBrought = 8
)

// bringer is a node that named a transaction set for a slot before anybody else did.
type bringer struct {
	slot uint32
	node protocol.AccountID
}

// waiting is an envelope that names what this node does not have.
type waiting struct {
	env     xdr.ScpEnvelope
	from    protocol.AccountID
	missing map[protocol.Hash]bool
}

// Handle takes a message of a peer about consensus. It may wait while the node is busy.
func (f *Federated) Handle(from protocol.AccountID, m xdr.StellarMessage) Verdict {
	switch m.Type {
	case xdr.MessageTypeScpMessage:
		return f.hear(from, *m.Envelope)
	case xdr.MessageTypeGetTxSet:
		f.answerSet(from, protocol.Hash(*m.TxSetHash))
	case xdr.MessageTypeGetScpQuorumset:
		f.answerQuorumSet(from, protocol.Hash(*m.QSetHash))
	case xdr.MessageTypeGetScpState:
		f.answerState(from, uint32(*m.GetScpLedgerSeq))
	case xdr.MessageTypeGeneralizedTxSet:
		set := *m.GeneralizedTxSet
		hash := hashOf(set)
		f.enter(func(f *Federated) error { return f.gotSet(hash, set) })
	case xdr.MessageTypeScpQuorumset:
		set := *m.QSet
		if scp.CheckQuorumSet(set) != nil {
			return Misbehaved
		}
		hash := hashOf(set)
		f.enter(func(f *Federated) error { return f.gotQuorumSet(hash, set) })
	case xdr.MessageTypeDontHave:
		hash := protocol.Hash(m.DontHave.ReqHash)
		f.enter(func(f *Federated) error { f.fetcher.dontHave(hash, from); return nil })
	default:
		return Misbehaved
	}
	return Done
}

// enter hands something to the goroutine of Step, and waits while that has too much to do.
func (f *Federated) enter(in incoming) {
	select {
	case f.inbox <- in:
	case <-f.stop:
		return
	}
	f.driver.Wake()
}

// hear looks at an envelope as far as can be done without the machine.
func (f *Federated) hear(from protocol.AccountID, env xdr.ScpEnvelope) Verdict {
	key, err := keyOf(env.Statement)
	if err != nil || len(rawValues(env.Statement)) > maxVotes {
		return Misbehaved
	}
	if key.node == f.me {
		return Done
	}
	f.mu.Lock()
	_, matters := f.members[key.node]
	before, known := f.latest[key]
	window := f.window
	f.mu.Unlock()
	if !matters || key.slot < window[0] || known && equal(before, env) {
		return Done
	}
	if !f.verify(key.node, env) {
		return Misbehaved
	}
	f.mu.Lock()
	f.heard[key.node] = max(f.heard[key.node], key.slot)
	f.mu.Unlock()
	if key.slot > window[1] {
		f.driver.Wake() // we are behind
		return Done
	}
	f.enter(func(f *Federated) error { return f.take(from, key, env) })
	return Flood
}

// take gives an envelope to the machine as soon as everything that it names is there and its slot has come.
func (f *Federated) take(from protocol.AccountID, key envelopeKey, env xdr.ScpEnvelope) error {
	missing := map[protocol.Hash]bool{}
	if key.slot > f.last {
		values, err := valuesOf(env.Statement)
		if err != nil {
			return nil // not even a value
		}
		for _, v := range values {
			hash := protocol.Hash(v.TxSetHash)
			if _, known := f.driver.Set(hash); !known {
				if !f.mayBring(key, hash) {
					return nil
				}
				missing[hash] = true
				f.fetcher.need(xdr.MessageTypeGetTxSet, hash, key.slot, from)
			}
		}
	}
	if hash := quorumSetOf(env.Statement); !f.knows(hash) {
		missing[hash] = true
		f.fetcher.need(xdr.MessageTypeGetScpQuorumset, hash, key.slot, from)
	}
	if len(missing) > 0 || key.slot > f.last+1 {
		list := append(f.waiting[key], &waiting{env: env, from: from, missing: missing})
		f.waiting[key] = list[max(0, len(list)-maxWaiting):]
		return nil
	}
	return f.receive(key, env)
}

// mayBring reports whether this node looks for a transaction set on a node's word.
func (f *Federated) mayBring(key envelopeKey, hash protocol.Hash) bool {
	if f.fetcher.wanted(hash) {
		return true // somebody named it before
	}
	b := bringer{key.slot, key.node}
	if f.brought[b] == nil {
		f.brought[b] = map[protocol.Hash]bool{}
	}
	if f.brought[b][hash] {
		return true
	}
	if len(f.brought[b]) >= maxBrought {
		return false
	}
	f.brought[b][hash] = true
	return true
}

func (f *Federated) knows(set protocol.Hash) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, known := f.sets[set]
	return known
}

// receive hands an envelope to the machine.
func (f *Federated) receive(key envelopeKey, env xdr.ScpEnvelope) error {
	out, err := f.node.Step(scp.Receive{Envelope: env})
	if out.Verdict == scp.Accepted {
		f.mu.Lock()
		f.latest[key] = env
		f.join(key.node, quorumSetOf(env.Statement))
		f.mu.Unlock()
	}
	if err != nil {
		return err
	}
	return f.carryOut(out)
}

// gotSet keeps a transaction set that was asked for, and goes on with what waited for it.
func (f *Federated) gotSet(hash protocol.Hash, set xdr.GeneralizedTransactionSet) error {
	if !f.fetcher.wanted(hash) {
		return nil
	}
	slot := f.fetcher.wants[hash].slot
	f.fetcher.got(hash)
	f.driver.Keep(slot, set)
	if _, kept := f.driver.Set(hash); !kept {
		return nil // there is no room; it is looked for again when somebody names it again
	}
	return f.resolve(hash)
}

// gotQuorumSet does the same with a quorum set.
func (f *Federated) gotQuorumSet(hash protocol.Hash, set xdr.ScpQuorumSet) error {
	if !f.fetcher.wanted(hash) {
		return nil
	}
	f.fetcher.got(hash)
	f.mu.Lock()
	if len(f.sets) >= maxQuorumSets {
		kept := map[protocol.Hash]xdr.ScpQuorumSet{}
		for _, named := range f.members {
			if s, known := f.sets[named]; known {
				kept[named] = s
			}
		}
		f.sets = kept
	}
	f.sets[hash] = set
	f.mu.Unlock()
	return f.resolve(hash)
}

// resolve goes on with the envelopes that lacked nothing else.
func (f *Federated) resolve(hash protocol.Hash) error {
	for _, list := range f.waiting {
		for _, w := range list {
			delete(w.missing, hash)
		}
	}
	return f.progressWaiting()
}

// progressWaiting hands over what waited for a slot that has come, in a fixed order.
func (f *Federated) progressWaiting() error {
	for _, key := range sortedKeys(f.waiting) {
		if key.slot > f.last+1 {
			break // they are in the order of slots
		}
		list := f.waiting[key]
		delete(f.waiting, key)
		for _, w := range list {
			if len(w.missing) > 0 {
				f.waiting[key] = append(f.waiting[key], w)
				continue
			}
			if err := f.take(w.from, key, w.env); err != nil {
				return err
			}
		}
	}
	return nil
}

// fetch asks for what is missing.
func (f *Federated) fetch(now time.Time) time.Time {
	if f.cfg.Network == nil {
		return time.Time{}
	}
	requests, next := f.fetcher.due(now, f.cfg.Network.Peers())
	for _, r := range requests {
		hash := xdr.Uint256(r.hash)
		m := xdr.StellarMessage{Type: r.kind}
		if r.kind == xdr.MessageTypeGetTxSet {
			m.TxSetHash = &hash
		} else {
			m.QSetHash = &hash
		}
		f.cfg.Network.Send(r.to, m)
	}
	return next
}

// QuorumSets returns those whose word matters, with whom each trusts by what it said last; nil where that is not known.
func (f *Federated) QuorumSets() map[protocol.AccountID]*xdr.ScpQuorumSet {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make(map[protocol.AccountID]*xdr.ScpQuorumSet, len(f.members))
	for id, hash := range f.members {
		if out[id] = nil; hash != (protocol.Hash{}) {
			if set, known := f.sets[hash]; known {
				out[id] = &set
			}
		}
	}
	return out
}

// SetQuorumSet changes whom this validator trusts, and waits until it has. It is refused if it is not sane.
func (f *Federated) SetQuorumSet(ctx context.Context, q xdr.ScpQuorumSet) error {
	done := make(chan error, 1)
	f.enter(func(f *Federated) error {
		err := f.node.SetQuorumSet(q)
		if err == nil {
			local, hash := f.node.QuorumSet()
			f.mu.Lock()
			f.sets[protocol.Hash(hash)] = local.XDR()
			f.countMembers()
			f.mu.Unlock()
		}
		done <- err
		return nil
	})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-f.stop:
		return fmt.Errorf("%w: stopped", protocol.ErrUnavailable)
	}
}

// join notes which quorum set a member names, and whose word matters because of that. The caller holds f.mu.
func (f *Federated) join(id protocol.AccountID, hash protocol.Hash) {
	if f.members[id] == hash {
		return
	}
	if _, member := f.members[id]; member {
		f.members[id] = hash
		f.countMembers()
	}
}

// countMembers finds everybody whose word matters: the nodes of our quorum set, those of theirs, and so on, as far as known. The
// caller holds f.mu.
func (f *Federated) countMembers() {
	local, hash := f.node.QuorumSet()
	before := f.members
	f.members = map[protocol.AccountID]protocol.Hash{f.me: protocol.Hash(hash)}
	open := []xdr.ScpQuorumSet{local.XDR()}
	for len(open) > 0 {
		set := open[0]
		open = append(open[1:], set.InnerSets...)
		for _, v := range set.Validators {
			id, err := protocol.AccountIDFromXDR(xdr.AccountId(v))
			if _, known := f.members[id]; known || err != nil || len(f.members) >= maxMembers {
				continue
			}
			f.members[id] = before[id]
			if theirs, ok := f.sets[before[id]]; ok {
				open = append(open, theirs)
			}
		}
	}
	for id := range f.heard {
		if _, member := f.members[id]; !member {
			delete(f.heard, id)
		}
	}
}
