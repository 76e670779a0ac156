package tidy

import (
	"fmt"
	"sort"
	"strings"
)

// allowed says what the packages below From may import of ours, besides what is below From itself, its own room, and
// the value packages. It is the table of the design document. Exact is for roots only: their subfolders are not meant.
var allowed = []struct {
	From  string
	Trees []string
	Exact []string
}{
	{From: "node"},
	{From: "compliance"},
	{From: "api/web"},
	{From: "deploy"},
	{From: "keymgmt", Trees: []string{"compliance/audit"}},
	{From: "custody", Trees: []string{"compliance"}, Exact: []string{"keymgmt", "node/txbuild"}},
	{From: "anchor", Exact: []string{"custody", "custody/book", "compliance", "compliance/audit", "keymgmt", "node/txbuild"}},
	{From: "api", Trees: []string{"anchor", "custody", "compliance"}},
}

// values are the packages that everybody may import.
var values = []string{"node/protocol", "custody/money"}

// backends are wired by cmd and imported by nobody else outside their own folder.
var backends = []string{"keymgmt/pkcs11", "keymgmt/vault", "keymgmt/softkey", "custody/chain/bitcoin", "custody/chain/ethereum",
	"anchor/rails/iso20022", "anchor/rails/ach", "anchor/rails/fedwire", "anchor/rails/swift", "anchor/rails/check", "anchor/rails/card"}

// Imports is rules 3, 4 and 5: imports point one way. Tests may use more: the private databases and the key suites.
func Imports(files []*File) (bad []string) {
	for _, f := range files {
		if f.Test || under(f.Pkg, "cmd") {
			continue
		}
		for _, to := range f.own() {
			if why := refuse(f.Pkg, to); why != "" {
				bad = append(bad, fmt.Sprintf("%s imports %s: %s", f.Path, to, why))
			}
		}
	}
	return bad
}

func refuse(from, to string) string {
	if under(to, "cmd") {
		return "only cmd imports cmd"
	}
	for _, b := range backends {
		if under(to, b) && !under(from, b) {
			return "a backend is wired by cmd only"
		}
	}
	for _, v := range values {
		if to == v {
			return ""
		}
	}
	for _, row := range allowed {
		if !under(from, row.From) {
			continue
		}
		if row.From != "api/web" && under(to, row.From) || under(to, from) {
			return ""
		}
		for _, tree := range row.Trees {
			if under(to, tree) {
				return ""
			}
		}
		for _, exact := range row.Exact {
			if to == exact {
				return ""
			}
		}
		return "not in the import table"
	}
	return "its folder is not in the import table"
}

// FanOut is rule 7: a package imports at most 12 of ours.
func FanOut(files []*File) (bad []string) {
	seen := map[string]map[string]bool{}
	for _, f := range files {
		if f.Test || under(f.Pkg, "cmd") {
			continue
		}
		for _, to := range f.own() {
			if seen[f.Pkg] == nil {
				seen[f.Pkg] = map[string]bool{}
			}
			seen[f.Pkg][to] = true
		}
	}
	for pkg, to := range seen {
		if len(to) > maxOwnImports {
			bad = append(bad, fmt.Sprintf("%s imports %d of our packages, more than %d", pkg, len(to), maxOwnImports))
		}
	}
	sort.Strings(bad)
	return bad
}

// vagueNames say nothing about what a package does.
var vagueNames = []string{"util", "utils", "common", "helpers", "helper", "misc", "base", "types", "shared", "manager"}

// Names is rule 6: a package is named after what it does. Two files at least, rule of the layout.
func Names(files []*File) (bad []string) {
	count := map[string]int{}
	tests := map[string]bool{}
	for _, f := range files {
		count[f.Pkg]++
		tests[f.Pkg] = tests[f.Pkg] || f.Test
		for _, name := range vagueNames {
			if f.AST.Name.Name == name {
				bad = append(bad, fmt.Sprintf("%s: package %s is named after nothing", f.Path, name))
			}
		}
	}
	for pkg, n := range count {
		if pkg != "" && n < 2 {
			bad = append(bad, pkg+" has a single file")
		}
	}
	sort.Strings(bad)
	return bad
}

// pure packages get their time, randomness and effects from the caller.
var pure = []string{"node/scp", "node/apply", "anchor/flow", "keymgmt/policy", "keymgmt/payload"}

var impure = []string{"net", "net/http", "os", "math/rand", "math/rand/v2", "crypto/rand", "database/sql", "os/exec"}

// Pure is rule 24: machines have no clock, network, randomness or goroutine.
func Pure(files []*File) (bad []string) {
	for _, f := range files {
		if f.Test || !underAny(f.Pkg, pure) {
			continue
		}
		for _, name := range f.imports() {
			for _, no := range impure {
				if name == no {
					bad = append(bad, fmt.Sprintf("%s imports %s, but the package is pure", f.Path, name))
				}
			}
		}
		for _, no := range []string{"time.Now(", "time.Since(", "time.After(", "\tgo func"} {
			if strings.Contains(string(f.Src), no) {
				bad = append(bad, fmt.Sprintf("%s uses %q, but the package is pure", f.Path, strings.TrimSpace(no)))
			}
		}
	}
	return bad
}

func underAny(p string, dirs []string) bool {
	for _, d := range dirs {
		if under(p, d) {
			return true
		}
	}
	return false
}
