package apply

import (
	"bufio"
	"crypto/ed25519"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// The files of testdata are scripts. Lines under "given" make the ledger that each case starts from. A case names the
// code that it is about, adds to the ledger (account, line, data), and has one transaction (tx, with the operations
// indented below it). What follows "=>" is what came of it: what a queue would have been told (check), the result
// (apply), and every entry that is not as it was. The test rewrites it with -update; that is read in review.
var update = flag.Bool("update", false, "rewrite the scripts in testdata")

const testNet protocol.Passphrase = "apply test"

// testCase is one case of a script, as text.
type testCase struct {
	code, title string
	lines       []string
	want        []string
}

// script is one file of testdata.
type script struct {
	path    string
	opening []string // comments before anything else
	given   []string
	cases   []testCase
}

func readScript(t *testing.T, path string) script {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := script{path: path}
	in := &s.opening
	for sc := bufio.NewScanner(f); sc.Scan(); {
		line := strings.TrimRight(sc.Text(), " ")
		switch {
		case line == "":
		case line == "given":
			in = &s.given
		case strings.HasPrefix(line, "case "):
			code, title, ok := strings.Cut(strings.TrimPrefix(line, "case "), ": ")
			if !ok {
				t.Fatalf("%s: %q is not case CODE: TITLE", path, line)
			}
			s.cases = append(s.cases, testCase{code: code, title: title})
			in = &s.cases[len(s.cases)-1].lines
		case line == "=>":
			in = &s.cases[len(s.cases)-1].want
		default:
			*in = append(*in, strings.TrimPrefix(line, "\t"))
		}
	}
	return s
}

func (s script) write(t *testing.T) {
	t.Helper()
	var b strings.Builder
	for _, line := range s.opening {
		fmt.Fprintln(&b, line)
	}
	fmt.Fprintln(&b, "\ngiven")
	for _, line := range s.given {
		fmt.Fprintln(&b, "\t"+line)
	}
	for _, c := range s.cases {
		fmt.Fprintf(&b, "\ncase %s: %s\n", c.code, c.title)
		for _, line := range c.lines {
			fmt.Fprintln(&b, "\t"+line)
		}
		fmt.Fprintln(&b, "=>")
		for _, line := range c.want {
			fmt.Fprintln(&b, "\t"+line)
		}
	}
	if err := os.WriteFile(s.path, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// reached are the codes that cases have led to.
var reached = map[string]bool{}

// TestScripts runs every case of every script in testdata, and then looks whether every result code was reached.
func TestScripts(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, path := range paths {
		s := readScript(t, path)
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			for i := range s.cases {
				c := &s.cases[i]
				t.Run(c.code+" "+c.title, func(t *testing.T) { c.run(t, s.given) })
			}
		})
		if *update {
			s.write(t)
		}
	}
	t.Run("all codes", checkCodes)
}

// run runs a case and compares what comes of it.
func (c *testCase) run(t *testing.T, given []string) {
	w := newWorld(t)
	for _, line := range append(append([]string{}, given...), c.lines...) {
		w.line(line)
	}
	env := w.envelope()
	tx, err := NewTx(testNet, env)
	if err != nil {
		t.Fatal(err)
	}
	before := w.state(tx)
	context := w.context
	context.Verify = func(key, message, signature []byte) bool {
		return len(signature) == ed25519.SignatureSize && ed25519.Verify(key, message, signature)
	}
	checked := Check(before, tx, context)
	got := []string{"check " + describe(checked)}
	if before.Get(AccountKey(tx.FeeSource())) == nil {
		got = append(got, "apply cannot be: there is nobody to charge")
	} else {
		layer := NewDelta(before, context.Seq)
		charged := NewDelta(layer, context.Seq)
		fees := Charge(charged, tx, w.rate)
		paid := charged.Commit()
		out := Apply(layer, tx, context, fees)
		got = append(got, "apply "+describe(out.Result))
		note(out.Result)
		replayed(t, before, layer, paid, out)
		got = append(got, differences(w, before, layer)...)
	}
	note(checked)
	if all := strings.Join(got, "\n"); !containsCode(all, c.code) {
		t.Errorf("the case is about %s, which it does not lead to:\n%s", c.code, all)
	}
	if *update {
		c.want = got
	} else if g, w := strings.Join(got, "\n"), strings.Join(c.want, "\n"); g != w {
		t.Errorf("got\n%s\nwant\n%s", g, w)
	}
}

func containsCode(text, code string) bool {
	for _, word := range strings.Fields(text) {
		if word == code {
			return true
		}
	}
	return false
}

// replayed checks that the meta tells everything: whoever follows it arrives at the same ledger, and finds at each step
// what it says was there.
func replayed(t *testing.T, before State, after *Delta, paid xdr.LedgerEntryChanges, out Outcome) {
	t.Helper()
	followed := NewDelta(before, after.seq)
	lists := []xdr.LedgerEntryChanges{paid, out.Before}
	for _, op := range out.Operations {
		lists = append(lists, op.Changes)
	}
	for _, changes := range lists {
		for _, c := range changes {
			switch c.Type {
			case xdr.LedgerEntryChangeTypeLedgerEntryState:
				if have := followed.Get(EntryKey(*c.State)); have == nil || encoded(t, *have) != encoded(t, *c.State) {
					t.Errorf("the meta says that there was %+v", c.State)
				}
			case xdr.LedgerEntryChangeTypeLedgerEntryCreated:
				if followed.Get(EntryKey(*c.Created)) != nil {
					t.Errorf("the meta creates what is there, %+v", c.Created)
				}
				followed.set(EntryKey(*c.Created), c.Created)
			case xdr.LedgerEntryChangeTypeLedgerEntryUpdated:
				followed.set(EntryKey(*c.Updated), c.Updated)
			case xdr.LedgerEntryChangeTypeLedgerEntryRemoved:
				followed.set(encodeKey(*c.Removed), nil)
			}
		}
	}
	for _, key := range append(followed.Keys(), after.Keys()...) {
		a, b := followed.Get(key), after.Get(key)
		if (a == nil) != (b == nil) || a != nil && encoded(t, *a) != encoded(t, *b) {
			t.Errorf("the meta leads to %+v, applying to %+v", a, b)
		}
		if b != nil && b.LastModifiedLedgerSeq != xdr.Uint32(after.seq) {
			t.Errorf("a changed entry was last modified in %d", b.LastModifiedLedgerSeq)
		}
	}
}

func encoded(t *testing.T, e xdr.LedgerEntry) string {
	t.Helper()
	b, err := e.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
