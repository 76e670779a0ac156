package fbas

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// anyOf asks for threshold of the nodes named.
func anyOf(threshold int, of string) *QuorumSet {
	return &QuorumSet{Threshold: threshold, Validators: strings.Fields(of)}
}

// all asks for each of the nodes named: one slice.
func all(of string) *QuorumSet { return anyOf(len(strings.Fields(of)), of) }

// system makes a system from pairs of names and the quorum set of those.
func system(t testing.TB, rules ...any) *System {
	t.Helper()
	var nodes []Node
	for i := 0; i < len(rules); i += 2 {
		for _, id := range strings.Fields(rules[i].(string)) {
			nodes = append(nodes, Node{id, rules[i+1].(*QuorumSet)})
		}
	}
	s, err := New(nodes, Absent)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// write is a list of sets as one line.
func write(sets [][]string) string {
	lines := make([]string, len(sets))
	for i, s := range sets {
		lines[i] = strings.Join(s, " ")
	}
	return strings.Join(lines, " | ")
}

// figure is a worked figure: what is known of a system.
type figure struct {
	name                                   string
	sys                                    *System
	verdict                                Verdict
	quorums, blocking, splitting, top, all string // all are the dispensable sets, if not empty
}

func figures(t *testing.T) []figure {
	return []figure{
		{"three that agree by themselves, and one that needs two of them", system(t, "v1", all("v1 v2 v3"), "v2 v3 v4", all("v2 v3 v4")),
			Intersects, "v2 v3 v4", "v2 | v3 | v4", "v2 v3", "v2 v3 v4", " | v1 | v1 v2 v3 v4"},
		{"four nodes that need all four", system(t, "v1", all("v1 v2"), "v2", all("v2 v3"), "v3", all("v3 v4"), "v4", all("v4 v1")),
			Intersects, "v1 v2 v3 v4", "v1 | v2 | v3 | v4", "v1 v3 | v2 v4", "v1 v2 v3 v4", " | v1 v2 v3 v4"},
		{"two disjoint triples", system(t, "v1 v2 v3", all("v1 v2 v3"), "v4 v5 v6", all("v4 v5 v6")),
			Splits, "v1 v2 v3 | v4 v5 v6", "v1 v4 | v1 v5 | v1 v6 | v2 v4 | v2 v5 | v2 v6 | v3 v4 | v3 v5 | v3 v6", "", "v1 v2 v3 v4 v5 v6",
			"v1 v2 v3 | v4 v5 v6 | v1 v2 v3 v4 v5 v6"},
		{"quorums that meet in one node", system(t, "v1 v2 v3", all("v1 v2 v3 v7"), "v4 v5 v6", all("v4 v5 v6 v7"), "v7", all("v7")),
			Intersects, "v7", "v7", "v7", "v7", ""},
		{"a cycle of trust", system(t, "v1", all("v2"), "v2", all("v3"), "v3", all("v1")),
			Intersects, "v1 v2 v3", "v1 | v2 | v3", "", "v1 v2 v3", " | v1 v2 v3"},
		{"three of four", system(t, "v1 v2 v3 v4", anyOf(3, "v1 v2 v3 v4")),
			Intersects, "v1 v2 v3 | v1 v2 v4 | v1 v3 v4 | v2 v3 v4", "v1 v2 | v1 v3 | v1 v4 | v2 v3 | v2 v4 | v3 v4",
			"v1 v2 | v1 v3 | v1 v4 | v2 v3 | v2 v4 | v3 v4", "v1 v2 v3 v4", " | v1 | v2 | v3 | v4 | v1 v2 v3 v4"},
		{"no quorum", system(t, "v1", all("v1 v2"), "v2", all("x")), NoQuorum, "", "", "", "", "v1 v2"},
	}
}

func TestFigures(t *testing.T) {
	for _, f := range figures(t) {
		t.Run(f.name, func(t *testing.T) {
			a := f.sys.Analyse(t.Context())
			if len(a.Reasons) > 0 || a.Intersection.Verdict != f.verdict {
				t.Errorf("verdict %d, want %d; not known: %v", a.Intersection.Verdict, f.verdict, a.Reasons)
			}
			for what, pair := range map[string][2]string{
				"quorums": {write(a.Quorums), f.quorums}, "blocking": {write(a.BlockingSets), f.blocking},
				"splitting": {write(a.SplittingSets), f.splitting}, "top tier": {strings.Join(a.TopTier, " "), f.top},
			} {
				if pair[0] != pair[1] {
					t.Errorf("%s: %s, want %s", what, pair[0], pair[1])
				}
			}
			if d, err := f.sys.DispensableSets(t.Context()); f.all != "" && (err != nil || write(d) != f.all) {
				t.Errorf("dispensable: %s, %v, want %s", write(d), err, f.all)
			}
		})
	}
}

// TestOneIllBehavedNodeBefoulsAll: quorums meet in a node that is ill-behaved.
func TestOneIllBehavedNodeBefoulsAll(t *testing.T) {
	s := system(t, "v1 v2 v3", all("v1 v2 v3 v7"), "v4 v5 v6", all("v4 v5 v6 v7"), "v7", all("v7"))
	intact, befouled, err := s.Intact(t.Context(), []string{"v7"})
	if err != nil || len(intact) != 0 || len(befouled) != 7 {
		t.Errorf("%v %v %v", intact, befouled, err)
	}
	if d, err := s.Dispensable(t.Context(), []string{"v7"}); err != nil || d.Intersection || d.Availability {
		t.Errorf("%+v %v", d, err)
	}
}

// tiered is the tiered system of the paper: four at the top ask three of each other, four in the middle any two of the top, two
// leaves any two of the middle.
func tiered(t testing.TB) *System {
	return system(t, "v1 v2 v3 v4", anyOf(3, "v1 v2 v3 v4"), "v5 v6 v7 v8", anyOf(2, "v1 v2 v3 v4"), "v9 v10", anyOf(2, "v5 v6 v7 v8"))
}

func TestTiered(t *testing.T) {
	s := tiered(t)
	for set, want := range map[string]bool{"": true, "v1": true, "v9": true, "v6 v7 v8 v9 v10": true, "v5 v6": false, "v5 v6 v9 v10": true,
		"v1 v2": false, "v5 v6 v9": false} {
		d, err := s.Dispensable(t.Context(), strings.Fields(set))
		if err != nil || d.Both() != want {
			t.Errorf("{%s}: %+v, %v, want %v", set, d, err, want)
		}
	}
	sets, err := s.DispensableSets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range sets { // in order of their size
		if slices.Contains(d, "v5") && slices.Contains(d, "v6") {
			if got := strings.Join(d, " "); got != "v10 v5 v6 v9" {
				t.Errorf("the smallest dispensable set with v5 and v6 is {%s}", got)
			}
			break
		}
	}
	intact, befouled, err := s.Intact(t.Context(), []string{"v5", "v6"})
	if err != nil || strings.Join(intact, " ") != "v1 v2 v3 v4 v7 v8" || strings.Join(befouled, " ") != "v10 v5 v6 v9" {
		t.Errorf("%v %v %v", intact, befouled, err)
	}
}

func TestVBlocking(t *testing.T) {
	s := tiered(t)
	for set, want := range map[string]bool{"v1 v2 v3": true, "v1 v2": false, "v5": true, "v9 v10": false} {
		if got, err := s.VBlocking("v5", strings.Fields(set)); err != nil || got != want {
			t.Errorf("{%s}: %v, %v, want %v", set, got, err, want)
		}
	}
	if _, err := s.VBlocking("v11", nil); !errors.Is(err, ErrInput) {
		t.Errorf("a node that is not there: %v", err)
	}
}

// TestUnknownNodes: one system, three views of the node whose quorum set nobody knows.
func TestUnknownNodes(t *testing.T) {
	nodes := []Node{{"a", all("a x")}, {"b", all("b x")}, {"x", nil}, {"y", &QuorumSet{Threshold: 1 << 53}}}
	for unknown, want := range map[Unknown]Verdict{Absent: NoQuorum, Faulty: Splits} {
		s, err := New(nodes, unknown)
		if err != nil {
			t.Fatal(err)
		}
		in, err := s.Intersection(t.Context())
		if err != nil || in.Verdict != want || write([][]string{s.Nodes(), s.UnknownNodes()}) != "a b | x y" {
			t.Errorf("%s: verdict %d, %v, want %d; unknown %v", unknown, in.Verdict, err, want, s.UnknownNodes())
		}
	}
	if _, err := New(nodes, Refused); !errors.Is(err, ErrInput) {
		t.Errorf("refused: %v", err)
	}
	s, err := New(nodes, Absent)
	if err != nil {
		t.Fatal(err)
	}
	if sets, err := s.MinimalSplittingSets(t.Context()); err != nil || write(sets) != "x" {
		t.Errorf("an unknown node that lies splits them: %v, %v", sets, err)
	}
}

// TestCertificates: where the thresholds alone say it, counting does; where they do not, the solver's refutation does.
func TestCertificates(t *testing.T) {
	for name, tt := range map[string]struct {
		nodes  []Node
		method string
	}{
		"all ask the same": {organisations(24, false), Counting}, "not all do": {organisations(24, true), Counting},
		"like a real list": {likeReal(), Counting}, "too little to count": {leavingOut(12), Refutation},
	} {
		s, err := New(tt.nodes, Absent)
		if err != nil {
			t.Fatal(err)
		}
		in, err := s.Intersection(t.Context())
		if err != nil || in.Verdict != Intersects || in.Certificate.Method != tt.method || (in.Certificate.Steps > 0) != (tt.method == Refutation) {
			t.Errorf("%s: %+v, %v, want %s", name, in, err, tt.method)
		}
	}
	in, err := tiered(t).Intersection(t.Context())
	if err != nil || strings.Join(in.Certificate.Core, " ") != "v1 v2 v3 v4" {
		t.Errorf("the core of the tiered system: %+v, %v", in.Certificate, err)
	}
}

// TestUnknownNodeLies: two trust each other and one nobody knows; if that one lies, nobody is safe.
func TestUnknownNodeLies(t *testing.T) {
	s := system(t, "a b", anyOf(2, "a b x"))
	for ill, want := range map[string]string{"": "a b | ", "x": " | a b x", "a": " | a b"} {
		intact, befouled, err := s.Intact(t.Context(), strings.Fields(ill))
		if err != nil || write([][]string{intact, befouled}) != want {
			t.Errorf("{%s}: %v %v %v, want %s", ill, intact, befouled, err, want)
		}
	}
}

func TestNoTime(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := system(t, "a b c", anyOf(1, "a b c"), "d", all("d e"), "e f g h", anyOf(2, "e f g h"))
	a := s.Analyse(ctx)
	for _, part := range []Part{PartQuorums, PartBlockingSets, PartSplittingSets} {
		if !errors.Is(a.Reasons[part], ErrTime) {
			t.Errorf("%s: %v", part, a.Reasons[part])
		}
	}
	if a.Quorums != nil || a.BlockingSets != nil || a.SplittingSets != nil {
		t.Error("there are answers without time")
	}
	if _, _, err := s.Intact(ctx, nil); err != nil && !errors.Is(err, ErrTime) {
		t.Error(err)
	}
}

// organisations is a network of organisations of three validators, two of which speak for it; each asks for a threshold of
// about two thirds of the organisations. From every odd one on, some leave one organisation out, so that not all ask the same.
func organisations(n int, varied bool) []Node {
	var orgs []QuorumSet
	for i := range n {
		orgs = append(orgs, QuorumSet{Threshold: 2, Validators: []string{fmt.Sprintf("o%02d-a", i), fmt.Sprintf("o%02d-b", i), fmt.Sprintf("o%02d-c", i)}})
	}
	var nodes []Node
	for i, org := range orgs {
		inner := slices.Clone(orgs)
		if varied && i%2 == 1 {
			inner = slices.Delete(inner, (i+3)%n, (i+3)%n+1)
		}
		q := QuorumSet{Threshold: (2*len(inner) + 2) / 3, Inner: inner}
		for _, v := range org.Validators {
			nodes = append(nodes, Node{v, &q})
		}
	}
	return nodes
}
