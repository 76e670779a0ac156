package ledger

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// HistorySlots is for how many ledgers the envelopes that decided them are kept, for validators that were away: a week of
// five-second ledgers.
const HistorySlots = 7 * 24 * 3600 / 5

// saidSlots is for how many closed ledgers this validator remembers what it said itself: it may have crashed before it said it.
const saidSlots = 12

// What a validator must not forget of consensus lies in the store, too.
const (
	prefixSaid    = 's' // + slot, kind: our newest envelope of that kind
	prefixSaidSet = 't' // + slot, hash: a transaction set that an envelope of ours names
	prefixDecided = 'd' // + slot: the ScpHistoryEntryV0 of what decided it
)

// The kinds of statement of which the newest is kept.
const (
	kindNomination = 'n'
	kindBallot     = 'b'
)

func kindOf(s xdr.ScpStatement) byte {
	if s.Pledges.Type == xdr.ScpStatementTypeScpStNominate {
		return kindNomination
	}
	return kindBallot
}

// Say makes statements of this validator durable, and the transaction sets that they name, before anybody signs them.
func (l *Ledger) Say(statements []xdr.ScpStatement, sets []xdr.GeneralizedTransactionSet) error {
	batch := l.db.NewBatch()
	defer batch.Close()
	for _, s := range statements {
		slot := uint32(s.SlotIndex)
		if err := put(batch, append(seqKey(prefixSaid, slot), kindOf(s)), xdr.ScpEnvelope{Statement: s, Signature: xdr.Signature{}}); err != nil {
			return fmt.Errorf("ledger: remember a statement: %w", err)
		}
		for _, set := range sets {
			raw, err := set.MarshalBinary()
			if err == nil {
				hash := sha256.Sum256(raw)
				err = batch.Set(append(seqKey(prefixSaidSet, slot), hash[:]...), raw, nil)
			}
			if err != nil {
				return fmt.Errorf("ledger: remember a transaction set: %w", err)
			}
		}
	}
	if err := commit(batch); err != nil {
		return fmt.Errorf("ledger: remember statements: %w", err)
	}
	return nil
}

func put(batch *pebble.Batch, key []byte, v interface{ MarshalBinary() ([]byte, error) }) error {
	raw, err := v.MarshalBinary()
	if err != nil {
		return err
	}
	return batch.Set(key, raw, nil)
}

// Signed remembers the signature of what Say made durable. A crash may lose it: the same can be signed again.
func (l *Ledger) Signed(env xdr.ScpEnvelope) error {
	raw, err := env.MarshalBinary()
	if err == nil {
		err = l.db.Set(append(seqKey(prefixSaid, uint32(env.Statement.SlotIndex)), kindOf(env.Statement)), raw, pebble.NoSync)
	}
	if err != nil {
		return fmt.Errorf("ledger: remember a signature: %w", err)
	}
	return nil
}

// Said is what a validator has said about one slot.
type Said struct {
	Slot      uint32
	Envelopes []xdr.ScpEnvelope // the newest nomination, then the newest ballot; without a signature if a crash came between
	Sets      []xdr.GeneralizedTransactionSet
}

// Said returns what this validator has said about slots that are not closed, and about the last that are, in their order.
func (l *Ledger) Said() ([]Said, error) {
	bySlot := map[uint32]*Said{}
	of := func(slot uint32) *Said {
		if bySlot[slot] == nil {
			bySlot[slot] = &Said{Slot: slot}
		}
		return bySlot[slot]
	}
	err := l.each(prefixSaid, func(slot uint32, raw []byte) error {
		var env xdr.ScpEnvelope
		err := env.UnmarshalBinary(raw)
		of(slot).Envelopes = append(of(slot).Envelopes, env)
		return err
	})
	err = errors.Join(err, l.each(prefixSaidSet, func(slot uint32, raw []byte) error {
		var set xdr.GeneralizedTransactionSet
		err := set.UnmarshalBinary(raw)
		of(slot).Sets = append(of(slot).Sets, set)
		return err
	}))
	if err != nil {
		return nil, err
	}
	var out []Said
	for _, s := range bySlot {
		slices.SortFunc(s.Envelopes, func(a, b xdr.ScpEnvelope) int { return cmp.Compare(kindOf(b.Statement), kindOf(a.Statement)) })
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b Said) int { return cmp.Compare(a.Slot, b.Slot) })
	return out, nil
}

// each calls do with all that a prefix holds.
func (l *Ledger) each(prefix byte, do func(slot uint32, raw []byte) error) error {
	iter, err := l.db.NewIter(&pebble.IterOptions{LowerBound: []byte{prefix}, UpperBound: []byte{prefix + 1}})
	if err != nil {
		return fmt.Errorf("ledger: read: %w", err)
	}
	for iter.First(); iter.Valid() && err == nil; iter.Next() {
		if key := iter.Key(); len(key) >= 5 {
			err = do(binary.BigEndian.Uint32(key[1:]), iter.Value())
		}
	}
	if err = errors.Join(err, iter.Close()); err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return nil
}

// Decided remembers what decided a closed slot, and forgets the transaction sets that were not, what this validator said long
// ago, and the oldest of what it remembers. It may be called again for a slot of which more was heard. A crash may lose it.
func (l *Ledger) Decided(entry xdr.ScpHistoryEntryV0) error {
	slot := uint32(entry.LedgerMessages.LedgerSeq)
	batch := l.db.NewBatch()
	defer batch.Close()
	err := errors.Join(put(batch, seqKey(prefixDecided, slot), entry),
		batch.DeleteRange(seqKey(prefixSaid, 0), seqKey(prefixSaid, max(slot, saidSlots)-saidSlots), nil),
		batch.DeleteRange(seqKey(prefixSaidSet, 0), seqKey(prefixSaidSet, slot+1), nil))
	if slot > HistorySlots {
		err = errors.Join(err, batch.Delete(seqKey(prefixDecided, slot-HistorySlots), nil))
	}
	if err = errors.Join(err, batch.Commit(pebble.NoSync)); err != nil {
		return fmt.Errorf("ledger: remember what decided ledger %d: %w", slot, err)
	}
	return nil
}

// WhatDecided returns the envelopes that decided a slot, with their quorum sets, or protocol.ErrNotFound.
func (l *Ledger) WhatDecided(slot uint32) (entry xdr.ScpHistoryEntryV0, err error) {
	raw, err := l.get(seqKey(prefixDecided, slot))
	if errors.Is(err, pebble.ErrNotFound) {
		return entry, fmt.Errorf("%w: what decided ledger %d", protocol.ErrNotFound, slot)
	}
	if err == nil {
		err = entry.UnmarshalBinary(raw)
	}
	return entry, err
}
