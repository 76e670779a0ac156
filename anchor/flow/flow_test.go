package flow

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the scripts with what happens")

// TestScripts runs testdata/*.txt: a line "machine state event" is followed by what it leads to.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	walked := map[arrow]bool{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		lines := bufio.NewScanner(strings.NewReader(string(raw)))
		for lines.Scan() {
			line := lines.Text()
			if strings.HasPrefix(line, "  ") { // what it led to when it was written
				continue
			}
			out.WriteString(line + "\n")
			f := strings.Fields(line)
			if len(f) != 3 || strings.HasPrefix(line, "#") {
				continue
			}
			a := arrow{Name(f[0]), State(f[1]), Event(f[2])}
			to, effects, err := Step(a.machine, a.from, a.event)
			if errors.Is(err, ErrRefused) {
				out.WriteString("  refused\n")
				continue
			}
			walked[a] = true
			fmt.Fprintf(&out, "  -> %s %v\n", to, effects)
		}
		if *update {
			if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		} else if out.String() != string(raw) {
			t.Errorf("%s does not say what happens; -update rewrites it:\n%s", file, out.String())
		}
	}
	for a := range table {
		if !walked[a] {
			t.Errorf("no script walks %s: %s on %s", a.machine, a.from, a.event)
		}
	}
}

// TestMoneyIsNeverHeldTwice: on every path through a machine each hold is followed by one post or void before the next.
func TestMoneyIsNeverHeldTwice(t *testing.T) {
	pairs := map[Effect]int{HoldDeposit: 1, PostDeposit: -1, VoidDeposit: -1, HoldWithdrawal: 10, PostWithdrawal: -10, HoldPayout: 100, PostPayout: -100, VoidPayout: -100,
		HoldReturn: 1, PostReturn: -1, VoidReturn: -1}
	type node struct {
		machine Name
		state   State
		held    int
	}
	seen := map[node]bool{}
	var walk func(n node)
	walk = func(n node) {
		if seen[n] {
			return
		}
		seen[n] = true
		for a, to := range table {
			if a.machine != n.machine || a.from != n.state {
				continue
			}
			held := n.held
			for _, e := range to.effects {
				held += pairs[e]
			}
			if held < 0 || held > 100 || held%10 > 1 || held/10%10 > 1 {
				t.Errorf("%s: %s on %s leads to holds %d", a.machine, a.from, a.event, held)
			}
			if (to.to == Completed || to.to == Refunded || to.to == Parked || to.to == Bounced || to.to == OnHold) && held != 0 {
				t.Errorf("%s completes with holds %d", a.machine, held)
			}
			walk(node{n.machine, to.to, held})
		}
	}
	for m, from := range map[Name]State{Deposit: Awaiting, Withdrawal: Awaiting, Incoming: Seen} {
		walk(node{m, from, 0})
	}
}
