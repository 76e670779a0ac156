package ethereum

import (
	"math/big"
	"strings"
)

// Kind is what a transaction does, as far as a policy must tell it apart. Zero is invalid.
type Kind uint8

// The kinds. A selector is four bytes of a hash, so that any contract may do anything at all under a known one: what a
// call of a token means is only as good as the list of tokens in the policy.
const (
	// Transfer sends ether and nothing else. A contract at the other end runs its code for receiving it.
	Transfer Kind = iota + 1
	// TokenTransfer moves the account's own tokens (ERC-20 transfer).
	TokenTransfer
	// TokenTransferFrom moves tokens of any owner who allowed it. Of a collection (ERC-721) Amount is an item's number.
	TokenTransferFrom
	// Approve lets a spender take a bounded amount, or takes such a right back. Of a collection (ERC-721) Amount is an
	// item's number. Methods that increase an allowance add Amount to what is allowed already.
	Approve
	// UnlimitedApproval lets a spender take everything: an amount from UnlimitedFrom on, all items of a collection, or
	// an approval whose extent is not completely read here.
	UnlimitedApproval
	// ContractCreation runs new code under a new address.
	ContractCreation
	// Upgrade replaces a contract's code, or runs foreign code in a contract's own name (delegatecall).
	Upgrade
	// Control changes who commands a contract: owners, roles, modules, guards.
	Control
	// Forward has a contract make calls of its own, which are not read here.
	Forward
	// Unknown is every other call.
	Unknown
)

var kindNames = [...]string{Transfer: "transfer", TokenTransfer: "token_transfer", TokenTransferFrom: "token_transfer_from",
	Approve: "approve", UnlimitedApproval: "unlimited_approval", ContractCreation: "contract_creation", Upgrade: "upgrade",
	Control: "control", Forward: "forward", Unknown: "unknown_call"}

// String returns the kind's name as policies spell it, "" when it is invalid.
func (k Kind) String() string {
	if int(k) >= len(kindNames) {
		return ""
	}
	return kindNames[k]
}

// ParseKind reads a kind's name.
func ParseKind(name string) (Kind, error) {
	for k, n := range kindNames {
		if n != "" && n == name {
			return Kind(k), nil
		}
	}
	return 0, malformed("kind of call %.40q", name)
}

var (
	// maxUint256 is what contracts take for "all there ever is".
	maxUint256 = new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 256), big.NewInt(1))
	// unlimitedFrom is 2^96-1. Of the amounts that stand for infinity it is the least: tokens that count votes keep
	// allowances in 96 bits, Permit2 in 160, the rest in 256. No token has that many units to lose in good faith.
	unlimitedFrom = new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 96), big.NewInt(1))
)

// UnlimitedFrom returns the least amount that makes an approval unlimited, 2^96-1.
func UnlimitedFrom() *big.Int { return new(big.Int).Set(unlimitedFrom) }

// Call is what a transaction asks for. The addresses are zero, and Amount is nil, where the kind has none: token calls
// have a Token, a recipient To or a Spender, an owner From if it may be another than the signing account, and an Amount.
type Call struct {
	Kind     Kind
	Selector [4]byte  // zero when the data has none
	Method   string   // "transfer(address,uint256)"; "" when it is not known
	Args     []string // the arguments in words; nil when they are not read
	Token    Address
	From     Address
	To       Address
	Spender  Address
	Amount   *big.Int // in the token's units; 2^256-1 when everything is allowed
}

// readCall says what the transaction does.
func readCall(t *Transaction) (Call, error) {
	switch {
	case t.To == nil:
		return Call{Kind: ContractCreation}, nil
	case len(t.Data) == 0:
		return Call{Kind: Transfer}, nil
	case len(t.Data) < len(Call{}.Selector):
		return Call{Kind: Unknown}, nil
	}
	selector := [4]byte(t.Data)
	m, ok := methods[selector]
	if !ok {
		return Call{Kind: Unknown, Selector: selector}, nil
	}
	c := Call{Kind: m.kind, Selector: selector, Method: m.signature}
	if m.movesTokens() {
		if t.Value.Sign() != 0 {
			return Call{}, malformed("%s takes no ether, %d wei come along", m.signature, t.Value)
		}
		c.Token, c.Amount = *t.To, new(big.Int).Set(maxUint256)
	}
	if m.opaque {
		return c, nil
	}
	args, err := readArguments(m.arguments, t.Data[len(selector):])
	if err != nil {
		return Call{}, malformed("%s: %v", m.signature, err)
	}
	for _, a := range args {
		c.Args = append(c.Args, a.String())
	}
	if err := c.assign(m, args); err != nil {
		return Call{}, err
	}
	return c, nil
}

// assign gives the arguments their roles.
func (c *Call) assign(m method, args []argument) error {
	addresses := map[string]*Address{"token": &c.Token, "from": &c.From, "to": &c.To, "spender": &c.Spender}
	for i, role := range strings.Fields(m.roles) {
		a := args[i]
		switch role {
		case "-":
		case "amount":
			c.Amount = a.number()
		case "all": // true or false
			c.Amount = new(big.Int).Mul(a.number(), maxUint256)
		case "operation":
			switch operation := a.number(); {
			case operation.Cmp(big.NewInt(1)) > 0:
				return malformed("%s: operation %d", m.signature, operation)
			case operation.Sign() > 0: // delegatecall
				c.Kind = Upgrade
			}
		default:
			if *addresses[role] = a.address(); a.address().IsZero() {
				return malformed("%s: %s is the zero address", m.signature, role)
			}
		}
	}
	if c.Kind == Approve && c.Amount.Cmp(unlimitedFrom) >= 0 {
		c.Kind = UnlimitedApproval
	}
	if !c.To.IsZero() && c.To == c.Token {
		return malformed("%s: tokens sent to their own contract are lost", m.signature)
	}
	return nil
}
