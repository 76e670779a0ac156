package herder

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/scp"
)

// application is what the machine is told of values. All is called from within Step.
type application struct{ f *Federated }

// decodeValue reads a value in its canonical encoding.
func decodeValue(raw xdr.Value) (v xdr.StellarValue, err error) {
	if err := v.UnmarshalBinary(raw); err != nil {
		return v, fmt.Errorf("%w: %v", ErrBadValue, err)
	}
	if again, err := v.MarshalBinary(); err != nil || !bytes.Equal(again, raw) {
		return v, fmt.Errorf("%w: not in its canonical encoding", ErrBadValue)
	}
	return v, nil
}

// rawValues returns the values that a statement names.
func rawValues(st xdr.ScpStatement) []xdr.Value {
	switch p := st.Pledges; p.Type {
	case xdr.ScpStatementTypeScpStNominate:
		return append(slices.Clone(p.Nominate.Votes), p.Nominate.Accepted...)
	case xdr.ScpStatementTypeScpStPrepare:
		out := []xdr.Value{p.Prepare.Ballot.Value}
		for _, b := range []*xdr.ScpBallot{p.Prepare.Prepared, p.Prepare.PreparedPrime} {
			if b != nil {
				out = append(out, b.Value)
			}
		}
		return out
	case xdr.ScpStatementTypeScpStConfirm:
		return []xdr.Value{p.Confirm.Ballot.Value}
	case xdr.ScpStatementTypeScpStExternalize:
		return []xdr.Value{p.Externalize.Commit.Value}
	}
	return nil
}

// valuesOf returns the values that a statement names, each once.
func valuesOf(st xdr.ScpStatement) (out []xdr.StellarValue, err error) {
	seen := map[string]bool{}
	for _, raw := range rawValues(st) {
		if seen[string(raw)] {
			continue
		}
		seen[string(raw)] = true
		v, err := decodeValue(raw)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// quorumSetOf returns the hash of the quorum set that a statement names.
func quorumSetOf(st xdr.ScpStatement) protocol.Hash {
	switch p := st.Pledges; p.Type {
	case xdr.ScpStatementTypeScpStNominate:
		return protocol.Hash(p.Nominate.QuorumSetHash)
	case xdr.ScpStatementTypeScpStPrepare:
		return protocol.Hash(p.Prepare.QuorumSetHash)
	case xdr.ScpStatementTypeScpStConfirm:
		return protocol.Hash(p.Confirm.QuorumSetHash)
	}
	return protocol.Hash(st.Pledges.Externalize.CommitQuorumSetHash)
}

// Validate is part of scp.Application. Nobody can say of a value whether it is valid before the ledger before it is closed,
// or after its own is.
func (a application) Validate(slot uint64, raw xdr.Value, nomination bool) scp.Validity {
	v, err := decodeValue(raw)
	if err != nil {
		return scp.Invalid
	}
	if slot != uint64(a.f.last)+1 {
		return scp.Maybe
	}
	if err := a.f.driver.Validate(uint32(slot), v); err != nil {
		a.f.cfg.Logger.Debug("a value is not voted for", "slot", slot, "error", err)
		return scp.Invalid
	}
	if nomination {
		if kept := a.f.wantedOf(v); len(kept) != len(v.Upgrades) {
			return scp.Invalid
		}
	}
	return scp.Valid
}

// wantedOf returns the upgrades of a value that this validator wants, too.
func (f *Federated) wantedOf(v xdr.StellarValue) []xdr.UpgradeType {
	list, err := decodeUpgrades(v.Upgrades)
	if err != nil || len(list) == 0 {
		return nil
	}
	return encodeUpgrades(onlyWanted(list, f.Wanted()))
}

// Wanted returns the upgrades that this validator votes for now.
func (f *Federated) Wanted() []xdr.LedgerUpgrade {
	if f.cfg.Upgrades == nil {
		return nil
	}
	header, _ := f.cfg.Ledger.Header()
	return f.cfg.Upgrades().wanted(header, f.cfg.Clock.Now())
}

// Extract is part of scp.Application: the value without the upgrades that this validator does not want.
func (a application) Extract(slot uint64, raw xdr.Value) xdr.Value {
	v, err := decodeValue(raw)
	if err != nil {
		return nil
	}
	v.Upgrades = a.f.wantedOf(v)
	if v.Upgrades == nil {
		v.Upgrades = []xdr.UpgradeType{}
	}
	out := xdr.Value(mustEncode(v))
	if a.Validate(slot, out, true) != scp.Valid {
		return nil
	}
	return out
}

// Combine is part of scp.Application: the candidate with the most operations, by a coin that nobody can weigh among equals,
// with the highest of all upgrades.
func (a application) Combine(_ uint64, candidates []xdr.Value) xdr.Value {
	var best xdr.StellarValue
	var upgrades [][]xdr.LedgerUpgrade
	mix := protocol.Hash{}
	var values []xdr.StellarValue
	for _, raw := range candidates {
		v, err := decodeValue(raw)
		if err != nil {
			continue // a candidate was found valid before
		}
		values = append(values, v)
		for i := range mix {
			mix[i] ^= v.TxSetHash[i]
		}
		if list, err := decodeUpgrades(v.Upgrades); err == nil {
			upgrades = append(upgrades, list)
		}
	}
	most := -1
	for _, v := range values {
		ops := 0
		if set, known := a.f.driver.Set(protocol.Hash(v.TxSetHash)); known {
			ops = operationsOf(set)
		}
		if ops > most || ops == most && mixedLess(mix, best, v) {
			best, most = v, ops
		}
	}
	best.Upgrades = encodeUpgrades(mergeUpgrades(upgrades...))
	return xdr.Value(mustEncode(best))
}

// mixedLess orders values by the hashes of their sets, mixed with those of all candidates, then by close time.
func mixedLess(mix protocol.Hash, a, b xdr.StellarValue) bool {
	x, y := mix, mix
	for i := range mix {
		x[i] ^= a.TxSetHash[i]
		y[i] ^= b.TxSetHash[i]
	}
	if c := bytes.Compare(x[:], y[:]); c != 0 {
		return c < 0
	}
	if a.CloseTime != b.CloseTime {
		return a.CloseTime < b.CloseTime
	}
	return bytes.Compare(mustEncode(a), mustEncode(b)) < 0
}

// operationsOf counts the operations of a set.
func operationsOf(set xdr.GeneralizedTransactionSet) (n int) {
	for _, env := range envelopesOf(set) {
		n += len(env.Operations())
	}
	return n
}

// envelopesOf returns the transactions of a set.
func envelopesOf(set xdr.GeneralizedTransactionSet) (out []xdr.TransactionEnvelope) {
	if set.V1TxSet == nil {
		return nil
	}
	for _, phase := range set.V1TxSet.Phases {
		if phase.V0Components == nil {
			continue
		}
		for _, c := range *phase.V0Components {
			if c.TxsMaybeDiscountedFee != nil {
				out = append(out, c.TxsMaybeDiscountedFee.Txs...)
			}
		}
	}
	return out
}

// QuorumSet is part of scp.Application.
func (a application) QuorumSet(hash xdr.Hash) *xdr.ScpQuorumSet {
	a.f.mu.Lock()
	defer a.f.mu.Unlock()
	if set, known := a.f.sets[protocol.Hash(hash)]; known {
		return &set
	}
	return nil
}

// Hash is part of scp.Application.
func (a application) Hash(d scp.Draw) uint64 { return d.Sum() }
