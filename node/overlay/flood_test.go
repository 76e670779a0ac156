package overlay

import (
	"testing"

	"github.com/stellar/go-stellar-sdk/xdr"
)

// Whatever the shape of the network, everything reaches everybody once.
func TestFloodsExactlyOnce(t *testing.T) {
	shapes := []struct {
		name  string
		size  int
		edges [][2]int
	}{
		{"two", 2, [][2]int{{0, 1}}},
		{"line of 5", 5, [][2]int{{0, 1}, {2, 1}, {2, 3}, {4, 3}}},
		{"ring of 6", 6, [][2]int{{0, 1}, {1, 2}, {2, 3}, {3, 4}, {4, 5}, {5, 0}}},
		{"star of 7", 7, [][2]int{{0, 1}, {2, 0}, {0, 3}, {4, 0}, {0, 5}, {6, 0}}},
		{"two triangles and a bridge", 6, [][2]int{{0, 1}, {1, 2}, {2, 0}, {3, 4}, {4, 5}, {5, 3}, {0, 3}}},
		{"everybody with everybody", 4, [][2]int{{0, 1}, {0, 2}, {0, 3}, {1, 2}, {1, 3}, {2, 3}}},
	}
	for _, shape := range shapes {
		t.Run(shape.name, func(t *testing.T) {
			const each = 20
			nodes := network(t, shape.size, shape.edges)
			var all [][]string // by origin
			for i, n := range nodes {
				var said []string
				for k := range each {
					scp, tx := scpMessage(uint64(k), i), transaction(1000*i+k)
					n.Broadcast(scp)
					n.Broadcast(tx)
					n.Broadcast(tx) // again, for nothing
					said = append(said, hashOf(t, scp), hashOf(t, tx))
				}
				all = append(all, said)
			}
			want := each * (len(nodes) - 1)
			for _, n := range nodes {
				n.heard.await(t, "all messages arrived", func() bool {
					return n.heard.count("scp") >= want && n.heard.count("transaction") >= want
				})
			}
			for i, n := range nodes {
				for origin, hashes := range all {
					for _, h := range hashes {
						if got := n.heard.count(h); got != 1 && origin != i || got != 0 && origin == i {
							t.Fatalf("node %d heard a message of node %d %d times", i, origin, got)
						}
					}
				}
			}
			for _, n := range nodes {
				n.stop()
				if joined, left := n.heard.count("joined"), n.heard.count("left"); joined != left {
					t.Errorf("%d joined and %d left", joined, left)
				}
			}
			noGoroutines(t)
		})
	}
}

// What the Handler does not want passed on stays where it is, and is handed over again if it comes again.
func TestVerdictDone(t *testing.T) {
	nodes := network(t, 3, [][2]int{{0, 1}, {1, 2}})
	middle := nodes[1]
	done := scpMessage(1, 1)
	middle.heard.mu.Lock()
	middle.heard.verdict = verdictFor(hashOf(t, done), Done)
	middle.heard.mu.Unlock()
	after := scpMessage(2, 2)
	nodes[0].Broadcast(done)
	nodes[0].Broadcast(after)
	nodes[2].heard.await(t, "what came after", func() bool { return nodes[2].heard.count(hashOf(t, after)) == 1 })
	if n := nodes[2].heard.count(hashOf(t, done)); n != 0 {
		t.Errorf("what was not to be passed on was heard %d times", n)
	}
	nodes[2].Broadcast(done)
	middle.heard.await(t, "it was handed over again", func() bool { return middle.heard.count(hashOf(t, done)) == 2 })
}

// Questions and answers go to one peer, and a peer that was not asked may not answer.
func TestQuestions(t *testing.T) {
	nodes := network(t, 3, [][2]int{{0, 1}, {0, 2}})
	hash := xdr.Uint256{7}
	ask := xdr.StellarMessage{Type: xdr.MessageTypeGetTxSet, TxSetHash: &hash}
	no := xdr.StellarMessage{Type: xdr.MessageTypeDontHave,
		DontHave: &xdr.DontHave{Type: xdr.MessageTypeGeneralizedTxSet, ReqHash: hash}}
	nodes[0].Send(nodes[1].id, ask)
	nodes[1].heard.await(t, "the question", func() bool { return nodes[1].heard.count("get_tx_set") == 1 })
	nodes[1].Send(nodes[0].id, no)
	nodes[0].heard.await(t, "the answer", func() bool { return nodes[0].heard.count("dont_have") == 1 })
	if nodes[2].heard.count("get_tx_set") != 0 {
		t.Error("a question was heard by another")
	}
	nodes[2].Send(nodes[0].id, no)
	nodes[0].heard.await(t, "an answer to nothing ended the connection", func() bool { return nodes[0].heard.count("left") == 1 })
	if nodes[0].heard.count("dont_have") != 1 {
		t.Error("an answer to nothing was handed over")
	}
}
