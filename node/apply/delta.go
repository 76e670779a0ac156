package apply

import (
	"github.com/stellar/go-stellar-sdk/xdr"
)

// State is what is read: the entries of a ledger, by the XDR of their keys. An entry that is returned is never changed
// by the reader.
type State interface {
	// Get returns the entry of a key, nil when there is none.
	Get(key string) *xdr.LedgerEntry
}

// Delta is a layer of changes over a State. Layers nest: what is committed goes into the layer below, what is dropped is
// forgotten. A Delta is used by one goroutine.
type Delta struct {
	below   State
	seq     uint32
	entries map[string]*xdr.LedgerEntry // nil: removed
	order   []string                    // keys as they were first changed: the order of Changes
}

// NewDelta makes an empty layer. seq is the ledger that changed entries were last modified in.
func NewDelta(below State, seq uint32) *Delta {
	return &Delta{below: below, seq: seq, entries: map[string]*xdr.LedgerEntry{}}
}

// Get returns the entry as this layer sees it.
func (d *Delta) Get(key string) *xdr.LedgerEntry {
	if e, ok := d.entries[key]; ok {
		return e
	}
	return d.below.Get(key)
}

// Replace sets an entry, or removes it when e is nil, outside any transaction: ledger 1 makes the root account so.
func (d *Delta) Replace(key string, e *xdr.LedgerEntry) { d.set(key, e) }

// Keys returns the keys that were changed, in the order in which they were changed first.
func (d *Delta) Keys() []string { return d.order }

// Changes lists what this layer changes, as the meta of a ledger shows it.
func (d *Delta) Changes() xdr.LedgerEntryChanges {
	changes := make(xdr.LedgerEntryChanges, 0, 2*len(d.order))
	for _, key := range d.order {
		before, after := d.below.Get(key), d.entries[key]
		if before == nil && after == nil {
			continue
		}
		if before == nil {
			changes = append(changes, xdr.LedgerEntryChange{Type: xdr.LedgerEntryChangeTypeLedgerEntryCreated, Created: after})
			continue
		}
		changes = append(changes, xdr.LedgerEntryChange{Type: xdr.LedgerEntryChangeTypeLedgerEntryState, State: before})
		if after != nil {
			changes = append(changes, xdr.LedgerEntryChange{Type: xdr.LedgerEntryChangeTypeLedgerEntryUpdated, Updated: after})
			continue
		}
		var removed xdr.LedgerKey
		if err := removed.UnmarshalBinary([]byte(key)); err != nil {
			panic("apply: a key that was encoded does not decode: " + err.Error())
		}
		changes = append(changes, xdr.LedgerEntryChange{Type: xdr.LedgerEntryChangeTypeLedgerEntryRemoved, Removed: &removed})
	}
	return changes
}

// Commit moves the changes into the layer below, which must be a Delta, and returns them as meta.
func (d *Delta) Commit() xdr.LedgerEntryChanges {
	changes := d.Changes()
	d.Merge()
	return changes
}

// Merge is Commit for who does not want the meta.
func (d *Delta) Merge() {
	below := d.below.(*Delta)
	for _, key := range d.order {
		below.set(key, d.entries[key])
	}
}

func (d *Delta) set(key string, e *xdr.LedgerEntry) {
	if _, ok := d.entries[key]; !ok {
		d.order = append(d.order, key)
	}
	d.entries[key] = e
}

// entry is a copy of a ledger entry that may be changed and then put.
type entry struct {
	key string
	xdr.LedgerEntry
}

func (e *entry) account() *xdr.AccountEntry { return e.Data.Account }

// put stores e, which nobody may change afterwards: it is emptied so that trying to is noticed.
func (d *Delta) put(e *entry) {
	stored := e.LedgerEntry
	stored.LastModifiedLedgerSeq = xdr.Uint32(d.seq)
	d.set(e.key, &stored)
	e.LedgerEntry = xdr.LedgerEntry{}
}

func (d *Delta) remove(key string) { d.set(key, nil) }

func (d *Delta) load(key string) *entry {
	e := d.Get(key)
	if e == nil {
		return nil
	}
	return &entry{key: key, LedgerEntry: clone(*e)}
}

func (d *Delta) account(id xdr.AccountId) *entry { return d.load(AccountKey(id)) }

func (d *Delta) trustline(id xdr.AccountId, asset xdr.Asset) *entry {
	return d.load(TrustlineKey(id, asset))
}

// AccountKey returns the key of an account.
func AccountKey(id xdr.AccountId) string {
	return encodeKey(xdr.LedgerKey{Type: xdr.LedgerEntryTypeAccount, Account: &xdr.LedgerKeyAccount{AccountId: id}})
}

// TrustlineKey returns the key of an account's line to a credit.
func TrustlineKey(id xdr.AccountId, asset xdr.Asset) string {
	return encodeKey(xdr.LedgerKey{Type: xdr.LedgerEntryTypeTrustline,
		TrustLine: &xdr.LedgerKeyTrustLine{AccountId: id, Asset: asset.ToTrustLineAsset()}})
}

// DataKey returns the key of an account's data entry.
func DataKey(id xdr.AccountId, name xdr.String64) string {
	return encodeKey(xdr.LedgerKey{Type: xdr.LedgerEntryTypeData, Data: &xdr.LedgerKeyData{AccountId: id, DataName: name}})
}

// EntryKey returns the key of an entry.
func EntryKey(e xdr.LedgerEntry) string {
	key, err := e.LedgerKey()
	if err != nil {
		panic("apply: an entry has no key: " + err.Error())
	}
	return encodeKey(key)
}

func encodeKey(key xdr.LedgerKey) string {
	b, err := key.MarshalBinary()
	if err != nil {
		panic("apply: a key does not encode: " + err.Error())
	}
	return string(b)
}

// clone copies an entry with everything in it that operations change.
func clone(e xdr.LedgerEntry) xdr.LedgerEntry {
	switch e.Data.Type {
	case xdr.LedgerEntryTypeAccount:
		a := *e.Data.Account
		a.Signers = append([]xdr.Signer(nil), a.Signers...)
		a.Ext = cloneAccountExt(a.Ext)
		e.Data.Account = &a
	case xdr.LedgerEntryTypeTrustline:
		t := *e.Data.TrustLine
		if t.Ext.V1 != nil {
			v1 := *t.Ext.V1
			t.Ext.V1 = &v1
		}
		e.Data.TrustLine = &t
	case xdr.LedgerEntryTypeData:
		v := *e.Data.Data
		v.DataValue = append(xdr.DataValue(nil), v.DataValue...)
		e.Data.Data = &v
	default:
		panic("apply: an entry of type " + e.Data.Type.String())
	}
	return e
}

func cloneAccountExt(ext xdr.AccountEntryExt) xdr.AccountEntryExt {
	if ext.V1 == nil {
		return ext
	}
	v1 := *ext.V1
	if v1.Ext.V2 != nil {
		v2 := *v1.Ext.V2
		v2.SignerSponsoringIDs = append([]xdr.SponsorshipDescriptor(nil), v2.SignerSponsoringIDs...)
		if v2.Ext.V3 != nil {
			v3 := *v2.Ext.V3
			v2.Ext.V3 = &v3
		}
		v1.Ext.V2 = &v2
	}
	ext.V1 = &v1
	return ext
}
