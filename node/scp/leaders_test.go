package scp_test

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"slices"
	"testing"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/scp"
)

// weightOf is threshold/entries times the largest weight, rounded up at each level, with big integers.
func weightOf(fractions ...[2]int64) uint64 {
	w := new(big.Int).SetUint64(math.MaxUint64)
	for _, f := range fractions {
		w.Mul(w, big.NewInt(f[0]))
		w.Add(w, big.NewInt(f[1]-1))
		w.Div(w, big.NewInt(f[1]))
	}
	return w.Uint64()
}

func TestWeights(t *testing.T) {
	w := newWorld()
	for _, c := range []struct {
		set, node string
		want      uint64
	}{
		{"3 v0 v1 v2 v3", "v2", weightOf([2]int64{3, 4})},
		{"3 v0 v1 v2 v3", "v4", 0},
		{"3 v0 v1 v2 v3 {1 v4 v5}", "v4", weightOf([2]int64{1, 2}, [2]int64{3, 5})},
		{"3 v0 v1 v2 v3 {1 v4 v5}", "v0", weightOf([2]int64{3, 5})},
		{"1 v0", "v0", math.MaxUint64},
		{"2 v0 v1", "v1", math.MaxUint64},
		{"1 v0 v1 v2", "v1", math.MaxUint64 / 3},
		{"2 {2 v0 v1 v2} {1 v3 {1 v4 v5 v6}} v7", "v5", weightOf([2]int64{1, 3}, [2]int64{1, 2}, [2]int64{2, 3})},
	} {
		if got := parsed(t, c.set).Weight(w.node(c.node)); got != c.want {
			t.Errorf("%s in %s: %d, not %d", c.node, c.set, got, c.want)
		}
	}
	if got, near := parsed(t, "3 v0 v1 v2 v3").Weight(w.node("v0")), uint64(math.MaxUint64/4*3); got < near || got > near+3 {
		t.Errorf("three of four is %d", got)
	}
}

// TestDrawIsWhatTheNetworkHashes: the fields' XDR, made by the library, one after the other.
func TestDrawIsWhatTheNetworkHashes(t *testing.T) {
	node := newWorld().node("v3")
	for _, previous := range []string{"p", "prev", "a previous value"} {
		for _, d := range []scp.Draw{
			{Slot: 7, Kind: scp.DrawNeighbour, Round: 1, Node: node},
			{Slot: 1 << 40, Kind: scp.DrawPriority, Round: 3, Node: node},
			{Slot: 7, Kind: scp.DrawValue, Round: 2, Value: xdr.Value("value")},
		} {
			d.Previous = xdr.Value(previous)
			id := scp.NodeID.XDR(d.Node)
			fields := []interface{ MarshalBinary() ([]byte, error) }{xdr.Uint64(d.Slot), d.Previous, xdr.Uint32(d.Kind), xdr.Uint32(d.Round), id}
			if d.Kind == scp.DrawValue {
				fields[4] = d.Value
			}
			var all []byte
			for _, f := range fields {
				raw, err := f.MarshalBinary()
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, raw...)
			}
			sum := sha256.Sum256(all)
			if want := binary.BigEndian.Uint64(sum[:]); d.Sum() != want {
				t.Errorf("%+v: %d, not %d", d, d.Sum(), want)
			}
		}
	}
}

// chance lets the hashes of the network decide who leads.
type chance struct{ *world }

func (chance) Hash(d scp.Draw) uint64 { return d.Sum() }

// leadersOf returns the leaders of the first rounds of a slot as a node sees them, and the round that each was reached in.
func leadersOf(t *testing.T, w *world, node, quorum string, index uint64, rounds int) (out [][]string, at []uint32) {
	t.Helper()
	n, err := scp.New(scp.Config{ID: w.node(node), QuorumSet: set(t, quorum), Validator: true,
		Nomination: scp.DefaultTimeout, Ballot: scp.DefaultTimeout}, chance{w})
	if err != nil {
		t.Fatal(err)
	}
	for range rounds {
		in := scp.Nominate{Slot: index, Value: xdr.Value("v"), Previous: xdr.Value(fmt.Sprint("before ", index))}
		if _, err := n.Step(in); err != nil {
			t.Fatal(err)
		}
		info, _ := n.Info(index, w.show())
		out, at = append(out, info.Nomination.Leaders), append(at, info.Nomination.Round)
	}
	return out, at
}

func TestLeaders(t *testing.T) {
	const quorum = "3 v0 v1 v2 v3 {2 v4 v5 v6}"
	w := newWorld()
	for i := range 7 {
		w.node(fmt.Sprint("v", i))
	}
	first := map[string]int{}
	agree, skipped := 0, 0
	const slots, rounds = 200, 9
	for index := range uint64(slots) {
		mine, at := leadersOf(t, w, "v0", quorum, index, rounds)
		again, _ := leadersOf(t, w, "v0", quorum, index, rounds)
		other, _ := leadersOf(t, w, "v1", quorum, index, 1)
		if fmt.Sprint(mine) != fmt.Sprint(again) {
			t.Fatal("chance differs")
		}
		if slices.Equal(mine[0], other[0]) {
			agree++
		}
		for _, name := range mine[0] {
			first[name]++
		}
		for i := 1; i < rounds; i++ {
			if len(mine[i]) <= len(mine[i-1]) && len(mine[i]) < 7 {
				t.Fatalf("slot %d: round %d added nobody to %v", index, i, mine[i-1])
			}
			if at[i] > at[i-1]+1 {
				skipped++
			}
		}
		if len(mine[rounds-1]) != 7 {
			t.Fatalf("slot %d: not everybody leads in the end: %v", index, mine)
		}
	}
	if skipped == 0 {
		t.Error("no round was passed over")
	}
	if agree < slots/4 {
		t.Errorf("two nodes have the same first leader in %d of %d slots only", agree, slots)
	}
	// a node is always its own neighbour, so it leads most; those further in the set lead less
	outer, inner := first["v1"]+first["v2"]+first["v3"], first["v4"]+first["v5"]+first["v6"]
	if first["v0"] <= outer/3 || outer <= inner || len(first) != 7 {
		t.Errorf("who leads first: %v", first)
	}
}

func TestTimeouts(t *testing.T) {
	second := scp.DefaultTimeout.Initial
	for _, c := range []struct {
		t     scp.Timeout
		round uint32
		want  int64 // milliseconds
	}{
		{scp.DefaultTimeout, 1, 1000},
		{scp.DefaultTimeout, 2, 2000},
		{scp.DefaultTimeout, 1799, 1799_000},
		{scp.DefaultTimeout, 1800, 1800_000},
		{scp.DefaultTimeout, 1801, 1800_000},
		{scp.DefaultTimeout, math.MaxUint32, 1800_000},
		{scp.Timeout{Initial: second * 3 / 4, Increment: second * 3 / 4}, 4, 3000},
		{scp.Timeout{Initial: second * 5 / 2, Increment: second * 2}, 3, 6500},
		{scp.Timeout{Initial: second}, 1 << 20, 1000},
		{scp.Timeout{Initial: 1800 * second, Increment: 1800 * second}, math.MaxUint32, 1800_000},
	} {
		if got := c.t.Of(c.round).Milliseconds(); got != c.want {
			t.Errorf("%v, round %d: %d ms", c.t, c.round, got)
		}
	}
}
