package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/diamante/gateway/cmd/internal/boot"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/policy"
)

func simulateCommand() *cobra.Command {
	var lists []string
	var asJSON bool
	c := &cobra.Command{
		Use: "simulate POLICY.toml JOURNAL.jsonl [--list FILE]...", Args: cobra.ExactArgs(2),
		Short: "Show which requests of a journal (diamante-signer journal) a policy would not allow again",
		RunE: func(c *cobra.Command, args []string) error {
			raw, err := boot.ReadFile(args[0], policy.MaxFile)
			if err != nil {
				return err
			}
			var texts [][]byte
			for _, path := range lists {
				text, err := boot.ReadFile(path, policy.MaxFile)
				if err != nil {
					return err
				}
				texts = append(texts, text)
			}
			s, err := policy.Simulate(raw, texts...)
			if err != nil {
				return err
			}
			journal, err := os.Open(args[1])
			if err != nil {
				return err
			}
			out := bufio.NewWriter(c.OutOrStdout())
			return errors.Join(simulate(s, journal, out, asJSON), out.Flush(), journal.Close())
		},
	}
	c.Flags().StringArrayVar(&lists, "list", nil, "file of a list that the policy names")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON, one line for each request that would be decided otherwise")
	return c
}

// otherwise is a request that would be decided otherwise.
type otherwise struct {
	At     time.Time     `json:"at"`
	Key    keymgmt.KeyID `json:"key"`
	Ref    string        `json:"ref"`
	Policy uint64        `json:"policy"`         // that allowed it
	Rule   string        `json:"rule,omitempty"` // that would not
	Reason string        `json:"reason"`
}

// simulate decides again on every line of a journal, in its order.
func simulate(s *policy.Simulation, journal io.Reader, out io.Writer, asJSON bool) error {
	lines := bufio.NewScanner(journal)
	lines.Buffer(nil, maxRequestFile)
	var all, other, left int
	var before time.Time
	for lines.Scan() {
		all++
		var p policy.Past
		dec := json.NewDecoder(bytes.NewReader(lines.Bytes()))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&p); err != nil || p.At.Before(before) {
			return fmt.Errorf("journal, line %d: %w", all, errors.Join(err, errOrder))
		}
		before = p.At
		err := s.Decide(p)
		switch {
		case err == nil:
			continue
		case errors.Is(err, policy.ErrNotSimulated):
			left++
			continue
		}
		other++
		o := otherwise{At: p.At, Key: p.Key, Ref: p.Ref, Policy: p.Policy, Reason: err.Error()}
		var denial *policy.Denial
		if errors.As(err, &denial) {
			o.Rule, o.Reason = denial.Rule, denial.Reason
		}
		if err := o.write(out, asJSON); err != nil {
			return err
		}
	}
	if lines.Err() != nil || asJSON {
		return lines.Err()
	}
	_, err := fmt.Fprintf(out, "%d requests, %d would be decided otherwise, %d not simulated\n", all, other, left)
	return err
}

var errOrder = errors.New("it is no request, or not in the order of time")

func (o otherwise) write(out io.Writer, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(out).Encode(o)
	}
	rule := "it could not be read"
	if o.Rule != "" {
		rule = "rule " + o.Rule
	}
	_, err := fmt.Fprintf(out, "%s %s %s, allowed by policy %d: %s: %s\n", o.At.Format(time.RFC3339), o.Key, o.Ref, o.Policy, rule, o.Reason)
	return err
}
