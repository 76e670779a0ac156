package fbas

import (
	"fmt"
	"testing"
)

// likeReal is a network of the shape that real lists have: 172 nodes, of which 21 in seven organisations decide, some single
// nodes are trusted by many, most only follow, each with a quorum set much like another's, and some quorum sets are not known.
func likeReal() []Node {
	nodes := organisations(7, true)
	top := organisations(7, false)[0].QuorumSet.Inner
	for i := len(nodes); i < 172; i++ {
		q := QuorumSet{Threshold: 3 + i%3, Inner: top[i%3:]}
		for j := range i % 4 {
			q.Validators = append(q.Validators, fmt.Sprintf("n%03d", 21+(i*7+j*13)%60))
		}
		n := Node{fmt.Sprintf("n%03d", i), &q}
		if i%6 == 5 {
			n.QuorumSet = nil
		}
		nodes = append(nodes, n)
	}
	return nodes
}

// leavingOut is a network of organisations each of which leaves out a quarter of the others, and asks for three fifths of the
// rest: too little for counting alone, so the solver has to search.
func leavingOut(n int) []Node {
	nodes := organisations(n, false)
	orgs := nodes[0].QuorumSet.Inner
	for i := range nodes {
		q := QuorumSet{}
		for j, org := range orgs {
			if (i/3*5+j*7)%4 != 0 || j == i/3 {
				q.Inner = append(q.Inner, org)
			}
		}
		q.Threshold = (3*len(q.Inner) + 4) / 5
		nodes[i].QuorumSet = &q
	}
	return nodes
}

func BenchmarkCheck(b *testing.B) {
	for _, network := range []struct {
		name  string
		nodes []Node
		want  Verdict
	}{
		{"real", likeReal(), Intersects}, {"organisations", organisations(24, true), Intersects}, {"search", leavingOut(24), Intersects},
	} {
		b.Run(network.name, func(b *testing.B) {
			for b.Loop() {
				s, err := New(network.nodes, Absent)
				if err != nil {
					b.Fatal(err)
				}
				in, err := s.Intersection(b.Context())
				if err != nil || in.Verdict != network.want {
					b.Fatalf("%+v %v", in, err)
				}
			}
		})
	}
}
