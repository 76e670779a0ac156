package overlay

import (
	"slices"
	"testing"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// order takes everything that may leave now, and names it.
func order(t *testing.T, q *queue, now time.Time) (names []string) {
	t.Helper()
	for {
		f, _, err := q.next(now)
		if err != nil {
			t.Fatal(err)
		}
		if f.bytes == nil {
			return names
		}
		names = append(names, f.kind.name())
	}
}

// What leaves first does not depend on what came first.
func TestQueueOrder(t *testing.T) {
	now := time.Unix(1, 0)
	q := newQueue()
	hash := xdr.Uint256{1}
	q.advertise(protocol.Hash{1}, now)
	q.demand([]protocol.Hash{{2}})
	q.push(own(transaction(1)))
	q.push(own(xdr.StellarMessage{Type: xdr.MessageTypeGetTxSet, TxSetHash: &hash}))
	q.push(own(scpMessage(1, 1)))
	q.grant(credit{1, 1})
	if got, want := order(t, q, now), []string{"send_more", "get_tx_set"}; !slices.Equal(got, want) {
		t.Errorf("without credit: %v", got)
	}
	if err := q.credited(credit{1, maxScp}); err != nil {
		t.Fatal(err)
	}
	if got, want := order(t, q, now), []string{"scp"}; !slices.Equal(got, want) {
		t.Errorf("with credit for one: %v", got)
	}
	if err := q.credited(credit{10, maxScp}); err != nil {
		t.Fatal(err)
	}
	if got, want := order(t, q, now), []string{"transaction", "demand"}; !slices.Equal(got, want) {
		t.Errorf("with credit: %v", got)
	}
	if got, want := order(t, q, now.Add(advertPeriod)), []string{"advert"}; !slices.Equal(got, want) {
		t.Errorf("in time: %v", got)
	}
	if q.floodBytes != 0 || q.directBytes != 0 {
		t.Errorf("%d and %d bytes in an empty queue", q.floodBytes, q.directBytes)
	}
}

// A queue that is full drops adverts first, then transactions, then SCP messages about old slots, and never grows.
func TestQueueDrops(t *testing.T) {
	q := newQueue()
	now := time.Unix(1, 0)
	big := func(slot uint64, number int) frame {
		m := scpMessage(slot, number)
		m.Envelope.Statement.Pledges.Nominate.Votes = append(m.Envelope.Statement.Pledges.Nominate.Votes, make([]byte, 100<<10))
		node := xdr.Uint256{byte(number), byte(number >> 8)}
		m.Envelope.Statement.NodeId.Ed25519 = &node
		return own(m)
	}
	for i := range 1000 {
		q.advertise(protocol.Hash{byte(i), byte(i >> 8)}, now)
		q.push(own(transaction(i)))
	}
	full := maxFloodQueue / (100 << 10)
	var lost []frame
	for i := range full {
		lost = append(lost, q.push(big(1, i)).frames...)
	}
	if q.adverts.len() != 0 {
		t.Errorf("%d adverts are left", q.adverts.len())
	}
	if q.txs.len() != 0 || len(lost) < 1000 {
		t.Errorf("%d transactions are left, %d messages lost", q.txs.len(), len(lost))
	}
	for i := range full {
		q.push(big(2, i))
		if q.floodBytes > maxFloodQueue {
			t.Fatalf("%d bytes wait", q.floodBytes)
		}
	}
	for q.scp.len() > 0 {
		if f := q.scp.pop(); f.scp.slot != 2 {
			t.Errorf("a message about slot %d outlived newer ones", f.scp.slot)
		}
	}
}

// Among messages about one slot, what the same validator has said anew goes first.
func TestQueueSuperseded(t *testing.T) {
	q := newQueue()
	for i := range 4 {
		m := scpMessage(1, i)
		node := xdr.Uint256{byte(i % 2)}
		m.Envelope.Statement.NodeId.Ed25519 = &node
		q.push(own(m))
	}
	lost := q.dropSuperseded(0)
	if len(lost) != 2 || q.scp.len() != 2 {
		t.Fatalf("%d lost, %d left", len(lost), q.scp.len())
	}
	for _, f := range lost {
		for q := q.scp.items[q.scp.head:]; len(q) > 0; q = q[1:] {
			if f.hash() == q[0].hash() {
				t.Error("a message is both lost and left")
			}
		}
	}
}

// Questions and answers have a limit of their own; what is too much is lost at once.
func TestDirectQueueIsBounded(t *testing.T) {
	q := newQueue()
	hash := xdr.Uint256{1}
	f := own(xdr.StellarMessage{Type: xdr.MessageTypeGetTxSet, TxSetHash: &hash})
	lost := 0
	for range 2 * maxDirectQueue {
		lost += len(q.push(f).frames)
	}
	if lost != maxDirectQueue || q.asked[kind(xdr.MessageTypeGeneralizedTxSet)] != maxDirectQueue {
		t.Errorf("%d lost, %d answers expected", lost, q.asked[kind(xdr.MessageTypeGeneralizedTxSet)])
	}
}

// The memory of what was flooded has an end, and what is forgotten is new again.
func TestMemoryIsBounded(t *testing.T) {
	m := newMemory()
	name := func(i int) protocol.Hash { return protocol.Hash{byte(i), byte(i >> 8), byte(i >> 16)} }
	for i := range 3 * maxRemembered {
		if !m.note(name(i), 1) {
			t.Fatalf("message %d is not new", i)
		}
		if len(m.newer)+len(m.older) > 2*maxRemembered {
			t.Fatal("it remembers too much")
		}
	}
	if m.has(name(0)) || !m.has(name(3*maxRemembered-1)) || !m.has(name(2*maxRemembered)) {
		t.Error("it forgot the wrong ones")
	}
}

// A peer that advertises without end is asked for so many at once, and remembered for so many more.
func TestPullsAreBounded(t *testing.T) {
	p := newPulls()
	nothing := func(protocol.Hash) bool { return false }
	p.joined(1)
	p.joined(2)
	now := time.Unix(1, 0)
	next := 0
	batch := func() (hashes []protocol.Hash) {
		for range 1000 {
			next++
			hashes = append(hashes, protocol.Hash{byte(next), byte(next >> 8), byte(next >> 16)})
		}
		return hashes
	}
	asked := 0
	for range 100 {
		asked += len(p.advert(1, batch(), nothing, now)[1])
	}
	if asked != demandWindow || p.sources[1].backlog.len() != maxBacklog || len(p.wants) != demandWindow {
		t.Errorf("%d demanded, %d wait, %d wanted", asked, p.sources[1].backlog.len(), len(p.wants))
	}
	// A liar keeps nobody else waiting: another's offers are asked for at once.
	if got := p.advert(2, batch(), nothing, now)[2]; len(got) != 1000 {
		t.Errorf("%d demanded of another", len(got))
	}
	// Nothing comes. All is given up in time, in the order in which it was asked for.
	for range 100 {
		now = now.Add(demandLimit)
		p.retry(nothing, now)
	}
	if len(p.wants) != 0 || p.due.len() != 0 || p.sources[1].owing != 0 || p.sources[2].owing != 0 {
		t.Errorf("%d wanted, %d due, %d and %d owed", len(p.wants), p.due.len(), p.sources[1].owing, p.sources[2].owing)
	}
	p.left(1)
	if got := p.advert(1, batch(), nothing, now); got != nil {
		t.Error("a peer that left is asked")
	}
}

// A peer that gives credit slowly is slow, and not given up; one that gives none for too long is.
func TestQueueStarves(t *testing.T) {
	q, now := newQueue(), time.Unix(1, 0)
	for i := range 5 {
		q.push(own(scpMessage(1, i)))
	}
	for range 3 {
		if got := order(t, q, now); len(got) > 1 {
			t.Errorf("left: %v", got)
		}
		now = now.Add(starvedLimit / 2)
		order(t, q, now)
		if err := q.credited(credit{1, maxScp}); err != nil {
			t.Fatal(err)
		}
	}
	order(t, q, now)
	if _, _, err := q.next(now.Add(starvedLimit)); !as(err, errSlow) {
		t.Errorf("no credit for %s: %v", starvedLimit, err)
	}
}
