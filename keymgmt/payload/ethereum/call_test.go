package ethereum_test

import (
	"encoding/hex"
	"math/big"
	"strings"
	"testing"

	"github.com/diamante/gateway/keymgmt/payload/ethereum"
)

// selectors are published ones, which our table computes from signatures.
var selectors = map[string]string{
	"a9059cbb": "transfer(address,uint256)", "23b872dd": "transferFrom(address,address,uint256)",
	"095ea7b3": "approve(address,uint256)", "39509351": "increaseAllowance(address,uint256)",
	"d73dd623": "increaseApproval(address,uint256)", "c04a8a10": "approveDelegation(address,uint256)",
	"d505accf": "permit(address,address,uint256,uint256,uint8,bytes32,bytes32)",
	"8fcbaf0c": "permit(address,address,uint256,uint256,bool,uint8,bytes32,bytes32)",
	"9fd5a6cf": "permit(address,address,uint256,uint256,bytes)",
	"a22cb465": "setApprovalForAll(address,bool)", "558a7297": "setOperator(address,bool)",
	"87517c45": "approve(address,address,uint160,uint48)", "cae9ca51": "approveAndCall(address,uint256,bytes)",
	"2b67b570": "permit(address,((address,uint160,uint48,uint48),address,uint256),bytes)",
	"2a2d80d1": "permit(address,((address,uint160,uint48,uint48)[],address,uint256),bytes)",
	"959b8c3f": "authorizeOperator(address)", "3659cfe6": "upgradeTo(address)",
	"4f1ef286": "upgradeToAndCall(address,bytes)", "8f283970": "changeAdmin(address)",
	"99a88ec4": "upgrade(address,address)", "9623609d": "upgradeAndCall(address,address,bytes)",
	"7eff275e": "changeProxyAdmin(address,address)", "d784d426": "setImplementation(address)",
	"7de7edef": "changeMasterCopy(address)", "8d80ff0a": "multiSend(bytes)",
	"1f931c1c": "diamondCut((address,uint8,bytes4[])[],address,bytes)", "ac9650d8": "multicall(bytes[])",
	"5ae401dc": "multicall(uint256,bytes[])", "1cff79cd": "execute(address,bytes)",
	"44c028fe": "execute(uint256,address,uint256,bytes)", "e9ae5c53": "execute(bytes32,bytes)",
	"b63e800d": "setup(address[],uint256,address,bytes,address,address,uint256,address)",
	"f2fde38b": "transferOwnership(address)", "715018a6": "renounceOwnership()", "2f2ff15d": "grantRole(bytes32,address)",
	"79ba5097": "acceptOwnership()", "0d582f13": "addOwnerWithThreshold(address,uint256)",
	"e318b52b": "swapOwner(address,address,address)", "f8dc5dd9": "removeOwner(address,address,uint256)",
	"694e80c3": "changeThreshold(uint256)", "610b5925": "enableModule(address)", "e009cfde": "disableModule(address,address)",
	"e19a9dd9": "setGuard(address)", "f08a0323": "setFallbackHandler(address)", "13af4035": "setOwner(address)",
	"6a761202": "execTransaction(address,uint256,bytes,uint8,uint256,uint256,uint256,address,address,bytes)",
	"468721a7": "execTransactionFromModule(address,uint256,bytes,uint8)", "d4d9bdcd": "approveHash(bytes32)",
	"5229073f": "execTransactionFromModuleReturnData(address,uint256,bytes,uint8)",
	"c6427474": "submitTransaction(address,uint256,bytes)", "c01a8c84": "confirmTransaction(uint256)",
	"b61d27f6": "execute(address,uint256,bytes)", "47e1da2a": "executeBatch(address[],uint256[],bytes[])",
	"252dba42": "aggregate((address,bytes)[])", "82ad56cb": "aggregate3((address,bool,bytes)[])",
	"174dea71": "aggregate3Value((address,bool,uint256,bytes)[])", "bce38bd7": "tryAggregate(bool,(address,bytes)[])",
	"01d5062a": "schedule(address,uint256,bytes,bytes32,bytes32,uint256)",
}

func TestSelectors(t *testing.T) {
	known := ethereum.Signatures()
	for selector, signature := range selectors {
		if sum := ethereum.Keccak256([]byte(signature)); hex.EncodeToString(sum[:4]) != selector || known[signature] == 0 {
			t.Errorf("%s has selector %x and kind %q, want %s and some", signature, sum[:4], known[signature], selector)
		}
	}
}

// TestEveryMethod calls each method that is known, well and with a byte too much.
func TestEveryMethod(t *testing.T) {
	for signature, kind := range ethereum.Signatures() {
		args, strict := blank(signature)
		payload := input(signature, args...)
		tx := decode(t, call(payload))
		if strings.HasPrefix(signature, "permit(address,((") {
			kind = ethereum.UnlimitedApproval
		}
		if tx.Call.Kind != kind || tx.Call.Method != signature || kind.String() == "" {
			t.Errorf("%s is read as %s of kind %q, want kind %q", signature, tx.Call.Method, tx.Call.Kind, kind)
		}
		if !strings.Contains(tx.Words()[0], token.String()) {
			t.Errorf("%s: %q does not say of what contract", signature, tx.Words()[0])
		}
		if _, err := ethereum.Decode(call(append(payload, 0))); strict && err == nil {
			t.Errorf("%s is read with a byte after it", signature)
		}
	}
}

func TestKindNames(t *testing.T) {
	for k := ethereum.Transfer; k <= ethereum.Unknown; k++ {
		if got, err := ethereum.ParseKind(k.String()); err != nil || got != k {
			t.Errorf("%q reads as %d, %v, want %d", k, got, err, k)
		}
	}
	for _, name := range []string{"", "Transfer", "raw"} {
		if k, err := ethereum.ParseKind(name); err == nil || k != 0 {
			t.Errorf("%q reads as %d, %v", name, k, err)
		}
	}
	if ethereum.Kind(0).String() != "" || ethereum.Kind(255).String() != "" || ethereum.Type(0).String() != "type of transaction 0" {
		t.Error("the names of what is invalid")
	}
}

// understood are calls with what becomes of them.
var understood = []struct {
	name  string
	body  []byte
	call  ethereum.Call // Selector, Method and Args are not compared
	words string        // the first line
}{
	{"transfer", type2(dynamic(nil)), ethereum.Call{Kind: ethereum.Transfer},
		"sends 1.5 ETH to 0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"},
	{"transfer elsewhere", type2(dynamic(map[int]any{chainID: 137, value: 1})), ethereum.Call{Kind: ethereum.Transfer},
		"sends 0.000000000000000001 coins of chain 137 to 0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"},
	{"nothing to oneself", rlp(legacy(map[int]any{legacyValue: 0})), ethereum.Call{Kind: ethereum.Transfer},
		"sends 0 ETH to 0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"},
	{"contract creation", type2(dynamic(map[int]any{to: "", value: 0, data: []byte("code")})),
		ethereum.Call{Kind: ethereum.ContractCreation}, "creates a contract that runs code of 4 bytes"},
	{"contract creation with ether", rlp(legacy(map[int]any{legacyTo: "", legacyData: []byte("code")})),
		ethereum.Call{Kind: ethereum.ContractCreation}, "creates a contract that runs code of 4 bytes, and sends it 1 ETH"},
	{"data of three bytes", type2(dynamic(map[int]any{data: "abc"})), ethereum.Call{Kind: ethereum.Unknown},
		"calls, for what is not known: data without a selector, of contract 0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed, and sends it 1.5 ETH"},
	{"unknown call", call([]byte("abcd")), ethereum.Call{Kind: ethereum.Unknown},
		"calls, for what is not known: selector 0x61626364 of contract 0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB"},

	{"token transfer", call(input("transfer(address,uint256)", bob, 3_000_000)),
		ethereum.Call{Kind: ethereum.TokenTransfer, Token: token, To: bob, Amount: big.NewInt(3_000_000)},
		"transfers 3000000 units of token 0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB to 0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359"},
	{"all tokens", rlp(legacy(map[int]any{legacyTo: token, legacyValue: 0, legacyData: input("transfer(address,uint256)", bob, below(256))})),
		ethereum.Call{Kind: ethereum.TokenTransfer, Token: token, To: bob, Amount: below(256)},
		"transfers " + below(256).String() + " units of token 0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB to 0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359"},
	{"token transfer from", call(input("transferFrom(address,address,uint256)", alice, bob, 0)),
		ethereum.Call{Kind: ethereum.TokenTransferFrom, Token: token, From: alice, To: bob, Amount: new(big.Int)},
		"transfers 0 units of token 0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB (or the item of that number) from " +
			"0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed to 0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359"},
	{"approval", call(input("approve(address,uint256)", bob, 5)),
		ethereum.Call{Kind: ethereum.Approve, Token: token, Spender: bob, Amount: big.NewInt(5)},
		"lets 0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359 take up to 5 units (or the item of that number) of token " +
			"0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB: approve(address,uint256) of contract " +
			"0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB with 0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359, 5"},
	{"allowance added", call(input("increaseAllowance(address,uint256)", bob, 5)),
		ethereum.Call{Kind: ethereum.Approve, Token: token, Spender: bob, Amount: big.NewInt(5)},
		"lets 0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359 take up to 5 units more than before of token " +
			"0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB: increaseAllowance(address,uint256) of contract " +
			"0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB with 0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359, 5"},
	{"largest bounded approval", call(input("approve(address,uint256)", bob, new(big.Int).Sub(below(96), big.NewInt(1)))),
		ethereum.Call{Kind: ethereum.Approve, Token: token, Spender: bob, Amount: new(big.Int).Sub(below(96), big.NewInt(1))}, ""},
	{"approval of 2^96-1", call(input("approve(address,uint256)", bob, below(96))),
		ethereum.Call{Kind: ethereum.UnlimitedApproval, Token: token, Spender: bob, Amount: ethereum.UnlimitedFrom()}, ""},
	{"approval of 2^255", call(input("increaseAllowance(address,uint256)", bob, power(255))),
		ethereum.Call{Kind: ethereum.UnlimitedApproval, Token: token, Spender: bob, Amount: power(255)}, ""},
	{"approval of 2^256-1", call(input("approve(address,uint256)", bob, below(256))),
		ethereum.Call{Kind: ethereum.UnlimitedApproval, Token: token, Spender: bob, Amount: below(256)},
		"lets 0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359 take ANY AMOUNT of token " +
			"0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB: approve(address,uint256) of contract " +
			"0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB with 0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359, " + below(256).String()},
	{"Permit2 approval of 2^160-1", call(input("approve(address,address,uint160,uint48)", alice, bob, below(160), 9)),
		ethereum.Call{Kind: ethereum.UnlimitedApproval, Token: alice, Spender: bob, Amount: below(160)}, ""},
	{"Permit2 approval", call(input("approve(address,address,uint160,uint48)", alice, bob, 5, below(48))),
		ethereum.Call{Kind: ethereum.Approve, Token: alice, Spender: bob, Amount: big.NewInt(5)}, ""},
	{"Permit2 permit", call(input("permit(address,((address,uint160,uint48,uint48),address,uint256),bytes)", verbatim("x"))),
		ethereum.Call{Kind: ethereum.UnlimitedApproval, Token: token, Amount: below(256)},
		"lets someone who is not read take ANY AMOUNT of token 0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB: " +
			"permit(address,((address,uint160,uint48,uint48),address,uint256),bytes) of contract 0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB"},
	{"permit", call(input("permit(address,address,uint256,uint256,uint8,bytes32,bytes32)", alice, bob, 5, 99, 27, power(255), 1)),
		ethereum.Call{Kind: ethereum.Approve, Token: token, From: alice, Spender: bob, Amount: big.NewInt(5)}, ""},
	{"DAI permit", call(input("permit(address,address,uint256,uint256,bool,uint8,bytes32,bytes32)", alice, bob, 5, 99, 1, 27, 1, 1)),
		ethereum.Call{Kind: ethereum.UnlimitedApproval, Token: token, From: alice, Spender: bob, Amount: below(256)}, ""},
	{"all items", call(input("setApprovalForAll(address,bool)", bob, 1)),
		ethereum.Call{Kind: ethereum.UnlimitedApproval, Token: token, Spender: bob, Amount: below(256)}, ""},
	{"all items back", call(input("setApprovalForAll(address,bool)", bob, 0)),
		ethereum.Call{Kind: ethereum.Approve, Token: token, Spender: bob, Amount: new(big.Int)}, ""},
	{"approval that acts", call(input("approveAndCall(address,uint256,bytes)", bob, 5, 96, []byte("act"))),
		ethereum.Call{Kind: ethereum.UnlimitedApproval, Token: token, Spender: bob, Amount: big.NewInt(5)}, ""},

	{"upgrade", call(input("upgradeToAndCall(address,bytes)", bob, 64, []byte{})), ethereum.Call{Kind: ethereum.Upgrade},
		"replaces or borrows code: upgradeToAndCall(address,bytes) of contract 0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB with " +
			"0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359, 0 bytes with hash 0xc5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"},
	{"wallet's call", execTransaction(0), ethereum.Call{Kind: ethereum.Forward}, ""},
	{"wallet's delegated call", execTransaction(1), ethereum.Call{Kind: ethereum.Upgrade}, ""},
	{"owner", call(input("transferOwnership(address)", 0)), ethereum.Call{Kind: ethereum.Control},
		"changes who commands a contract: transferOwnership(address) of contract " +
			"0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB with 0x0000000000000000000000000000000000000000"},
	{"many calls", call(input("aggregate3((address,bool,bytes)[])", verbatim("x"))), ethereum.Call{Kind: ethereum.Forward},
		"has a contract make calls that are not read: aggregate3((address,bool,bytes)[]) of contract 0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB"},
}

func execTransaction(operation int) []byte {
	return call(input("execTransaction(address,uint256,bytes,uint8,uint256,uint256,uint256,address,address,bytes)",
		bob, 5, 320, operation, 0, 0, 0, 0, 0, 384, []byte("data"), []byte(strings.Repeat("s", 65))))
}

func TestUnderstood(t *testing.T) {
	for _, test := range understood {
		t.Run(test.name, func(t *testing.T) {
			tx := decode(t, test.body)
			got, want := tx.Call, test.call
			if got.Kind != want.Kind || got.Token != want.Token || got.From != want.From || got.To != want.To || got.Spender != want.Spender {
				t.Errorf("call %+v, want %+v", got, want)
			}
			if (got.Amount == nil) != (want.Amount == nil) || got.Amount != nil && got.Amount.Cmp(want.Amount) != 0 {
				t.Errorf("amount %d, want %d", got.Amount, want.Amount)
			}
			if line := tx.Words()[0]; test.words != "" && line != test.words {
				t.Errorf("words\n%s, want\n%s", line, test.words)
			}
		})
	}
}

// TestNobodyElsesAmounts hands out no number of the package itself.
func TestNobodyElsesAmounts(t *testing.T) {
	body := call(input("authorizeOperator(address)", bob))
	decode(t, body).Call.Amount.SetInt64(1)
	ethereum.UnlimitedFrom().SetInt64(1)
	if got := decode(t, body).Call.Amount; got.Cmp(below(256)) != 0 || ethereum.UnlimitedFrom().Cmp(below(96)) != 0 {
		t.Errorf("amount %d, limit %d", got, ethereum.UnlimitedFrom())
	}
}
