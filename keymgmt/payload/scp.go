package payload

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/node/protocol"
)

// scpHeader is what a validator's signatures cover before the statement or value: the network's id and a type.
const scpHeader = sha256.Size + 4

// SCPValue is what a validator signs of a value that it proposes. Upgrades are not covered, since consensus may strip
// them.
type SCPValue struct {
	Network   protocol.Hash
	TxSet     protocol.Hash
	CloseTime time.Time
}

// Value is what a statement is about: what the next ledger is made of. Only Decode makes one. Its order in the protocol
// is that of its bytes.
type Value struct {
	TxSet     protocol.Hash
	CloseTime time.Time
	Upgrades  []Upgrade
	Proposer  protocol.AccountID // whose signature of transaction set and close time verifies

	raw string
}

// Upgrade changes a parameter of the network.
type Upgrade struct {
	Parameter Parameter
	New       uint32
}

// Parameter is a parameter of the network. Zero is invalid.
type Parameter uint8

// The parameters, in the ledger's order.
const (
	ProtocolVersion Parameter = 1 + iota
	BaseFee
	MaxTransactions
	BaseReserve
	LedgerFlags
)

var parameters = []string{ProtocolVersion: "protocol version", BaseFee: "base fee", MaxTransactions: "operations per ledger",
	BaseReserve: "base reserve", LedgerFlags: "ledger flags"}

// String returns the parameter's name.
func (p Parameter) String() string {
	if p != 0 && int(p) < len(parameters) {
		return parameters[p]
	}
	return fmt.Sprintf("parameter %d", uint8(p))
}

// Hash returns SHA-256 of the value as it stands in statements.
func (v Value) Hash() protocol.Hash { return sha256.Sum256([]byte(v.raw)) }

func (v Value) words() string {
	w := fmt.Sprintf("value %s is transaction set %s closed at %s, proposed by %s", v.Hash(), v.TxSet, v.CloseTime.Format(time.RFC3339), v.Proposer)
	for _, u := range v.Upgrades {
		w += fmt.Sprintf(", UPGRADES %s to %d", u.Parameter, u.New)
	}
	return w
}

// scpBody takes the header off, which must name that type.
func scpBody(body []byte, typ xdr.EnvelopeType) (network protocol.Hash, rest []byte, err error) {
	if len(body) <= scpHeader || binary.BigEndian.Uint32(body[sha256.Size:]) != uint32(typ) {
		return protocol.Hash{}, nil, malformed("neither network nor %s in front", typ)
	}
	return protocol.Hash(body[:sha256.Size]), body[scpHeader:], nil
}

func (m *Meaning) readSCPValue(body []byte) error {
	network, rest, err := scpBody(body, xdr.EnvelopeTypeEnvelopeTypeScpvalue)
	if err != nil {
		return err
	}
	if len(rest) != sha256.Size+8 {
		return malformed("value of %d bytes, need a hash and a time", len(rest))
	}
	at := binary.BigEndian.Uint64(rest[sha256.Size:])
	if at == 0 || at > maxTime {
		return malformed("close time %d", at)
	}
	v := &SCPValue{Network: network, TxSet: protocol.Hash(rest[:sha256.Size]), CloseTime: time.Unix(int64(at), 0).UTC()}
	m.SCPValue, m.sign = v, ed25519Only(body)
	m.words = []string{fmt.Sprintf("proposes transaction set %s, closed at %s", v.TxSet, v.CloseTime.Format(time.RFC3339)),
		"on network " + network.String()}
	return nil
}

// valueReader reads the values of one statement, each once.
type valueReader struct {
	reader
	network protocol.Hash
	seen    map[string]Value
	order   []Value // as they were first met
}

func (r *valueReader) value(x xdr.Value) Value {
	raw := string(x)
	if v, ok := r.seen[raw]; ok {
		return v
	}
	var s xdr.StellarValue
	if err := decodeXDR(x, &s); err != nil {
		r.fail("value: %v", err)
		return Value{}
	}
	if s.CloseTime == 0 || s.CloseTime > maxTime {
		r.fail("close time %d", s.CloseTime)
	}
	v := Value{TxSet: protocol.Hash(s.TxSetHash), CloseTime: time.Unix(int64(s.CloseTime), 0).UTC(), raw: raw}
	r.proposer(&v, s)
	for i, b := range s.Upgrades {
		v.Upgrades = append(v.Upgrades, r.upgrade(b))
		if i > 0 && v.Upgrades[i].Parameter <= v.Upgrades[i-1].Parameter {
			r.fail("upgrades out of order, or one twice")
		}
	}
	r.seen[raw], r.order = v, append(r.order, v)
	return v
}

// proposer checks the signature of the validator that the value names: no validator may vote for one without.
func (r *valueReader) proposer(v *Value, s xdr.StellarValue) {
	sig := s.Ext.LcValueSignature
	if s.Ext.V != xdr.StellarValueTypeStellarValueSigned || sig == nil {
		r.fail("value that nobody signed")
		return
	}
	v.Proposer = r.accountID(xdr.AccountId(sig.NodeId))
	signed := slices.Concat(r.network[:], binary.BigEndian.AppendUint32(nil, uint32(xdr.EnvelopeTypeEnvelopeTypeScpvalue)),
		s.TxSetHash[:], binary.BigEndian.AppendUint64(nil, uint64(s.CloseTime)))
	if r.err == nil && (len(sig.Signature) != ed25519.SignatureSize || !ed25519.Verify(v.Proposer.Key(), signed, sig.Signature)) {
		r.fail("the signature of %s on a value does not verify", v.Proposer)
	}
}

func (r *valueReader) upgrade(b xdr.UpgradeType) Upgrade {
	var x xdr.LedgerUpgrade
	if err := decodeXDR(b, &x); err != nil {
		r.fail("upgrade: %v", err)
		return Upgrade{}
	}
	switch x.Type {
	case xdr.LedgerUpgradeTypeLedgerUpgradeVersion:
		return Upgrade{ProtocolVersion, uint32(*x.NewLedgerVersion)}
	case xdr.LedgerUpgradeTypeLedgerUpgradeBaseFee:
		return Upgrade{BaseFee, uint32(*x.NewBaseFee)}
	case xdr.LedgerUpgradeTypeLedgerUpgradeMaxTxSetSize:
		return Upgrade{MaxTransactions, uint32(*x.NewMaxTxSetSize)}
	case xdr.LedgerUpgradeTypeLedgerUpgradeBaseReserve:
		return Upgrade{BaseReserve, uint32(*x.NewBaseReserve)}
	case xdr.LedgerUpgradeTypeLedgerUpgradeFlags:
		return Upgrade{LedgerFlags, uint32(*x.NewFlags)}
	}
	r.fail("upgrade of type %d", x.Type)
	return Upgrade{}
}

// sorted reads a set of values, in the one order there is.
func (r *valueReader) sorted(list []xdr.Value) (values []Value) {
	for i, x := range list {
		if i > 0 && strings.Compare(string(list[i-1]), string(x)) >= 0 {
			r.fail("values out of order, or one twice")
		}
		values = append(values, r.value(x))
	}
	return values
}

// nodeOnly gives the message to the validator's own key.
func nodeOnly(node protocol.AccountID, message []byte) func(keymgmt.PublicKey) [][]byte {
	all := ed25519Only(message)
	return func(public keymgmt.PublicKey) [][]byte {
		if string(public.Bytes()) != string(node.Key()) {
			return nil
		}
		return all(public)
	}
}
