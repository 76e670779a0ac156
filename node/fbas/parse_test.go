package fbas

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	const good = `[{"publicKey":"a","name":"A","quorumSet":{"threshold":2,"hashKey":"x","validators":["a"],
		"innerQuorumSets":[{"threshold":1,"validators":["b","c"],"innerSets":[{"threshold":1,"validators":["d"]}]}]}},
		{"publicKey":"b","quorumSet":null},{"publicKey":"c"}]`
	for _, text := range []string{good, `{"updated": 1, "nodes":` + good + `}`} {
		nodes, err := Parse(strings.NewReader(text))
		if err != nil || len(nodes) != 3 || nodes[1].QuorumSet != nil || nodes[2].QuorumSet != nil {
			t.Fatalf("%v %v", nodes, err)
		}
		q := nodes[0].QuorumSet
		if q.Threshold != 2 || q.Validators[0] != "a" || q.Inner[0].Validators[1] != "c" || q.Inner[0].Inner[0].Validators[0] != "d" {
			t.Errorf("%+v", q)
		}
		s, err := New(nodes, Absent)
		if err != nil || strings.Join(s.UnknownNodes(), " ") != "b c d" {
			t.Errorf("%v %v", s, err)
		}
	}
}

func TestBadInput(t *testing.T) {
	set := func(q string) string { return `[{"publicKey":"a","quorumSet":` + q + `}]` }
	for name, text := range map[string]string{
		"nothing": "", "not JSON": "nodes", "a number": "7", "null": "null", "an object without nodes": `{"a":[]}`, "more behind": "[] []",
		"no key": `[{"quorumSet":null}]`, "empty key": `[{"publicKey":""}]`, "key of another kind": `[{"publicKey":7}]`,
		"long key":          `[{"publicKey":"` + strings.Repeat("k", MaxID+1) + `"}]`,
		"twice":             `[{"publicKey":"a"},{"publicKey":"a"}]`,
		"no threshold":      set(`{"validators":["a"]}`),
		"negative":          set(`{"threshold":-1,"validators":["a"]}`),
		"fraction":          set(`{"threshold":1.5,"validators":["a"]}`),
		"text":              set(`{"threshold":"1","validators":["a"]}`),
		"past all numbers":  set(`{"threshold":1e40,"validators":["a"]}`),
		"validators no set": set(`{"threshold":1,"validators":"a"}`),
		"null validator":    set(`{"threshold":1,"validators":[null]}`),
		"member twice":      set(`{"threshold":1,"validators":["a","a"]}`),
		"inner no set":      set(`{"threshold":1,"innerQuorumSets":[7]}`),
		"bad inner":         set(`{"threshold":1,"innerSets":[{"validators":["a"]}]}`),
		"too deep":          set(strings.Repeat(`{"threshold":1,"innerQuorumSets":[`, MaxNesting+1) + strings.Repeat("]}", MaxNesting+1)),
		"too many members":  set(`{"threshold":1,"innerQuorumSets":[` + strings.Repeat(`{"threshold":0},`, MaxMembers) + `{"threshold":0}]}`),
	} {
		nodes, err := Parse(strings.NewReader(text))
		if err == nil {
			_, err = New(nodes, Absent)
		}
		if !errors.Is(err, ErrInput) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestOthersLists reads lists that nobody here wrote, where they are at hand, and answers within the time.
func TestOthersLists(t *testing.T) {
	dir := os.Getenv("DIAMANTE_SHARED_DATA")
	if dir == "" {
		dir = "../../../shared/data"
	}
	lists, err := filepath.Glob(filepath.Join(dir, "quorum", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	if len(lists) == 0 {
		t.Skip("no lists of nodes in ", filepath.Join(dir, "quorum"))
	}
	for _, path := range lists {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		nodes, err := Parse(f)
		f.Close()
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		s, err := New(nodes, Absent)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if in, err := s.Intersection(t.Context()); err != nil || in.Verdict == 0 {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// FuzzParse: whatever bytes come, they are refused or make a system that can be asked.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`[{"publicKey":"a","quorumSet":{"threshold":2,"validators":["a","b"],"innerQuorumSets":[{"threshold":0}]}},{"publicKey":"b"}]`))
	f.Add([]byte(`{"nodes":[{"publicKey":"a","quorumSet":{"threshold":1,"innerSets":[{"threshold":1,"validators":["a"]}]}}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		nodes, err := Parse(strings.NewReader(string(raw)))
		if err != nil {
			if !errors.Is(err, ErrInput) {
				t.Fatal(err)
			}
			return
		}
		s, err := New(nodes, Faulty)
		if err != nil {
			if !errors.Is(err, ErrInput) {
				t.Fatal(err)
			}
			return
		}
		if len(nodes) > 20 {
			return
		}
		in, err := s.Intersection(t.Context())
		if err != nil || in.Verdict == 0 {
			t.Fatalf("%+v %v", in, err)
		}
	})
}
