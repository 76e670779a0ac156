package policy

import (
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/payload/bitcoin"
	"github.com/diamante/gateway/keymgmt/payload/ethereum"
)

// anyAddress in a list of destinations allows every address; "list:NAME" those on a list.
const anyAddress = "any"

const (
	bitcoinDecimals = 8
	etherDecimals   = 18
	etherCounter    = "ether"
	maxAddresses    = 10_000
)

// BitcoinRule says which payments a secp256k1 key may sign on one chain and network, of BTC, LTC or BCH. A PSBT names
// neither in what is signed, so a key is for one of each. Every input must be of a key of this policy for the same chain and
// network: then the whole of what leaves is ours to judge. An output to the very key that signs is change. One to another key
// of ours is a payment: keys are not guarded alike, and what this one's limits hold back would leave by the other's.
type BitcoinRule struct {
	Chain          string   `toml:"chain"`        // bitcoin, litecoin, bitcoin-cash
	Network        string   `toml:"network"`      // mainnet, testnet, regtest
	MaxFee         Quantity `toml:"max_fee"`      // coins, for one transaction
	MaxFeeRate     int64    `toml:"max_fee_rate"` // smallest units for 1000 vbytes
	FeeWindows     []Window `toml:"fee_window"`
	PerTransaction Quantity `toml:"per_transaction"` // coins
	Windows        []Window `toml:"window"`
	Destinations   []string `toml:"destinations"` // addresses, lists, or "any" alone
}

// EthereumRule says which transactions a secp256k1 key may sign on one chain: transfers of ether and of the tokens that
// are named. Everything else, such as approvals, calls that are not known and contract creation, is denied.
type EthereumRule struct {
	ChainID    uint64       `toml:"chain_id"`
	MaxFee     Quantity     `toml:"max_fee"` // ether, for one transaction
	FeeWindows []Window     `toml:"fee_window"`
	Transfer   *CoinLimit   `toml:"transfer,omitempty"`
	Tokens     []TokenLimit `toml:"token,omitempty"`
}

// CoinLimit bounds transfers of ether.
type CoinLimit struct {
	PerTransaction Quantity `toml:"per_transaction"`
	Windows        []Window `toml:"window"`
	Destinations   []string `toml:"destinations"` // addresses, lists, or "any" alone
}

// TokenLimit bounds transfers of an ERC-20 token.
type TokenLimit struct {
	Contract       ethereum.Address `toml:"contract"`
	Decimals       int              `toml:"decimals"` // of the token, 0 to 18
	PerTransaction Quantity         `toml:"per_transaction"`
	Windows        []Window         `toml:"window"`
	Destinations   []string         `toml:"destinations"`
}

func (p *Policy) address(rule string, allowed []string, to string) error {
	ok := to != "" && slices.ContainsFunc(allowed, func(a string) bool {
		name, list := strings.CutPrefix(a, listReference)
		return a == to || a == anyAddress && len(allowed) == 1 || list && p.lists[name].has(to)
	})
	if !ok {
		return deny(rule, "destination %q is not allowed", to)
	}
	return nil
}

// bitcoin decides on a payment for the key of k.
func (p *Policy) bitcoin(k *Key, t *bitcoin.Transaction, facts Facts) ([]Reservation, error) {
	r, fee := k.Bitcoin, big.NewInt(t.Fee)
	switch {
	case facts.Spent == nil:
		return nil, deny("facts", "the counters are not known")
	case t.Chain.String() != r.Chain || t.Network.String() != r.Network:
		return nil, deny("bitcoin.chain", "the payment is for %s %s, the key for %s %s", t.Chain, t.Network, r.Chain, r.Network)
	case r.MaxFee.over(fee, bitcoinDecimals):
		return nil, deny("bitcoin.max_fee", "fee %s is over %s", decimal(fee, bitcoinDecimals), r.MaxFee)
	case t.FeeRate() > r.MaxFeeRate:
		return nil, deny("bitcoin.max_fee_rate", "fee rate %d is over %d", t.FeeRate(), r.MaxFeeRate)
	}
	for i, in := range t.Inputs {
		if !p.coinKey(r, in.Key.Public[:]) {
			return nil, deny("bitcoin.inputs", "input %d is not of a key of ours on this chain", i)
		}
	}
	out := new(big.Int)
	for _, o := range t.Outputs {
		if o.Change != nil && string(o.Change.Public[:]) == string(k.Public.Bytes()) {
			continue
		}
		if o.Amount == 0 && o.Kind == bitcoin.OpReturn {
			continue // data, and no money
		}
		if err := p.address("bitcoin.destinations", r.Destinations, o.Address); err != nil {
			return nil, err
		}
		out.Add(out, big.NewInt(o.Amount))
	}
	if r.PerTransaction.over(out, bitcoinDecimals) {
		return nil, deny("bitcoin.per_transaction", "%s is over %s", decimal(out, bitcoinDecimals), r.PerTransaction)
	}
	fees, err := count(use{"bitcoin.fee_window", FeeCounter, fee, bitcoinDecimals}, r.FeeWindows, facts)
	if err != nil {
		return nil, err
	}
	coins, err := count(use{"bitcoin.window", r.Chain, out, bitcoinDecimals}, r.Windows, facts)
	return append(fees, coins...), err
}

// coinKey reports whether a public key is one of this policy's for the chain and network of r.
func (p *Policy) coinKey(r *BitcoinRule, public []byte) bool {
	for _, k := range p.keys {
		if k.Bitcoin != nil && k.Bitcoin.Chain == r.Chain && k.Bitcoin.Network == r.Network && string(k.Public.Bytes()) == string(public) {
			return true
		}
	}
	return false
}

func (r *EthereumRule) decide(p *Policy, t *ethereum.Transaction, facts Facts) ([]Reservation, error) {
	fee := t.MaxFeeCost()
	switch {
	case facts.Spent == nil:
		return nil, deny("facts", "the counters are not known")
	case !t.ChainID.IsUint64() || t.ChainID.Uint64() != r.ChainID:
		return nil, deny("ethereum.chain_id", "the transaction is for chain %s, the key for %d", t.ChainID, r.ChainID)
	case r.MaxFee.over(fee, etherDecimals):
		return nil, deny("ethereum.max_fee", "fee %s is over %s", decimal(fee, etherDecimals), r.MaxFee)
	}
	list, err := count(use{"ethereum.fee_window", FeeCounter, fee, etherDecimals}, r.FeeWindows, facts)
	if err != nil {
		return nil, err
	}
	more, err := r.moves(p, t, facts)
	if err != nil {
		return nil, err
	}
	return facts.Holder.takeOver(append(list, more...)), nil
}

// moves judges what a transaction moves.
func (r *EthereumRule) moves(p *Policy, t *ethereum.Transaction, facts Facts) ([]Reservation, error) {
	switch t.Call.Kind {
	case ethereum.Transfer:
		l := r.Transfer
		if l == nil {
			return nil, deny("ethereum.transfer", "transfers of ether are not allowed")
		}
		if err := p.address("ethereum.transfer.destinations", l.Destinations, t.To.String()); err != nil {
			return nil, err
		}
		if l.PerTransaction.over(t.Value, etherDecimals) {
			return nil, deny("ethereum.transfer.per_transaction", "%s is over %s", decimal(t.Value, etherDecimals), l.PerTransaction)
		}
		return count(use{"ethereum.transfer.window", etherCounter, t.Value, etherDecimals}, l.Windows, facts)
	case ethereum.TokenTransfer:
		i := slices.IndexFunc(r.Tokens, func(l TokenLimit) bool { return l.Contract == t.Call.Token })
		if i < 0 {
			return nil, deny("ethereum.token", "token %s is not allowed", t.Call.Token)
		}
		l := r.Tokens[i]
		if err := p.address("ethereum.token.destinations", l.Destinations, t.Call.To.String()); err != nil {
			return nil, err
		}
		if l.PerTransaction.over(t.Call.Amount, l.Decimals) {
			return nil, deny("ethereum.token.per_transaction", "%s is over %s", decimal(t.Call.Amount, l.Decimals), l.PerTransaction)
		}
		return count(use{"ethereum.token.window", l.Contract.String(), t.Call.Amount, l.Decimals}, l.Windows, facts)
	}
	return nil, deny("ethereum.kind", "%s is not allowed", t.Call.Kind)
}

func (r *BitcoinRule) validate(k *Key) error {
	chains := []string{bitcoin.Bitcoin.String(), bitcoin.Litecoin.String(), bitcoin.BitcoinCash.String()}
	networks := []string{bitcoin.Mainnet.String(), bitcoin.Testnet.String(), bitcoin.Regtest.String()}
	switch {
	case k.Public.Algorithm() != keymgmt.Secp256k1:
		return errors.New("bitcoin needs a secp256k1 key")
	case !slices.Contains(chains, r.Chain) || !slices.Contains(networks, r.Network):
		return fmt.Errorf("bitcoin.chain is %.40q and bitcoin.network %.40q", r.Chain, r.Network)
	case r.MaxFee.IsZero() || r.MaxFeeRate < 1 || r.PerTransaction.IsZero():
		return errors.New("bitcoin needs max_fee, max_fee_rate and per_transaction")
	}
	return errors.Join(validWindows("bitcoin.fee_window", bitcoinDecimals, r.FeeWindows), validWindows("bitcoin", bitcoinDecimals, r.Windows),
		countable("bitcoin", bitcoinDecimals, r.MaxFee, r.PerTransaction), validAddresses("bitcoin", r.Destinations))
}

func (r *EthereumRule) validate(k *Key) error {
	switch {
	case k.Public.Algorithm() != keymgmt.Secp256k1:
		return errors.New("ethereum needs a secp256k1 key")
	case r.ChainID == 0 || r.MaxFee.IsZero():
		return errors.New("ethereum needs chain_id and max_fee")
	}
	errs := []error{validWindows("ethereum.fee_window", etherDecimals, r.FeeWindows)}
	if t := r.Transfer; t != nil {
		errs = append(errs, validWindows("ethereum.transfer", etherDecimals, t.Windows), validEthereum("ethereum.transfer", t.Destinations))
		if t.PerTransaction.IsZero() {
			errs = append(errs, errors.New("ethereum.transfer needs per_transaction"))
		}
	}
	seen := map[ethereum.Address]bool{}
	for _, t := range r.Tokens {
		if t.Contract.IsZero() || seen[t.Contract] || t.Decimals < 0 || t.Decimals > maxDecimals || t.PerTransaction.IsZero() {
			errs = append(errs, fmt.Errorf("ethereum.token %s is there twice or not complete", t.Contract))
			continue
		}
		seen[t.Contract] = true
		errs = append(errs, validWindows("ethereum.token", t.Decimals, t.Windows), validEthereum("ethereum.token", t.Destinations),
			countable("ethereum.token", t.Decimals, t.PerTransaction))
	}
	return errors.Join(errs...)
}

func validAddresses(name string, list []string) error {
	if len(list) == 0 || len(list) > maxAddresses || len(list) > 1 && slices.Contains(list, anyAddress) {
		return fmt.Errorf("%s.destinations is empty, too long, or has any and others", name)
	}
	for _, a := range list {
		if a == "" || strings.ContainsFunc(a, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return fmt.Errorf("%s.destinations has %.80q", name, a)
		}
	}
	return nil
}

// validEthereum wants addresses in the one spelling with a checksum: what is compared is text.
func validEthereum(name string, list []string) error {
	for _, text := range list {
		if a, err := ethereum.ParseAddress(text); text != anyAddress && !strings.HasPrefix(text, listReference) && (err != nil || a.String() != text) {
			return fmt.Errorf("%s.destinations: %.80q is not an address with its checksum", name, text)
		}
	}
	return validAddresses(name, list)
}

func (r *BitcoinRule) explain(say func(format string, args ...any)) {
	say("pays on %s %s up to %s in one transaction, with a fee of up to %s and %d for 1000 vbytes, to %s", r.Chain, r.Network, r.PerTransaction, r.MaxFee,
		r.MaxFeeRate, strings.Join(r.Destinations, ", "))
	explainWindows(say, "fees", r.FeeWindows)
	explainWindows(say, r.Chain, r.Windows)
}

func (r *EthereumRule) explain(say func(format string, args ...any)) {
	say("signs for chain %d with a fee of up to %s ether", r.ChainID, r.MaxFee)
	explainWindows(say, "fees", r.FeeWindows)
	if t := r.Transfer; t != nil {
		say("sends up to %s ether in one transaction to %s", t.PerTransaction, strings.Join(t.Destinations, ", "))
		explainWindows(say, "ether", t.Windows)
	}
	for _, t := range r.Tokens {
		say("sends up to %s of token %s with %d decimals in one transaction to %s", t.PerTransaction, t.Contract, t.Decimals, strings.Join(t.Destinations, ", "))
		explainWindows(say, "token "+t.Contract.String(), t.Windows)
	}
}

func explainWindows(say func(format string, args ...any), what string, windows []Window) {
	for _, w := range windows {
		say("lets up to %s of %s leave in any %s", w.Max, what, w.Length)
	}
}
