package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/diamante/gateway/cmd/internal/paper"
	"github.com/diamante/gateway/keymgmt"
)

// approver is how the command approves.
type approver struct {
	pen
	desk    desk
	version uint64
	life    time.Duration
	json    bool
}

func approveCommand() *cobra.Command {
	var a approver
	c := &cobra.Command{
		Use: "approve [REQUEST.json | ID --gateway URL] --officer NAME (--key FILE | --token FILE | --passkey) --policy FILE", Args: cobra.MaximumNArgs(1),
		Short: "Show what a request would do, as read here and by nobody else, and approve it; with --gateway alone, list what waits",
		RunE: func(c *cobra.Command, args []string) error {
			switch {
			case a.desk.url != "" && len(args) == 0:
				return a.list(c)
			case a.desk.url != "":
				return a.atGateway(c, args[0])
			case len(args) == 0:
				return errors.New("name a file with a request, or --gateway")
			}
			var asked paper.Request
			if err := readStrict(args[0], &asked); err != nil {
				return err
			}
			consent, err := a.approve(c, asked)
			if err != nil || consent == nil {
				return err
			}
			return json.NewEncoder(c.OutOrStdout()).Encode(consent)
		},
	}
	a.pen.flags(c)
	a.desk.flags(c)
	f := c.Flags()
	f.Uint64Var(&a.version, "policy-version", 0, "version of the policy in force, without --policy")
	f.DurationVar(&a.life, "life", time.Hour, "how long the approval may lie before it is used")
	f.BoolVar(&a.json, "json", false, "print JSON")
	return c
}

// approve shows what is asked and returns the officer's approval, nil when he gives none.
func (a *approver) approve(c *cobra.Command, asked paper.Request) (*keymgmt.Consent, error) {
	file, err := a.file()
	if err != nil {
		return nil, err
	}
	version := a.version
	if file != nil {
		if version != 0 && version != file.Version {
			return nil, fmt.Errorf("the policy is version %d, not %d", file.Version, version)
		}
		version = file.Version
	}
	intent, err := asked.Intent(version)
	if err != nil {
		return nil, err
	}
	consent := keymgmt.Consent{Officer: a.officer, Nonce: keymgmt.NewNonce(), Expires: time.Now().Add(a.life).UTC().Truncate(time.Second)}
	w := paper.Paper{Approve: &paper.Approval{Request: asked, Version: version, Consent: consent}}
	if ok, err := a.agrees(c, w); err != nil || !ok {
		return nil, err
	}
	if err := a.check(); err != nil {
		return nil, err
	}
	if consent.Signature, consent.Passkey, err = a.sign(c, file, w); err != nil {
		return nil, err
	}
	if file != nil {
		if err := file.CheckConsent(intent, consent); err != nil {
			return nil, fmt.Errorf("the signer would not take it: %w", err)
		}
	}
	return &consent, nil
}

// atGateway approves a request that waits at the gateway.
func (a *approver) atGateway(c *cobra.Command, id string) error {
	if err := a.desk.open(); err != nil {
		return err
	}
	found, err := a.desk.waiting(c.Context(), id)
	if err != nil {
		return err
	}
	consent, err := a.approve(c, found.Request)
	if err != nil || consent == nil {
		return err
	}
	if err := a.desk.hand(c.Context(), found.ID, *consent); err != nil {
		return err
	}
	after, err := a.desk.seen(c.Context(), found.ID, consent.Nonce)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.OutOrStdout(), "handed in; %s\n", after)
	return err
}

// list shows what waits. All of it is the gateway's word, quoted so that it cannot play tricks with a terminal.
func (a *approver) list(c *cobra.Command) error {
	if err := a.desk.open(); err != nil {
		return err
	}
	list, err := a.desk.list(c.Context())
	if err != nil {
		return err
	}
	if a.json {
		enc := json.NewEncoder(c.OutOrStdout())
		enc.SetIndent("", "  ")
		return enc.Encode(list)
	}
	w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tKEY\tREF\tINITIATOR\tUNTIL\tGIVEN\tWHY")
	for _, x := range list {
		good := 0
		for _, g := range x.Approvals {
			if g.State == "good" {
				good++
			}
		}
		fmt.Fprintf(w, "%q\t%s\t%q\t%q\t%q\t%d\t%q\n", x.ID, x.Request.Key, x.Request.Ref, x.Request.Initiator, x.Until, good, x.Why)
	}
	return w.Flush()
}
