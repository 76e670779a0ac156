package audit

import "golang.org/x/mod/sumdb/tlog"

// roots is a Merkle tree under construction that keeps only the roots of its complete subtrees, from large to small.
type roots struct {
	size  int64
	stack []tlog.Hash
}

// add appends a record.
func (t *roots) add(body []byte) {
	t.stack = append(t.stack, tlog.RecordHash(body))
	for n := t.size; n&1 == 1; n >>= 1 {
		t.merge()
	}
	t.size++
}

func (t *roots) merge() {
	last := len(t.stack) - 1
	t.stack[last-1] = tlog.NodeHash(t.stack[last-1], t.stack[last])
	t.stack = t.stack[:last]
}

// root returns the root of the whole tree, which must not be empty. Nothing can be added afterwards.
func (t *roots) root() tlog.Hash {
	for len(t.stack) > 1 {
		t.merge()
	}
	return t.stack[0]
}
