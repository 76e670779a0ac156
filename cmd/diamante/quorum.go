package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/diamante/gateway/cmd/internal/boot"
	"github.com/diamante/gateway/node/fbas"
)

// Exit statuses of the quorum commands. Only check answers by its status; the others use those of failure.
const (
	exitSplits   = 1 // two disjoint quorums
	exitNoQuorum = 2
	exitUnknown  = 3 // the time was not enough
	exitBadInput = 4
)

// quorumTimeout is how long an analysis may take unless told otherwise.
const quorumTimeout = 30 * time.Second

// quorumFlags are what every quorum command knows.
type quorumFlags struct {
	asJSON  bool
	timeout time.Duration
	unknown string
}

// nodeSource is where the nodes and their quorum sets come from: a file, or whoever else knows them.
type nodeSource func(ctx context.Context) ([]fbas.Node, error)

// nodeFile is a list of nodes in a file.
func nodeFile(path string) nodeSource {
	return func(context.Context) ([]fbas.Node, error) {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return fbas.Parse(f)
	}
}

func quorumCommand() *cobra.Command {
	c := &cobra.Command{Use: "quorum", Short: "Say how safe the quorum sets of a network are"}
	c.AddCommand(quorumCheckCommand(), quorumAnalyzeCommand(), quorumDSetCommand(), quorumIntactCommand(), quorumBlockingCommand())
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return boot.Exit{Status: exitBadInput, Reason: err} })
	return c
}

// quorumVerb makes a command about the system in a file. What ask answers is printed; its exit status is ask's.
func quorumVerb(use, short string, ask func(ctx context.Context, sys *fbas.System) (quorumAnswer, error)) *cobra.Command {
	var flags quorumFlags
	c := &cobra.Command{
		Use: use, Short: short,
		Args: func(c *cobra.Command, args []string) error {
			if err := cobra.ExactArgs(1)(c, args); err != nil {
				return boot.Exit{Status: exitBadInput, Reason: err}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			return flags.answer(c.Context(), nodeFile(args[0]), ask, c.OutOrStdout())
		},
	}
	c.Flags().BoolVar(&flags.asJSON, "json", false, "print JSON")
	c.Flags().DurationVar(&flags.timeout, "timeout", quorumTimeout, "how long it may take; what is not known by then is said to be unknown")
	c.Flags().StringVar(&flags.unknown, "unknown", fbas.Absent.String(),
		"what to assume of nodes without a known quorum set: absent (never agree), faulty (say to each what he waits for), refused (bad input)")
	return c
}

// answer reads the system, asks, and prints.
func (f quorumFlags) answer(ctx context.Context, from nodeSource, ask func(context.Context, *fbas.System) (quorumAnswer, error), stdout io.Writer) error {
	sys, err := f.system(ctx, from)
	if err != nil {
		return boot.Exit{Status: exitBadInput, Reason: err}
	}
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	a, err := ask(ctx, sys)
	if errors.Is(err, fbas.ErrInput) {
		return boot.Exit{Status: exitBadInput, Reason: err}
	}
	if err != nil {
		return boot.Exit{Status: exitUnknown, Reason: err}
	}
	a.add("nodes", len(sys.Nodes()))
	a.add("unknown_nodes", unknownNodes{f.unknown, sys.UnknownNodes()})
	if err := a.print(stdout, f.asJSON); err != nil {
		return err
	}
	if a.status != 0 {
		return boot.Exit{Status: a.status}
	}
	return nil
}

func (f quorumFlags) system(ctx context.Context, from nodeSource) (*fbas.System, error) {
	unknown, err := fbas.ParseUnknown(f.unknown)
	if err != nil {
		return nil, err
	}
	nodes, err := from(ctx)
	if err != nil {
		return nil, err
	}
	return fbas.New(nodes, unknown)
}

// unknownNodes are those whose quorum sets are not known, and what was assumed of them.
type unknownNodes struct {
	Assumed string   `json:"assumed"`
	Nodes   []string `json:"nodes"`
}

func quorumCheckCommand() *cobra.Command {
	return quorumVerb("check FILE", "Say whether every two quorums share a node; the exit status says it, too", checkQuorums)
}

// checkQuorums answers whether every two quorums share a node.
func checkQuorums(ctx context.Context, sys *fbas.System) (a quorumAnswer, err error) {
	in, err := sys.Intersection(ctx)
	if err != nil && fbas.NotKnown(err) {
		a.add("quorum_intersection", nil)
		a.reason("quorum_intersection", err)
		a.status = exitUnknown
		return a, nil
	}
	if err != nil {
		return a, err
	}
	a.intersection(in)
	a.status = map[fbas.Verdict]int{fbas.Intersects: 0, fbas.Splits: exitSplits, fbas.NoQuorum: exitNoQuorum}[in.Verdict]
	return a, nil
}

// intersection adds what is known about disjoint quorums.
func (a *quorumAnswer) intersection(in fbas.Intersection) {
	switch in.Verdict {
	case fbas.Intersects:
		a.add("quorum_intersection", true)
		a.add("certificate", in.Certificate)
	case fbas.Splits:
		a.add("quorum_intersection", false)
		a.add("disjoint_quorums", in.Disjoint)
	default:
		a.add("quorum_intersection", nil)
		a.reason("quorum_intersection", errors.New("no quorum exists"))
	}
}

// quorumAnswer is what a quorum command answers: facts with names, in order. A fact without a value is not known, and why not
// is among the reasons.
type quorumAnswer struct {
	facts   []quorumFact
	reasons map[string]string
	status  int
}

type quorumFact struct {
	name  string
	value any
}

func (a *quorumAnswer) add(name string, value any) {
	a.facts = append(a.facts, quorumFact{name, value})
}

func (a *quorumAnswer) reason(name string, err error) {
	if a.reasons == nil {
		a.reasons = map[string]string{}
	}
	a.reasons[name] = err.Error()
}

// print prints the answer as a table or as JSON with the same facts.
func (a quorumAnswer) print(w io.Writer, asJSON bool) error {
	if asJSON {
		object := map[string]any{}
		for _, f := range a.facts {
			object[f.name] = f.value
		}
		if a.reasons != nil {
			object["reasons"] = a.reasons
		}
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(object)
	}
	return a.table(w)
}
