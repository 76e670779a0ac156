package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// measurement is one benchmark of the tree: where it is, and which of its figures is wanted.
type measurement struct {
	name    string // as shown
	pkg     string
	run     string // the benchmark, as go test selects it
	figure  string // the unit of the figure; "ns/op" is turned into a rate
	against string // name of the measurement that it is compared with; "" for a base
}

// signBenchmark measures all its ways in turn, and tells what a signature's processor time goes to.
const signBenchmark = "BenchmarkSign"

// bookBenchmark measures both sides by itself, for seconds: it is run once.
const bookBenchmark = "BenchmarkTransfers/accounts=1000/clients=4"

// measurements are what the project promises figures for, bases first.
var measurements = []measurement{
	{"signatures: bare PKCS#11 loop", "./cmd/diamante-signer", signBenchmark, "bare/s", ""},
	{"signatures: pool, verified", "./cmd/diamante-signer", signBenchmark, "keyring/s", "signatures: bare PKCS#11 loop"},
	{"signatures: service, journalled", "./cmd/diamante-signer", signBenchmark, "service/s", "signatures: bare PKCS#11 loop"},
	{"signatures: remote, mutual TLS", "./cmd/diamante-signer", signBenchmark, "remote/s", "signatures: bare PKCS#11 loop"},
	{"book: pgbench, same statements", "./custody/book/bench", bookBenchmark, "pgbench/s", ""},
	{"book: transfers with audit and outbox", "./custody/book/bench", bookBenchmark, "transfers/s", "book: pgbench, same statements"},
	{"ledger: payments closed, queued before", "./node/ledger", "BenchmarkClosePayments", "payments/s", ""},
	{"node: payments end to end, in process", "./node", "BenchmarkPayments", "payments/s", "ledger: payments closed, queued before"},
	{"node: payments end to end, mutual TLS", "./node/client", "BenchmarkClient", "payments/s", "ledger: payments closed, queued before"},
	{"network: payments of four validators", "./node", "BenchmarkNetworkPayments", "payments/s", "node: payments end to end, in process"},
	{"quorums: 172 nodes checked, like a real list", "./node/fbas", "BenchmarkCheck/real", "ns/op", ""},
	{"quorums: 24 organisations checked", "./node/fbas", "BenchmarkCheck/organisations", "ns/op", "quorums: 172 nodes checked, like a real list"},
	{"quorums: 24 organisations that must be searched", "./node/fbas", "BenchmarkCheck/search", "ns/op", "quorums: 172 nodes checked, like a real list"},
}

// figure is what was measured.
type figure struct {
	Name      string `json:"name"`
	PerSecond int64  `json:"per_second"`
	Against   string `json:"against,omitempty"`
	Percent   int64  `json:"percent,omitempty"` // of the measurement that it is compared with
}

// share is what a stage of a signature by the service takes of its processor time.
type share struct {
	Stage   string `json:"stage"`
	Percent int64  `json:"percent"`
}

// approvals is not a rate: it alternates between a payment that needs three people and one that needs none.
var approvals = measurement{"three approvals", "./keymgmt/service", "BenchmarkApprovals", "added-us", ""}

// agreement is not a rate either: what four validators take to agree on a ledger.
var agreement = measurement{"four validators agree", "./node", "BenchmarkAgree", "median-us", ""}

// agreementCloses is how many ledgers it is measured over, one a second.
const agreementCloses = "100x"

// agreementFigures are its figures, as shown, by their units.
var agreementFigures = [][2]string{{"median-us", "four validators agree on a ledger, microseconds at the median"}, {"p99-us", "the same of the slowest in a hundred"},
	{"cpu-us/close", "processor time of all four for a ledger, microseconds"}}

// stages are those of a signature, in order.
var stages = []string{"decode", "policy", "journal", "device", "verify"}

// benchReport is one run.
type benchReport struct {
	Machine string   `json:"machine"`
	Figures []figure `json:"figures"`
	Shares  []share  `json:"signature_shares"`
	// Approvals is what three approvals of people add to a signature at the median, in microseconds.
	Approvals int64 `json:"approvals_add_us"`
	// Agreement is what four validators take for a ledger, in microseconds, by unit.
	Agreement map[string]int64 `json:"agreement"`
}

func benchCommand() *cobra.Command {
	var asJSON bool
	var benchTime string
	c := &cobra.Command{
		Use: "bench", Short: "Measure, and print ratios; run it in a checkout", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			report := benchReport{Machine: machine()}
			rates, outputs := map[string]int64{}, map[string]string{}
			for _, m := range measurements {
				if _, done := outputs[m.pkg+m.run]; !done { // two figures of one run are not measured in two
					out, err := measure(c.Context(), m, benchTime)
					if err != nil {
						return err
					}
					outputs[m.pkg+m.run] = out
				}
				rate, err := readRate(strings.NewReader(outputs[m.pkg+m.run]), m.figure)
				if err != nil {
					return fmt.Errorf("bench %s: %w", m.name, err)
				}
				rates[m.name] = rate
				f := figure{Name: m.name, PerSecond: rate, Against: m.against}
				if base := rates[m.against]; base > 0 {
					f.Percent = 100 * rate / base
				}
				report.Figures = append(report.Figures, f)
			}
			for _, stage := range stages {
				percent, err := readRate(strings.NewReader(outputs["./cmd/diamante-signer"+signBenchmark]), stage+"-%")
				if err != nil && !errors.Is(err, errNoFigure) { // less than one in a hundred
					return err
				}
				report.Shares = append(report.Shares, share{stage, percent})
			}
			out, err := measure(c.Context(), approvals, benchTime)
			if err != nil {
				return err
			}
			if report.Approvals, err = readRate(strings.NewReader(out), approvals.figure); err != nil && !errors.Is(err, errNoFigure) { // nothing that could be measured
				return err
			}
			if out, err = measure(c.Context(), agreement, agreementCloses); err != nil {
				return err
			}
			report.Agreement = map[string]int64{}
			for _, f := range agreementFigures {
				if report.Agreement[f[0]], err = readRate(strings.NewReader(out), f[0]); err != nil {
					return err
				}
			}
			return report.print(c.OutOrStdout(), asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().StringVar(&benchTime, "time", "3s", "how long each is measured")
	return c
}

// measure runs one benchmark and returns its output.
func measure(ctx context.Context, m measurement, benchTime string) (string, error) {
	if m.run == bookBenchmark {
		benchTime = "1x"
	}
	pattern := "^" + strings.ReplaceAll(m.run, "/", "$/^") + "$"
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", pattern, "-benchtime", benchTime, m.pkg)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("bench %s: %w: %s", m.name, err, out)
	}
	return string(out), nil
}

// errNoFigure: a benchmark printed no line with the unit.
var errNoFigure = errors.New("no such figure in the output")

// readRate finds the best figure of a unit in the output of go test. Nanoseconds per operation become operations a second.
func readRate(output io.Reader, unit string) (int64, error) {
	best := int64(0)
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		for i := 2; i+1 < len(fields); i += 2 {
			if fields[i+1] != unit {
				continue
			}
			v, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return 0, err
			}
			if unit == "ns/op" && v > 0 {
				v = 1e9 / v
			}
			best = max(best, int64(v))
		}
	}
	if best == 0 {
		return 0, fmt.Errorf("%w: %s", errNoFigure, unit)
	}
	return best, lines.Err()
}

func (r benchReport) print(w io.Writer, asJSON bool) error {
	if asJSON {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(r)
	}
	fmt.Fprintln(w, r.Machine)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "MEASURED\tPER SECOND\tRATIO\t")
	for _, f := range r.Figures {
		ratio := "base"
		if f.Against != "" {
			ratio = fmt.Sprintf("%d.%02d", f.Percent/100, f.Percent%100)
		}
		fmt.Fprintf(tw, "%s\t%d\t%s\t\n", f.Name, f.PerSecond, ratio)
	}
	fmt.Fprintln(tw, "A SIGNATURE BY THE SERVICE\tOF 100\t\t")
	for _, sh := range r.Shares {
		fmt.Fprintf(tw, "%s\t%d\t\t\n", sh.Stage, sh.Percent)
	}
	fmt.Fprintf(tw, "three approvals add, in microseconds\t%d\t\t\n", r.Approvals)
	for _, f := range agreementFigures {
		fmt.Fprintf(tw, "%s\t%d\t\t\n", f[1], r.Agreement[f[0]])
	}
	return tw.Flush()
}

// machine names what it was measured on.
func machine() string {
	model := "unknown processor"
	if raw, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(raw)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		kernel = []byte("unknown")
	}
	return fmt.Sprintf("%s, %d processors, Linux %s, %s %s/%s", model, runtime.NumCPU(), strings.TrimSpace(string(kernel)), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
