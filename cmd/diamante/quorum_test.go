package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/diamante/gateway/cmd/internal/boot"
)

// nodeList writes a list of nodes: each line is a name, a threshold and whom it counts.
func nodeList(t *testing.T, lines ...string) string {
	t.Helper()
	var nodes []map[string]any
	for _, line := range lines {
		f := strings.Fields(line)
		nodes = append(nodes, map[string]any{"publicKey": f[0], "quorumSet": map[string]any{"threshold": json.Number(f[1]), "validators": f[2:], "innerQuorumSets": []any{}}})
	}
	raw, err := json.Marshal(nodes)
	if err != nil {
		t.Fatal(err)
	}
	return writeList(t, string(raw))
}

func writeList(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "nodes.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// quorum runs a quorum command with --json, and returns what it prints and its exit status.
func quorum(t *testing.T, args ...string) (map[string]any, int) {
	t.Helper()
	out, err := command(t, append([]string{"quorum"}, append(args, "--json")...)...)
	status, exit := 0, boot.Exit{}
	if errors.As(err, &exit) {
		status = exit.Status
	} else if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	answer := map[string]any{}
	if out != "" {
		if err := json.Unmarshal([]byte(out), &answer); err != nil {
			t.Fatalf("%v: %v in %s", args, err, out)
		}
	}
	return answer, status
}

// Lists of the tests: three of four, two disjoint triples, one who waits for a stranger.
var (
	threeOfFour = []string{"a 3 a b c d", "b 3 a b c d", "c 3 a b c d", "d 3 a b c d"}
	twoTriples  = []string{"v1 3 v1 v2 v3", "v2 3 v1 v2 v3", "v3 3 v1 v2 v3", "v4 3 v4 v5 v6", "v5 3 v4 v5 v6", "v6 3 v4 v5 v6"}
	waits       = []string{"a 2 a x"}
)

func TestQuorumCheck(t *testing.T) {
	for name, tt := range map[string]struct {
		path   string
		args   []string
		status int
		answer any
	}{
		"intersects":             {nodeList(t, threeOfFour...), nil, 0, true},
		"splits":                 {nodeList(t, twoTriples...), nil, 1, false},
		"no quorum":              {nodeList(t, waits...), nil, 2, nil},
		"strangers lie":          {nodeList(t, waits...), []string{"--unknown", "faulty"}, 0, true},
		"no strangers":           {nodeList(t, waits...), []string{"--unknown", "refused"}, 4, nil},
		"strangers are what":     {nodeList(t, waits...), []string{"--unknown", "nice"}, 4, nil},
		"no time":                {nodeList(t, threeOfFour...), []string{"--timeout", "0s"}, 3, nil},
		"time of no kind":        {nodeList(t, threeOfFour...), []string{"--timeout", "soon"}, 4, nil},
		"not a list":             {writeList(t, "{}"), nil, 4, nil},
		"twice":                  {nodeList(t, "a 1 a", "a 1 a"), nil, 4, nil},
		"no file":                {"/nowhere/nodes.json", nil, 4, nil},
		"a threshold below zero": {nodeList(t, "a -1 a"), nil, 4, nil},
	} {
		t.Run(name, func(t *testing.T) {
			answer, status := quorum(t, append([]string{"check", tt.path}, tt.args...)...)
			got, there := answer["quorum_intersection"]
			if status != tt.status || got != tt.answer || there != (status != 4) {
				t.Errorf("exit status %d, want %d; %v", status, tt.status, answer)
			}
			if _, pair := answer["disjoint_quorums"]; pair != (status == 1) {
				t.Errorf("%v", answer)
			}
		})
	}
	answer, _ := quorum(t, "check", nodeList(t, twoTriples...))
	if raw, _ := json.Marshal(answer["disjoint_quorums"]); string(raw) != `[["v1","v2","v3"],["v4","v5","v6"]]` {
		t.Errorf("%s", raw)
	}
	if _, status := quorum(t, "check"); status != 4 {
		t.Errorf("without a file: exit status %d", status)
	}
}

func TestQuorumAnswers(t *testing.T) {
	four, six := nodeList(t, threeOfFour...), nodeList(t, twoTriples...)
	pairs := `[["a","b"],["a","c"],["a","d"],["b","c"],["b","d"],["c","d"]]`
	for _, tt := range []struct {
		args []string
		want map[string]string
	}{
		{[]string{"analyze", four}, map[string]string{"quorum_intersection": "true", "top_tier": `["a","b","c","d"]`, "minimal_splitting_sets": pairs,
			"minimal_blocking_sets": pairs, "minimal_quorums": `[["a","b","c"],["a","b","d"],["a","c","d"],["b","c","d"]]`}},
		{[]string{"analyze", six}, map[string]string{"quorum_intersection": "false", "minimal_splitting_sets": "[[]]"}},
		{[]string{"analyze", nodeList(t, waits...)}, map[string]string{"quorum_intersection": "null", "minimal_quorums": "[]", "top_tier": "[]",
			"minimal_blocking_sets": "[[]]", "unknown_nodes": `{"assumed":"absent","nodes":["x"]}`}},
		{[]string{"analyze", four, "--timeout", "0s"}, map[string]string{"quorum_intersection": "null", "minimal_quorums": "null", "minimal_splitting_sets": "null",
			"minimal_blocking_sets": "null"}},
		{[]string{"dset", four, "--set", "a"}, map[string]string{"dispensable": "true", "intersection_despite": "true", "availability_despite": "true"}},
		{[]string{"dset", four, "--set", "a,b"}, map[string]string{"dispensable": "false", "intersection_despite": "false", "availability_despite": "false"}},
		{[]string{"dset", four, "--set", ""}, map[string]string{"dispensable": "true"}},
		{[]string{"dset", four}, map[string]string{"dispensable_sets": `[[],["a"],["b"],["c"],["d"],["a","b","c","d"]]`}},
		{[]string{"dset", four, "--set", "a", "--timeout", "0s"}, map[string]string{"dispensable": "null", "intersection_despite": "null", "availability_despite": "true"}},
		{[]string{"intact", four, "--ill", "a"}, map[string]string{"intact": `["b","c","d"]`, "befouled": `["a"]`}},
		{[]string{"intact", four, "--ill", "a,b"}, map[string]string{"intact": `[]`, "befouled": `["a","b","c","d"]`}},
		{[]string{"intact", four}, map[string]string{"intact": `["a","b","c","d"]`, "befouled": `[]`}},
		{[]string{"blocking", four, "--node", "a", "--set", "b,c"}, map[string]string{"v_blocking": "true"}},
		{[]string{"blocking", four, "--node", "a", "--set", "b"}, map[string]string{"v_blocking": "false"}},
	} {
		answer, status := quorum(t, tt.args...)
		if status != 0 {
			t.Errorf("%v: exit status %d", tt.args, status)
		}
		for field, want := range tt.want {
			value, there := answer[field]
			if raw, err := json.Marshal(value); err != nil || !there || string(raw) != want {
				t.Errorf("%v: %s is %s, want %s", tt.args, field, raw, want)
			}
		}
		reasons, _ := answer["reasons"].(map[string]any)
		for field, value := range answer {
			if _, said := reasons[field]; value == nil && !said {
				t.Errorf("%v: %s is not known, and nobody says why", tt.args, field)
			}
		}
	}
	for _, args := range [][]string{{"dset", four, "--set", "z"}, {"intact", four, "--ill", "z"}, {"blocking", four, "--node", "z"}} {
		if _, status := quorum(t, args...); status != 4 {
			t.Errorf("%v: exit status %d", args, status)
		}
	}
}

// TestQuorumTable: the table has every fact of the JSON.
func TestQuorumTable(t *testing.T) {
	four := nodeList(t, threeOfFour...)
	answer, _ := quorum(t, "analyze", four)
	table := good(t, "quorum", "analyze", four)
	for name := range answer {
		if !slices.ContainsFunc(strings.Split(table, "\n"), func(line string) bool { return strings.HasPrefix(line, strings.ReplaceAll(name, "_", " ")+" ") }) {
			t.Errorf("%s is missing in\n%s", name, table)
		}
	}
	for _, want := range []string{"yes", "{a, b, c}"} {
		if !strings.Contains(table, want) {
			t.Errorf("%q is missing in\n%s", want, table)
		}
	}
}
