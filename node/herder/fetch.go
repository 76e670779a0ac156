package herder

import (
	"slices"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

const (
	// fetchTimeout is how long one peer is waited for before the next is asked.
	fetchTimeout = 1500 * time.Millisecond
	// fetchPause is how long it rests once nobody had it.
	fetchPause = time.Second
	// maxWants bounds what is asked for at once.
	maxWants = 1000
)

// want is one thing that an envelope names and this node does not have.
type want struct {
	kind  xdr.MessageType // GET_TX_SET or GET_SCP_QUORUMSET
	slot  uint32          // the newest that needs it
	first []protocol.AccountID
	asked []protocol.AccountID // of this round
	next  time.Time            // when the next peer is to be asked
}

// fetcher asks peers, one after the other, for what is missing: first those that named it. It knows no clock.
type fetcher struct{ wants map[protocol.Hash]*want }

func newFetcher() *fetcher { return &fetcher{wants: map[protocol.Hash]*want{}} }

// need says that an envelope of a peer for a slot needs something.
func (f *fetcher) need(kind xdr.MessageType, hash protocol.Hash, slot uint32, from protocol.AccountID) {
	w := f.wants[hash]
	if w == nil {
		if len(f.wants) >= maxWants {
			return // it is asked for when the envelope is sent again
		}
		w = &want{kind: kind}
		f.wants[hash] = w
	}
	w.slot = max(w.slot, slot)
	if !from.IsZero() && !slices.Contains(w.first, from) {
		w.first = append(w.first, from)
	}
}

// wanted reports whether something is asked for.
func (f *fetcher) wanted(hash protocol.Hash) bool { return f.wants[hash] != nil }

// got ends the search.
func (f *fetcher) got(hash protocol.Hash) { delete(f.wants, hash) }

// dontHave lets the next peer be asked at once.
func (f *fetcher) dontHave(hash protocol.Hash, from protocol.AccountID) {
	if w := f.wants[hash]; w != nil && len(w.asked) > 0 && w.asked[len(w.asked)-1] == from {
		w.next = time.Time{}
	}
}

// forget ends all searches for slots before one.
func (f *fetcher) forget(before uint32) {
	for hash, w := range f.wants {
		if w.slot < before {
			delete(f.wants, hash)
		}
	}
}

// request is what is to be asked of whom.
type request struct {
	to   protocol.AccountID
	kind xdr.MessageType
	hash protocol.Hash
}

// due returns what is to be asked now, and when to look again; zero when nothing is missing.
func (f *fetcher) due(now time.Time, peers []protocol.AccountID) (out []request, next time.Time) {
	hashes := make([]protocol.Hash, 0, len(f.wants))
	for hash := range f.wants {
		hashes = append(hashes, hash)
	}
	slices.SortFunc(hashes, func(a, b protocol.Hash) int { return slices.Compare(a[:], b[:]) })
	for _, hash := range hashes {
		w := f.wants[hash]
		if !now.Before(w.next) {
			to, ok := w.choose(hash, peers)
			if ok {
				w.asked, w.next = append(w.asked, to), now.Add(fetchTimeout)
				out = append(out, request{to, w.kind, hash})
			} else {
				w.asked, w.next = nil, now.Add(fetchPause)
			}
		}
		next = earlier(next, w.next)
	}
	return out, next
}

// choose returns a peer that was not asked in this round: one that named the thing, or the first from a place that differs
// from hash to hash.
func (w *want) choose(hash protocol.Hash, peers []protocol.AccountID) (protocol.AccountID, bool) {
	for _, id := range w.first {
		if slices.Contains(peers, id) && !slices.Contains(w.asked, id) {
			return id, true
		}
	}
	for i := range peers {
		if id := peers[(int(hash[0])+i)%len(peers)]; !slices.Contains(w.asked, id) {
			return id, true
		}
	}
	return protocol.AccountID{}, false
}
