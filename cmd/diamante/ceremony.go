package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/diamante/gateway/cmd/internal/boot"
	"github.com/diamante/gateway/keymgmt/ceremony"
)

func ceremonyCommand() *cobra.Command {
	var config, transcript string
	var yes bool
	c := &cobra.Command{
		Use: "ceremony PLAN.toml --transcript FILE", Short: "Make, bring back, back up and destroy keys before witnesses", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return sibling(c, "diamante-signer", "ceremony", "-config", config, "-plan", args[0], "-transcript", transcript, fmt.Sprintf("-yes=%t", yes))
		},
	}
	c.Flags().StringVar(&config, "config", "", "the signer's configuration file")
	c.Flags().StringVar(&transcript, "transcript", "", "file of the transcript: made if it is missing, gone on with if not")
	c.Flags().BoolVar(&yes, "yes", false, "do it")
	return c
}

// witnessCommand is for a witness's own machine: it needs the transcript and his key, and no device.
func witnessCommand() *cobra.Command {
	var plan, name, key string
	var yes bool
	c := &cobra.Command{
		Use: "witness TRANSCRIPT --name NAME --key WITNESS_KEY", Args: cobra.ExactArgs(1),
		Short: "Read a ceremony's transcript, and sign its plan or, when all is done, what came of it",
		RunE: func(c *cobra.Command, args []string) error {
			file, err := ceremony.OpenFile(args[0])
			if err != nil {
				return err
			}
			return errors.Join(witness(c.OutOrStdout(), file, witnessing{plan, name, key, yes}), file.Close())
		},
	}
	c.Flags().StringVar(&plan, "plan", "", "the plan as you were given it: the transcript must be of the same")
	c.Flags().StringVar(&name, "name", "", "your name in the plan")
	c.Flags().StringVar(&key, "key", "", "file with your private key")
	c.Flags().BoolVar(&yes, "yes", false, "sign it")
	return c
}

// witnessing is what a witness says.
type witnessing struct {
	plan, name, key string
	yes             bool
}

func witness(out io.Writer, file *ceremony.File, w witnessing) error {
	if err := samePlan(file.Transcript, w.plan); err != nil {
		return err
	}
	for _, words := range append(file.Plan().Words(), file.Report().Words()...) {
		fmt.Fprintln(out, words)
	}
	if !w.yes {
		_, err := fmt.Fprintln(out, "nothing was signed; add --yes to sign that you have read it")
		return err
	}
	private, err := readOfficer(w.key)
	if err != nil {
		return err
	}
	line, err := file.Witness(w.name, private, time.Now())
	if err != nil {
		return err
	}
	return file.Append(line)
}

// samePlan compares the plan of a transcript with one that somebody got on another way, if he did.
func samePlan(t *ceremony.Transcript, path string) error {
	if path == "" {
		return nil
	}
	raw, err := boot.ReadFile(path, ceremony.MaxPlan)
	if err != nil {
		return err
	}
	plan, err := ceremony.ParsePlan(raw)
	if err != nil {
		return err
	}
	if plan.Hash() != t.Plan().Hash() {
		return fmt.Errorf("the transcript is of plan %x, and %s is plan %x", t.Plan().Hash(), path, plan.Hash())
	}
	return nil
}

// errIncomplete: the transcript is in order as far as it goes.
var errIncomplete = errors.New("the ceremony is not complete")

func verifyCommand() *cobra.Command {
	var plan string
	var asJSON bool
	c := &cobra.Command{
		Use: "verify TRANSCRIPT [--plan PLAN.toml]", Short: "Verify a ceremony's transcript offline", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			raw, err := boot.ReadFile(args[0], ceremony.MaxTranscript)
			if err != nil {
				return err
			}
			t, whole, err := ceremony.Parse(raw)
			if err != nil {
				return err
			}
			if whole != len(raw) {
				return errors.New("the transcript ends in half a line: the ceremony was interrupted there, and going on with it removes that")
			}
			if err := samePlan(t, plan); err != nil {
				return err
			}
			report := t.Report()
			if asJSON {
				enc := json.NewEncoder(c.OutOrStdout())
				enc.SetIndent("", "  ")
				if err := enc.Encode(report); err != nil {
					return err
				}
			} else {
				say(c.OutOrStdout(), t, report, plan)
			}
			if !report.Complete {
				return errIncomplete
			}
			return nil
		},
	}
	c.Flags().StringVar(&plan, "plan", "", "the plan as people agreed on it, with the witnesses' keys")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func say(out io.Writer, t *ceremony.Transcript, report ceremony.Report, plan string) {
	for _, words := range append(t.Plan().Words(), report.Words()...) {
		fmt.Fprintln(out, words)
	}
	if plan == "" {
		fmt.Fprintln(out, "who the witnesses are is the transcript's own word: compare their keys, or give --plan")
	}
}
