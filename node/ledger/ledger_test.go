package ledger

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/nodetest"
	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/txbuild"
)

func TestGenesis(t *testing.T) {
	n := newNetwork(t)
	header, hash := n.l.Header()
	if header.LedgerSeq != 1 || header.TotalCoins != 1_000_000_000_000_000_000 || header.FeePool != 0 || header.BaseFee != 100 ||
		header.BaseReserve != 5_000_000 || header.LedgerVersion != 22 || header.ScpValue.CloseTime != 1_700_000_000 {
		t.Errorf("ledger 1 is %+v", header)
	}
	if want := sha256.Sum256(encoded(t, header)); hash != want {
		t.Errorf("hash %s, want %x", hash, want)
	}
	if root := n.account(n.root.ID); root.Balance != n.genesis.Supply || root.Sequence != 0 || root.Ledger != 1 {
		t.Errorf("root is %+v", root)
	}
	if _, err := n.l.Meta(1); !errors.Is(err, protocol.ErrNotFound) {
		t.Errorf("ledger 1 was made and has no meta, but: %v", err)
	}
	if _, err := n.l.Account(nodetest.NewWallet(t).ID); !errors.Is(err, protocol.ErrNotFound) {
		t.Errorf("an account out of nowhere: %v", err)
	}
	if g := n.l.Genesis(); !g.CloseTime.Equal(n.genesis.CloseTime) || g.Root != n.genesis.Root {
		t.Errorf("genesis is %+v", g)
	}
}

func TestGenesisValidate(t *testing.T) {
	good := testGenesis(t, nodetest.NewWallet(t).ID)
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for what, change := range map[string]func(*Genesis){
		"passphrase":   func(g *Genesis) { g.Passphrase = "" },
		"root":         func(g *Genesis) { g.Root = protocol.AccountID{} },
		"supply":       func(g *Genesis) { g.Supply = protocol.Amount{} },
		"base fee":     func(g *Genesis) { g.BaseFee = 0 },
		"base reserve": func(g *Genesis) { g.BaseReserve = 0 },
		"size":         func(g *Genesis) { g.MaxTxSetSize = 0 },
		"protocol":     func(g *Genesis) { g.Protocol = 21 },
		"close time":   func(g *Genesis) { g.CloseTime = time.Time{} },
		"seconds":      func(g *Genesis) { g.CloseTime = g.CloseTime.Add(time.Millisecond) },
	} {
		g := good
		change(&g)
		if err := g.Validate(); err == nil {
			t.Errorf("a genesis with a bad %s is accepted", what)
		}
		if _, err := OpenFS(vfs.NewMem(), "ledger", g); err == nil {
			t.Errorf("a ledger with a bad %s is opened", what)
		}
	}
}

// TestHeaderChain checks a few ledgers from outside: that each follows the one before and commits to what is in it.
func TestHeaderChain(t *testing.T) {
	n := newNetwork(t)
	wallets := n.fund(3)
	for range 3 {
		last, lastHash := n.l.Header()
		envs := []xdr.TransactionEnvelope{}
		for i, w := range wallets {
			envs = append(envs, n.sign(w, txbuild.Payment{Destination: wallets[(i+1)%3].ID, Asset: protocol.Native(), Amount: nodetest.Amount(t, "1")}))
		}
		meta := n.succeed(envs...)
		h := meta.LedgerHeader.Header
		if h.LedgerSeq != last.LedgerSeq+1 || h.PreviousLedgerHash != xdr.Hash(lastHash) || h.TotalCoins != last.TotalCoins || h.FeePool != last.FeePool+300 {
			t.Errorf("header %+v after %+v", h, last)
		}
		if sha256.Sum256(encoded(t, h)) != meta.LedgerHeader.Hash {
			t.Error("the header's hash is another's")
		}
		if sha256.Sum256(encoded(t, meta.TxSet)) != h.ScpValue.TxSetHash {
			t.Error("the header names another transaction set")
		}
		var results xdr.TransactionResultSet
		for _, p := range meta.TxProcessing {
			results.Results = append(results.Results, p.Result)
		}
		if sha256.Sum256(encoded(t, results)) != h.TxSetResultHash {
			t.Error("the header names other results")
		}
		stored, err := n.l.MetaBytes(uint32(h.LedgerSeq))
		if err != nil || !bytes.Equal(stored, encoded(t, xdr.LedgerCloseMeta{V: 1, V1: &meta})) {
			t.Errorf("other meta is stored than was returned: %v", err)
		}
	}
}

func TestSkipList(t *testing.T) {
	hash := func(n byte) xdr.Hash { return xdr.Hash{n} }
	old := [4]xdr.Hash{hash(1), hash(2), hash(3), hash(4)}
	for _, c := range []struct {
		seq  xdr.Uint32
		want [4]xdr.Hash
	}{
		{49, old},
		{51, old},
		{50, [4]xdr.Hash{hash(9), hash(2), hash(3), hash(4)}},
		{5000, [4]xdr.Hash{hash(9), hash(2), hash(3), hash(4)}},
		{5050, [4]xdr.Hash{hash(9), hash(1), hash(3), hash(4)}},
		{55000, [4]xdr.Hash{hash(9), hash(2), hash(3), hash(4)}},
		{55050, [4]xdr.Hash{hash(9), hash(1), hash(2), hash(4)}},
		{555050, [4]xdr.Hash{hash(9), hash(1), hash(2), hash(3)}},
	} {
		if got := skipList(xdr.LedgerHeader{LedgerSeq: c.seq, BucketListHash: hash(9), SkipList: old}); got != c.want {
			t.Errorf("ledger %d has the skip list %v", c.seq, got)
		}
	}
}

func TestApplyOrder(t *testing.T) {
	n := newNetwork(t)
	wallets := n.fund(4)
	var envs []xdr.TransactionEnvelope
	for range 3 {
		for _, w := range wallets {
			envs = append(envs, n.sign(w, txbuild.ManageData{Name: "n", Value: []byte("v")}))
		}
	}
	meta := n.succeed(envs...)
	set := meta.LedgerHeader.Header.ScpValue.TxSetHash
	full := map[protocol.Hash][32]byte{}
	for _, env := range envs {
		hash, err := testNet.TxHash(env)
		if err != nil {
			t.Fatal(err)
		}
		full[hash] = sha256.Sum256(encoded(t, env))
	}
	for round := range 3 {
		var last []byte
		for i := range wallets {
			key := full[protocol.Hash(meta.TxProcessing[round*len(wallets)+i].Result.TransactionHash)]
			for j := range key {
				key[j] ^= set[j]
			}
			if bytes.Compare(last, key[:]) >= 0 {
				t.Errorf("round %d is out of order at %d", round, i)
			}
			last = key[:]
		}
	}
}

func TestSetsThatDoNotFit(t *testing.T) {
	n := newNetwork(t)
	wallets := n.fund(2)
	env := n.sign(wallets[0], txbuild.ManageData{Name: "n", Value: []byte("v")})
	other := n.sign(wallets[1], txbuild.ManageData{Name: "n", Value: []byte("v")})
	stranger, _ := nodetest.NewWallet(t).Sign(t, testNet, 1, txbuild.ManageData{Name: "n"})
	poor, _ := wallets[0].SignParams(t, txbuild.Params{Passphrase: testNet, Sequence: 7, FeePerOp: 99, Operations: []txbuild.Operation{txbuild.ManageData{Name: "n"}}})
	bumped, _ := nodetest.NewWallet(t).Bump(t, testNet, env, 1000)
	rate := func(n int64) *xdr.Int64 { r := xdr.Int64(n); return &r }
	components := func(set *xdr.GeneralizedTransactionSet) *[]xdr.TxSetComponent {
		return set.V1TxSet.Phases[0].V0Components
	}
	upgrade := func(u xdr.LedgerUpgrade) xdr.UpgradeType { return encoded(t, u) }
	zero, fee := xdr.Uint32(0), xdr.Uint32(200)

	for what, change := range map[string]func(set *xdr.GeneralizedTransactionSet, v *xdr.StellarValue){
		"another previous ledger": func(set *xdr.GeneralizedTransactionSet, _ *xdr.StellarValue) { set.V1TxSet.PreviousLedgerHash[0]++ },
		"one phase": func(set *xdr.GeneralizedTransactionSet, _ *xdr.StellarValue) {
			set.V1TxSet.Phases = set.V1TxSet.Phases[:1]
		},
		"contracts": func(set *xdr.GeneralizedTransactionSet, _ *xdr.StellarValue) {
			set.V1TxSet.Phases[1].V0Components = &[]xdr.TxSetComponent{part(t, nil, other)}
		},
		"an empty component": func(set *xdr.GeneralizedTransactionSet, _ *xdr.StellarValue) {
			*components(set) = append(*components(set), part(t, rate(200)))
		},
		"components out of order": func(set *xdr.GeneralizedTransactionSet, _ *xdr.StellarValue) {
			*components(set) = append(*components(set), part(t, nil, other))
		},
		"components of the same fee": func(set *xdr.GeneralizedTransactionSet, _ *xdr.StellarValue) {
			*components(set) = append(*components(set), part(t, rate(100), other))
		},
		"less than the base fee": func(set *xdr.GeneralizedTransactionSet, _ *xdr.StellarValue) {
			*components(set) = []xdr.TxSetComponent{part(t, rate(99), env)}
		},
		"more than was bid": func(set *xdr.GeneralizedTransactionSet, _ *xdr.StellarValue) {
			*components(set) = []xdr.TxSetComponent{part(t, rate(1001), env)}
		},
		"a bid below the base fee": func(set *xdr.GeneralizedTransactionSet, _ *xdr.StellarValue) {
			*components(set) = []xdr.TxSetComponent{part(t, nil, poor)}
		},
		"a fee without bounds": func(set *xdr.GeneralizedTransactionSet, _ *xdr.StellarValue) {
			*components(set) = []xdr.TxSetComponent{part(t, rate(1<<62), env)}
		},
		"the same transaction twice": func(set *xdr.GeneralizedTransactionSet, _ *xdr.StellarValue) {
			*components(set) = []xdr.TxSetComponent{part(t, nil, env, env)}
		},
		"a transaction in two parts": func(set *xdr.GeneralizedTransactionSet, _ *xdr.StellarValue) {
			*components(set) = append(*components(set), part(t, rate(200), env))
		},
		"nobody's transaction": func(set *xdr.GeneralizedTransactionSet, _ *xdr.StellarValue) {
			*components(set) = []xdr.TxSetComponent{part(t, nil, stranger)}
		},
		"a fee bump that nobody pays": func(set *xdr.GeneralizedTransactionSet, _ *xdr.StellarValue) {
			*components(set) = []xdr.TxSetComponent{part(t, nil, bumped)}
		},
		"the time of the last ledger": func(_ *xdr.GeneralizedTransactionSet, v *xdr.StellarValue) { v.CloseTime -= 5 },
		"an upgrade that is none":     func(_ *xdr.GeneralizedTransactionSet, v *xdr.StellarValue) { v.Upgrades = []xdr.UpgradeType{{1}} },
		"an upgrade to nothing": func(_ *xdr.GeneralizedTransactionSet, v *xdr.StellarValue) {
			v.Upgrades = []xdr.UpgradeType{upgrade(xdr.LedgerUpgrade{Type: xdr.LedgerUpgradeTypeLedgerUpgradeBaseFee, NewBaseFee: &zero})}
		},
		"an upgrade of the protocol": func(_ *xdr.GeneralizedTransactionSet, v *xdr.StellarValue) {
			v.Upgrades = []xdr.UpgradeType{upgrade(xdr.LedgerUpgrade{Type: xdr.LedgerUpgradeTypeLedgerUpgradeVersion, NewLedgerVersion: &fee})}
		},
		"an upgrade with something behind it": func(_ *xdr.GeneralizedTransactionSet, v *xdr.StellarValue) {
			v.Upgrades = []xdr.UpgradeType{append(upgrade(xdr.LedgerUpgrade{Type: xdr.LedgerUpgradeTypeLedgerUpgradeBaseFee, NewBaseFee: &fee}), 0, 0, 0, 0)}
		},
		"the same upgrade twice": func(_ *xdr.GeneralizedTransactionSet, v *xdr.StellarValue) {
			u := upgrade(xdr.LedgerUpgrade{Type: xdr.LedgerUpgradeTypeLedgerUpgradeBaseFee, NewBaseFee: &fee})
			v.Upgrades = []xdr.UpgradeType{u, u}
		},
	} {
		set, v := n.set(env)
		change(&set, &v)
		v.TxSetHash = sha256.Sum256(encoded(t, set))
		if _, err := n.l.Close(set, v); !errors.Is(err, ErrSet) {
			t.Errorf("%s: %v", what, err)
		}
	}
	set, v := n.set(env)
	v.TxSetHash[0]++
	if _, err := n.l.Close(set, v); !errors.Is(err, ErrSet) {
		t.Errorf("another set than was decided: %v", err)
	}
	if set, v = n.set(env, other); (*components(&set))[0].TxsMaybeDiscountedFee != nil {
		txs := (*components(&set))[0].TxsMaybeDiscountedFee.Txs
		txs[0], txs[1] = txs[1], txs[0]
		v.TxSetHash = sha256.Sum256(encoded(t, set))
		if _, err := n.l.Close(set, v); !errors.Is(err, ErrSet) {
			t.Errorf("transactions out of order: %v", err)
		}
	}
	n.succeed(env, other) // nothing of all that has happened
}

// TestParts closes a ledger whose parts pay differently.
func TestParts(t *testing.T) {
	n := newNetwork(t)
	wallets := n.fund(2)
	set, _ := n.set()
	rate := xdr.Int64(300)
	*set.V1TxSet.Phases[0].V0Components = []xdr.TxSetComponent{part(t, nil, n.sign(wallets[0], txbuild.ManageData{Name: "n", Value: []byte("v")})),
		part(t, &rate, n.sign(wallets[1], txbuild.ManageData{Name: "n", Value: []byte("v")}))}
	header, _ := n.l.Header()
	meta, err := n.l.Close(set, value(t, set, header.ScpValue.CloseTime+1))
	if err != nil {
		t.Fatal(err)
	}
	fees := map[xdr.Int64]bool{}
	for _, p := range meta.V1.TxProcessing {
		fees[p.Result.Result.FeeCharged] = true
	}
	if !fees[nodetest.FeePerOp] || !fees[300] || meta.V1.LedgerHeader.Header.FeePool != header.FeePool+nodetest.FeePerOp+300 {
		t.Errorf("fees %v, pool %d after %d", fees, meta.V1.LedgerHeader.Header.FeePool, header.FeePool)
	}
}

func TestSetTooLarge(t *testing.T) {
	root := nodetest.NewWallet(t)
	n := &network{t: t, root: root, genesis: testGenesis(t, root.ID), seqs: map[protocol.AccountID]int64{}}
	n.genesis.MaxTxSetSize = 2
	n.l = open(t, vfs.NewMem(), n.genesis)
	wallets := n.fund(2)
	op := txbuild.ManageData{Name: "n", Value: []byte("v")}
	large := n.sign(wallets[0], op, op)
	if _, err := n.l.Close(n.set(large, n.sign(wallets[1], op))); !errors.Is(err, ErrSet) {
		t.Errorf("three operations: %v", err)
	}
	n.succeed(large)
}

func TestUpgrades(t *testing.T) {
	n := newNetwork(t)
	wallet := n.fund(1)[0]
	set, v := n.set(n.sign(wallet, txbuild.ManageData{Name: "n", Value: []byte("v")}))
	fee, size, reserve := xdr.Uint32(250), xdr.Uint32(7), xdr.Uint32(6_000_000)
	for _, u := range []xdr.LedgerUpgrade{{Type: xdr.LedgerUpgradeTypeLedgerUpgradeBaseFee, NewBaseFee: &fee},
		{Type: xdr.LedgerUpgradeTypeLedgerUpgradeMaxTxSetSize, NewMaxTxSetSize: &size},
		{Type: xdr.LedgerUpgradeTypeLedgerUpgradeBaseReserve, NewBaseReserve: &reserve}} {
		v.Upgrades = append(v.Upgrades, encoded(t, u))
	}
	meta, err := n.l.Close(set, v)
	if err != nil {
		t.Fatal(err)
	}
	if h := meta.V1.LedgerHeader.Header; h.BaseFee != fee || h.MaxTxSetSize != size || h.BaseReserve != reserve || len(meta.V1.UpgradesProcessing) != 3 {
		t.Errorf("%+v with %d upgrades", h, len(meta.V1.UpgradesProcessing))
	}
	if got := meta.V1.TxProcessing[0].Result.Result.FeeCharged; got != 100 {
		t.Errorf("the ledger that upgrades charges %d", got)
	}
	next := n.succeed(n.sign(wallet, txbuild.ManageData{Name: "n"}))
	if got := next.TxProcessing[0].Result.Result.FeeCharged; got != fee64(fee) {
		t.Errorf("the next ledger charges %d", got)
	}
}

func fee64(n xdr.Uint32) xdr.Int64 { return xdr.Int64(n) }

func TestFeeBump(t *testing.T) {
	n := newNetwork(t)
	wallets := n.fund(2)
	inner, innerHash := wallets[0].Sign(t, testNet, n.account(wallets[0].ID).Sequence+1, txbuild.ManageData{Name: "n", Value: []byte("v")})
	env, hash := wallets[1].Bump(t, testNet, inner, 5000)
	if r := n.l.CheckValid(env); r.Result.Code != xdr.TransactionResultCodeTxFeeBumpInnerSuccess {
		t.Fatalf("%+v", r.Result)
	}
	meta := n.succeed(env)
	r := meta.TxProcessing[0].Result
	if protocol.Hash(r.TransactionHash) != hash || r.Result.FeeCharged != 200 || protocol.Hash(r.Result.InnerHash()) != innerHash {
		t.Errorf("%+v", r)
	}
	if a, b := n.account(wallets[0].ID), n.account(wallets[1].ID); len(a.Data) != 1 || a.Balance != nodetest.Amount(t, "1000") || b.Balance != nodetest.Amount(t, "999.99998") {
		t.Errorf("%+v and %+v", a, b)
	}
}

func TestCheckValid(t *testing.T) {
	n := newNetwork(t)
	wallet := n.fund(1)[0]
	seq := n.account(wallet.ID).Sequence
	good, _ := wallet.Sign(t, testNet, seq+1, txbuild.ManageData{Name: "n"})
	early, _ := wallet.Sign(t, testNet, seq+2, txbuild.ManageData{Name: "n"})
	foreign, _ := wallet.Sign(t, "another network", seq+1, txbuild.ManageData{Name: "n"})
	for _, c := range []struct {
		env  xdr.TransactionEnvelope
		want xdr.TransactionResultCode
	}{
		{good, xdr.TransactionResultCodeTxSuccess},
		{early, xdr.TransactionResultCodeTxBadSeq},
		{foreign, xdr.TransactionResultCodeTxBadAuth},
		{xdr.TransactionEnvelope{Type: xdr.EnvelopeTypeEnvelopeTypeTxV0, V0: &xdr.TransactionV0Envelope{}}, xdr.TransactionResultCodeTxNotSupported},
	} {
		if got := n.l.CheckValid(c.env).Result.Code; got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
}

func TestAccountInFull(t *testing.T) {
	n := newNetwork(t)
	wallets := n.fund(3)
	weight, domain := uint32(2), "bank.example"
	asset := usd(t, wallets[1])
	other, err := protocol.NewCredit("EUR", wallets[1].ID)
	if err != nil {
		t.Fatal(err)
	}
	signer := xdr.Signer{Key: xdr.SignerKey{Type: xdr.SignerKeyTypeSignerKeyTypeEd25519, Ed25519: wallets[2].ID.XDR().Ed25519}, Weight: 1}
	n.succeed(n.sign(wallets[0], txbuild.ChangeTrust{Asset: asset, Limit: nodetest.Amount(t, "50")}, txbuild.ChangeTrust{Asset: other, Limit: nodetest.Amount(t, "60")},
		txbuild.ManageData{Name: "b", Value: []byte("2")}, txbuild.ManageData{Name: "a", Value: []byte("1")},
		txbuild.SetOptions{MasterWeight: &weight, HomeDomain: &domain, Signer: &signer, SetFlags: xdr.AccountFlagsAuthRequiredFlag}))
	n.succeed(n.sign(wallets[1], txbuild.Payment{Destination: wallets[0].ID, Asset: asset, Amount: nodetest.Amount(t, "7")}))
	a := n.account(wallets[0].ID)
	line, ok := a.Trustline(asset)
	if !ok || line.Balance != nodetest.Amount(t, "7") || line.Limit != nodetest.Amount(t, "50") || line.Flags != xdr.TrustLineFlagsAuthorizedFlag {
		t.Errorf("line %+v", line)
	}
	if a.SubEntries != 5 || len(a.Trustlines) != 2 || a.Trustlines[0].Asset != other || len(a.Data) != 2 || a.Data[0].Name != "a" || string(a.Data[1].Value) != "2" ||
		len(a.Signers) != 1 || a.Thresholds[0] != 2 || a.HomeDomain != domain || a.Flags != xdr.AccountFlagsAuthRequiredFlag || a.Ledger != 4 {
		t.Errorf("%+v", a)
	}
}

// TestReaders reads from many goroutines while ledgers close. The race detector is the judge; and whoever has seen a
// ledger's number finds its meta.
func TestReaders(t *testing.T) {
	n := newNetwork(t)
	wallets := n.fund(10)
	env, _ := wallets[0].Sign(t, testNet, 1, txbuild.ManageData{Name: "n"})
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				header, _ := n.l.Header()
				if _, err := n.l.Meta(uint32(header.LedgerSeq)); err != nil {
					t.Errorf("ledger %d is the last and has no meta: %v", header.LedgerSeq, err)
					return
				}
				if a, err := n.l.Account(wallets[1].ID); err != nil || a.Ledger < uint32(header.LedgerSeq) {
					t.Errorf("account as of %d after ledger %d: %v", a.Ledger, header.LedgerSeq, err)
					return
				}
				n.l.CheckValid(env)
			}
		})
	}
	for range 20 {
		var envs []xdr.TransactionEnvelope
		for i, w := range wallets {
			envs = append(envs, n.sign(w, txbuild.Payment{Destination: wallets[(i+1)%10].ID, Asset: protocol.Native(), Amount: nodetest.Amount(t, "1")}))
		}
		n.succeed(envs...)
	}
	close(done)
	readers.Wait()
}

func TestVerifierForgets(t *testing.T) {
	v := newVerifier()
	for i := range 3 * cacheSize {
		v.remember(protocol.Hash(sha256.Sum256([]byte{byte(i), byte(i >> 8), byte(i >> 16)})))
	}
	if len(v.now) > cacheSize || len(v.old) > cacheSize {
		t.Errorf("%d and %d signatures are remembered", len(v.now), len(v.old))
	}
	if v.verify(make([]byte, 32), []byte("m"), []byte("short")) {
		t.Error("a short signature verifies")
	}
}

func TestErrorsNameWhatDiffers(t *testing.T) {
	n := newNetwork(t)
	fs := vfs.NewMem()
	shut(t, open(t, fs, n.genesis))
	other := n.genesis
	other.BaseFee = 200
	if _, err := OpenFS(fs, "ledger", other); !errors.Is(err, ErrGenesis) || !strings.Contains(err.Error(), `"BaseFee":100`) || !strings.Contains(err.Error(), `"BaseFee":200`) {
		t.Errorf("another genesis: %v", err)
	}
	other = n.genesis
	other.CloseTime = other.CloseTime.In(time.FixedZone("elsewhere", 3600))
	shut(t, open(t, fs, other)) // the same instant
}
