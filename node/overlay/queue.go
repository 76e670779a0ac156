package overlay

import (
	"fmt"
	"sync"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// queue is what waits to be sent to one peer. What leaves first: credit, SCP messages, questions and their answers,
// transactions, demands, adverts. All that is flooded waits for the peer's credit; if too much waits, adverts are
// dropped first, oldest first, then transactions, then SCP messages that others in the queue supersede, then the
// oldest SCP messages.
type queue struct {
	ready chan struct{} // holds a token when next may have something

	mu          sync.Mutex
	scp         fifo[frame]
	direct      fifo[frame]
	txs         fifo[frame]
	demands     fifo[protocol.Hash]
	adverts     fifo[protocol.Hash]
	floodBytes  int    // of scp, txs, demands and adverts
	directBytes int    // of direct
	credit      credit // what we may still send
	granted     credit // what the peer may send and has not been told of
	allowed     credit // what the peer may still send, told or not
	advertAt    time.Time
	starved     time.Time    // since when there is too little credit for what is first; zero if there is enough
	asked       map[kind]int // answers that may come
}

func newQueue() *queue {
	return &queue{ready: make(chan struct{}, 1), asked: map[kind]int{}}
}

// wake says that next may have something.
func (q *queue) wake() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// answers are the questions, and the kind of what answers them.
var answers = map[kind]kind{
	kind(xdr.MessageTypeGetTxSet):        kind(xdr.MessageTypeGeneralizedTxSet),
	kind(xdr.MessageTypeGetScpQuorumset): kind(xdr.MessageTypeScpQuorumset),
}

// losses are what a queue had no room for.
type losses struct {
	frames  []frame
	adverts int
}

// push adds a message. It returns what is lost for it, which may be itself.
func (q *queue) push(f frame) losses {
	q.mu.Lock()
	defer q.mu.Unlock()
	defer q.wake()
	switch f.kind {
	case kind(xdr.MessageTypeScpMessage):
		q.scp.push(f)
	case kind(xdr.MessageTypeTransaction):
		q.txs.push(f)
	default:
		if q.direct.len() >= maxDirectQueue || q.directBytes+len(f.bytes) > maxDirectBytes {
			return losses{frames: []frame{f}}
		}
		if answer, ok := answers[f.kind]; ok {
			q.asked[answer] = min(q.asked[answer]+1, maxAsked)
		}
		q.direct.push(f)
		q.directBytes += len(f.bytes)
		return losses{}
	}
	q.floodBytes += len(f.bytes)
	return q.trim()
}

// answered crosses off a question, and says whether there was one.
func (q *queue) answered(k kind) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.asked[k] == 0 {
		return false
	}
	q.asked[k]--
	return true
}

const hashBytes = 32

// advertise adds the hash of a transaction. It leaves with others, or after advertPeriod.
func (q *queue) advertise(h protocol.Hash, now time.Time) losses {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.adverts.len() == 0 {
		q.advertAt = now.Add(advertPeriod)
		defer q.wake()
	} else if q.adverts.len() == advertBatch-1 {
		defer q.wake()
	}
	q.adverts.push(h)
	q.floodBytes += hashBytes
	return q.trim()
}

// demand adds hashes of transactions that the peer has.
func (q *queue) demand(hashes []protocol.Hash) losses {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, h := range hashes {
		if q.demands.len() < maxBacklog {
			q.demands.push(h)
			q.floodBytes += hashBytes
		}
	}
	q.wake()
	return q.trim()
}

// trim makes room if too much waits: to three quarters, so that a queue that is always full is not searched for each
// message. q.mu is held.
func (q *queue) trim() (lost losses) {
	if q.floodBytes <= maxFloodQueue {
		return losses{}
	}
	const room = maxFloodQueue / 4 * 3
	for q.floodBytes > room && q.adverts.len() > 0 {
		q.adverts.pop()
		q.floodBytes -= hashBytes
		lost.adverts++
	}
	for q.floodBytes > room && q.txs.len() > 0 {
		lost.frames = append(lost.frames, q.drop(q.txs.pop()))
	}
	if q.floodBytes > room {
		lost.frames = append(lost.frames, q.dropSuperseded(room)...)
	}
	for q.floodBytes > room && q.scp.len() > 0 {
		lost.frames = append(lost.frames, q.drop(q.scp.pop()))
	}
	return lost
}

func (q *queue) drop(f frame) frame {
	q.floodBytes -= len(f.bytes)
	return f
}

// dropSuperseded drops SCP messages, oldest first, about slots before the newest in the queue, and those after which
// the same validator said something newer about the same slot. q.mu is held.
func (q *queue) dropSuperseded(room int) (lost []frame) {
	last := map[statement]int{}
	newest, i := uint64(0), 0
	for _, f := range q.scp.items[q.scp.head:] {
		last[*f.scp] = i
		newest = max(newest, f.scp.slot)
		i++
	}
	i = 0
	q.scp.keep(func(f frame) bool {
		superseded := f.scp.slot < newest || last[*f.scp] > i
		i++
		if q.floodBytes > room && superseded {
			lost = append(lost, q.drop(f))
			return false
		}
		return true
	})
	return lost
}

// grant gives the peer credit.
func (q *queue) grant(c credit) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.granted.add(c)
	q.allowed.add(c)
	q.wake()
}

// charge takes a message that came out of the peer's credit.
func (q *queue) charge(f frame) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.allowed.covers(f.cost()) {
		return fmt.Errorf("%w: %s of %d bytes", errCredit, f.kind.name(), f.cost())
	}
	q.allowed.take(f.cost())
	return nil
}

// credited takes what credit the peer gave.
func (q *queue) credited(c credit) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.credit.add(c)
	if q.credit.messages > maxCreditMessages || q.credit.bytes > maxCreditBytes {
		return fmt.Errorf("%w: it gave more than anybody needs", errCredit)
	}
	q.wake()
	return nil
}

// next takes what is to be sent now. If that is nothing, it says after how long to ask again although nothing happened.
// It is an error if the peer has given no credit for too long.
func (q *queue) next(now time.Time) (frame, time.Duration, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.granted != (credit{}) {
		f := grantFrame(q.granted)
		q.granted = credit{}
		return f, 0, nil
	}
	f, blocked := q.flooded(now)
	if f.bytes != nil && f.kind == kind(xdr.MessageTypeScpMessage) {
		return f, 0, nil
	}
	if f.bytes == nil && q.direct.len() > 0 {
		f = q.direct.pop()
		q.directBytes -= len(f.bytes)
		return f, 0, nil
	}
	return f, q.patience(now, blocked), q.starving(now, blocked)
}

// flooded takes what is first of what costs credit, unless something else leaves before it. blocked means that there
// is not enough credit for it. q.mu is held.
func (q *queue) flooded(now time.Time) (f frame, blocked bool) {
	switch {
	case q.scp.len() > 0:
		return q.afford(&q.scp)
	case q.direct.len() > 0:
		return frame{}, false
	case q.txs.len() > 0:
		return q.afford(&q.txs)
	case q.demands.len() > 0:
		return q.hashes(kind(xdr.MessageTypeFloodDemand), &q.demands)
	case q.adverts.len() >= advertBatch || q.adverts.len() > 0 && !now.Before(q.advertAt):
		q.advertAt = now.Add(advertPeriod)
		return q.hashes(kind(xdr.MessageTypeFloodAdvert), &q.adverts)
	}
	return frame{}, false
}

func (q *queue) afford(from *fifo[frame]) (f frame, blocked bool) {
	cost := from.first().cost()
	if !q.credit.covers(cost) {
		return frame{}, true
	}
	q.spend(cost)
	return q.drop(from.pop()), false
}

// spend takes credit; whoever gives some, however slowly, does not starve us. q.mu is held.
func (q *queue) spend(cost int) {
	q.credit.take(cost)
	q.starved = time.Time{}
}

// hashes takes one message's worth of hashes.
func (q *queue) hashes(k kind, from *fifo[protocol.Hash]) (f frame, blocked bool) {
	n := min(from.len(), advertBatch)
	cost := 2*typeBytes + n*hashBytes
	if !q.credit.covers(cost) {
		return frame{}, true
	}
	q.spend(cost)
	hashes := make([]xdr.Hash, n)
	for i := range hashes {
		hashes[i] = xdr.Hash(from.pop())
	}
	q.floodBytes -= n * hashBytes
	m := xdr.StellarMessage{Type: xdr.MessageType(k)}
	if m.Type == xdr.MessageTypeFloodAdvert {
		m.FloodAdvert = &xdr.FloodAdvert{TxHashes: hashes}
	} else {
		m.FloodDemand = &xdr.FloodDemand{TxHashes: hashes}
	}
	return own(m), false
}

// patience is how long nothing need be done. q.mu is held.
func (q *queue) patience(now time.Time, blocked bool) time.Duration {
	wait := keepalive
	if !blocked && q.adverts.len() > 0 {
		wait = min(wait, q.advertAt.Sub(now))
	}
	return max(wait, 0)
}

// starving keeps the time since when credit is missing. q.mu is held.
func (q *queue) starving(now time.Time, blocked bool) error {
	switch {
	case !blocked:
		q.starved = time.Time{}
	case q.starved.IsZero():
		q.starved = now
	case now.Sub(q.starved) >= starvedLimit:
		return fmt.Errorf("%w: no credit for %s", errSlow, starvedLimit)
	}
	return nil
}

// grantFrame tells a peer of credit.
func grantFrame(c credit) frame {
	return own(xdr.StellarMessage{Type: xdr.MessageTypeSendMoreExtended, SendMoreExtendedMessage: &xdr.SendMoreExtended{
		NumMessages: xdr.Uint32(c.messages), NumBytes: xdr.Uint32(c.bytes)}})
}

// own encodes a message that this package made.
func own(m xdr.StellarMessage) frame {
	f, err := encode(m)
	if err != nil {
		panic("overlay: " + err.Error())
	}
	return f
}
