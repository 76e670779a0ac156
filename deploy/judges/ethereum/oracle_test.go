package ethereum_test

import (
	"bytes"
	"crypto/ecdsa"
	"errors"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/rlp"

	"github.com/diamante/gateway/keymgmt/payload/ethereum"
)

const (
	seed   = 1559
	rounds = 2000
)

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := crypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// number returns a number of up to bits bits, all lengths alike.
func number(r *rand.Rand, bits int) *big.Int {
	out := make([]byte, (bits+7)/8)
	for i := range out {
		out[i] = byte(r.Uint32())
	}
	n := new(big.Int).SetBytes(out)
	return n.Rsh(n, uint(8*len(out)-r.IntN(bits+1)))
}

func text(r *rand.Rand, most int) []byte {
	out := make([]byte, r.IntN(most+1))
	for i := range out {
		out[i] = byte(r.Uint32())
	}
	return out
}

func address(r *rand.Rand) (a common.Address) {
	for i := range a {
		a[i] = byte(r.Uint32())
	}
	return a
}

// random returns a transaction that makes sense, in go-ethereum's own terms.
func random(r *rand.Rand) *types.Transaction {
	to := new(common.Address)
	*to = address(r)
	data := text(r, 300)
	switch r.IntN(4) {
	case 0:
		to, data = nil, append(data, 0)
	case 1:
		data = nil
	}
	chain := new(big.Int).Add(number(r, 62), big.NewInt(1))
	gas := ethereum.MinGas + r.Uint64N(ethereum.MaxGas-ethereum.MinGas+1)
	nonce, price, value := number(r, 63).Uint64(), number(r, 256), number(r, 256)
	if r.IntN(2) == 0 {
		// The chain id of a legacy transaction is in its v only; a transaction that is not signed yet has none.
		v := new(big.Int).Add(new(big.Int).Lsh(chain, 1), big.NewInt(35))
		return types.NewTx(&types.LegacyTx{Nonce: nonce, GasPrice: price, Gas: gas, To: to, Value: value, Data: data, V: v})
	}
	var list types.AccessList
	for range r.IntN(4) {
		entry := types.AccessTuple{Address: address(r), StorageKeys: []common.Hash{}}
		for k := range r.IntN(4) {
			entry.StorageKeys = append(entry.StorageKeys, common.Hash{0: byte(r.Uint32()), 31: byte(k)})
		}
		list = append(list, entry)
	}
	return types.NewTx(&types.DynamicFeeTx{ChainID: chain, Nonce: nonce, GasTipCap: new(big.Int).Rsh(price, uint(r.IntN(9))),
		GasFeeCap: price, Gas: gas, To: to, Value: value, Data: data, AccessList: list})
}

// preimage is what go-ethereum hashes for a signature, written by its own RLP.
func preimage(t testing.TB, tx *types.Transaction) []byte {
	t.Helper()
	fields := []any{tx.Nonce(), tx.GasPrice(), tx.Gas(), tx.To(), tx.Value(), tx.Data(), tx.ChainId(), uint(0), uint(0)}
	if tx.Type() == types.DynamicFeeTxType {
		fields = []any{tx.ChainId(), tx.Nonce(), tx.GasTipCap(), tx.GasFeeCap(), tx.Gas(), tx.To(), tx.Value(), tx.Data(), tx.AccessList()}
	}
	out, err := rlp.EncodeToBytes(fields)
	if err != nil {
		t.Fatal(err)
	}
	if tx.Type() == types.DynamicFeeTxType {
		out = append([]byte{types.DynamicFeeTxType}, out...)
	}
	return out
}

// judge signs what was decoded and shows it to go-ethereum, which must see the same digest, sender and figures.
func judge(t testing.TB, key *ecdsa.PrivateKey, body []byte, got *ethereum.Transaction) *types.Transaction {
	t.Helper()
	signature, err := crypto.Sign(got.Digest[:], key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := got.Raw(signature)
	if err != nil {
		t.Fatalf("%x cannot be sent: %v", body, err)
	}
	tx := new(types.Transaction)
	if err := tx.UnmarshalBinary(raw); err != nil {
		t.Fatalf("%x is refused: %v", raw, err)
	}
	signer := types.LatestSignerForChainID(got.ChainID)
	if hash := signer.Hash(tx); hash != common.Hash(got.Digest) {
		t.Fatalf("%x has digest %x, want %x", body, got.Digest, hash)
	}
	if from, err := types.Sender(signer, tx); err != nil || from != crypto.PubkeyToAddress(key.PublicKey) {
		t.Fatalf("%x is from %s, %v", raw, from, err)
	}
	if tx.Hash() != common.Hash(ethereum.Keccak256(raw)) {
		t.Fatalf("%x has another id than %s", raw, tx.Hash())
	}
	compare(t, got, tx)
	return tx
}

func compare(t testing.TB, got *ethereum.Transaction, tx *types.Transaction) {
	t.Helper()
	for name, pair := range map[string][2]*big.Int{
		"chain id": {got.ChainID, tx.ChainId()}, "max fee": {got.MaxFee, tx.GasFeeCap()}, "tip": {got.MaxPriority, tx.GasTipCap()},
		"value": {got.Value, tx.Value()}, "cost": {got.MaxCost(), tx.Cost()},
	} {
		if pair[0].Cmp(pair[1]) != 0 {
			t.Errorf("%s is %d, want %d", name, pair[0], pair[1])
		}
	}
	if got.Nonce != tx.Nonce() || got.Gas != tx.Gas() || !bytes.Equal(got.Data, tx.Data()) {
		t.Errorf("nonce %d, gas %d, data %x, want %d, %d, %x", got.Nonce, got.Gas, got.Data, tx.Nonce(), tx.Gas(), tx.Data())
	}
	if (got.To == nil) != (tx.To() == nil) || got.To != nil && got.To.String() != tx.To().Hex() {
		t.Errorf("recipient %s, want %s", got.To, tx.To())
	}
	if (got.Type == ethereum.DynamicFee) != (tx.Type() == types.DynamicFeeTxType) || len(got.AccessList) != len(tx.AccessList()) {
		t.Fatalf("type %s with %d entries, want %d with %d", got.Type, len(got.AccessList), tx.Type(), len(tx.AccessList()))
	}
	for i, want := range tx.AccessList() {
		if have := got.AccessList[i]; have.Address.String() != want.Address.Hex() || len(have.Keys) != len(want.StorageKeys) {
			t.Errorf("access to %s and %d keys, want %s and %d", have.Address, len(have.Keys), want.Address, len(want.StorageKeys))
		}
	}
}

func TestRandomTransactions(t *testing.T) {
	r, key := rand.New(rand.NewPCG(seed, 0)), newKey(t)
	for range rounds {
		want := random(r)
		body := preimage(t, want)
		got, err := ethereum.Decode(body)
		if err != nil {
			t.Fatalf("%x: %v", body, err)
		}
		compare(t, got, want)
		tx := judge(t, key, body, got)
		if again, err := ethereum.Encode(*got); err != nil || !bytes.Equal(again, body) {
			t.Fatalf("%x is encoded as %x, %v", body, again, err)
		}
		signed, err := types.SignTx(want, types.LatestSignerForChainID(got.ChainID), key)
		if err != nil || signed.Hash() != tx.Hash() {
			t.Fatalf("go-ethereum itself makes of %x another transaction, %v", body, err)
		}
	}
}

// TestTampering: of what is accepted after a change of some bytes, go-ethereum must say the same as we do. So what it
// refuses we refuse.
func TestTampering(t *testing.T) {
	r, key := rand.New(rand.NewPCG(seed, 1)), newKey(t)
	accepted, refused := 0, 0
	for range 10 * rounds {
		body := preimage(t, random(r))
		for range 1 + r.IntN(3) {
			switch at := r.IntN(min(len(body), 60)); r.IntN(4) {
			case 0:
				body = append(body[:at:at], body[at+1:]...)
			case 1:
				body = append(append(body[:at:at], byte(r.Uint32())), body[at:]...)
			default:
				body[at] = byte(r.Uint32())
			}
			if len(body) == 0 {
				break
			}
		}
		got, err := ethereum.Decode(body)
		if err != nil {
			if !errors.Is(err, ethereum.ErrMalformed) {
				t.Fatal(err)
			}
			refused++
			continue
		}
		accepted++
		judge(t, key, body, got)
	}
	if accepted < rounds/10 || refused < rounds {
		t.Errorf("%d accepted and %d refused: one side is not tried", accepted, refused)
	}
}

// faults are encodings that are wrong for some field at least.
var faults = []string{"\x00", "\x80", "\x81\x05", "\x81\x80", "\xb8\x01\x85", "\x82\x00\x90", "\xc0", "\xc1\x80", "\xc2\xc1\x01", "",
	"\x05\x05", "\xbf\xff\xff\xff\xff\xff\xff\xff\xff", "\xf8\x00", "\xb9\x00\x01\x85", "\x89\x01\x00\x00\x00\x00\x00\x00\x00\x00",
	"\x93" + strings.Repeat("a", 19), "\x95" + strings.Repeat("a", 21), "\xb8\x14" + strings.Repeat("a", 20),
	"\xa1\x01" + strings.Repeat("a", 32), "\xd7\xd6\x94" + strings.Repeat("a", 20) + "\xc1\x05"}

// TestWhatTheJudgeRefuses puts the same fault into a signed transaction and into its preimage. What go-ethereum refuses
// of the one, we must refuse of the other.
func TestWhatTheJudgeRefuses(t *testing.T) {
	r, refused := rand.New(rand.NewPCG(seed, 2)), 0
	for range 5 * rounds {
		tx := random(r)
		fields := split(t, preimage(t, tx))
		common, signature := 9, []rlp.RawValue{{1}, {2}, {3}}
		if tx.Type() == types.LegacyTxType {
			common, signature = 6, []rlp.RawValue{{37}, {2}, {3}}
		}
		fields[r.IntN(common)] = rlp.RawValue(faults[r.IntN(len(faults))])
		signed := join(t, tx.Type(), append(fields[:common:common], signature...))
		if r.IntN(20) == 0 {
			signed, fields = append(signed, 0), append(fields, rlp.RawValue{0})
		}
		if err := new(types.Transaction).UnmarshalBinary(signed); err == nil {
			continue
		}
		refused++
		body := join(t, tx.Type(), fields)
		if got, err := ethereum.Decode(body); err == nil {
			t.Fatalf("%x is refused by go-ethereum, and %x read as %+v", signed, body, got)
		}
	}
	if refused < rounds {
		t.Errorf("only %d refused", refused)
	}
}

func split(t testing.TB, body []byte) (fields []rlp.RawValue) {
	t.Helper()
	if body[0] == types.DynamicFeeTxType {
		body = body[1:]
	}
	if err := rlp.DecodeBytes(body, &fields); err != nil {
		t.Fatal(err)
	}
	return fields
}

func join(t testing.TB, kind uint8, fields []rlp.RawValue) []byte {
	t.Helper()
	out, err := rlp.EncodeToBytes(fields)
	if err != nil {
		t.Fatal(err)
	}
	if kind == types.DynamicFeeTxType {
		out = append([]byte{kind}, out...)
	}
	return out
}

// TestAddresses compares the spelling of addresses, and those of public keys.
func TestAddresses(t *testing.T) {
	r := rand.New(rand.NewPCG(seed, 3))
	for range rounds {
		want := address(r)
		got, err := ethereum.ParseAddress(want.Hex())
		if err != nil || common.Address(got) != want || got.String() != want.Hex() {
			t.Fatalf("%s is read as %s, %v", want, got, err)
		}
	}
	for range 20 {
		public := newKey(t).PublicKey
		got, err := ethereum.AddressOf(crypto.FromECDSAPub(&public))
		if want := crypto.PubkeyToAddress(public); err != nil || common.Address(got) != want {
			t.Fatalf("address %s, %v, want %s", got, err, want)
		}
	}
}

// FuzzAgainstTheJudge is TestTampering with inputs that grow.
func FuzzAgainstTheJudge(f *testing.F) {
	r, key := rand.New(rand.NewPCG(seed, 4)), newKey(f)
	for range 20 {
		f.Add(preimage(f, random(r)))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if got, err := ethereum.Decode(body); err == nil {
			judge(t, key, body, got)
		}
	})
}
