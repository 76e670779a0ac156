package apply

import (
	"crypto/ed25519"
	"crypto/sha256"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// world is what the lines of a case make.
type world struct {
	t       *testing.T
	context Context
	entries []*xdr.LedgerEntry
	names   map[string]string // address -> name
	tx      words
	ops     []words
	rate    *xdr.Int64
}

// words is one line of a script: its first words, and then key=value.
type words struct {
	args  []string
	named map[string]string
}

func newWorld(t *testing.T) *world {
	rate := xdr.Int64(100)
	return &world{t: t, names: map[string]string{}, rate: &rate,
		context: Context{Seq: 10, CloseTime: 1000, BaseFee: 100, BaseReserve: 5_000_000}}
}

func split(line string) words {
	w := words{named: map[string]string{}}
	for _, f := range strings.Fields(line) {
		if k, v, ok := strings.Cut(f, "="); ok {
			w.named[k] = v
		} else {
			w.args = append(w.args, f)
		}
	}
	return w
}

// arg returns the nth word after the first, "" when it is not there.
func (w words) arg(n int) string {
	if n+1 < len(w.args) {
		return w.args[n+1]
	}
	return ""
}

func (w *world) line(line string) {
	w.t.Helper()
	l := split(line)
	switch {
	case strings.HasPrefix(line, "#"):
	case strings.HasPrefix(line, "\t"):
		w.ops = append(w.ops, l)
	case l.args[0] == "ledger":
		w.ledger(l)
	case l.args[0] == "account":
		w.account(l)
	case l.args[0] == "line":
		w.trustline(l)
	case l.args[0] == "data":
		w.put(xdr.LedgerEntryData{Type: xdr.LedgerEntryTypeData, Data: &xdr.DataEntry{AccountId: w.id(l.arg(0)),
			DataName: xdr.String64(l.arg(1)), DataValue: xdr.DataValue(l.arg(2))}})
	case l.args[0] == "tx":
		w.tx = l
	default:
		w.t.Fatalf("cannot read %q", line)
	}
}

func (w *world) ledger(l words) {
	for k, v := range l.named {
		switch k {
		case "rate":
			w.rate = nil // each pays what it bids
			if v != "none" {
				r := xdr.Int64(w.number(v))
				w.rate = &r
			}
		case "fee":
			w.context.BaseFee = uint32(w.number(v))
		default:
			w.t.Fatalf("ledger %s", k)
		}
	}
}

// put adds an entry, in place of one with its key.
func (w *world) put(data xdr.LedgerEntryData) {
	e := &xdr.LedgerEntry{LastModifiedLedgerSeq: 1, Data: data}
	key := EntryKey(*e)
	w.entries = slices.DeleteFunc(w.entries, func(have *xdr.LedgerEntry) bool { return EntryKey(*have) == key })
	w.entries = append(w.entries, e)
}

func (w *world) account(l words) {
	a := &xdr.AccountEntry{AccountId: w.id(l.arg(0)), Balance: w.amount(l.arg(1)), SeqNum: 5, Thresholds: xdr.Thresholds{1, 0, 0, 0}}
	liabilities := xdr.Liabilities{}
	for _, k := range slices.Sorted(maps.Keys(l.named)) {
		switch v := l.named[k]; k {
		case "seq":
			a.SeqNum = xdr.SequenceNumber(w.number(v))
		case "flags":
			a.Flags = xdr.Uint32(w.number(v))
		case "entries":
			a.NumSubEntries = xdr.Uint32(w.number(v))
		case "thresholds":
			for i, n := range strings.Split(v, ",") {
				a.Thresholds[i] = byte(w.number(n))
			}
		case "signers":
			for _, s := range strings.Split(v, ",") {
				key, weight, _ := strings.Cut(s, "/")
				a.Signers = append(a.Signers, xdr.Signer{Key: w.signer(key), Weight: xdr.Uint32(w.number(weight))})
			}
		case "domain":
			a.HomeDomain = xdr.String32(v)
		case "selling":
			liabilities.Selling = w.amount(v)
		case "buying":
			liabilities.Buying = w.amount(v)
		case "used": // ledger/time of the last sequence number
			seq, time, _ := strings.Cut(v, "/")
			extensionV2(a).Ext = xdr.AccountEntryExtensionV2Ext{V: 3, V3: &xdr.AccountEntryExtensionV3{
				SeqLedger: xdr.Uint32(w.number(seq)), SeqTime: xdr.TimePoint(w.number(time))}}
		default:
			w.t.Fatalf("account %s", k)
		}
	}
	a.NumSubEntries = max(a.NumSubEntries, xdr.Uint32(len(a.Signers)))
	if liabilities != (xdr.Liabilities{}) {
		extensionV2(a)
		a.Ext.V1.Liabilities = liabilities
	}
	w.put(xdr.LedgerEntryData{Type: xdr.LedgerEntryTypeAccount, Account: a})
}

func (w *world) trustline(l words) {
	asset := w.asset(l.arg(1))
	t := &xdr.TrustLineEntry{AccountId: w.id(l.arg(0)), Asset: asset.ToTrustLineAsset(), Balance: w.amount(l.arg(2)), Limit: w.amount(l.arg(3)), Flags: 1}
	liabilities := xdr.Liabilities{}
	for _, k := range slices.Sorted(maps.Keys(l.named)) {
		switch v := l.named[k]; k {
		case "flags":
			t.Flags = xdr.Uint32(w.number(v))
		case "selling":
			liabilities.Selling = w.amount(v)
		case "buying":
			liabilities.Buying = w.amount(v)
		default:
			w.t.Fatalf("line %s", k)
		}
	}
	if liabilities != (xdr.Liabilities{}) {
		t.Ext = xdr.TrustLineEntryExt{V: 1, V1: &xdr.TrustLineEntryV1{Liabilities: liabilities}}
	}
	w.put(xdr.LedgerEntryData{Type: xdr.LedgerEntryTypeTrustline, TrustLine: t})
}

// preAuthorised and preAuthorisedBump stand in scripts for the hash of the case's own transaction.
var preAuthorised, preAuthorisedBump = xdr.Uint256{1}, xdr.Uint256{2}

// state is the ledger, with the signers that pre-authorise tx.
func (w *world) state(tx Tx) State {
	d := NewDelta(empty{}, 1)
	for _, e := range w.entries {
		if a := e.Data.Account; a != nil {
			for i, s := range a.Signers {
				if s.Key.Type != xdr.SignerKeyTypeSignerKeyTypePreAuthTx {
					continue
				}
				hash := xdr.Uint256(tx.innerHash)
				if *s.Key.PreAuthTx == preAuthorisedBump {
					hash = xdr.Uint256(tx.Hash)
				}
				a.Signers[i].Key.PreAuthTx = &hash
			}
			slices.SortFunc(a.Signers, func(x, y xdr.Signer) int { return CompareSigners(x.Key, y.Key) })
		}
		d.set(EntryKey(*e), e)
	}
	return d
}

type empty struct{}

func (empty) Get(string) *xdr.LedgerEntry { return nil }

// key makes the key pair of a name.
func (w *world) key(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte("apply test: " + name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func (w *world) id(name string) xdr.AccountId {
	w.t.Helper()
	id, err := protocol.AccountIDFromKey(w.key(name).Public().(ed25519.PublicKey))
	if err != nil {
		w.t.Fatal(err)
	}
	w.names[id.String()] = name
	return id.XDR()
}

// muxed reads name, or name+number for an address with a sub-account id.
func (w *world) muxed(s string) xdr.MuxedAccount {
	name, sub, ok := strings.Cut(s, "+")
	id := w.id(name)
	if !ok {
		return id.ToMuxedAccount()
	}
	return xdr.MuxedAccount{Type: xdr.CryptoKeyTypeKeyTypeMuxedEd25519,
		Med25519: &xdr.MuxedAccountMed25519{Id: xdr.Uint64(w.number(sub)), Ed25519: *id.Ed25519}}
}

func (w *world) number(s string) int64 {
	w.t.Helper()
	n, err := strconv.ParseInt(s, 0, 64)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

func (w *world) orZero(s string) int64 {
	w.t.Helper()
	if s == "" {
		return 0
	}
	return w.number(s)
}

// amount reads a decimal amount, "max", or a negative number of stroops.
func (w *world) amount(s string) xdr.Int64 {
	w.t.Helper()
	switch {
	case s == "max":
		return 1<<63 - 1
	case strings.HasPrefix(s, "-"):
		return xdr.Int64(w.number(s))
	}
	a, err := protocol.ParseAmount(s)
	if err != nil {
		w.t.Fatal(err)
	}
	return xdr.Int64(a.Stroops())
}

// asset reads DIAM or CODE:name. A code may hold ~ for a byte 0, which some of the cases are about.
func (w *world) asset(s string) xdr.Asset {
	w.t.Helper()
	code, issuer, ok := strings.Cut(s, ":")
	if !ok {
		return xdr.Asset{Type: xdr.AssetTypeAssetTypeNative}
	}
	code = strings.ReplaceAll(code, "~", "\x00")
	if len(code) <= 4 {
		x := &xdr.AlphaNum4{Issuer: w.id(issuer)}
		copy(x.AssetCode[:], code)
		return xdr.Asset{Type: xdr.AssetTypeAssetTypeCreditAlphanum4, AlphaNum4: x}
	}
	x := &xdr.AlphaNum12{Issuer: w.id(issuer)}
	copy(x.AssetCode[:], code)
	return xdr.Asset{Type: xdr.AssetTypeAssetTypeCreditAlphanum12, AlphaNum12: x}
}

// signer reads a key: a name, x:word, pre, prebump or payload:name:word.
func (w *world) signer(s string) xdr.SignerKey {
	w.t.Helper()
	kind, rest, _ := strings.Cut(s, ":")
	switch kind {
	case "x":
		h := xdr.Uint256(sha256.Sum256([]byte(rest)))
		return xdr.SignerKey{Type: xdr.SignerKeyTypeSignerKeyTypeHashX, HashX: &h}
	case "pre":
		h := preAuthorised
		return xdr.SignerKey{Type: xdr.SignerKeyTypeSignerKeyTypePreAuthTx, PreAuthTx: &h}
	case "prebump":
		h := preAuthorisedBump
		return xdr.SignerKey{Type: xdr.SignerKeyTypeSignerKeyTypePreAuthTx, PreAuthTx: &h}
	case "payload":
		name, word, _ := strings.Cut(rest, ":")
		return xdr.SignerKey{Type: xdr.SignerKeyTypeSignerKeyTypeEd25519SignedPayload,
			Ed25519SignedPayload: &xdr.SignerKeyEd25519SignedPayload{Ed25519: *w.id(name).Ed25519, Payload: []byte(word)}}
	}
	return xdr.SignerKey{Type: xdr.SignerKeyTypeSignerKeyTypeEd25519, Ed25519: w.id(s).Ed25519}
}
