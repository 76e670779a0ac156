package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/apply"
	"github.com/diamante/gateway/node/protocol"
)

// change is one entry that a ledger changed: its key and its encodings, nil where there was or is none.
type change struct{ key, before, after []byte }

// encodeChanges returns what delta changes of the state, in the order of the keys.
func encodeChanges(s *state, delta *apply.Delta) ([]change, error) {
	keys := slices.Clone(delta.Keys())
	slices.Sort(keys)
	out := make([]change, 0, len(keys))
	for _, key := range keys {
		before, err := encodeEntry(s.Get(key))
		if err != nil {
			return nil, err
		}
		after, err := encodeEntry(delta.Get(key))
		if err != nil {
			return nil, err
		}
		if before != nil || after != nil { // not what came and went
			out = append(out, change{[]byte(key), before, after})
		}
	}
	return out, nil
}

func encodeEntry(e *xdr.LedgerEntry) ([]byte, error) {
	if e == nil {
		return nil, nil
	}
	raw, err := e.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("ledger: entry: %w", err)
	}
	return raw, nil
}

// digest stands for all live entries in whatever order: the sum, modulo 2^256, of SHA-256 of each with its key. A ledger
// changes it by what it changes, and whoever has the entries can sum them up again: so a store that lost, doubled or
// altered an entry is found out when it is opened. It is no proof against somebody who writes the store himself: that
// is what the signed chain of headers is for.
type digest [4]uint64

func (d digest) after(changed []change) digest {
	for _, c := range changed {
		if c.before != nil {
			d = d.without(c.key, c.before)
		}
		if c.after != nil {
			d = d.with(c.key, c.after)
		}
	}
	return d
}

func (d digest) with(key, value []byte) digest {
	var carry uint64
	for i, v := range term(key, value) {
		d[i], carry = bits.Add64(d[i], v, carry)
	}
	return d
}

func (d digest) without(key, value []byte) digest {
	var borrow uint64
	for i, v := range term(key, value) {
		d[i], borrow = bits.Sub64(d[i], v, borrow)
	}
	return d
}

// term is one entry's part of the digest, least significant word first.
func term(key, value []byte) (t digest) {
	sum := sha256.Sum256(framed(framed(nil, key), value))
	for i := range t {
		t[i] = binary.LittleEndian.Uint64(sum[8*i:])
	}
	return t
}

// framed appends part to b with its length before it.
func framed(b, part []byte) []byte {
	return append(binary.BigEndian.AppendUint64(b, uint64(len(part))), part...)
}

// commitment is the header's promise about the state: SHA-256 over the previous commitment, the digest of the state and
// the changed entries in the order of their keys, each key and each encoding with its length before it; a removed entry
// has an empty encoding.
func commitment(previous protocol.Hash, changed []change, d digest) protocol.Hash {
	h := sha256.New()
	h.Write(previous[:])
	var buf []byte
	for _, word := range d {
		buf = binary.LittleEndian.AppendUint64(buf, word)
	}
	h.Write(buf)
	for _, c := range changed {
		h.Write(framed(framed(buf[:0], c.key), c.after))
	}
	return protocol.Hash(h.Sum(nil))
}

// changesOf reads from a ledger's meta what it changed, in the form that commitment takes.
func changesOf(meta xdr.LedgerCloseMetaV1) ([]change, error) {
	r := replay{last: map[string][]byte{}, born: map[string]bool{}}
	for _, p := range meta.TxProcessing {
		r.record(p.FeeProcessing) // of all, before any is applied
	}
	for _, p := range meta.TxProcessing {
		if v3 := p.TxApplyProcessing.V3; v3 != nil {
			r.record(v3.TxChangesBefore)
			for _, op := range v3.Operations {
				r.record(op.Changes)
			}
			r.record(v3.TxChangesAfter)
		}
	}
	if r.err != nil {
		return nil, fmt.Errorf("ledger: meta: %w", r.err)
	}
	out := make([]change, 0, len(r.last))
	for key, value := range r.last {
		if value != nil || !r.born[key] {
			out = append(out, change{key: []byte(key), after: value})
		}
	}
	slices.SortFunc(out, func(a, b change) int { return bytes.Compare(a.key, b.key) })
	return out, nil
}

// replay follows the changes of one ledger.
type replay struct {
	last map[string][]byte // of each key the last encoding, nil when it was removed
	born map[string]bool   // keys that were not there before
	err  error
}

func (r *replay) record(changes xdr.LedgerEntryChanges) {
	for _, c := range changes {
		switch c.Type {
		case xdr.LedgerEntryChangeTypeLedgerEntryCreated:
			key := apply.EntryKey(*c.Created)
			if _, known := r.last[key]; !known {
				r.born[key] = true
			}
			r.keep(key, c.Created)
		case xdr.LedgerEntryChangeTypeLedgerEntryUpdated:
			r.keep(apply.EntryKey(*c.Updated), c.Updated)
		case xdr.LedgerEntryChangeTypeLedgerEntryRemoved:
			key, err := c.Removed.MarshalBinary()
			if err != nil {
				r.err = err
			}
			r.last[string(key)] = nil
		}
	}
}

func (r *replay) keep(key string, e *xdr.LedgerEntry) {
	raw, err := e.MarshalBinary()
	if err != nil {
		r.err = err
	}
	r.last[key] = raw
}
