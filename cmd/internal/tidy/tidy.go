// Package tidy is the shape of the project as a test: who may import whom, how long things may be, what must not appear.
//
// Load reads every Go file of the module; each rule is a function from the files to violations. The rules and their
// numbers are those of the house style; TestTree runs them all on this tree, and TestRulesCanFail shows each of them a
// file that breaks it. To excuse a function from the length limit, add it to longFunctions, which may only shrink.
package tidy

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// Module is the path that our own imports start with.
const Module = "github.com/diamante/gateway"

// The limits of the house style.
const (
	maxFunctionLines    = 70
	maxFileLines        = 600
	maxOwnImports       = 12
	maxInterfaceMethods = 5
	maxParameters       = 5
)

// File is one parsed Go file.
type File struct {
	Path string // relative to the module's root, with slashes
	Pkg  string // folder of the file, "" for the root
	Test bool
	Src  []byte
	AST  *ast.File
	Fset *token.FileSet
}

// Load parses every Go file below root, skipping modules nested in it.
func Load(root string) ([]*File, error) {
	var files []*File
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if rel != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "bin" || d.Name() == "testdata" || nested(p)) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(rel, ".go") {
			return nil
		}
		src, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		f, err := Parse(rel, src)
		if err != nil {
			return err
		}
		files = append(files, f)
		return nil
	})
	return files, err
}

func nested(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

// Parse reads one file.
func Parse(rel string, src []byte) (*File, error) {
	fset := token.NewFileSet()
	tree, err := parser.ParseFile(fset, rel, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, fmt.Errorf("tidy: %w", err)
	}
	dir := path.Dir(rel)
	if dir == "." {
		dir = ""
	}
	return &File{Path: rel, Pkg: dir, Test: strings.HasSuffix(rel, "_test.go"), Src: src, AST: tree, Fset: fset}, nil
}

// own returns the folders of our packages that f imports.
func (f *File) own() []string {
	var out []string
	for _, name := range f.imports() {
		if rest, ok := strings.CutPrefix(name, Module+"/"); ok {
			out = append(out, rest)
		}
	}
	return out
}

func (f *File) imports() []string {
	var out []string
	for _, spec := range f.AST.Imports {
		name, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			panic("tidy: the parser let an unquotable import through: " + spec.Path.Value)
		}
		out = append(out, name)
	}
	return out
}

func (f *File) at(pos token.Pos) string {
	return fmt.Sprintf("%s:%d", f.Path, f.Fset.Position(pos).Line)
}

func (f *File) lines(n ast.Node) int {
	return f.Fset.Position(n.End()).Line - f.Fset.Position(n.Pos()).Line + 1
}

// under reports whether folder p is dir or below it.
func under(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }
