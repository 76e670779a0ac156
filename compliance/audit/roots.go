package audit

import "golang.org/x/mod/sumdb/tlog"

// roots is a Merkle tree under construction that keeps only the roots of its complete subtrees, from large to small.
type roots struct {
	size  int64
	stack []tlog.Hash
}

// add appends a record and returns the hashes that this adds to the stored ones, in tlog's order.
func (t *roots) add(body []byte) (added []tlog.Hash) {
	h := tlog.RecordHash(body)
	added = append(added, h)
	for n := t.size; n&1 == 1; n >>= 1 {
		last := len(t.stack) - 1
		h = tlog.NodeHash(t.stack[last], h)
		t.stack, added = t.stack[:last], append(added, h)
	}
	t.stack = append(t.stack, h)
	t.size++
	return added
}

// root returns the root of the whole tree, which must not be empty.
func (t *roots) root() tlog.Hash {
	last := len(t.stack) - 1
	h := t.stack[last]
	for i := last - 1; i >= 0; i-- {
		h = tlog.NodeHash(t.stack[i], h)
	}
	return h
}
