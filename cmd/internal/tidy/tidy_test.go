package tidy

import (
	"go/ast"
	"os"
	"regexp"
	"strings"
	"testing"
)

var rules = map[string]func([]*File) []string{
	"imports": Imports, "fan-out": FanOut, "names": Names, "pure": Pure, "lengths": Lengths, "interfaces": Interfaces,
	"floats": Floats, "transactions": Transactions, "comments": Comments, "banned": Banned,
}

func TestTree(t *testing.T) {
	files, err := Load("../../..")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 20 {
		t.Fatalf("only %d files found", len(files))
	}
	for name, rule := range rules {
		t.Run(name, func(t *testing.T) {
			for _, v := range rule(files) {
				t.Error(v)
			}
		})
	}
}

// TestNamedTestsExist: whoever reads in SECURITY.md that a test shows something finds the test.
func TestNamedTestsExist(t *testing.T) {
	files, err := Load("../../..")
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, f := range files {
		for _, d := range f.AST.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && f.Test {
				there[fn.Name.Name] = true
			}
		}
	}
	text, err := os.ReadFile("../../../SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`(Test[A-Za-z0-9]+)`").FindAllStringSubmatch(string(text), -1)
	if len(named) < 10 {
		t.Fatalf("only %d tests are named", len(named))
	}
	for _, n := range named {
		if !there[n[1]] {
			t.Errorf("SECURITY.md names %s, which is not there", n[1])
		}
	}
}

func TestExcusesAreUsed(t *testing.T) {
	files, err := Load("../../..")
	if err != nil {
		t.Fatal(err)
	}
	saved := longFunctions
	longFunctions = map[string]bool{}
	defer func() { longFunctions = saved }()
	found := strings.Join(Lengths(files), "\n")
	for name := range saved {
		if !strings.Contains(found, name[strings.LastIndex(name, ".")+1:]+" has") {
			t.Errorf("%s is excused and no longer long: remove it from the list", name)
		}
	}
}

// TestRulesCanFail shows each rule a file that breaks it, and one that does not.
func TestRulesCanFail(t *testing.T) {
	const doc = "// Package x does one thing that is described here at length.\npackage x\n"
	long := doc + "func f() {\n" + strings.Repeat("\tprintln()\n", maxFunctionLines) + "}\n"
	many := doc + "import (\n"
	for i := range maxOwnImports + 1 {
		many += "\t\"" + Module + "/api/p" + strings.Repeat("q", i) + "\"\n"
	}
	many += ")\n"
	tests := []struct {
		rule, name, path, src string
		bad                   bool
	}{
		{"imports", "node imports keys", "node/x/a.go", doc + `import "` + Module + `/keymgmt"`, true},
		{"imports", "node imports node", "node/x/a.go", doc + `import "` + Module + `/node/ledger"`, false},
		{"imports", "anyone imports values", "api/web/a.go", doc + `import "` + Module + `/node/protocol"`, false},
		{"imports", "web imports the anchor", "api/web/a.go", doc + `import "` + Module + `/anchor"`, true},
		{"imports", "the anchor imports a backend", "anchor/a.go", doc + `import "` + Module + `/anchor/rails/iso20022"`, true},
		{"imports", "the anchor imports the node", "anchor/a.go", doc + `import "` + Module + `/node"`, true},
		{"imports", "the api imports the contract of keys", "api/sep/a.go", doc + `import "` + Module + `/keymgmt"`, true},
		{"imports", "cmd wires", "cmd/x/a.go", doc + `import "` + Module + `/keymgmt/pkcs11"`, false},
		{"imports", "someone imports cmd", "api/a.go", doc + `import "` + Module + `/cmd/internal/boot"`, true},
		{"imports", "a new folder", "new/a.go", doc + `import "` + Module + `/anchor"`, true},
		{"fan-out", "too many", "api/a.go", many, true},
		{"names", "util", "api/util/a.go", "package util\n", true},
		{"names", "one file", "api/x/a.go", doc, true},
		{"pure", "clock", "anchor/flow/a.go", doc + "import \"time\"\nvar t = time.Now()\n", true},
		{"pure", "network", "keymgmt/policy/a.go", doc + "import \"net/http\"\nvar t http.Client\n", true},
		{"pure", "a clock elsewhere", "anchor/a.go", doc + "import \"time\"\nvar t = time.Now()\n", false},
		{"lengths", "long function", "api/x/a.go", long, true},
		{"lengths", "long file", "api/x/a_test.go", doc + strings.Repeat("\n", maxFileLines), true},
		{"lengths", "many parameters", "api/x/a.go", doc + "func f(a, b, c, d, e, f int) {}\n", true},
		{"interfaces", "wide", "api/x/a.go", doc + "type I interface { A(); B(); C(); D(); E(); F() }\n", true},
		{"floats", "float", "custody/money/a.go", doc + "var x float64\n", true},
		{"floats", "literal", "custody/money/a.go", doc + "const x = 0.5\n", true},
		{"floats", "metric", "custody/money/a.go", doc + "var x float64 //float: a gauge\n", false},
		{"transactions", "begin", "anchor/a.go", doc + "func f(p pool) { p.Begin(nil) }\n", true},
		{"comments", "no package comment", "api/x/a.go", "package x\n", true},
		{"comments", "exported", "api/x/a.go", doc + "func F() {}\n", true},
		{"comments", "documented", "api/x/a.go", doc + "// F does.\nfunc F() {}\n", false},
		{"banned", "task", "api/x/a.go", doc + "// TO" + "DO later\n", true},
		{"banned", "silenced", "api/x/a.go", doc + "var x int //nolint\n", true},
		{"banned", "certificates", "api/x/a_test.go", doc + "var x = tls.Config{Insecure" + "SkipVerify: true}\n", true},
		{"banned", "sleep", "api/x/a_test.go", doc + "func f() { time." + "Sleep(1) }\n", true},
	}
	for _, tt := range tests {
		t.Run(tt.rule+"/"+tt.name, func(t *testing.T) {
			f, err := Parse(tt.path, []byte(tt.src))
			if err != nil {
				t.Fatal(err)
			}
			if got := rules[tt.rule]([]*File{f}); (len(got) > 0) != tt.bad {
				t.Errorf("violations %v, want some: %v", got, tt.bad)
			}
		})
	}
}
