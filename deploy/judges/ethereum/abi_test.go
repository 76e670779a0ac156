package ethereum_test

import (
	"bytes"
	"fmt"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/accounts/abi"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/diamante/gateway/keymgmt/payload/ethereum"
)

// signatures are methods whose arguments we read, of every shape.
var signatures = []string{"transfer(address,uint256)", "transferFrom(address,address,uint256)", "approve(address,uint256)",
	"permit(address,address,uint256,uint256,uint8,bytes32,bytes32)", "permit(address,address,uint256,uint256,bytes)",
	"permit(address,address,uint256,uint256,bool,uint8,bytes32,bytes32)", "setApprovalForAll(address,bool)",
	"approve(address,address,uint160,uint48)", "approveAndCall(address,uint256,bytes)", "upgradeTo(address)",
	"upgradeAndCall(address,address,bytes)", "execute(bytes,bytes)", "execute(address,uint256,bytes,bytes32,bytes32)", "renounceOwnership()",
	"execTransaction(address,uint256,bytes,uint8,uint256,uint256,uint256,address,address,bytes)"}

func arguments(t testing.TB, signature string) (out abi.Arguments) {
	t.Helper()
	_, inner, _ := strings.Cut(strings.TrimSuffix(signature, ")"), "(")
	for _, kind := range strings.FieldsFunc(inner, func(c rune) bool { return c == ',' }) {
		typ, err := abi.NewType(kind, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, abi.Argument{Type: typ})
	}
	return out
}

// values returns a value for each argument, and how we spell it.
func values(r *rand.Rand, args abi.Arguments) (out []any, spelled []string) {
	for _, a := range args {
		switch a.Type.String() {
		case "address":
			v := address(r)
			out, spelled = append(out, v), append(spelled, v.Hex())
		case "bool":
			v := r.IntN(2) == 1
			out, spelled = append(out, v), append(spelled, fmt.Sprint(v))
		case "uint8":
			v := uint8(r.IntN(2))
			out, spelled = append(out, v), append(spelled, fmt.Sprint(v))
		case "bytes32":
			v := [32]byte(crypto.Keccak256(text(r, 9)))
			out, spelled = append(out, v), append(spelled, fmt.Sprintf("%#x", v))
		case "bytes":
			v := text(r, 100)
			out, spelled = append(out, v), append(spelled, fmt.Sprintf("%d bytes with hash %#x", len(v), crypto.Keccak256(v)))
		default:
			v := number(r, a.Type.Size)
			out, spelled = append(out, v), append(spelled, v.String())
		}
	}
	return out, spelled
}

// TestCalls compares the arguments of calls that go-ethereum packed. Of packed arguments in which some bytes were
// changed, those that we still read must be what go-ethereum would pack.
func TestCalls(t *testing.T) {
	r := rand.New(rand.NewPCG(seed, 5))
	tampered := 0
	for _, signature := range signatures {
		args := arguments(t, signature)
		for range rounds / 10 {
			in, spelled := values(r, args)
			packed, err := args.Pack(in...)
			if err != nil {
				t.Fatal(err)
			}
			call := callOf(t, signature, packed)
			if call == nil || call.Method != signature || strings.Join(call.Args, " ") != strings.Join(spelled, " ") {
				t.Fatalf("%s with %q is read as %+v", signature, spelled, call)
			}
			for range min(20, len(packed)) { // none without arguments
				other := bytes.Clone(packed)
				for range 1 + r.IntN(2) {
					other[r.IntN(len(other))] ^= 1 << r.IntN(8)
				}
				if callOf(t, signature, other) == nil {
					continue
				}
				tampered++
				out, err := args.Unpack(other)
				if err != nil {
					t.Fatalf("%s: %x is read, but not by go-ethereum: %v", signature, other, err)
				}
				if again, err := args.Pack(out...); err != nil || !bytes.Equal(again, other) {
					t.Fatalf("%s: %x is read, but go-ethereum packs %x, %v", signature, other, again, err)
				}
			}
		}
	}
	if tampered < rounds {
		t.Errorf("only %d tampered calls were read", tampered)
	}
}

// callOf returns how we read a call with these arguments, nil when we refuse it.
func callOf(t testing.TB, signature string, packed []byte) *ethereum.Call {
	t.Helper()
	to := address(rand.New(rand.NewPCG(seed, 6)))
	data := append(crypto.Keccak256([]byte(signature))[:4], packed...)
	tx, err := ethereum.Decode(preimage(t, types.NewTx(&types.DynamicFeeTx{ChainID: big.NewInt(1), GasTipCap: new(big.Int),
		GasFeeCap: new(big.Int), Gas: 100_000, To: &to, Value: new(big.Int), Data: data})))
	if err != nil {
		return nil
	}
	return &tx.Call
}
