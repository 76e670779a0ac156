package scp_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/scp"
)

// started plays lines and hands over what they led to.
func started(t *testing.T, lines string) *world {
	t.Helper()
	w := newWorld()
	for _, line := range strings.Split(lines, "\n") {
		if f := strings.Fields(line); len(f) > 0 {
			if err := directives[f[0]](w, f[1:]); err != nil {
				t.Fatal(line, err, w.state())
			}
		}
	}
	if err := w.start(); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) must(t *testing.T, line string) scp.Output {
	t.Helper()
	f := strings.Fields(line)
	st, err := w.statement(f[0], f[1:])
	if err != nil {
		t.Fatal(err)
	}
	out, err := w.v0.Step(scp.Receive{Envelope: xdr.ScpEnvelope{Statement: st}})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

const three = "quorum 2 v0 v1 v2\nvalues x y z\n"

func TestNewRefuses(t *testing.T) {
	w := newWorld()
	good := scp.Config{ID: w.node("v0"), QuorumSet: set(t, "1 v0"), Nomination: scp.DefaultTimeout, Ballot: scp.DefaultTimeout}
	if _, err := scp.New(good, w); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*scp.Config){
		"no id":            func(c *scp.Config) { c.ID = scp.NodeID{} },
		"no quorum set":    func(c *scp.Config) { c.QuorumSet = xdr.ScpQuorumSet{} },
		"no timeouts":      func(c *scp.Config) { c.Ballot = scp.Timeout{} },
		"negative timeout": func(c *scp.Config) { c.Nomination.Increment = -1 },
		"endless timeout":  func(c *scp.Config) { c.Nomination.Initial = time.Hour },
	} {
		c := good
		change(&c)
		if _, err := scp.New(c, w); !errors.Is(err, scp.ErrInput) && !errors.Is(err, scp.ErrQuorumSet) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := scp.New(good, nil); !errors.Is(err, scp.ErrInput) {
		t.Errorf("no application: %v", err)
	}
}

func TestVerdicts(t *testing.T) {
	w := started(t, three+"invalid y")
	if out := w.must(t, "v1 prepare b=1:x"); out.Verdict != scp.Accepted {
		t.Error(out)
	}
	for _, line := range []string{"v1 prepare b=1:x", "v1 prepare b=0:x", "v1 prepare b=2:y", "v0 prepare b=3:x", "v1 nominate"} {
		if out := w.must(t, line); out.Verdict != scp.Ignored || len(out.Effects) > 0 {
			t.Errorf("%s: %+v", line, out)
		}
	}
	if err := doQset(w, strings.Fields("v1 2 v1 v2")); err != nil {
		t.Fatal(err)
	}
	st, err := w.statement("v1", strings.Fields("prepare b=2:x"))
	if err != nil {
		t.Fatal(err)
	}
	kept := w.sets
	w.sets = map[xdr.Hash]xdr.ScpQuorumSet{}
	out, err := w.v0.Step(scp.Receive{Envelope: xdr.ScpEnvelope{Statement: st}})
	if err != nil || out.Verdict != scp.Missing || out.MissingQuorumSet != st.Pledges.Prepare.QuorumSetHash {
		t.Fatalf("a quorum set that nobody knows: %+v %v", out, err)
	}
	w.sets = kept
	if out, err := w.v0.Step(scp.Receive{Envelope: xdr.ScpEnvelope{Statement: st}}); err != nil || out.Verdict != scp.Accepted {
		t.Fatalf("the same once it is known: %+v %v", out, err)
	}
}

func TestWhatIsNotXDRIsIgnored(t *testing.T) {
	w := started(t, three)
	v1 := w.node("v1").XDR()
	for _, st := range []xdr.ScpStatement{
		{},
		{NodeId: v1},
		{NodeId: v1, Pledges: xdr.ScpStatementPledges{Type: 9}},
		{NodeId: v1, Pledges: xdr.ScpStatementPledges{Type: xdr.ScpStatementTypeScpStConfirm, Prepare: &xdr.ScpStatementPrepare{}}},
		{Pledges: xdr.ScpStatementPledges{Type: xdr.ScpStatementTypeScpStExternalize, Externalize: &xdr.ScpStatementExternalize{
			Commit: xdr.ScpBallot{Counter: 1}, NH: 1}}},
	} {
		if out, err := w.v0.Step(scp.Receive{Envelope: xdr.ScpEnvelope{Statement: st}}); err != nil || out.Verdict != scp.Ignored {
			t.Errorf("%+v: %+v %v", st, out, err)
		}
	}
	if len(w.v0.Slots()) != 0 {
		t.Error("nonsense starts slots")
	}
}

func TestBadInput(t *testing.T) {
	w := started(t, three+"invalid y")
	x, y := w.values["x"], w.values["y"]
	w.v0.SetWindow(1, 10, 0)
	for _, in := range []scp.Input{
		nil,
		scp.Nominate{Slot: 1, Value: x},
		scp.Nominate{Slot: 1, Previous: x},
		scp.Nominate{Slot: 1, Value: y, Previous: x},
		scp.Nominate{Slot: 11, Value: x, Previous: x},
		scp.Bump{Slot: 1, Value: y},
		scp.Bump{Slot: 1},
		scp.Bump{Slot: 0, Value: x},
	} {
		if out, err := w.v0.Step(in); !errors.Is(err, scp.ErrInput) || len(out.Effects) > 0 {
			t.Errorf("%#v: %v", in, err)
		}
	}
	if len(w.v0.Slots()) != 0 {
		t.Error("what was refused starts slots")
	}
	if _, err := w.v0.Step(scp.Bump{Slot: 1, Value: x}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.v0.Step(scp.Expire{Slot: 1, Timer: 7}); !errors.Is(err, scp.ErrInput) {
		t.Error(err)
	}
	for _, timer := range []scp.Timer{scp.BallotTimer, scp.NominationTimer} {
		for _, index := range []uint64{1, 2} {
			if out, err := w.v0.Step(scp.Expire{Slot: index, Timer: timer}); err != nil || out.Verdict != scp.Ignored || len(out.Effects) > 0 {
				t.Errorf("a timer that is not set: %+v %v", out, err)
			}
		}
	}
}

func TestWindow(t *testing.T) {
	w := started(t, three)
	bump := func(index uint64) {
		if _, err := w.v0.Step(scp.Bump{Slot: index, Value: w.values["x"]}); err != nil {
			t.Fatal(err)
		}
	}
	for _, index := range []uint64{9, 3, 5, 7, 1} {
		bump(index)
	}
	if got := w.v0.Slots(); !slices.Equal(got, []uint64{1, 3, 5, 7, 9}) {
		t.Fatal(got)
	}
	w.v0.SetWindow(4, 8, 1)
	if got := w.v0.Slots(); !slices.Equal(got, []uint64{1, 5, 7}) {
		t.Fatal(got)
	}
	for index, want := range map[xdr.Uint64]scp.Verdict{3: scp.Ignored, 4: scp.Accepted, 8: scp.Accepted, 9: scp.Ignored, 1: scp.Ignored} {
		st, err := w.statement("v1", strings.Fields("prepare b=1:x"))
		if err != nil {
			t.Fatal(err)
		}
		st.SlotIndex = index
		if out, err := w.v0.Step(scp.Receive{Envelope: xdr.ScpEnvelope{Statement: st}}); err != nil || out.Verdict != want {
			t.Errorf("slot %d: %+v %v", index, out, err)
		}
	}
}

func TestEffectsOfADecision(t *testing.T) {
	w := started(t, three)
	out, err := w.v0.Step(scp.Nominate{Slot: 1, Value: w.values["x"], Previous: w.values["y"]})
	if err != nil {
		t.Fatal(err)
	}
	if want := (scp.SetTimer{Slot: 1, Timer: scp.NominationTimer, After: time.Second}); len(out.Effects) != 2 || out.Effects[0] != want {
		t.Fatalf("%+v", out)
	}
	w.must(t, "v1 prepare b=1:x p=1:x")
	out = w.must(t, "v1 externalize c=1:x h=1")
	if len(out.Effects) != 0 {
		t.Fatalf("%+v", out)
	}
	out = w.must(t, "v2 externalize c=1:x h=1")
	var kinds []string
	for _, e := range out.Effects {
		kinds = append(kinds, reflect.TypeOf(e).Name())
	}
	if !slices.Equal(kinds, []string{"Send", "StopTimer", "Decide"}) {
		t.Fatalf("%v", out.Effects)
	}
	if string(w.v0.Decided(1)) != string(w.values["x"]) || w.v0.Phase(1) != scp.Externalized || w.v0.Decided(2) != nil || w.v0.Phase(2) != 0 {
		t.Error("Decided or Phase")
	}
}

// TestTheTimerIsSetOncePerBallot: were it set again with every message, a talkative network would never time out.
func TestTheTimerIsSetOncePerBallot(t *testing.T) {
	w := started(t, "quorum 3 v0 v1 v2 v3\nvalues x y\nbump x")
	w.must(t, "v1 prepare b=1:x")
	out := w.must(t, "v2 prepare b=2:y")
	if want := (scp.SetTimer{Slot: 1, Timer: scp.BallotTimer, After: time.Second}); len(out.Effects) != 1 || out.Effects[0] != want {
		t.Fatalf("%+v", out)
	}
	for _, line := range []string{"v1 prepare b=1:y", "v3 prepare b=1:y"} {
		for _, e := range w.must(t, line).Effects {
			if _, again := e.(scp.SetTimer); again {
				t.Errorf("%s sets it again", line)
			}
		}
	}
	out, err := w.v0.Step(scp.Expire{Slot: 1, Timer: scp.BallotTimer})
	if err != nil || len(out.Effects) != 1 {
		t.Fatalf("%+v %v", out, err)
	}
	out = w.must(t, "v1 prepare b=2:y")
	if want := (scp.SetTimer{Slot: 1, Timer: scp.BallotTimer, After: 2 * time.Second}); !slices.Contains(out.Effects, scp.Effect(want)) {
		t.Errorf("%+v", out)
	}
	out = w.must(t, "v2 prepare b=3:y")
	if len(out.Effects) != 0 {
		t.Errorf("%+v", out)
	}
	out = w.must(t, "v1 prepare b=4:y")
	if stop := (scp.StopTimer{Slot: 1, Timer: scp.BallotTimer}); slices.Contains(out.Effects, scp.Effect(stop)) {
		t.Errorf("stopped although the quorum is still there: %+v", out)
	}
}

func TestAfterADecisionOnlyWhatAgreesIsKept(t *testing.T) {
	w := started(t, three)
	if err := w.mustRestore("externalize c=1:x h=1"); err != nil {
		t.Fatal(err)
	}
	if own := w.v0.Own(1); len(own) != 1 || own[0].Pledges.Externalize == nil {
		t.Errorf("what was sent before a restart is not sent again when asked for: %v", own)
	}
	if out := w.must(t, "v1 prepare b=1:y"); out.Verdict != scp.Ignored {
		t.Errorf("%+v", out)
	}
	if out := w.must(t, "v1 prepare b=1:x"); out.Verdict != scp.Accepted {
		t.Errorf("%+v", out)
	}
	if out := w.must(t, "v1 confirm b=1:y p=1 c=1 h=1"); out.Verdict != scp.Ignored || len(w.v0.Proof(1)) != 1 {
		t.Errorf("%+v", out)
	}
}

func TestEnvelopesForOthers(t *testing.T) {
	w := started(t, three)
	if err := doBump(w, []string{"x"}); err != nil {
		t.Fatal(err)
	}
	w.must(t, "v2 nominate votes=z")
	w.must(t, "v2 prepare b=1:y")
	w.must(t, "v1 prepare b=1:x")
	shown := func(envs []xdr.ScpEnvelope) string {
		var out []string
		for _, e := range envs {
			id, _ := scp.NodeIDFromXDR(e.Statement.NodeId)
			out = append(out, w.names[id]+" "+scp.Describe(e.Statement, w.show()))
		}
		return strings.Join(out, " ; ")
	}
	if got, want := shown(w.v0.Latest(1)), "v2 nominate votes=z accepted= ; v1 prepare b=1:x ; v2 prepare b=1:y"; got != want {
		t.Errorf("latest: %s", got)
	}
	own := w.v0.Own(1)
	if len(own) != 1 || scp.Describe(own[0], w.show()) != "prepare b=1:x p=1:x" {
		t.Errorf("own: %v", own)
	}
	if w.v0.Proof(1) != nil {
		t.Error("a proof of nothing")
	}
	w.must(t, "v1 confirm b=1:x p=1 c=1 h=1")
	w.must(t, "v2 externalize c=1:x h=1")
	if got, want := shown(w.v0.Proof(1)), "v1 confirm b=1:x p=1 c=1 h=1 ; v2 externalize c=1:x h=1"; got != want {
		t.Errorf("proof: %s", got)
	}
	if w.v0.Latest(2) != nil || w.v0.Own(2) != nil || w.v0.Proof(2) != nil {
		t.Error("a slot that is not known")
	}
}

func TestInfo(t *testing.T) {
	w := started(t, three)
	if _, ok := w.v0.Info(1, nil); ok {
		t.Error("a slot that is not known")
	}
	if err := doNominate(w, []string{"x"}); err != nil {
		t.Fatal(err)
	}
	w.must(t, "v1 nominate votes=x accepted=x")
	info, ok := w.v0.Info(1, w.show())
	raw, err := json.Marshal(info)
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	for _, want := range []string{`"slot":1`, `"phase":"prepare"`, `"leaders":["v0"]`, `"candidates":["x"]`, `"b":"1:x"`,
		`"margin":["v1"]`, `"node":"v1","nomination":"nominate votes=x accepted=x"`} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("%s is not in %s", want, raw)
		}
	}
	plain, _ := w.v0.Info(1, nil)
	if id := w.v0.ID().String(); !strings.HasPrefix(id, "G") || !strings.Contains(plain.String(), id) {
		t.Errorf("without names: %s", plain)
	}
}

func TestRestoreRefuses(t *testing.T) {
	w := started(t, three)
	for _, line := range []string{"v1 prepare b=1:x", "v0 prepare b=0:x", "v0 prepare b=1:x h=1", "v0 nominate", "v0 externalize c=0:x h=1"} {
		f := strings.Fields(line)
		st, err := w.statement(f[0], f[1:])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.v0.Restore(st); !errors.Is(err, scp.ErrInput) {
			t.Errorf("%s: %v", line, err)
		}
	}
	if len(w.v0.Slots()) != 0 {
		t.Error("what was refused starts slots")
	}
	if err := doNominate(w, []string{"x"}); err != nil {
		t.Fatal(err)
	}
	if err := doBump(w, []string{"x"}); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"prepare b=5:x", "nominate votes=y"} {
		st, err := w.statement("v0", strings.Fields(line))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.v0.Restore(st); !errors.Is(err, scp.ErrInput) {
			t.Errorf("%s after the slot started: %v", line, err)
		}
	}
}

func TestALeaderMayInsistOnItsValue(t *testing.T) {
	for _, c := range []struct {
		leader, want string
		insist       bool
	}{{"v0", "nothing", false}, {"v0", "nominate votes=x,y accepted=", true}, {"v1", "nothing", true}} {
		w := started(t, three+"leaders "+c.leader)
		if c.leader == "v1" {
			w.must(t, "v1 nominate votes=x")
		}
		if err := doNominate(w, []string{"x"}); err != nil {
			t.Fatal(err)
		}
		if err := w.step(scp.Nominate{Slot: slot, Value: w.values["y"], Previous: w.values["z"], Insist: c.insist}); err != nil {
			t.Fatal(err)
		}
		if w.said() != c.want {
			t.Errorf("%+v: %s", c, w.said())
		}
	}
}

// turncoat finds everything valid until told otherwise, and says maybe to what is for another time.
type turncoat struct {
	*world
	now     scp.Validity
	combine xdr.Value
	extract map[string]xdr.Value
}

func (a *turncoat) Validate(slot uint64, v xdr.Value, nomination bool) scp.Validity {
	if v := a.world.Validate(slot, v, nomination); v == scp.Invalid || a.now == 0 {
		return v
	}
	return a.now
}

func (a *turncoat) Combine(slot uint64, candidates []xdr.Value) xdr.Value {
	if a.combine != nil {
		return a.combine
	}
	return a.world.Combine(slot, candidates)
}

func (a *turncoat) Extract(_ uint64, v xdr.Value) xdr.Value { return a.extract[string(v)] }

func betrayed(t *testing.T, lines string) (*world, *turncoat) {
	w := started(t, lines)
	app := &turncoat{world: w}
	q, _ := w.v0.QuorumSet()
	n, err := scp.New(scp.Config{ID: w.node("v0"), QuorumSet: q.XDR(), Validator: true,
		Nomination: scp.DefaultTimeout, Ballot: scp.DefaultTimeout}, app)
	if err != nil {
		t.Fatal(err)
	}
	w.v0 = n
	return w, app
}

// betrayal finds a value valid once, when it is heard, and not when it is decided.
type betrayal struct {
	*world
	asked int
}

func (b *betrayal) Validate(uint64, xdr.Value, bool) scp.Validity {
	if b.asked++; b.asked == 1 {
		return scp.Valid
	}
	return scp.Invalid
}

func TestADecisionOnAnInvalidValueIsAFault(t *testing.T) {
	w := started(t, three)
	q, _ := w.v0.QuorumSet()
	n, err := scp.New(scp.Config{ID: w.node("v0"), QuorumSet: q.XDR(), Validator: true,
		Nomination: scp.DefaultTimeout, Ballot: scp.DefaultTimeout}, &betrayal{world: w})
	if err != nil {
		t.Fatal(err)
	}
	w.v0 = n
	if err := w.mustRestore("confirm b=1:x p=1 c=1 h=1"); err != nil {
		t.Fatal(err)
	}
	st, err := w.statement("v1", strings.Fields("confirm b=1:x p=1 c=1 h=1"))
	if err != nil {
		t.Fatal(err)
	}
	out, err := n.Step(scp.Receive{Envelope: xdr.ScpEnvelope{Statement: st}})
	if !errors.Is(err, scp.ErrFault) || len(out.Effects) > 0 || n.Decided(1) != nil {
		t.Fatalf("%+v %v", out, err)
	}
	if _, again := n.Step(scp.Receive{Envelope: xdr.ScpEnvelope{Statement: st}}); !errors.Is(again, scp.ErrFault) {
		t.Error("the slot goes on: ", again)
	}
	if info, _ := n.Info(1, w.show()); !strings.Contains(info.String(), "fault") {
		t.Error(info)
	}
}

func (w *world) mustRestore(line string) error {
	st, err := w.statement("v0", strings.Fields(line))
	if err != nil {
		return err
	}
	_, err = w.v0.Restore(st)
	return err
}

func TestAnInvalidCompositeIsAFault(t *testing.T) {
	for _, composite := range []string{"", "y"} {
		w, app := betrayed(t, three+"invalid y")
		app.combine = xdr.Value{}
		if composite != "" {
			app.combine = w.values[composite]
		}
		if err := doNominate(w, []string{"x"}); err != nil {
			t.Fatal(err)
		}
		st, err := w.statement("v1", strings.Fields("nominate votes=x accepted=x"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.v0.Step(scp.Receive{Envelope: xdr.ScpEnvelope{Statement: st}}); !errors.Is(err, scp.ErrFault) {
			t.Errorf("composite %q: %v", composite, err)
		}
	}
}

func TestWhatMayBeValidIsFollowedInSilence(t *testing.T) {
	w, app := betrayed(t, three)
	app.now = scp.Maybe
	if err := doBump(w, []string{"x"}); err != nil {
		t.Fatal(err)
	}
	if w.said() != "nothing" {
		t.Error(w.said())
	}
	app.now = scp.Valid
	if out := w.must(t, "v1 prepare b=1:x"); out.Verdict != scp.Accepted || len(out.Effects) != 1 { // the timer
		t.Errorf("%+v", out)
	}
	if w.v0.Own(1) != nil {
		t.Error("there is something to send again")
	}
	w.must(t, "v1 confirm b=1:x p=1 c=1 h=1")
	out := w.must(t, "v2 confirm b=1:x p=1 c=1 h=1")
	if w.v0.Decided(1) == nil {
		t.Errorf("not decided: %+v", out)
	}
	// nomination is stricter: what may be valid is not voted for
	w, app = betrayed(t, three)
	if err := doLeaders(w, []string{"v1"}); err != nil {
		t.Fatal(err)
	}
	if err := doNominate(w, []string{"x"}); err != nil {
		t.Fatal(err)
	}
	app.now = scp.Maybe
	if out := w.must(t, "v1 nominate votes=y"); len(out.Effects) != 0 {
		t.Errorf("%+v", out)
	}
}

func TestTheValidPartOfAnInvalidValueIsVotedFor(t *testing.T) {
	w, app := betrayed(t, "quorum 3 v0 v1 v2 v3\nvalues x y z\ninvalid z y\nleaders v1")
	app.extract = map[string]xdr.Value{string(w.values["z"]): w.values["x"]}
	if err := doNominate(w, []string{"x"}); err != nil {
		t.Fatal(err)
	}
	out := w.must(t, "v1 nominate votes=y,z")
	w.take(out)
	if w.said() != "nominate votes=x accepted=" {
		t.Fatal(w.said())
	}
	// not from the leader, but nearly accepted: nothing is made of y, x of z is voted for already
	w.sent = nil
	w.take(w.must(t, "v2 nominate votes=y,z accepted=y,z"))
	w.take(w.must(t, "v3 nominate votes=y,z accepted=y,z"))
	if w.said() != "nothing" {
		t.Error(w.said())
	}
	if err := doLeaders(w, []string{"v3"}); err != nil {
		t.Fatal(err)
	}
	w, app = betrayed(t, "quorum 3 v0 v1 v2 v3\nvalues x y z\ninvalid z y\nleaders v1")
	app.extract = map[string]xdr.Value{string(w.values["z"]): w.values["x"]}
	if err := doNominate(w, []string{"x"}); err != nil {
		t.Fatal(err)
	}
	w.take(w.must(t, "v2 nominate votes=z accepted=z"))
	w.take(w.must(t, "v3 nominate votes=z accepted=z"))
	if w.said() != "nominate votes=x accepted=" {
		t.Error(w.said())
	}
}
