package ethereum

import (
	"fmt"
	"math/big"
	"strings"
)

// Digits after the point of an ether and of a thousand million wei.
const (
	etherDigits = 18
	gweiDigits  = 9
)

// Words returns the effects in words, one a line, the first the most important. Two bodies never have the same words:
// what is not spelled out is there as a hash.
func (t *Transaction) Words() []string {
	first := t.effect()
	if t.Value.Sign() > 0 && t.Call.Kind != Transfer {
		first += fmt.Sprintf(", and sends it %s %s", decimal(t.Value, etherDigits), t.coin())
	}
	w := []string{first}
	if len(t.Data) > 0 {
		w = append(w, fmt.Sprintf("with data of %d bytes with hash %#x", len(t.Data), Keccak256(t.Data)))
	}
	for _, a := range t.AccessList {
		line := fmt.Sprintf("declares access to %s and %d of its storage keys", a.Address, len(a.Keys))
		for _, k := range a.Keys {
			line += fmt.Sprintf(" %#x", k)
		}
		w = append(w, line)
	}
	fee := fmt.Sprintf("fee at most %s %s: %d gas at no more than %s gwei", decimal(t.MaxFeeCost(), etherDigits), t.coin(),
		t.Gas, decimal(t.MaxFee, gweiDigits))
	if t.Type == DynamicFee {
		fee += fmt.Sprintf(", of which %s gwei at most as a tip", decimal(t.MaxPriority, gweiDigits))
	}
	return append(w, fee, fmt.Sprintf("nonce %d", t.Nonce), fmt.Sprintf("on chain %d, %s", t.ChainID, t.Type))
}

// effect says what the call does.
func (t *Transaction) effect() string {
	c := t.Call
	switch c.Kind {
	case Transfer:
		return fmt.Sprintf("sends %s %s to %s", decimal(t.Value, etherDigits), t.coin(), t.To)
	case ContractCreation:
		return fmt.Sprintf("creates a contract that runs code of %d bytes", len(t.Data))
	case TokenTransfer:
		return fmt.Sprintf("transfers %d units of token %s to %s", c.Amount, c.Token, c.To)
	case TokenTransferFrom:
		return fmt.Sprintf("transfers %d units of token %s (or the item of that number) from %s to %s", c.Amount, c.Token,
			c.From, c.To)
	case Approve, UnlimitedApproval:
		return t.approval()
	case Upgrade:
		return "replaces or borrows code: " + t.call()
	case Control:
		return "changes who commands a contract: " + t.call()
	case Forward:
		return "has a contract make calls that are not read: " + t.call()
	}
	return "calls, for what is not known: " + t.call()
}

func (t *Transaction) approval() string {
	c := t.Call
	spender, extent := c.Spender.String(), fmt.Sprintf("up to %d units", c.Amount)
	if strings.HasPrefix(c.Method, "increase") {
		extent = fmt.Sprintf("up to %d units more than before", c.Amount)
	}
	if c.Spender.IsZero() {
		spender = "someone who is not read"
	}
	if c.Kind == UnlimitedApproval {
		extent = "ANY AMOUNT"
	}
	if c.Kind == Approve && c.Method == "approve(address,uint256)" {
		extent += " (or the item of that number)"
	}
	line := fmt.Sprintf("lets %s take %s of token %s", spender, extent, c.Token)
	if !c.From.IsZero() {
		line += fmt.Sprintf(" from %s", c.From)
	}
	return line + ": " + t.call()
}

// call spells the call out as far as it was read.
func (t *Transaction) call() string {
	c := t.Call
	switch {
	case len(t.Data) < len(c.Selector):
		return fmt.Sprintf("data without a selector, of contract %s", t.To)
	case c.Method == "":
		return fmt.Sprintf("selector %#x of contract %s", c.Selector, t.To)
	case c.Args == nil:
		return fmt.Sprintf("%s of contract %s", c.Method, t.To)
	}
	return fmt.Sprintf("%s of contract %s with %s", c.Method, t.To, strings.Join(c.Args, ", "))
}

// coin names what fees are paid in.
func (t *Transaction) coin() string {
	if t.ChainID.IsInt64() && t.ChainID.Int64() == 1 {
		return "ETH"
	}
	return fmt.Sprintf("coins of chain %d", t.ChainID)
}

// decimal shows n units of 10^-digits, without zeros at the end.
func decimal(n *big.Int, digits int) string {
	s := fmt.Sprintf("%0*d", digits+1, n)
	whole, part := s[:len(s)-digits], strings.TrimRight(s[len(s)-digits:], "0")
	if part == "" {
		return whole
	}
	return whole + "." + part
}
