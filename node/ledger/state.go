package ledger

import (
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
	native  int64                      // stroops of DIAM on all accounts
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
	s.native += balanceOf(e) - balanceOf(s.entries[key])
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

// balanceOf returns what an account holds of DIAM, 0 for what is no account or not there.
func balanceOf(e *xdr.LedgerEntry) int64 {
	if e == nil || e.Data.Type != xdr.LedgerEntryTypeAccount {
		return 0
	}
	return int64(e.Data.Account.Balance)
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
