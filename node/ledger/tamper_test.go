package ledger

import (
	"bytes"
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/apply"
	"github.com/diamante/gateway/node/nodetest"
	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/txbuild"
)

// tampered closes a few ledgers, changes the store behind the ledger's back, and opens it again.
func tampered(t *testing.T, change func(n *network, wallets []nodetest.Wallet, db *pebble.DB)) error {
	t.Helper()
	fs := vfs.NewMem()
	root := nodetest.NewWallet(t)
	n := &network{t: t, root: root, genesis: testGenesis(t, root.ID), seqs: map[protocol.AccountID]int64{}}
	n.l = open(t, fs, n.genesis)
	wallets := n.fund(3)
	asset := usd(t, wallets[0])
	n.succeed(n.sign(wallets[1], txbuild.ChangeTrust{Asset: asset, Limit: nodetest.Amount(t, "100")}))
	n.succeed(n.sign(wallets[0], txbuild.Payment{Destination: wallets[1].ID, Asset: asset, Amount: nodetest.Amount(t, "5")}))
	n.succeed(n.sign(wallets[2], txbuild.ManageData{Name: "n", Value: []byte("v")}))
	change(n, wallets, n.l.db)
	shut(t, n.l)
	l, err := OpenFS(fs, "ledger", n.genesis)
	if err == nil {
		shut(t, l)
	}
	return err
}

func set(t *testing.T, db *pebble.DB, key, value []byte) {
	t.Helper()
	if err := db.Set(key, value, pebble.Sync); err != nil {
		t.Fatal(err)
	}
}

// alter changes an entry in the store.
func alter(t *testing.T, n *network, key string, change func(e *xdr.LedgerEntry)) {
	t.Helper()
	raw, err := n.l.get(entryKey([]byte(key)))
	if err != nil {
		t.Fatal(err)
	}
	var e xdr.LedgerEntry
	if err := e.UnmarshalBinary(raw); err != nil {
		t.Fatal(err)
	}
	change(&e)
	set(t, n.l.db, entryKey([]byte(key)), encoded(t, e))
}

func TestTamperedStore(t *testing.T) {
	line := func(wallets []nodetest.Wallet) string {
		return apply.TrustlineKey(wallets[1].ID.XDR(), usd(t, wallets[0]).XDR())
	}
	account := func(w nodetest.Wallet) string { return apply.AccountKey(w.ID.XDR()) }
	header := func(n *network, seq uint32, change func(h *xdr.LedgerHeader)) {
		raw, err := n.l.get(seqKey(prefixHeader, seq))
		if err != nil {
			t.Fatal(err)
		}
		var h xdr.LedgerHeader
		if err := h.UnmarshalBinary(raw); err != nil {
			t.Fatal(err)
		}
		change(&h)
		set(t, n.l.db, seqKey(prefixHeader, seq), encoded(t, h))
	}
	for what, change := range map[string]func(n *network, wallets []nodetest.Wallet, db *pebble.DB){
		"a line's balance": func(n *network, wallets []nodetest.Wallet, _ *pebble.DB) {
			alter(t, n, line(wallets), func(e *xdr.LedgerEntry) { e.Data.TrustLine.Balance++ })
		},
		"a line's flags": func(n *network, wallets []nodetest.Wallet, _ *pebble.DB) {
			alter(t, n, line(wallets), func(e *xdr.LedgerEntry) { e.Data.TrustLine.Flags = 0 })
		},
		"DIAM moved": func(n *network, wallets []nodetest.Wallet, _ *pebble.DB) {
			alter(t, n, account(wallets[0]), func(e *xdr.LedgerEntry) { e.Data.Account.Balance-- })
			alter(t, n, account(wallets[1]), func(e *xdr.LedgerEntry) { e.Data.Account.Balance++ })
		},
		"DIAM made": func(n *network, wallets []nodetest.Wallet, _ *pebble.DB) {
			alter(t, n, account(wallets[0]), func(e *xdr.LedgerEntry) { e.Data.Account.Balance++ })
		},
		"an entry gone": func(_ *network, wallets []nodetest.Wallet, db *pebble.DB) {
			if err := db.Delete(entryKey([]byte(line(wallets))), pebble.Sync); err != nil {
				t.Fatal(err)
			}
		},
		"an entry more": func(_ *network, wallets []nodetest.Wallet, db *pebble.DB) {
			e := xdr.LedgerEntry{LastModifiedLedgerSeq: 2, Data: xdr.LedgerEntryData{Type: xdr.LedgerEntryTypeData,
				Data: &xdr.DataEntry{AccountId: wallets[0].ID.XDR(), DataName: "x"}}}
			set(t, db, entryKey([]byte(apply.EntryKey(e))), encoded(t, e))
		},
		"an entry at another's place": func(n *network, wallets []nodetest.Wallet, db *pebble.DB) {
			raw, err := n.l.get(entryKey([]byte(account(wallets[0]))))
			if err != nil {
				t.Fatal(err)
			}
			set(t, db, entryKey([]byte(account(wallets[1]))), raw)
		},
		"an entry from the future": func(n *network, wallets []nodetest.Wallet, _ *pebble.DB) {
			alter(t, n, line(wallets), func(e *xdr.LedgerEntry) { e.LastModifiedLedgerSeq = 9 })
		},
		"an entry that is none": func(_ *network, wallets []nodetest.Wallet, db *pebble.DB) {
			set(t, db, entryKey([]byte(line(wallets))), []byte("rubbish"))
		},
		"the last header": func(n *network, _ []nodetest.Wallet, _ *pebble.DB) {
			header(n, 5, func(h *xdr.LedgerHeader) { h.ScpValue.CloseTime++ })
		},
		"the supply": func(n *network, _ []nodetest.Wallet, _ *pebble.DB) {
			header(n, 5, func(h *xdr.LedgerHeader) { h.TotalCoins++ })
		},
		"an older header": func(n *network, _ []nodetest.Wallet, _ *pebble.DB) {
			header(n, 3, func(h *xdr.LedgerHeader) { h.FeePool++ })
		},
		"a header's number": func(n *network, _ []nodetest.Wallet, _ *pebble.DB) {
			header(n, 3, func(h *xdr.LedgerHeader) { h.LedgerSeq++ })
		},
		"a header gone": func(_ *network, _ []nodetest.Wallet, db *pebble.DB) {
			if err := db.Delete(seqKey(prefixHeader, 4), pebble.Sync); err != nil {
				t.Fatal(err)
			}
		},
		"a header that is none": func(_ *network, _ []nodetest.Wallet, db *pebble.DB) {
			set(t, db, seqKey(prefixHeader, 4), []byte("rubbish"))
		},
		"the last ledger's meta": func(n *network, _ []nodetest.Wallet, db *pebble.DB) {
			raw, err := n.l.MetaBytes(4)
			if err != nil {
				t.Fatal(err)
			}
			set(t, db, seqKey(prefixMeta, 5), raw)
		},
		"the last ledger's meta gone": func(_ *network, _ []nodetest.Wallet, db *pebble.DB) {
			if err := db.Delete(seqKey(prefixMeta, 5), pebble.Sync); err != nil {
				t.Fatal(err)
			}
		},
		"an earlier last ledger": func(n *network, _ []nodetest.Wallet, db *pebble.DB) {
			set(t, db, keyLast, append([]byte{0, 0, 0, 4}, make([]byte, 32)...))
		},
		"the hash of the last ledger": func(n *network, _ []nodetest.Wallet, db *pebble.DB) {
			set(t, db, keyLast, append([]byte{0, 0, 0, 5}, make([]byte, 32)...))
		},
		"no genesis": func(_ *network, _ []nodetest.Wallet, db *pebble.DB) {
			if err := db.Delete(keyGenesis, pebble.Sync); err != nil {
				t.Fatal(err)
			}
		},
		"no last ledger":   func(_ *network, _ []nodetest.Wallet, db *pebble.DB) { set(t, db, keyLast, nil) },
		"last ledger zero": func(_ *network, _ []nodetest.Wallet, db *pebble.DB) { set(t, db, keyLast, make([]byte, 36)) },
	} {
		if err := tampered(t, change); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := tampered(t, func(*network, []nodetest.Wallet, *pebble.DB) {}); err != nil {
		t.Errorf("nothing: %v", err)
	}
}

// TestCameAndWent reopens after a ledger in which an entry was made and removed again.
func TestCameAndWent(t *testing.T) {
	err := tampered(t, func(n *network, wallets []nodetest.Wallet, _ *pebble.DB) {
		n.succeed(n.sign(wallets[0], txbuild.ManageData{Name: "a", Value: []byte("v")}, txbuild.ManageData{Name: "a"},
			txbuild.ManageData{Name: "b", Value: []byte("v")}, txbuild.ManageData{Name: "b"}, txbuild.ManageData{Name: "b", Value: []byte("w")}),
			n.sign(wallets[2], txbuild.ManageData{Name: "n"}, txbuild.ManageData{Name: "n", Value: []byte("w")}, txbuild.ManageData{Name: "n"}))
	})
	if err != nil {
		t.Error(err)
	}
}

func TestDigest(t *testing.T) {
	a, b := change{key: []byte("a"), after: []byte("1")}, change{key: []byte("b"), after: []byte("2")}
	var none digest
	if none.after([]change{a, b}) != none.after([]change{b, a}) {
		t.Error("the order counts")
	}
	if (digest{}).after([]change{a, b, {key: b.key, before: b.after}, {key: a.key, before: a.after}}) != none {
		t.Error("what was added cannot be taken away")
	}
	if none.with([]byte("ab"), []byte("c")) == none.with([]byte("a"), []byte("bc")) {
		t.Error("key and value run into each other")
	}
	if none.with(a.key, nil) == none {
		t.Error("an empty value counts for nothing")
	}
	h := commitment(protocol.Hash{}, []change{a}, none)
	for _, other := range []protocol.Hash{commitment(protocol.Hash{1}, []change{a}, none), commitment(protocol.Hash{}, []change{b}, none),
		commitment(protocol.Hash{}, []change{a}, none.with(a.key, a.after)), commitment(protocol.Hash{}, []change{{key: a.key}}, none)} {
		if bytes.Equal(h[:], other[:]) {
			t.Error("two states have one commitment")
		}
	}
}
