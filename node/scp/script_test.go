package scp_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/scp"
)

// TestScripts runs testdata/*.txt and those of the folder $SCP_SCRIPTS. In a script one real node, v0, faces statements that
// the script makes up, all about slot 1. One directive a line, # starts a comment:
//
//	quorum 4 v0 v1 v2 v3 v4          threshold and members, nested as {2 v3 v4 v5}; for every node unless qset gives it another
//	qset v1 2 v1 v2 {1 v3 v4}
//	values x y z zz                  in ascending order
//	leaders v0 v1                    nomination leaders from now on; before that v0
//	valuehash x=3 y=1                order among candidate values in nomination; 0 for those not named
//	combine x y = z                  the composite of these candidates; without it, the greatest
//	nominate x                       propose a value
//	nominate-timeout                 fire the nomination timer, if it runs
//	bump x                           start, or restart, the ballot protocol on a value
//	recv v1 nominate votes=x,y accepted=x
//	recv v1 prepare b=2:x p=2:x pp=1:y c=2 h=2
//	recv v1 confirm b=3:x p=3 c=2 h=3
//	recv v1 externalize c=2:x h=3    counters are a number, or inf; what is left out is 0 or not there
//	emits prepare b=2:x p=1:x        exactly what the last input made v0 send; several joined by " ; "
//	emits nothing
//	ballot-timer armed               or off
//	ballot-timeout                   fire the ballot timer; an error if it is off
//	decided x                        decided exactly once, now or earlier
//	undecided
//	restore prepare b=2:x p=1:x      start again from v0's own last statement; two lines in a row for nomination and ballot
//	validator no                     v0 follows but does not vote; before its first input
//	invalid y                        the application calls this value invalid
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	if dir := os.Getenv("SCP_SCRIPTS"); dir != "" {
		more, err := filepath.Glob(filepath.Join(dir, "*.txt"))
		if err != nil || len(more) == 0 {
			t.Fatalf("no scripts in %s: %v", dir, err)
		}
		files = append(files, more...)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := play(file, string(raw)); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// slot is the one that scripts are about.
const slot = 1

// play runs a script. The error shows where it failed and v0's whole state.
func play(file, script string) error {
	w := newWorld()
	for i, line := range strings.Split(script, "\n") {
		text, _, _ := strings.Cut(line, "#")
		fields := strings.Fields(text)
		if len(fields) == 0 {
			continue
		}
		run, ok := directives[fields[0]]
		if !ok {
			return fmt.Errorf("%s:%d: unknown directive %q", file, i+1, fields[0])
		}
		if err := run(w, fields[1:]); err != nil {
			return fmt.Errorf("%s:%d: %s\n%v\nscript:\n%s\nv0: %s", file, i+1, strings.TrimSpace(line), err, script, w.state())
		}
	}
	return nil
}

var directives map[string]func(*world, []string) error

func init() { // refer to each other through the table of statement kinds
	directives = map[string]func(*world, []string) error{
		"quorum": doQuorum, "qset": doQset, "values": doValues, "leaders": doLeaders, "valuehash": doValueHash, "combine": doCombine,
		"nominate": doNominate, "nominate-timeout": doNominateTimeout, "bump": doBump, "recv": doRecv,
		"emits": doEmits, "ballot-timer": doBallotTimer, "ballot-timeout": doBallotTimeout, "decided": doDecided,
		"undecided": doUndecided, "restore": doRestore, "validator": doValidator, "invalid": doInvalid,
	}
}

func doQuorum(w *world, args []string) error {
	q, err := w.parseQuorum(args)
	if err != nil {
		return err
	}
	w.common = &q
	return w.changeQuorum()
}

func doQset(w *world, args []string) error {
	if len(args) < 2 {
		return errors.New("want a node and its quorum set")
	}
	q, err := w.parseQuorum(args[1:])
	if err != nil {
		return err
	}
	w.quorums[args[0]] = q
	if args[0] == "v0" {
		return w.changeQuorum()
	}
	return nil
}

func doValues(w *world, args []string) error {
	for _, name := range args {
		if _, ok := w.values[name]; ok || strings.ContainsAny(name, ",=:;") {
			return fmt.Errorf("value %q: known already, or no name", name)
		}
		w.addValue(name)
	}
	return nil
}

func doLeaders(w *world, args []string) error {
	w.leaders = map[scp.NodeID]bool{}
	for _, name := range args {
		w.leaders[w.node(name)] = true
	}
	return nil
}

func doValueHash(w *world, args []string) error {
	for _, arg := range args {
		name, number, _ := strings.Cut(arg, "=")
		v, err := w.value(name)
		if err != nil {
			return err
		}
		n, err := strconv.ParseUint(number, 10, 64)
		if err != nil {
			return err
		}
		w.hashes[string(v)] = n
	}
	return nil
}

func doCombine(w *world, args []string) error {
	if len(args) < 3 || args[len(args)-2] != "=" {
		return errors.New("want values = value")
	}
	var from []xdr.Value
	for _, name := range args[:len(args)-2] {
		v, err := w.value(name)
		if err != nil {
			return err
		}
		from = append(from, v)
	}
	slices.SortFunc(from, func(a, b xdr.Value) int { return strings.Compare(string(a), string(b)) })
	to, err := w.value(args[len(args)-1])
	w.combined[fmt.Sprint(from)] = to
	return err
}

func doNominate(w *world, args []string) error {
	v, err := w.only(args)
	if err != nil {
		return err
	}
	return refused(w.step(scp.Nominate{Slot: slot, Value: v, Previous: xdr.Value("previous")}))
}

func doNominateTimeout(w *world, args []string) error {
	if len(args) != 0 {
		return errors.New("takes nothing")
	}
	w.nominate = false
	return w.step(scp.Expire{Slot: slot, Timer: scp.NominationTimer})
}

func doBump(w *world, args []string) error {
	v, err := w.only(args)
	if err != nil {
		return err
	}
	return refused(w.step(scp.Bump{Slot: slot, Value: v}))
}

// refused lets v0 refuse an invalid value of its own: nothing happens then.
func refused(err error) error {
	if errors.Is(err, scp.ErrInput) {
		return nil
	}
	return err
}

func doRecv(w *world, args []string) error {
	if len(args) < 2 {
		return errors.New("want a node and a statement")
	}
	st, err := w.statement(args[0], args[1:])
	if err != nil {
		return err
	}
	return w.step(scp.Receive{Envelope: xdr.ScpEnvelope{Statement: st, Signature: xdr.Signature("checked by the caller")}})
}

func doEmits(w *world, args []string) error {
	want := "nothing"
	if !slices.Equal(args, []string{"nothing"}) {
		var all []string
		for _, text := range strings.Split(strings.Join(args, " "), ";") {
			st, err := w.statement("v0", strings.Fields(text))
			if err != nil {
				return err
			}
			if n := st.Pledges.Nominate; n != nil { // sets: v0 sends them sorted
				byValue := func(a, b xdr.Value) int { return strings.Compare(string(a), string(b)) }
				slices.SortFunc(n.Votes, byValue)
				slices.SortFunc(n.Accepted, byValue)
			}
			all = append(all, scp.Describe(st, w.show()))
		}
		want = strings.Join(all, " ; ")
	}
	if got := w.said(); got != want {
		return fmt.Errorf("v0 sent %s", got)
	}
	return nil
}

func doBallotTimer(w *world, args []string) error {
	if !slices.Equal(args, []string{"armed"}) && !slices.Equal(args, []string{"off"}) {
		return errors.New("want armed or off")
	}
	if w.ballot != (args[0] == "armed") {
		return errors.New("it is not")
	}
	return nil
}

func doBallotTimeout(w *world, args []string) error {
	if len(args) != 0 {
		return errors.New("takes nothing")
	}
	if !w.ballot {
		return errors.New("the ballot timer is off")
	}
	w.ballot = false
	return w.step(scp.Expire{Slot: slot, Timer: scp.BallotTimer})
}

func doDecided(w *world, args []string) error {
	v, err := w.only(args)
	if err != nil {
		return err
	}
	if len(w.decided) != 1 || string(w.decided[0]) != string(v) {
		return fmt.Errorf("v0 decided %d times: %q", len(w.decided), w.decided)
	}
	return nil
}

func doUndecided(w *world, args []string) error {
	if len(args) != 0 {
		return errors.New("takes nothing")
	}
	if len(w.decided) != 0 {
		return fmt.Errorf("v0 decided %q", w.decided)
	}
	return nil
}

func doRestore(w *world, args []string) error {
	st, err := w.statement("v0", args)
	if err != nil {
		return err
	}
	return w.restore(st)
}

func doValidator(w *world, args []string) error {
	if !slices.Equal(args, []string{"yes"}) && !slices.Equal(args, []string{"no"}) {
		return errors.New("want yes or no")
	}
	if w.v0 != nil && len(w.v0.Slots()) > 0 {
		return errors.New("v0 has started")
	}
	w.v0, w.validator = nil, args[0] == "yes"
	return nil
}

func doInvalid(w *world, args []string) error {
	for _, name := range args {
		v, err := w.value(name)
		if err != nil {
			return err
		}
		w.invalid[string(v)] = true
	}
	return nil
}

// TestScriptsCanFail: a script that is wrong, or wrong about v0, fails and says where.
func TestScriptsCanFail(t *testing.T) {
	const head = "quorum 2 v0 v1 v2\nvalues x y\n"
	for _, c := range []struct{ script, want string }{
		{"quorum 2 v0 v1 v2\nfrobnicate", `script:2: unknown directive "frobnicate"`},
		{"bump x", `unknown value "x"`},
		{"values x\nbump x", "no quorum was given"},
		{"values x x", "known already"},
		{"quorum 2 {1 v1", "a { without }"},
		{"quorum 2 v1 } v2", "too much"},
		{"quorum x v1", "invalid syntax"},
		{"quorum 3 v0 v1\nvalues x\nbump x", "threshold 3 of 2"},
		{head + "recv v1 shout b=1:x", `unknown statement "shout"`},
		{head + "recv v1 prepare b=1:x q=2", `"q=2" is no field of prepare`},
		{head + "recv v1 prepare b=1:x b=2:x", `"b=2:x" is no field of prepare`},
		{head + "recv v1 prepare p=1:x", "b is missing"},
		{head + "recv v1 prepare b=1", "no counter:value"},
		{head + "recv v1 confirm b=1:x p=1:x", "invalid syntax"},
		{head + "bump x\nemits nothing", "script:4: emits nothing\nv0 sent prepare b=1:x\nscript:\n" + head + "bump x"},
		{head + "bump x\nemits prepare b=1:y", "v0 sent prepare b=1:x"},
		{head + "bump x\nemits prepare b=1:x ; prepare b=1:x", "v0 sent prepare b=1:x"},
		{head + "bump x\nballot-timer armed", "v0: slot 1, prepare"},
		{head + "bump x\nballot-timer on", "want armed or off"},
		{head + "ballot-timeout", "the ballot timer is off"},
		{head + "decided x", "v0 decided 0 times"},
		{head + "restore externalize c=1:x h=1\ndecided y", "v0 decided 1 times"},
		{head + "restore externalize c=1:x h=1\nundecided", "v0 decided"},
		{head + "restore prepare b=1:x h=2", "not a statement of this node"},
		{head + "bump x\nvalidator no", "v0 has started"},
		{head + "combine x y", "want values = value"},
		{head + "valuehash x=high", "invalid syntax"},
	} {
		if err := play("script", c.script); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q\nsays %v\nnot %s", c.script, err, c.want)
		}
	}
}
