package payload_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/stellar/go-stellar-sdk/keypair"
	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/payload"
)

var (
	validator = keypair.MustRandom()
	proposer  = keypair.MustRandom()
	quorum    = xdr.Hash{0x51}

	// Three values in the protocol's order, which is that of their bytes: each begins with its transaction set.
	valueA = stellarValue(nil, func(v *xdr.StellarValue) { v.TxSetHash[0] = 'a' })
	valueB = stellarValue(nil, func(v *xdr.StellarValue) { v.TxSetHash[0] = 'b' })
	valueC = stellarValue([]xdr.LedgerUpgrade{{Type: xdr.LedgerUpgradeTypeLedgerUpgradeVersion, NewLedgerVersion: ptr(xdr.Uint32(23))},
		{Type: xdr.LedgerUpgradeTypeLedgerUpgradeFlags, NewFlags: ptr(xdr.Uint32(1))}}, func(v *xdr.StellarValue) { v.TxSetHash[0] = 'c' })
)

// stellarValue is a value that the proposer signed as the deployed software does. change comes before the signature.
func stellarValue(upgrades []xdr.LedgerUpgrade, change func(v *xdr.StellarValue)) xdr.Value {
	v := xdr.StellarValue{TxSetHash: xdr.Hash{31: 7}, CloseTime: xdr.TimePoint(start.Unix()),
		Ext: xdr.StellarValueExt{V: xdr.StellarValueTypeStellarValueSigned, LcValueSignature: &xdr.LedgerCloseValueSignature{
			NodeId: xdr.NodeId(xdr.MustAddress(proposer.Address()))}}}
	for _, u := range upgrades {
		v.Upgrades = append(v.Upgrades, must(u.MarshalBinary()))
	}
	change(&v)
	if v.Ext.LcValueSignature != nil {
		v.Ext.LcValueSignature.Signature = must(proposer.Sign(closing(v)))
	}
	return must(v.MarshalBinary())
}

// closing is what is signed of a value: network, type 4, transaction set, close time.
func closing(v xdr.StellarValue) []byte {
	network := passphrase.NetworkID()
	return slices.Concat(network[:], []byte{0, 0, 0, 4}, v.TxSetHash[:], must(v.CloseTime.MarshalBinary()))
}

// statement is what is signed of an envelope: network, type 1, statement.
func statement(slot uint64, pledge any) []byte {
	x := xdr.ScpStatement{NodeId: xdr.NodeId(xdr.MustAddress(validator.Address())), SlotIndex: xdr.Uint64(slot)}
	switch p := pledge.(type) {
	case xdr.ScpNomination:
		x.Pledges = xdr.ScpStatementPledges{Type: xdr.ScpStatementTypeScpStNominate, Nominate: &p}
	case xdr.ScpStatementPrepare:
		x.Pledges = xdr.ScpStatementPledges{Type: xdr.ScpStatementTypeScpStPrepare, Prepare: &p}
	case xdr.ScpStatementConfirm:
		x.Pledges = xdr.ScpStatementPledges{Type: xdr.ScpStatementTypeScpStConfirm, Confirm: &p}
	case xdr.ScpStatementExternalize:
		x.Pledges = xdr.ScpStatementPledges{Type: xdr.ScpStatementTypeScpStExternalize, Externalize: &p}
	}
	network := passphrase.NetworkID()
	return slices.Concat(network[:], []byte{0, 0, 0, 1}, must(x.MarshalBinary()))
}

func ballot(n uint32, v xdr.Value) xdr.ScpBallot {
	return xdr.ScpBallot{Counter: xdr.Uint32(n), Value: v}
}

func nominate(votes, accepted []xdr.Value) xdr.ScpNomination {
	return xdr.ScpNomination{QuorumSetHash: quorum, Votes: votes, Accepted: accepted}
}

// prepare takes nil for a ballot that is not there.
func prepare(b xdr.ScpBallot, p, prime *xdr.ScpBallot, nC, nH uint32) xdr.ScpStatementPrepare {
	return xdr.ScpStatementPrepare{QuorumSetHash: quorum, Ballot: b, Prepared: p, PreparedPrime: prime, NC: xdr.Uint32(nC), NH: xdr.Uint32(nH)}
}

func confirm(b xdr.ScpBallot, nPrepared, nCommit, nH uint32) xdr.ScpStatementConfirm {
	return xdr.ScpStatementConfirm{QuorumSetHash: quorum, Ballot: b, NPrepared: xdr.Uint32(nPrepared), NCommit: xdr.Uint32(nCommit), NH: xdr.Uint32(nH)}
}

func externalize(b xdr.ScpBallot, nH uint32) xdr.ScpStatementExternalize {
	return xdr.ScpStatementExternalize{CommitQuorumSetHash: quorum, Commit: b, NH: xdr.Uint32(nH)}
}

func hashOf(v xdr.Value) string {
	sum := sha256.Sum256(v)
	return hex.EncodeToString(sum[:])
}

func nodeKey() keymgmt.PublicKey {
	id := xdr.MustAddress(validator.Address())
	return ed25519Key(id.Ed25519[:])
}

func TestStatementsInWords(t *testing.T) {
	values := map[string]string{
		"A": "value " + hashOf(valueA) + " is transaction set 61" + strings.Repeat("00", 30) + "07 closed at 2026-03-01T12:00:00Z, proposed by " + proposer.Address(),
		"B": "value " + hashOf(valueB) + " is transaction set 62" + strings.Repeat("00", 30) + "07 closed at 2026-03-01T12:00:00Z, proposed by " + proposer.Address(),
		"C": "value " + hashOf(valueC) + " is transaction set 63" + strings.Repeat("00", 30) + "07 closed at 2026-03-01T12:00:00Z, proposed by " + proposer.Address() +
			", UPGRADES protocol version to 23, UPGRADES ledger flags to 1",
	}
	for _, test := range []struct {
		pledge any
		values string
		words  []string
	}{
		{nominate([]xdr.Value{valueA, valueC}, []xdr.Value{valueA}), "AC",
			[]string{"votes to nominate values " + hashOf(valueA) + " and " + hashOf(valueC), "accepts as nominated values " + hashOf(valueA)}},
		{prepare(ballot(3, valueA), ptr(ballot(2, valueB)), ptr(ballot(1, valueA)), 0, 0), "AB",
			[]string{"votes to prepare ballot 3 of value " + hashOf(valueA), "accepts as prepared ballot 2 of value " + hashOf(valueB),
				"accepts as prepared ballot 1 of value " + hashOf(valueA)}},
		{prepare(ballot(3, valueA), ptr(ballot(3, valueA)), nil, 1, 2), "A",
			[]string{"votes to prepare ballot 3 of value " + hashOf(valueA), "accepts as prepared ballot 3 of value " + hashOf(valueA),
				"knows as prepared ballots up to 2 of value " + hashOf(valueA), "VOTES TO COMMIT ballots 1 to 2 of value " + hashOf(valueA)}},
		{confirm(ballot(5, valueA), 4, 2, 3), "A", []string{"ACCEPTS AS COMMITTED ballots 2 to 3 of value " + hashOf(valueA), "is at ballot 5 and accepts it as prepared up to 4"}},
		{externalize(ballot(2, valueA), 3), "A", []string{"IS DECIDED on value " + hashOf(valueA) + ", committed in ballots 2 to 3"}},
	} {
		body := statement(77, test.pledge)
		m, err := payload.Decode(keymgmt.KindStatement, body)
		if err != nil {
			t.Errorf("%s: %v", test.words[0], err)
			continue
		}
		var want []string
		for _, w := range test.words {
			want = append(want, "slot 77: "+w)
		}
		for _, v := range test.values {
			want = append(want, values[string(v)])
		}
		want = append(want, "by validator "+validator.Address()+" with quorum set "+hex.EncodeToString(quorum[:]), "on network "+passphrase.NetworkID().String())
		if got := m.Words(); !slices.Equal(got, want) {
			t.Errorf("words:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if s := m.Statement; s.Slot != 77 || s.Node.String() != validator.Address() || s.Network != passphrase.NetworkID() || s.QuorumSetHash[0] != 0x51 {
			t.Errorf("%+v", s)
		}
		if got := m.Messages(nodeKey()); len(got) != 1 || !bytes.Equal(got[0], body) {
			t.Error("the validator's key does not sign the body")
		}
		if len(m.Messages(anyKey)) != 0 {
			t.Error("another key can sign for the validator")
		}
		everyBitCounts(t, keymgmt.KindStatement, body, 0, nodeKey())
	}
}

func TestValues(t *testing.T) {
	body := closing(xdr.StellarValue{TxSetHash: xdr.Hash{1}, CloseTime: xdr.TimePoint(start.Unix())})
	m, err := payload.Decode(keymgmt.KindSCPValue, body)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"proposes transaction set 01" + strings.Repeat("00", 31) + ", closed at 2026-03-01T12:00:00Z", "on network " + passphrase.NetworkID().String()}
	if !slices.Equal(m.Words(), want) || !bytes.Equal(message(m), body) || !m.SCPValue.CloseTime.Equal(start) || m.SCPValue.TxSet[0] != 1 {
		t.Errorf("%q, %+v", m.Words(), m.SCPValue)
	}
	everyBitCounts(t, keymgmt.KindSCPValue, body, 0, anyKey)
	for name, bad := range map[string][]byte{
		"no time":       closing(xdr.StellarValue{TxSetHash: xdr.Hash{1}}),
		"end of time":   closing(xdr.StellarValue{CloseTime: 1 << 62}),
		"bytes after":   append(bytes.Clone(body), 0),
		"cut short":     body[:len(body)-1],
		"a statement":   statement(7, nominate([]xdr.Value{valueA}, nil)),
		"a transaction": change(t, func(*xdr.Transaction) {}),
	} {
		if _, err := payload.Decode(keymgmt.KindSCPValue, bad); !errors.Is(err, keymgmt.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestStatementsThatAreNotUnderstood(t *testing.T) {
	good := statement(7, prepare(ballot(1, valueA), nil, nil, 0, 0))
	if _, err := payload.Decode(keymgmt.KindStatement, good); err != nil {
		t.Fatal(err)
	}
	// of is a statement on a value that is wrong somewhere.
	of := func(upgrades []xdr.LedgerUpgrade, change func(v *xdr.StellarValue)) []byte {
		return statement(7, prepare(ballot(1, stellarValue(upgrades, change)), nil, nil, 0, 0))
	}
	version := xdr.LedgerUpgrade{Type: xdr.LedgerUpgradeTypeLedgerUpgradeVersion, NewLedgerVersion: ptr(xdr.Uint32(23))}
	fee := xdr.LedgerUpgrade{Type: xdr.LedgerUpgradeTypeLedgerUpgradeBaseFee, NewBaseFee: ptr(xdr.Uint32(23))}
	same := func(*xdr.StellarValue) {}
	forged := bytes.Clone(valueA)
	forged[len(forged)-1] ^= 1
	a, b := ptr(ballot(1, valueA)), ptr(ballot(2, valueB))
	for name, body := range map[string][]byte{
		"slot 0":                          statement(0, prepare(ballot(1, valueA), nil, nil, 0, 0)),
		"ballot 0":                        statement(7, prepare(ballot(0, valueA), nil, nil, 0, 0)),
		"ballot 0 accepted":               statement(7, prepare(ballot(1, valueA), ptr(ballot(0, valueA)), nil, 0, 0)),
		"second accepted without a first": statement(7, prepare(ballot(2, valueA), nil, a, 0, 0)),
		"accepted in disorder":            statement(7, prepare(ballot(2, valueA), a, b, 0, 0)),
		"accepted twice":                  statement(7, prepare(ballot(2, valueA), ptr(ballot(2, valueA)), a, 0, 0)),
		"confirmed, not accepted":         statement(7, prepare(ballot(1, valueA), nil, nil, 0, 1)),
		"more confirmed than accepted":    statement(7, prepare(ballot(2, valueA), a, nil, 0, 2)),
		"commit without confirmation":     statement(7, prepare(ballot(1, valueA), a, nil, 1, 0)),
		"commit from above":               statement(7, prepare(ballot(3, valueA), ptr(ballot(3, valueA)), nil, 3, 2)),
		"commit above the ballot":         statement(7, prepare(ballot(1, valueA), ptr(ballot(3, valueA)), nil, 1, 3)),
		"accepts ballot 0 as committed":   statement(7, confirm(ballot(1, valueA), 1, 0, 1)),
		"accepts from above":              statement(7, confirm(ballot(3, valueA), 3, 3, 2)),
		"accepts above the ballot":        statement(7, confirm(ballot(1, valueA), 3, 1, 2)),
		"decided on ballot 0":             statement(7, externalize(ballot(0, valueA), 3)),
		"decided from above":              statement(7, externalize(ballot(3, valueA), 2)),
		"nomination of nothing":           statement(7, nominate(nil, nil)),
		"votes in disorder":               statement(7, nominate([]xdr.Value{valueB, valueA}, nil)),
		"vote twice":                      statement(7, nominate([]xdr.Value{valueA, valueA}, nil)),
		"accepted values in disorder":     statement(7, nominate([]xdr.Value{valueA}, []xdr.Value{valueB, valueA})),
		"value that is empty":             statement(7, nominate([]xdr.Value{{}}, nil)),
		"value that is noise":             statement(7, nominate([]xdr.Value{[]byte("noise")}, nil)),
		"value and more":                  statement(7, nominate([]xdr.Value{append(bytes.Clone(valueA), 0, 0, 0, 0)}, nil)),
		"value with a forged signature":   statement(7, nominate([]xdr.Value{forged}, nil)),
		"value that nobody signed":        of(nil, func(v *xdr.StellarValue) { v.Ext = xdr.StellarValueExt{} }),
		"value without a time":            of(nil, func(v *xdr.StellarValue) { v.CloseTime = 0 }),
		"value at the end of time":        of(nil, func(v *xdr.StellarValue) { v.CloseTime = 1 << 63 }),
		"upgrade twice":                   of([]xdr.LedgerUpgrade{version, version}, same),
		"upgrades in disorder":            of([]xdr.LedgerUpgrade{fee, version}, same),
		"upgrade of contracts":            of([]xdr.LedgerUpgrade{{Type: xdr.LedgerUpgradeTypeLedgerUpgradeMaxSorobanTxSetSize, NewMaxSorobanTxSetSize: ptr(xdr.Uint32(1))}}, same),
		"upgrade that is noise":           of(nil, func(v *xdr.StellarValue) { v.Upgrades = []xdr.UpgradeType{{1, 2, 3}} }),
		"bytes after":                     append(bytes.Clone(good), 0, 0, 0, 0),
		"cut short":                       good[:len(good)-4],
		"other type":                      append(append(bytes.Clone(good[:32]), 0, 0, 0, 2), good[36:]...),
		"no statement":                    good[:36],
		"a value":                         closing(xdr.StellarValue{CloseTime: 1}),
	} {
		if m, err := payload.Decode(keymgmt.KindStatement, body); !errors.Is(err, keymgmt.ErrMalformed) || m.Kind() != 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}
