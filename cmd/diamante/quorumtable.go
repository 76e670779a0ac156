package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/diamante/gateway/node/fbas"
)

// table prints the facts of an answer, one a line, a set of sets as one set a line.
func (a quorumAnswer) table(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range a.facts {
		lines := []string{}
		switch v := f.value.(type) {
		case nil:
			lines = append(lines, "not known: "+a.reasons[f.name])
		case bool:
			lines = append(lines, map[bool]string{true: "yes", false: "no"}[v])
		case []string:
			lines = append(lines, braces(v))
		case [][]string:
			lines = append(lines, fmt.Sprintf("%d", len(v)))
			for _, set := range v {
				lines = append(lines, braces(set))
			}
		case [2][]string:
			lines = append(lines, braces(v[0]), braces(v[1]))
		case unknownNodes:
			lines = append(lines, fmt.Sprintf("%d, taken as %s %s", len(v.Nodes), v.Assumed, braces(v.Nodes)))
		case *fbas.Certificate:
			lines = append(lines, "by "+v.Method+", among "+braces(v.Core))
		default:
			lines = append(lines, fmt.Sprint(v))
		}
		for i, line := range lines {
			name := ""
			if i == 0 {
				name = strings.ReplaceAll(f.name, "_", " ")
			}
			fmt.Fprintf(tw, "%s\t%s\n", name, line)
		}
	}
	return tw.Flush()
}

// braces writes a set.
func braces(set []string) string { return "{" + strings.Join(set, ", ") + "}" }
