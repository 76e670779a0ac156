package scp_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/scp"
)

// FuzzReceive hands four nodes' worth of anything to a node: it must not panic, nor come to a state that can't be, nor
// send what is not sane or not newer than what it sent, nor decide twice.
func FuzzReceive(f *testing.F) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		script, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(recorded(f, string(script)))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		w := newWorld()
		if err := doQuorum(w, strings.Fields("4 v0 v1 v2 v3 v4")); err != nil {
			t.Fatal(err)
		}
		if err := w.start(); err != nil {
			t.Fatal(err)
		}
		x := xdr.Value("000 x") // what scripts call x
		for _, in := range []scp.Input{scp.Nominate{Slot: slot, Value: x, Previous: x}, scp.Bump{Slot: slot, Value: x}} {
			if _, err := w.v0.Step(in); err != nil {
				t.Fatal(err)
			}
		}
		var last [2]*xdr.ScpStatement
		decided := 0
		for r := strings.NewReader(string(raw)); r.Len() > 0; {
			var st xdr.ScpStatement
			if _, err := xdr.Unmarshal(r, &st); err != nil {
				return
			}
			w.mend(&st, r.Len())
			out, err := w.v0.Step(scp.Receive{Envelope: xdr.ScpEnvelope{Statement: st}})
			if err == nil {
				err = w.v0.Broken(uint64(st.SlotIndex))
			}
			if err != nil {
				t.Fatal(err, w.state())
			}
			for _, e := range out.Effects {
				switch e := e.(type) {
				case scp.Decide:
					decided++
				case scp.Send:
					kind := 1
					if e.Statement.Pledges.Nominate != nil {
						kind = 0
					}
					if last[kind] != nil && !follows(*last[kind], e.Statement) && !fallsBack(*last[kind], e.Statement) {
						t.Fatal(scp.Describe(*last[kind], nil), " then ", scp.Describe(e.Statement, nil))
					}
					last[kind] = &e.Statement
				}
			}
		}
		if decided > 1 {
			t.Fatal("decided ", decided, " times")
		}
	})
}

// fallsBack lets a node go from PREPARE to a lower ballot in CONFIRM.
func fallsBack(a, b xdr.ScpStatement) bool {
	return a.Pledges.Prepare != nil && b.Pledges.Prepare == nil
}

// mend gives most statements a slot, a sender and a quorum set that are known, or little would come of them.
func (w *world) mend(st *xdr.ScpStatement, odd int) {
	if odd%16 == 0 {
		return
	}
	st.SlotIndex = slot
	if id, ok := scp.NodeIDFromXDR(st.NodeId); !ok || w.names[id] == "" || w.names[id] == "v0" {
		st.NodeId = w.node([]string{"v1", "v2", "v3", "v4"}[odd%4]).XDR()
	}
	_, hash, _ := w.quorumOf("v0")
	p := st.Pledges
	switch {
	case p.Prepare != nil:
		p.Prepare.QuorumSetHash = hash
	case p.Confirm != nil:
		p.Confirm.QuorumSetHash = hash
	case p.Nominate != nil:
		p.Nominate.QuorumSetHash = hash
	}
}

// recorded is all that a script has v0 hear, one after the other.
func recorded(t testing.TB, script string) []byte {
	w := newWorld()
	var out strings.Builder
	for _, line := range strings.Split(script, "\n") {
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		switch {
		case len(f) == 0:
		case f[0] == "values" || f[0] == "quorum":
			if err := directives[f[0]](w, f[1:]); err != nil {
				t.Fatal(err)
			}
		case f[0] == "recv":
			st, err := w.statement(f[1], f[2:])
			if err != nil {
				t.Fatal(err)
			}
			if _, err := xdr.Marshal(&out, st); err != nil {
				t.Fatal(err)
			}
		}
	}
	return []byte(out.String())
}
