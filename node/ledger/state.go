package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/apply"
	"github.com/diamante/gateway/node/protocol"
)

// state holds all live entries by key, and for each account the keys of its lines and data entries.
type state struct {
	entries map[string]*xdr.LedgerEntry
	owned   map[string]map[string]bool // account key -> keys of its entries
}

func newState() *state {
	return &state{entries: map[string]*xdr.LedgerEntry{}, owned: map[string]map[string]bool{}}
}

// Get is part of apply.State.
func (s *state) Get(key string) *xdr.LedgerEntry { return s.entries[key] }

// set stores an entry, or removes it when it is nil.
func (s *state) set(key string, e *xdr.LedgerEntry) {
	known := e
	if known == nil {
		known = s.entries[key]
	}
	if known == nil {
		return
	}
	if owner := ownerKey(*known); owner != "" {
		if e == nil {
			delete(s.owned[owner], key)
		} else {
			if s.owned[owner] == nil {
				s.owned[owner] = map[string]bool{}
			}
			s.owned[owner][key] = true
		}
	}
	if e == nil {
		delete(s.entries, key)
		return
	}
	s.entries[key] = e
}

// ownerKey returns the key of the account that an entry counts for, "" for an account.
func ownerKey(e xdr.LedgerEntry) string {
	switch e.Data.Type {
	case xdr.LedgerEntryTypeTrustline:
		return apply.AccountKey(e.Data.TrustLine.AccountId)
	case xdr.LedgerEntryTypeData:
		return apply.AccountKey(e.Data.Data.AccountId)
	}
	return ""
}

// view returns an account with what belongs to it.
func (s *state) view(id protocol.AccountID, seq uint32) (protocol.Account, error) {
	key := apply.AccountKey(id.XDR())
	e := s.entries[key]
	if e == nil {
		return protocol.Account{}, fmt.Errorf("%w: account %s", protocol.ErrNotFound, id)
	}
	a := e.Data.Account
	balance, err := protocol.AmountFromStroops(int64(a.Balance))
	v := protocol.Account{ID: id, Ledger: seq, Balance: balance, Sequence: int64(a.SeqNum), Flags: xdr.AccountFlags(a.Flags),
		HomeDomain: string(a.HomeDomain), Thresholds: a.Thresholds, Signers: slices.Clone(a.Signers), SubEntries: uint32(a.NumSubEntries)}
	for k := range s.owned[key] {
		switch owned := s.entries[k]; owned.Data.Type {
		case xdr.LedgerEntryTypeTrustline:
			line, lineErr := viewLine(owned.Data.TrustLine)
			err = errors.Join(err, lineErr)
			v.Trustlines = append(v.Trustlines, line)
		case xdr.LedgerEntryTypeData:
			v.Data = append(v.Data, protocol.DataEntry{Name: string(owned.Data.Data.DataName), Value: slices.Clone(owned.Data.Data.DataValue)})
		}
	}
	slices.SortFunc(v.Trustlines, func(a, b protocol.Trustline) int { return strings.Compare(a.Asset.String(), b.Asset.String()) })
	slices.SortFunc(v.Data, func(a, b protocol.DataEntry) int { return strings.Compare(a.Name, b.Name) })
	return v, err
}

func viewLine(t *xdr.TrustLineEntry) (protocol.Trustline, error) {
	asset, err1 := protocol.AssetFromXDR(t.Asset.ToAsset())
	balance, err2 := protocol.AmountFromStroops(int64(t.Balance))
	limit, err3 := protocol.AmountFromStroops(int64(t.Limit))
	return protocol.Trustline{Asset: asset, Balance: balance, Limit: limit, Flags: xdr.TrustLineFlags(t.Flags)}, errors.Join(err1, err2, err3)
}

// change is one entry that a ledger changed: its key and its new encoding, nil when it was removed.
type change struct{ key, value []byte }

// encodeChanges returns what delta changes, in the order of the keys.
func encodeChanges(delta *apply.Delta) ([]change, error) {
	keys := slices.Clone(delta.Keys())
	slices.Sort(keys)
	out := make([]change, len(keys))
	for i, key := range keys {
		out[i].key = []byte(key)
		if e := delta.Get(key); e != nil {
			raw, err := e.MarshalBinary()
			if err != nil {
				return nil, fmt.Errorf("ledger: entry: %w", err)
			}
			out[i].value = raw
		}
	}
	return out, nil
}

// commitment is the header's promise about the state: SHA-256 over the previous commitment and the changed entries in
// the order of their keys, each with its length before it; a removed entry has no value.
func commitment(previous protocol.Hash, changed []change) protocol.Hash {
	h := sha256.New()
	h.Write(previous[:])
	var size [8]byte
	for _, c := range changed {
		for _, part := range [][]byte{c.key, c.value} {
			binary.BigEndian.PutUint64(size[:], uint64(len(part)))
			h.Write(size[:])
			h.Write(part)
		}
	}
	return protocol.Hash(h.Sum(nil))
}

// changesOf reads from a ledger's meta what it changed, in the form that commitment takes.
func changesOf(meta xdr.LedgerCloseMetaV1) ([]change, error) {
	last := map[string][]byte{}
	record := func(changes xdr.LedgerEntryChanges) error {
		for _, c := range changes {
			var e *xdr.LedgerEntry
			switch c.Type {
			case xdr.LedgerEntryChangeTypeLedgerEntryCreated:
				e = c.Created
			case xdr.LedgerEntryChangeTypeLedgerEntryUpdated:
				e = c.Updated
			case xdr.LedgerEntryChangeTypeLedgerEntryRemoved:
				key, err := c.Removed.MarshalBinary()
				if err != nil {
					return err
				}
				last[string(key)] = nil
				continue
			default:
				continue
			}
			raw, err := e.MarshalBinary()
			if err != nil {
				return err
			}
			last[apply.EntryKey(*e)] = raw
		}
		return nil
	}
	for _, p := range meta.TxProcessing {
		all := []xdr.LedgerEntryChanges{p.FeeProcessing}
		if v3 := p.TxApplyProcessing.V3; v3 != nil {
			all = append(all, v3.TxChangesBefore)
			for _, op := range v3.Operations {
				all = append(all, op.Changes)
			}
			all = append(all, v3.TxChangesAfter)
		}
		for _, changes := range all {
			if err := record(changes); err != nil {
				return nil, fmt.Errorf("ledger: meta: %w", err)
			}
		}
	}
	out := make([]change, 0, len(last))
	for key, value := range last {
		out = append(out, change{[]byte(key), value})
	}
	slices.SortFunc(out, func(a, b change) int { return bytes.Compare(a.key, b.key) })
	return out, nil
}
