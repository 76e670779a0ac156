package main

import (
	"errors"
	"strings"
	"testing"
)

const output = `goos: linux
BenchmarkBare-2         	    1000	   250000 ns/op
BenchmarkSign/service-2 	     300	  1000000 ns/op	       999.5 signatures/s
BenchmarkSign/service-2 	     300	  1000000 ns/op	      1200 signatures/s
PASS
`

func TestReadRate(t *testing.T) {
	for unit, want := range map[string]int64{"signatures/s": 1200, "ns/op": 4000} {
		if got, err := readRate(strings.NewReader(output), unit); err != nil || got != want {
			t.Errorf("%s: got %d, %v, want %d", unit, got, err, want)
		}
	}
	if _, err := readRate(strings.NewReader(output), "payments/s"); !errors.Is(err, errNoFigure) {
		t.Errorf("a figure that is not there: %v", err)
	}
}

func TestPrint(t *testing.T) {
	r := benchReport{Machine: "a machine", Figures: []figure{{Name: "bare", PerSecond: 4000}, {Name: "through", PerSecond: 1200, Against: "bare", Percent: 30}},
		Shares: []share{{"journal", 42}}, Approvals: 567}
	var out strings.Builder
	if err := r.print(&out, false); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"a machine", "base", "0.30", "1200", "journal", "42", "567"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
}

func TestMeasurementsHaveTheirBases(t *testing.T) {
	seen := map[string]bool{"": true}
	for _, m := range measurements {
		if !seen[m.against] {
			t.Errorf("%s is compared with %q, which is not measured before it", m.name, m.against)
		}
		seen[m.name] = true
	}
}
