package tidy

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/token"
	"regexp"
	"sort"
	"strings"
)

// longFunctions are excused from the length limit, as "folder.Name". The list may only shrink.
var longFunctions = map[string]bool{}

// wideInterfaces are excused from the method limit, each after a review of whether it could be split.
var wideInterfaces = map[string]bool{}

// Lengths is rules 8, 9 and 10: functions, files and parameter lists have an end. Tests are held to the file limit.
func Lengths(files []*File) (bad []string) {
	for _, f := range files {
		if n := bytes.Count(f.Src, []byte("\n")); n > maxFileLines {
			bad = append(bad, fmt.Sprintf("%s has %d lines, more than %d", f.Path, n, maxFileLines))
		}
		if f.Test {
			continue
		}
		for _, decl := range f.AST.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if n := f.lines(fn); n > maxFunctionLines && !longFunctions[f.Pkg+"."+fn.Name.Name] {
				bad = append(bad, fmt.Sprintf("%s: %s has %d lines, more than %d", f.at(fn.Pos()), fn.Name.Name, n, maxFunctionLines))
			}
			if n := fn.Type.Params.NumFields(); n > maxParameters {
				bad = append(bad, fmt.Sprintf("%s: %s takes %d parameters, more than %d", f.at(fn.Pos()), fn.Name.Name, n, maxParameters))
			}
		}
	}
	return bad
}

// Interfaces is rule 20: more than five methods is a review question.
func Interfaces(files []*File) (bad []string) {
	for _, f := range files {
		if f.Test {
			continue
		}
		ast.Inspect(f.AST, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			if it, ok := spec.Type.(*ast.InterfaceType); ok && it.Methods.NumFields() > maxInterfaceMethods &&
				!wideInterfaces[f.Pkg+"."+spec.Name.Name] {
				bad = append(bad, fmt.Sprintf("%s: interface %s has %d methods, more than %d",
					f.at(spec.Pos()), spec.Name.Name, it.Methods.NumFields(), maxInterfaceMethods))
			}
			return true
		})
	}
	return bad
}

// floatFree rooms hold or move money.
var floatFree = []string{"node/protocol", "node/txbuild", "node/apply", "node/ledger", "custody", "anchor", "keymgmt", "compliance", "api/sep", "api/horizon"}

// Floats is rule 15: no float touches money. Metrics need float64: a line that feeds one says so with //float: reason.
func Floats(files []*File) (bad []string) {
	for _, f := range files {
		if f.Test || !underAny(f.Pkg, floatFree) {
			continue
		}
		lines := strings.Split(string(f.Src), "\n")
		ast.Inspect(f.AST, func(n ast.Node) bool {
			id, isIdent := n.(*ast.Ident)
			lit, isLit := n.(*ast.BasicLit)
			if isIdent && (id.Name == "float64" || id.Name == "float32") || isLit && lit.Kind == token.FLOAT {
				if !strings.Contains(lines[f.Fset.Position(n.Pos()).Line-1], "//float: ") {
					bad = append(bad, f.at(n.Pos())+": a float where money lives")
				}
			}
			return true
		})
	}
	return bad
}

// beginners may begin a database transaction.
var beginners = []string{"compliance/audit", "deploy/schema"}

var begins = regexp.MustCompile(`\.(Begin|BeginTx|BeginFunc|BeginTxFunc)\(|\b(pgxpool\.New|pgx\.Connect)\b`)

// Transactions is rule 44: only compliance/audit begins one, or opens a connection of its own.
func Transactions(files []*File) (bad []string) {
	for _, f := range files {
		if f.Test || underAny(f.Pkg, beginners) {
			continue
		}
		for i, line := range strings.Split(string(f.Src), "\n") {
			if begins.MatchString(line) && !strings.HasPrefix(strings.TrimSpace(line), "//") {
				bad = append(bad, fmt.Sprintf("%s:%d: only compliance/audit begins a transaction", f.Path, i+1))
			}
		}
	}
	return bad
}

// Comments is rule 50: every package and every exported name says what it is for.
func Comments(files []*File) (bad []string) {
	documented := map[string]bool{}
	for _, f := range files {
		if !f.Test && f.AST.Doc != nil && len(f.AST.Doc.Text()) > 40 {
			documented[f.Pkg] = true
		}
	}
	reported := map[string]bool{}
	for _, f := range files {
		if f.Test {
			continue
		}
		if !documented[f.Pkg] && !reported[f.Pkg] {
			reported[f.Pkg] = true
			bad = append(bad, f.Pkg+": package has no comment that a newcomer can act on")
		}
		for _, decl := range f.AST.Decls {
			bad = append(bad, f.undocumented(decl)...)
		}
	}
	sort.Strings(bad)
	return bad
}

func (f *File) undocumented(decl ast.Decl) (bad []string) {
	missing := func(n ast.Node, name string) {
		bad = append(bad, fmt.Sprintf("%s: exported %s has no comment", f.at(n.Pos()), name))
	}
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && d.Doc == nil && exportedReceiver(d) {
			missing(d, d.Name.Name)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() && d.Doc == nil && s.Doc == nil {
					missing(s, s.Name.Name)
				}
			case *ast.ValueSpec:
				if s.Names[0].IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
					missing(s, s.Names[0].Name)
				}
			}
		}
	}
	return bad
}

func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	t := d.Recv.List[0].Type
	if star, ok := t.(*ast.StarExpr); ok {
		t = star.X
	}
	if index, ok := t.(*ast.IndexExpr); ok {
		t = index.X
	}
	id, ok := t.(*ast.Ident)
	return ok && id.IsExported()
}

// banned says what must not appear in a file's text. The words are split here so that this file may name them.
var banned = []struct {
	pattern *regexp.Regexp
	why     string
	tests   bool // also in tests
}{
	{regexp.MustCompile(`TO` + `DO`), "rule 53: a task needs an issue, and then it needs no comment", true},
	{regexp.MustCompile(`//\s*nolint(:\S+)?\s*$|//lint:ignore \S+\s*$`), "rule 53: a linter is silenced without a reason", true},
	{regexp.MustCompile(`Insecure` + `SkipVerify`), "certificates are always verified", true},
	{regexp.MustCompile(`"crypto/(` + `md5|sha1|des|rc4)"`), "broken cryptography", true},
	{regexp.MustCompile(`time\.` + `Sleep\(`), "rule 63: no sleeping; wait for what you wait for", true},
	{regexp.MustCompile(`t\.` + `Skip\(\)`), "a test is skipped without a reason", true},
	{regexp.MustCompile(`Parse` + `Unverified|jwt\.Unsafe` + `Allow`), "a token is read unverified", false},
	{regexp.MustCompile(`Copy` + `right|Licen` + `sed under`), "our own work only", true},
}

// Banned is rule 53 and the list of things that never appear.
func Banned(files []*File) (bad []string) {
	for _, f := range files {
		for i, line := range strings.Split(string(f.Src), "\n") {
			for _, b := range banned {
				if (b.tests || !f.Test) && b.pattern.MatchString(line) {
					bad = append(bad, fmt.Sprintf("%s:%d: %s", f.Path, i+1, b.why))
				}
			}
		}
	}
	return bad
}
