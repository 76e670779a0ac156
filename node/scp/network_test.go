package scp_test

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/scp"
)

var (
	seeds = flag.Uint64("seeds", 150, "how many random networks to play")
	seed  = flag.Uint64("seed", 0, "play this one network only, if not 0")
)

// network is a few real nodes, a list of what is under way between them, and virtual time. All that happens in it comes
// from a seed. Faults are loss, delay, reordering, repetition, restarts, changes of whom a node trusts, and one member that
// says whatever it likes, or different things to different nodes.
type network struct {
	r      *rand.Rand
	now    time.Duration
	peers  []*peer
	twins  []*peer    // one member played by two honest nodes that do not know of each other
	liar   scp.NodeID // a member that says what it likes
	sets   map[xdr.Hash]xdr.ScpQuorumSet
	mail   []mail
	faulty bool
	order  uint64
}

// peer is a node and what its caller keeps: what was sent, as persisted; timers.
type peer struct {
	net     *network
	id      scp.NodeID
	node    *scp.Node
	quorum  xdr.ScpQuorumSet
	kept    [2]*xdr.ScpStatement // nomination, ballot statement
	timers  [3]time.Duration     // by scp.Timer; 0 if not set
	decided xdr.Value
	after   xdr.Value // what was decided by the lives before
	twin    int       // 1 or 2 for twins: what it says reaches every other node only
}

type mail struct {
	at    time.Duration
	order uint64
	to    *peer
	st    xdr.ScpStatement
}

func (p *peer) Validate(uint64, xdr.Value, bool) scp.Validity { return scp.Valid }
func (p *peer) Extract(uint64, xdr.Value) xdr.Value           { return nil }
func (p *peer) Combine(_ uint64, cs []xdr.Value) xdr.Value    { return bytes.Join(raws(cs), []byte("+")) }
func (p *peer) Hash(d scp.Draw) uint64                        { return d.Sum() }
func (p *peer) QuorumSet(hash xdr.Hash) *xdr.ScpQuorumSet {
	if q, ok := p.net.sets[hash]; ok {
		return &q
	}
	return nil
}

func raws(vs []xdr.Value) (out [][]byte) {
	for _, v := range vs {
		out = append(out, v)
	}
	return out
}

// newNetwork makes n nodes that trust all but one of all, one of which may be a liar, in one of several shapes.
func newNetwork(seed uint64) *network {
	net := &network{r: rand.New(rand.NewPCG(seed, 4)), sets: map[xdr.Hash]xdr.ScpQuorumSet{}, faulty: true}
	n := 4 + net.r.IntN(4)
	var ids []xdr.NodeId
	w := newWorld()
	for i := range n {
		ids = append(ids, w.node(fmt.Sprint("v", i)).XDR())
	}
	flat := xdr.ScpQuorumSet{Threshold: xdr.Uint32(n - (n-1)/3), Validators: ids}
	if n >= 7 && net.r.IntN(2) == 0 { // three organisations, two of them agree
		flat = xdr.ScpQuorumSet{Threshold: 2, InnerSets: []xdr.ScpQuorumSet{
			{Threshold: 2, Validators: ids[:3]}, {Threshold: 2, Validators: ids[3:5]}, {Threshold: 2, Validators: ids[5:]}}}
	}
	flat = scp.NormalQuorumSet(flat)
	net.sets[scp.HashQuorumSet(flat)] = flat
	honest := n
	last := w.node(fmt.Sprint("v", n-1))
	if kind := net.r.IntN(3); len(flat.InnerSets) == 0 && kind > 0 {
		honest = n - 1
		if kind == 1 {
			net.liar = last
		} else {
			net.twins = []*peer{{net: net, id: last, quorum: flat, twin: 1}, {net: net, id: last, quorum: flat, twin: 2}}
		}
	}
	for _, p := range net.twins {
		p.start()
	}
	for i := range honest {
		p := &peer{net: net, id: w.node(fmt.Sprint("v", i)), quorum: flat}
		p.start()
		net.peers = append(net.peers, p)
	}
	return net
}

func (p *peer) start() {
	n, err := scp.New(scp.Config{ID: p.id, QuorumSet: p.quorum, Validator: true,
		Nomination: scp.DefaultTimeout, Ballot: scp.DefaultTimeout}, p)
	if err != nil {
		panic(err)
	}
	p.node, p.timers = n, [3]time.Duration{}
	if p.decided != nil {
		p.after = p.decided
	}
	p.decided = nil
}

// restart loses all but what was persisted.
func (p *peer) restart() error {
	p.start()
	for _, st := range p.kept {
		if st == nil {
			continue
		}
		out, err := p.node.Restore(*st)
		if err != nil {
			return err
		}
		if err := p.do(out); err != nil {
			return err
		}
	}
	return p.propose()
}

func (p *peer) propose() error {
	return p.step(scp.Nominate{Slot: slot, Value: xdr.Value(fmt.Sprintf("%x", int(p.id[2])+16*p.twin)), Previous: xdr.Value("before")})
}

func (p *peer) step(in scp.Input) error {
	out, err := p.node.Step(in)
	if err == nil {
		err = p.do(out)
	}
	if err == nil {
		err = p.node.Broken(slot)
	}
	return err
}

// do persists and sends, and checks that nothing is taken back.
func (p *peer) do(out scp.Output) error {
	for _, e := range out.Effects {
		switch e := e.(type) {
		case scp.Send:
			kind := 1
			if e.Statement.Pledges.Type == xdr.ScpStatementTypeScpStNominate {
				kind = 0
			}
			if old := p.kept[kind]; old != nil && !follows(*old, e.Statement) {
				return fmt.Errorf("%v said %s after %s", p.id[2], scp.Describe(e.Statement, raw), scp.Describe(*old, raw))
			}
			p.kept[kind] = &e.Statement
			p.net.send(p, e.Statement)
		case scp.SetTimer:
			p.timers[e.Timer] = p.net.now + e.After
		case scp.StopTimer:
			p.timers[e.Timer] = 0
		case scp.Decide:
			if p.decided != nil || p.after != nil && !bytes.Equal(p.after, e.Value) {
				return fmt.Errorf("%v decided %s after %s, %s", p.id[2], e.Value, p.decided, p.after)
			}
			p.decided = e.Value
		}
	}
	return nil
}

var raw = &scp.Names{Value: func(v xdr.Value) string { return string(v) }}

// follows says whether a node may say b after a: kinds, and within them ballots, go up; sets of values grow; and once a
// value is committed it stays.
func follows(a, b xdr.ScpStatement) bool {
	x, y := a.Pledges, b.Pledges
	switch {
	case x.Nominate != nil:
		return within(x.Nominate.Votes, y.Nominate.Votes) && within(x.Nominate.Accepted, y.Nominate.Accepted)
	case y.Type < x.Type || x.Externalize != nil:
		return false
	case x.Confirm != nil && y.Confirm != nil:
		return bytes.Equal(x.Confirm.Ballot.Value, y.Confirm.Ballot.Value) && x.Confirm.Ballot.Counter <= y.Confirm.Ballot.Counter &&
			x.Confirm.NPrepared <= y.Confirm.NPrepared && x.Confirm.NH <= y.Confirm.NH
	case x.Confirm != nil:
		return bytes.Equal(x.Confirm.Ballot.Value, y.Externalize.Commit.Value)
	case y.Prepare != nil:
		return x.Prepare.Ballot.Counter <= y.Prepare.Ballot.Counter
	}
	return true
}

func within(some, all []xdr.Value) bool {
	for _, v := range some {
		if !slices.ContainsFunc(all, func(o xdr.Value) bool { return bytes.Equal(v, o) }) {
			return false
		}
	}
	return true
}

// send puts a statement under way to all others, with what may happen to it there.
func (net *network) send(from *peer, st xdr.ScpStatement) {
	for i, to := range slices.Concat(net.peers, net.twins) {
		if to.id == from.id || from.twin > 0 && (from.twin+i)%2 == 0 {
			continue
		}
		for copies := 1; copies > 0; copies-- {
			delay := time.Duration(1+net.r.IntN(50)) * time.Millisecond
			if net.faulty {
				if net.r.IntN(5) == 0 {
					continue
				}
				delay = time.Duration(1+net.r.IntN(3000)) * time.Millisecond
				if net.r.IntN(10) == 0 {
					copies++
				}
			}
			net.order++
			net.mail = append(net.mail, mail{net.now + delay, net.order, to, st})
		}
	}
}

// next runs whatever comes next; nothing is left if it is false.
func (net *network) next() (bool, error) {
	var due time.Duration = -1
	var who *peer
	var what scp.Timer
	for _, p := range slices.Concat(net.peers, net.twins) {
		for t, at := range p.timers {
			if at != 0 && (due < 0 || at < due) {
				due, who, what = at, p, scp.Timer(t)
			}
		}
	}
	m := -1
	for i := range net.mail {
		if at := net.mail[i].at; (due < 0 || at <= due) && (m < 0 || at < net.mail[m].at || at == net.mail[m].at && net.mail[i].order < net.mail[m].order) {
			m = i
		}
	}
	switch {
	case m >= 0:
		one := net.mail[m]
		net.mail = slices.Delete(net.mail, m, m+1)
		net.now = one.at
		return true, one.to.step(scp.Receive{Envelope: xdr.ScpEnvelope{Statement: one.st}})
	case who != nil:
		net.now, who.timers[what] = due, 0
		return true, who.step(scp.Expire{Slot: slot, Timer: what})
	}
	return false, nil
}

// lie says something as the liar, made of what honest nodes said, to some of them.
func (net *network) lie() {
	from := net.peers[net.r.IntN(len(net.peers))]
	st := from.kept[net.r.IntN(2)]
	if st == nil {
		return
	}
	lie := twisted(net.r, *st)
	lie.NodeId = net.liar.XDR()
	for _, to := range net.peers {
		if net.r.IntN(2) == 0 {
			net.order++
			net.mail = append(net.mail, mail{net.now + time.Duration(1+net.r.IntN(500))*time.Millisecond, net.order, to, lie})
		}
	}
}

func twisted(r *rand.Rand, st xdr.ScpStatement) xdr.ScpStatement {
	raw, err := st.MarshalBinary()
	if err != nil {
		panic(err)
	}
	var out xdr.ScpStatement
	if err := out.UnmarshalBinary(raw); err != nil {
		panic(err)
	}
	twist := func(n *xdr.Uint32) {
		switch r.IntN(6) {
		case 0:
			*n++
		case 1:
			*n = xdr.Uint32(r.IntN(5))
		case 2:
			*n = 1<<32 - 1
		}
	}
	p := out.Pledges
	switch {
	case p.Prepare != nil && r.IntN(3) == 0: // straight to the end, with a value of its choice
		v := p.Prepare.Ballot.Value
		out.Pledges = xdr.ScpStatementPledges{Type: xdr.ScpStatementTypeScpStExternalize, Externalize: &xdr.ScpStatementExternalize{
			Commit: xdr.ScpBallot{Counter: 1, Value: v}, NH: 1 + xdr.Uint32(r.IntN(3)), CommitQuorumSetHash: p.Prepare.QuorumSetHash}}
	case p.Prepare != nil:
		twist(&p.Prepare.Ballot.Counter)
		twist(&p.Prepare.NC)
		twist(&p.Prepare.NH)
		if p.Prepare.Prepared == nil || r.IntN(2) == 0 {
			b := p.Prepare.Ballot
			p.Prepare.Prepared = &b
		}
	case p.Confirm != nil:
		twist(&p.Confirm.Ballot.Counter)
		twist(&p.Confirm.NPrepared)
		twist(&p.Confirm.NCommit)
		twist(&p.Confirm.NH)
	case p.Nominate != nil:
		p.Nominate.Accepted = p.Nominate.Votes
		if r.IntN(2) == 0 {
			p.Nominate.Votes = append(slices.Clone(p.Nominate.Votes), xdr.Value("~"))
		}
	}
	return out
}

// play lets the network run with faults, then without until all have decided.
func (net *network) play() error {
	for _, p := range slices.Concat(net.peers, net.twins) {
		if err := p.propose(); err != nil {
			return err
		}
	}
	for end := net.now + time.Duration(net.r.IntN(60))*time.Second; net.now < end; {
		if more, err := net.next(); err != nil || !more {
			if err != nil {
				return err
			}
			break
		}
		if err := net.mischief(); err != nil {
			return err
		}
		if err := net.agree(); err != nil {
			return err
		}
	}
	net.faulty, net.twins = false, nil
	return net.settle()
}

// change makes a node trust as at first, or want everybody in the outermost set to agree.
func (p *peer) change(strict bool) error {
	q := p.quorum
	if strict {
		q.Threshold = xdr.Uint32(len(q.Validators) + len(q.InnerSets))
	}
	p.net.sets[scp.HashQuorumSet(q)] = q
	return p.node.SetQuorumSet(q)
}

// mischief restarts a node now and then, or changes whom it trusts, and has the liar speak.
func (net *network) mischief() error {
	if net.r.IntN(40) == 0 {
		if err := net.peers[net.r.IntN(len(net.peers))].restart(); err != nil {
			return err
		}
	}
	if p := net.peers[net.r.IntN(len(net.peers))]; len(net.peers) == len(p.quorum.Validators) && net.r.IntN(30) == 0 {
		if err := p.change(net.r.IntN(2) == 0); err != nil {
			return err
		}
	}
	if net.liar != (scp.NodeID{}) && net.r.IntN(4) == 0 {
		net.lie()
	}
	return nil
}

// settle is the time after the faults: each node repeats now and then what it said last, as its caller would have it do.
// The bound is generous: counters may have got far, and rounds get longer with them.
func (net *network) settle() error {
	const limit = 4 * time.Hour
	for round := net.now; net.now < limit; {
		if net.all() {
			return net.agree()
		}
		if net.now >= round {
			round = net.now + 5*time.Second
			for _, p := range net.peers {
				for _, st := range p.node.Own(slot) {
					net.send(p, st)
				}
			}
		}
		more, err := net.next()
		if err != nil {
			return err
		}
		if !more {
			net.now = round
		}
		if err := net.agree(); err != nil {
			return err
		}
	}
	text := "not decided in time\n"
	for _, p := range net.peers {
		info, _ := p.node.Info(slot, raw)
		text += info.String()
	}
	return fmt.Errorf("%s", text)
}

func (net *network) all() bool {
	return !slices.ContainsFunc(net.peers, func(p *peer) bool { return p.decided == nil })
}

// agree is safety: no two nodes decide differently, in any of their lives.
func (net *network) agree() error {
	var value xdr.Value
	for _, p := range net.peers {
		for _, v := range []xdr.Value{p.decided, p.after} {
			if v != nil && value != nil && !bytes.Equal(v, value) {
				return fmt.Errorf("decided both %s and %s", v, value)
			}
			if v != nil {
				value = v
			}
		}
	}
	return nil
}

// TestNetworks plays random networks: they agree whatever happens, and once the faults are over they decide.
func TestNetworks(t *testing.T) {
	first, last := uint64(1), *seeds
	if *seed != 0 {
		first, last = *seed, *seed
	}
	for s := first; s <= last; s++ {
		if err := newNetwork(s).play(); err != nil {
			t.Fatalf("-seed %d: %v", s, err)
		}
	}
}

// TestTheSameSeedPlaysTheSame: there is no chance in a node.
func TestTheSameSeedPlaysTheSame(t *testing.T) {
	for s := range uint64(5) {
		a, b := newNetwork(s), newNetwork(s)
		if err := a.play(); err != nil {
			t.Fatal(err)
		}
		if err := b.play(); err != nil {
			t.Fatal(err)
		}
		if a.now != b.now || a.order != b.order {
			t.Fatalf("seed %d: %v and %v, %d and %d", s, a.now, b.now, a.order, b.order)
		}
		for i := range a.peers {
			x, _ := a.peers[i].node.Info(slot, raw)
			y, _ := b.peers[i].node.Info(slot, raw)
			if x.String() != y.String() {
				t.Fatalf("seed %d: %s and %s", s, x, y)
			}
		}
	}
}

// BenchmarkSlot is one slot among validators in one process, from nomination to the decision of all.
func BenchmarkSlot(b *testing.B) {
	w := newWorld()
	flat := xdr.ScpQuorumSet{Threshold: 3}
	tiered := xdr.ScpQuorumSet{Threshold: 17}
	for i := range 72 {
		id := w.node(fmt.Sprint("v", i)).XDR()
		if i < 4 {
			flat.Validators = append(flat.Validators, id)
		}
		if i%3 == 0 {
			tiered.InnerSets = append(tiered.InnerSets, xdr.ScpQuorumSet{Threshold: 2})
		}
		org := &tiered.InnerSets[i/3]
		org.Validators = append(org.Validators, id)
	}
	b.Run("four", func(b *testing.B) { benchmarkSlot(b, w, 4, flat) })
	b.Run("24 organisations of three", func(b *testing.B) { benchmarkSlot(b, w, 72, tiered) })
}

func benchmarkSlot(b *testing.B, w *world, n int, q xdr.ScpQuorumSet) {
	b.ReportAllocs()
	said := 0
	for range b.N {
		net := newNetwork(1)
		net.peers = net.peers[:0]
		net.liar, net.faulty = scp.NodeID{}, false
		net.sets[scp.HashQuorumSet(q)] = q
		for i := range n {
			p := &peer{net: net, id: w.node(fmt.Sprint("v", i)), quorum: q}
			p.start()
			net.peers = append(net.peers, p)
		}
		for _, p := range net.peers {
			if err := p.propose(); err != nil {
				b.Fatal(err)
			}
		}
		if err := net.settle(); err != nil {
			b.Fatal(err)
		}
		said += int(net.order)
	}
	b.ReportMetric(float64(said)/float64(b.N), "messages/slot")
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(said), "µs/message")
}
