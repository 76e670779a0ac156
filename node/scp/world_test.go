package scp_test

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/scp"
)

// world is v0 and everything around it that a script can set. It is v0's Application.
type world struct {
	nodes     map[string]scp.NodeID
	names     map[scp.NodeID]string
	values    map[string]xdr.Value
	valueName map[string]string
	common    *xdr.ScpQuorumSet           // of all nodes
	quorums   map[string]xdr.ScpQuorumSet // of those that have their own
	sets      map[xdr.Hash]xdr.ScpQuorumSet
	leaders   map[scp.NodeID]bool
	hashes    map[string]uint64
	invalid   map[string]bool
	combined  map[string]xdr.Value // by sorted candidates
	validator bool

	v0       *scp.Node
	restored []xdr.ScpStatement // the restore lines that are still in a row
	sent     []xdr.ScpStatement // by the last input
	ballot   bool               // the ballot timer runs
	nominate bool               // the nomination timer runs
	decided  []xdr.Value
}

func newWorld() *world {
	return &world{nodes: map[string]scp.NodeID{}, names: map[scp.NodeID]string{}, values: map[string]xdr.Value{},
		valueName: map[string]string{}, quorums: map[string]xdr.ScpQuorumSet{}, sets: map[xdr.Hash]xdr.ScpQuorumSet{},
		hashes: map[string]uint64{}, invalid: map[string]bool{}, combined: map[string]xdr.Value{}, validator: true}
}

func (w *world) Validate(_ uint64, v xdr.Value, _ bool) scp.Validity {
	if w.invalid[string(v)] {
		return scp.Invalid
	}
	return scp.Valid
}

func (w *world) Extract(uint64, xdr.Value) xdr.Value { return nil }

func (w *world) Combine(_ uint64, candidates []xdr.Value) xdr.Value {
	if v, ok := w.combined[fmt.Sprint(candidates)]; ok {
		return v
	}
	return candidates[len(candidates)-1]
}

func (w *world) QuorumSet(h xdr.Hash) *xdr.ScpQuorumSet {
	if q, ok := w.sets[h]; ok {
		return &q
	}
	return nil
}

// Hash makes everybody a neighbour and the leaders of the script lead.
func (w *world) Hash(d scp.Draw) uint64 {
	switch {
	case d.Kind == scp.DrawValue:
		return w.hashes[string(d.Value)]
	case d.Kind == scp.DrawPriority && w.leads(d.Node):
		return 1000
	}
	return 0
}

func (w *world) leads(id scp.NodeID) bool {
	if w.leaders == nil {
		return id == w.node("v0")
	}
	return w.leaders[id]
}

// node gives v0, v1, v2... keys in this order, and other names keys after those.
func (w *world) node(name string) scp.NodeID {
	if id, ok := w.nodes[name]; ok {
		return id
	}
	id := scp.NodeID{0: 1, 31: 1}
	if i, err := strconv.Atoi(strings.TrimPrefix(name, "v")); err == nil && i >= 0 && i < 1<<16 && strings.HasPrefix(name, "v") {
		id[1], id[2] = byte(i>>8), byte(i)
	} else {
		id[0] = 2
		id[1], id[2] = byte(len(w.nodes)>>8), byte(len(w.nodes))
	}
	w.nodes[name], w.names[id] = id, name
	return id
}

func (w *world) addValue(name string) {
	i := len(w.values)
	w.values[name] = xdr.Value(fmt.Sprintf("%03d %s", i, name))
	w.valueName[string(w.values[name])] = name
}

func (w *world) show() *scp.Names {
	return &scp.Names{
		Node:  func(id scp.NodeID) string { return w.names[id] },
		Value: func(v xdr.Value) string { return w.valueName[string(v)] },
	}
}

// quorumOf returns the quorum set that a node names from now on, and makes it known.
func (w *world) quorumOf(node string) (xdr.ScpQuorumSet, xdr.Hash, error) {
	q, ok := w.quorums[node]
	if !ok {
		if w.common == nil {
			return q, xdr.Hash{}, fmt.Errorf("no quorum was given")
		}
		q = *w.common
	}
	h := scp.HashQuorumSet(q)
	w.sets[h] = q
	return q, h, nil
}

// start makes v0 if there is none.
func (w *world) start() error {
	if w.v0 != nil {
		return nil
	}
	q, _, err := w.quorumOf("v0")
	if err != nil {
		return err
	}
	w.ballot, w.nominate, w.sent, w.decided = false, false, nil, nil
	w.v0, err = scp.New(scp.Config{ID: w.node("v0"), QuorumSet: q, Validator: w.validator,
		Nomination: scp.DefaultTimeout, Ballot: scp.DefaultTimeout}, w)
	if err != nil {
		return err
	}
	normal, h := w.v0.QuorumSet()
	w.sets[h] = normal.XDR()
	return nil
}

// changeQuorum makes v0 follow what the script says about it after it was started.
func (w *world) changeQuorum() error {
	if w.v0 == nil {
		return nil
	}
	q, _, err := w.quorumOf("v0")
	if err != nil {
		return err
	}
	if err := w.v0.SetQuorumSet(q); err != nil {
		return err
	}
	normal, h := w.v0.QuorumSet()
	w.sets[h] = normal.XDR()
	return nil
}

// step gives v0 one input.
func (w *world) step(in scp.Input) error {
	if err := w.start(); err != nil {
		return err
	}
	w.restored, w.sent = nil, nil
	out, err := w.v0.Step(in)
	w.take(out)
	return err
}

func (w *world) take(out scp.Output) {
	for _, e := range out.Effects {
		switch e := e.(type) {
		case scp.Send:
			w.sent = append(w.sent, e.Statement)
		case scp.SetTimer:
			w.timer(e.Timer, true, e.After)
		case scp.StopTimer:
			w.timer(e.Timer, false, 0)
		case scp.Decide:
			w.decided = append(w.decided, e.Value)
		}
	}
}

func (w *world) timer(t scp.Timer, on bool, after time.Duration) {
	if on && after <= 0 {
		panic("a timer that has run out already")
	}
	if t == scp.BallotTimer {
		w.ballot = on
	} else {
		w.nominate = on
	}
}

// restore starts v0 again from what it said last: nomination, ballot statement, or both on lines in a row.
func (w *world) restore(st xdr.ScpStatement) error {
	nomination := st.Pledges.Type == xdr.ScpStatementTypeScpStNominate
	var kept []xdr.ScpStatement
	for _, old := range w.restored {
		if nomination != (old.Pledges.Type == xdr.ScpStatementTypeScpStNominate) {
			kept = append(kept, old)
		}
	}
	kept = append(kept, st)
	w.v0 = nil
	if err := w.start(); err != nil {
		return err
	}
	w.restored = kept
	for _, old := range kept {
		out, err := w.v0.Restore(old)
		if err != nil {
			return err
		}
		w.take(out)
	}
	return nil
}

// state shows all there is to know about v0.
func (w *world) state() string {
	if w.v0 == nil {
		return "v0 has not started\n"
	}
	info, ok := w.v0.Info(slot, w.show())
	if !ok {
		return "v0 has heard of nothing\n"
	}
	return info.String()
}

// said shows what v0 sent.
func (w *world) said() string {
	if len(w.sent) == 0 {
		return "nothing"
	}
	var out []string
	for _, st := range w.sent {
		out = append(out, scp.Describe(st, w.show()))
	}
	return strings.Join(out, " ; ")
}
