package fbas

import (
	"encoding/binary"
	"math/bits"
)

// set is a set of nodes, by index. Sets that meet have the same length.
type set []uint64

func newSet(n int) set { return make(set, (n+63)/64) }

func (s set) add(i int)      { s[i/64] |= 1 << (i % 64) }
func (s set) remove(i int)   { s[i/64] &^= 1 << (i % 64) }
func (s set) has(i int) bool { return s[i/64]>>(i%64)&1 == 1 }
func (s set) clone() set     { return append(set(nil), s...) }

func (s set) empty() bool {
	for _, w := range s {
		if w != 0 {
			return false
		}
	}
	return true
}

func (s set) count() int {
	n := 0
	for _, w := range s {
		n += bits.OnesCount64(w)
	}
	return n
}

// shared is how many nodes two sets have in common.
func (s set) shared(o set) int {
	n := 0
	for i, w := range s {
		n += bits.OnesCount64(w & o[i])
	}
	return n
}

func (s set) meets(o set) bool {
	for i, w := range s {
		if w&o[i] != 0 {
			return true
		}
	}
	return false
}

func (s set) within(o set) bool {
	for i, w := range s {
		if w&^o[i] != 0 {
			return false
		}
	}
	return true
}

func (s set) equal(o set) bool { return s.within(o) && o.within(s) }

func (s set) and(o set) set {
	r := s.clone()
	for i := range r {
		r[i] &= o[i]
	}
	return r
}

func (s set) or(o set) set {
	r := s.clone()
	for i := range r {
		r[i] |= o[i]
	}
	return r
}

func (s set) minus(o set) set {
	r := s.clone()
	for i := range r {
		r[i] &^= o[i]
	}
	return r
}

// without and with are s with one node less or more.
func (s set) without(i int) set { r := s.clone(); r.remove(i); return r }
func (s set) with(i int) set    { r := s.clone(); r.add(i); return r }

// members are the nodes, ascending.
func (s set) members() []int {
	var m []int
	for i, w := range s {
		for w != 0 {
			m = append(m, i*64+bits.TrailingZeros64(w))
			w &= w - 1
		}
	}
	return m
}

// key says the same as the set.
func (s set) key() string {
	b := make([]byte, 0, 8*len(s))
	for _, w := range s {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return string(b)
}
