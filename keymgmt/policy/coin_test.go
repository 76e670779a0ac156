package policy_test

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	//lint:ignore SA1019 scripts name keys by this hash for ever
	"golang.org/x/crypto/ripemd160"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/payload/bitcoin"
	"github.com/diamante/gateway/keymgmt/payload/ethereum"
	"github.com/diamante/gateway/keymgmt/policy"
)

// coinKey is a secp256k1 key as a PSBT has it.
func coinKey(t *testing.T) policy.PublicKey {
	t.Helper()
	private, err := secp256k1.GeneratePrivateKey()
	if err != nil {
		t.Fatal(err)
	}
	public, err := keymgmt.NewPublicKey(keymgmt.Secp256k1, private.PubKey().SerializeCompressed())
	if err != nil {
		t.Fatal(err)
	}
	return policy.PublicKey{PublicKey: public}
}

// script is p2wpkh of a key.
func script(key policy.PublicKey) []byte {
	sum := sha256.Sum256(key.Bytes())
	h := ripemd160.New()
	h.Write(sum[:])
	return h.Sum([]byte{0, 20})
}

type coinOut struct {
	to     policy.PublicKey
	amount uint64
	change bool
}

func field(b []byte, key string, value []byte) []byte {
	b = append(append(b, byte(len(key))), key...)
	if len(value) < 0xfd {
		b = append(b, byte(len(value)))
	} else {
		b = binary.LittleEndian.AppendUint16(append(b, 0xfd), uint16(len(value)))
	}
	return append(b, value...)
}

func coinTx(previous []byte, outs []coinOut) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 2)
	b = append(append(b, 1), previous...)
	b = append(append(b, 0), 0xfd, 0xff, 0xff, 0xff, byte(len(outs)))
	for _, o := range outs {
		b = append(append(binary.LittleEndian.AppendUint64(b, o.amount), 22), script(o.to)...)
	}
	return append(b, 0, 0, 0, 0)
}

// psbt spends a coin of one key.
func psbt(from policy.PublicKey, amount uint64, network string, outs ...coinOut) []byte {
	before := coinTx(make([]byte, 36), []coinOut{{to: from, amount: amount}})
	before = slices.Concat(before[:5], []byte{1, 2, 3}, before[8:]) // of some transaction
	once := sha256.Sum256(before)
	id := sha256.Sum256(once[:])
	b := field([]byte("psbt\xff"), "\x00", coinTx(append(id[:], 0, 0, 0, 0), outs))
	b = append(field(b, "\xfc\x08diamante\x00", []byte(network)), 0)
	b = field(b, "\x00", before)
	b = append(field(b, "\x06"+string(from.Bytes()), make([]byte, 4)), 0)
	for _, o := range outs {
		if o.change {
			b = field(b, "\x02"+string(o.to.Bytes()), make([]byte, 4))
		}
		b = append(b, 0)
	}
	return b
}

func TestBitcoinPayments(t *testing.T) {
	b := newBank(t)
	hot, cold, stranger := coinKey(t), coinKey(t), coinKey(t)
	rule := func() *policy.BitcoinRule {
		return &policy.BitcoinRule{Chain: "bitcoin", Network: "mainnet", MaxFee: quantity(t, "0.0001"), MaxFeeRate: 50_000, FeeWindows: policy.Day(quantity(t, "0.001")),
			PerTransaction: quantity(t, "0.5"), Windows: policy.Day(quantity(t, "1")), Destinations: []string{"any"}}
	}
	add := func(id string, public policy.PublicKey) {
		key, err := keymgmt.ParseKeyID(id)
		if err != nil {
			t.Fatal(err)
		}
		b.file.Keys = append(b.file.Keys, policy.Key{ID: key, Public: public, Callers: []string{gateway}, Bitcoin: rule()})
	}
	add("coin/btc/hot", hot)
	add("coin/btc/cold", cold)
	const coin, fee = 100_000_000, 2_000
	request := func(network string, outs ...coinOut) keymgmt.Request {
		return b.request("coin/btc/hot", keymgmt.KindBitcoin, psbt(hot, coin, network, outs...))
	}
	good := request("mainnet", coinOut{stranger, 30_000_000, false}, coinOut{hot, coin - 30_000_000 - fee, true})
	a, err := b.decide(good, facts())
	if err != nil {
		t.Fatal(err)
	}
	if got := a.Reservations(); len(got) != 2 || got[0].Amount.Int64() != fee || got[1].Amount.Int64() != 30_000_000 {
		t.Errorf("reserved %v", got)
	}
	if messages, err := a.Spend(good.Key); err != nil || len(messages) != 1 || len(messages[0]) != 32 {
		t.Errorf("%x %v", messages, err)
	}
	decoded, err := bitcoin.Decode(bitcoin.Bitcoin, good.Body)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		rule string
		r    keymgmt.Request
		edit func(r *policy.BitcoinRule)
	}{
		"another network":      {"bitcoin.chain", request("testnet", coinOut{stranger, 30_000_000, false}, coinOut{hot, coin - 30_000_000 - fee, true}), nil},
		"another chain":        {"bitcoin.chain", b.request("coin/btc/hot", keymgmt.KindLitecoin, good.Body), nil},
		"fee":                  {"bitcoin.max_fee", request("mainnet", coinOut{stranger, 30_000_000, false}, coinOut{hot, coin - 30_000_000 - 10_001, true}), nil},
		"fee rate":             {"bitcoin.max_fee_rate", good, func(r *policy.BitcoinRule) { r.MaxFeeRate = 1000 }},
		"too much":             {"bitcoin.per_transaction", request("mainnet", coinOut{stranger, 50_000_001, false}, coinOut{hot, coin - 50_000_001 - fee, true}), nil},
		"change of a stranger": {"bitcoin.per_transaction", request("mainnet", coinOut{stranger, coin - fee, true}), nil},
		// What is ours is not all guarded alike: what a key's limits hold back would leave by another key's.
		"change of another key of ours": {"bitcoin.per_transaction", b.request("coin/btc/cold", keymgmt.KindBitcoin, psbt(cold, coin, "mainnet", coinOut{hot, coin - fee, true})), nil},
		"window":                        {"bitcoin.window", good, func(r *policy.BitcoinRule) { r.Windows = policy.Day(quantity(t, "0.29999999")) }},
		"destination":                   {"bitcoin.destinations", good, func(r *policy.BitcoinRule) { r.Destinations = []string{decoded.Outputs[1].Address} }},
		"input of a stranger":           {"bitcoin.inputs", b.request("coin/btc/hot", keymgmt.KindBitcoin, psbt(stranger, coin, "mainnet", coinOut{cold, coin - fee, true})), nil},
		"nothing for this key":          {"public", b.request("coin/btc/cold", keymgmt.KindBitcoin, psbt(hot, 40_000_000, "mainnet", coinOut{stranger, 40_000_000 - fee, false})), nil},
		"a ledger's key":                {"kind", b.request(issuing, keymgmt.KindBitcoin, good.Body), nil},
	} {
		edited := rule()
		if tt.edit != nil {
			tt.edit(edited)
		}
		b.rule("coin/btc/hot").Bitcoin = edited
		t.Run(name, func(t *testing.T) { wantDenial(t, b, tt.r, facts(), tt.rule) })
	}
	b.rule("coin/btc/hot").Bitcoin = rule()
	for name, change := range map[string]func(k *policy.Key){
		"chain": func(k *policy.Key) { k.Bitcoin.Chain = "dogecoin" }, "network": func(k *policy.Key) { k.Bitcoin.Network = "" },
		"nine decimals": func(k *policy.Key) { k.Bitcoin.MaxFee = quantity(t, "0.000000001") }, "no destinations": func(k *policy.Key) { k.Bitcoin.Destinations = nil },
		"any and others": func(k *policy.Key) { k.Bitcoin.Destinations = []string{"any", "x"} }, "no window": func(k *policy.Key) { k.Bitcoin.Windows = nil },
		"an Ed25519 key": func(k *policy.Key) { k.Public = policy.Ledger(newAccount(t)) },
	} {
		bad := b.file
		bad.Keys = slices.Clone(b.file.Keys)
		k := &bad.Keys[len(bad.Keys)-1]
		k.Bitcoin = rule()
		change(k)
		if _, err := policy.Marshal(bad); !errors.Is(err, policy.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEthereumTransactions(t *testing.T) {
	b := newBank(t)
	address := func(s string) ethereum.Address {
		a, err := ethereum.ParseAddress(s)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	token, friend := address("0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48"), address("0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed")
	stranger := address("0x00000000219ab540356cbb839cbe05303d7705fa")
	rule := func() *policy.EthereumRule {
		limit := policy.CoinLimit{PerTransaction: quantity(t, "2"), Windows: policy.Day(quantity(t, "5")), Destinations: []string{friend.String()}}
		return &policy.EthereumRule{ChainID: 1, MaxFee: quantity(t, "0.01"), FeeWindows: policy.Day(quantity(t, "0.1")), Transfer: &limit,
			Tokens: []policy.TokenLimit{{Contract: token, Decimals: 6, PerTransaction: quantity(t, "1000"), Windows: policy.Day(quantity(t, "3000")), Destinations: []string{"any"}}}}
	}
	key, err := keymgmt.ParseKeyID("coin/eth/hot")
	if err != nil {
		t.Fatal(err)
	}
	b.file.Keys = append(b.file.Keys, policy.Key{ID: key, Public: coinKey(t), Callers: []string{gateway}, Ethereum: rule()})
	wei := func(s string) *big.Int {
		n, ok := new(big.Int).SetString(s, 10)
		if !ok {
			t.Fatal(s)
		}
		return n
	}
	request := func(edit func(*ethereum.Transaction)) keymgmt.Request {
		to := friend
		tx := ethereum.Transaction{Type: ethereum.DynamicFee, ChainID: big.NewInt(1), Nonce: 7, MaxFee: big.NewInt(30e9), MaxPriority: big.NewInt(1e9), Gas: 100_000, To: &to, Value: wei("1000000000000000000")}
		edit(&tx)
		body, err := ethereum.Encode(tx)
		if err != nil {
			t.Fatal(err)
		}
		return b.request("coin/eth/hot", keymgmt.KindEthereum, body)
	}
	data := func(selector string, who ethereum.Address, amount int64) []byte {
		return slices.Concat([]byte(selector), make([]byte, 12), who[:], big.NewInt(amount).FillBytes(make([]byte, 32)))
	}
	const transfer, approve = "\xa9\x05\x9c\xbb", "\x09\x5e\xa7\xb3"
	call := func(contract ethereum.Address, data []byte) func(*ethereum.Transaction) {
		return func(tx *ethereum.Transaction) { tx.To, tx.Value, tx.Data = &contract, new(big.Int), data }
	}
	a, err := b.decide(request(func(*ethereum.Transaction) {}), facts())
	if err != nil || len(a.Reservations()) != 2 || a.Reservations()[1].Amount.Cmp(wei("1000000000000000000")) != 0 || a.Reservations()[0].Amount.Cmp(big.NewInt(3e15)) != 0 {
		t.Fatal(a, err)
	}
	a, err = b.decide(request(call(token, data(transfer, stranger, 999_999_999))), facts())
	if err != nil || a.Reservations()[1].Counter.Name != token.String() {
		t.Fatal(a, err)
	}
	// A replacement with the same nonce takes over what the first has reserved, whatever that was of.
	held := facts()
	held.Holder = &policy.Holder{Reserved: map[policy.Counter]*big.Int{day("ether"): wei("2000000000000000000")}}
	if a, err = b.decide(request(call(token, data(transfer, stranger, 5))), held); err != nil || len(a.Reservations()) != 3 {
		t.Errorf("%v %v", a.Reservations(), err)
	}
	spent := facts()
	spent.Spent[day(token.String())] = big.NewInt(2_500_000_000)
	for name, tt := range map[string]struct {
		rule string
		edit func(*ethereum.Transaction)
		f    policy.Facts
	}{
		"another chain":       {"ethereum.chain_id", func(tx *ethereum.Transaction) { tx.ChainID = big.NewInt(61) }, facts()},
		"fee":                 {"ethereum.max_fee", func(tx *ethereum.Transaction) { tx.MaxFee = big.NewInt(101e9) }, facts()},
		"too much":            {"ethereum.transfer.per_transaction", func(tx *ethereum.Transaction) { tx.Value = wei("2000000000000000001") }, facts()},
		"destination":         {"ethereum.transfer.destinations", func(tx *ethereum.Transaction) { tx.To = &stranger }, facts()},
		"another token":       {"ethereum.token", call(stranger, data(transfer, friend, 5)), facts()},
		"too many tokens":     {"ethereum.token.per_transaction", call(token, data(transfer, friend, 1_000_000_001)), facts()},
		"tokens of a day":     {"ethereum.token.window", call(token, data(transfer, friend, 500_000_001)), spent},
		"an approval":         {"ethereum.kind", call(token, data(approve, friend, 5)), facts()},
		"a call":              {"ethereum.kind", call(stranger, []byte{1, 2, 3, 4}), facts()},
		"a contract creation": {"ethereum.kind", func(tx *ethereum.Transaction) { tx.To, tx.Value, tx.Data = nil, new(big.Int), []byte{0x60, 0x00} }, facts()},
	} {
		t.Run(name, func(t *testing.T) { wantDenial(t, b, request(tt.edit), tt.f, tt.rule) })
	}
	for name, change := range map[string]func(r *policy.EthereumRule){
		"address without checksum": func(r *policy.EthereumRule) { r.Transfer.Destinations = []string{strings.ToLower(friend.String())} },
		"token twice":              func(r *policy.EthereumRule) { r.Tokens = append(r.Tokens, r.Tokens[0]) },
		"seven decimals of six":    func(r *policy.EthereumRule) { r.Tokens[0].PerTransaction = quantity(t, "0.0000001") },
		"no chain":                 func(r *policy.EthereumRule) { r.ChainID = 0 },
		"too many decimals":        func(r *policy.EthereumRule) { r.Tokens[0].Decimals = 19 },
	} {
		r := rule()
		change(r)
		b.rule("coin/eth/hot").Ethereum = r
		if _, err := policy.Marshal(b.file); !errors.Is(err, policy.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestCoinApprovals: what a key for coins pays above an amount needs people, and above another one time.
func TestCoinApprovals(t *testing.T) {
	b := newBank(t)
	all := withOfficers(t, b)
	const to = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
	id, err := keymgmt.ParseKeyID("coin/eth/hot")
	if err != nil {
		t.Fatal(err)
	}
	key := policy.Key{ID: id, Public: coinKey(t), Callers: []string{gateway}, Ethereum: &policy.EthereumRule{ChainID: 1, MaxFee: quantity(t, "0.01"), FeeWindows: policy.Day(quantity(t, "1")),
		Transfer: &policy.CoinLimit{PerTransaction: quantity(t, "5"), Windows: policy.Day(quantity(t, "5")), Destinations: []string{to}}},
		Approvals: []policy.CoinApprovalRule{{Above: &policy.Amount{Of: "ether", Amount: quantity(t, "1")}, Needs: []policy.Need{{Group: "treasury", Count: 2}}}},
		Delays:    []policy.DelayRule{{Above: &policy.Amount{Of: "ether", Amount: quantity(t, "2")}, Wait: policy.Duration(time.Hour)}}}
	b.file.Keys = append(b.file.Keys, key)
	pay := func(wei int64, by ...string) keymgmt.Request {
		a, err := ethereum.ParseAddress(to)
		if err != nil {
			t.Fatal(err)
		}
		body, err := ethereum.Encode(ethereum.Transaction{Type: ethereum.DynamicFee, ChainID: big.NewInt(1), MaxFee: big.NewInt(1), MaxPriority: big.NewInt(1), Gas: 21_000, To: &a, Value: big.NewInt(wei)})
		if err != nil {
			t.Fatal(err)
		}
		r := b.request("coin/eth/hot", keymgmt.KindEthereum, body)
		r.Consents = all.approve(t, r, 1, by...)
		return r
	}
	const ether = 1_000_000_000_000_000_000
	for name, tt := range map[string]struct {
		r    keymgmt.Request
		want error
	}{
		"not above":        {pay(ether), nil},
		"nobody":           {pay(ether + 1), keymgmt.ErrApprovalNeeded},
		"one":              {pay(ether+1, "alice"), keymgmt.ErrApprovalNeeded},
		"of another group": {pay(ether+1, "alice", "carol"), keymgmt.ErrApprovalNeeded},
		"two":              {pay(ether+1, "alice", "dan"), nil},
		"two, too early":   {pay(2*ether+1, "alice", "dan"), keymgmt.ErrNotYet},
		"too much":         {pay(5*ether+1, "alice", "dan"), keymgmt.ErrDenied},
	} {
		if _, err := b.decide(tt.r, facts()); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	for name, change := range map[string]func(k *policy.Key){
		"nobody":             func(k *policy.Key) { k.Approvals[0].Needs = nil },
		"no such group":      func(k *policy.Key) { k.Approvals[0].Needs = []policy.Need{{Group: "board", Count: 1}} },
		"of another thing":   func(k *policy.Key) { k.Approvals[0].Above = &policy.Amount{Of: "bitcoin", Amount: quantity(t, "1")} },
		"of a ledger's keys": func(k *policy.Key) { b.rule(issuing).Approvals = k.Approvals },
	} {
		b.file.Keys[len(b.file.Keys)-1] = key
		b.file.Keys[len(b.file.Keys)-1].Approvals = slices.Clone(key.Approvals)
		change(&b.file.Keys[len(b.file.Keys)-1])
		if _, err := policy.Marshal(b.file); !errors.Is(err, policy.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
