package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/diamante/gateway/cmd/internal/rig"
	"github.com/diamante/gateway/cmd/internal/story"
	"github.com/diamante/gateway/node/genesis"
)

// demoClose is how often the development network closes a ledger.
const demoClose = time.Second

type place struct {
	dir, binDir string
}

func (p *place) flags(c *cobra.Command, dir string) {
	c.Flags().StringVar(&p.dir, "dir", dir, "data folder")
	c.Flags().StringVar(&p.binDir, "bin", ownDir(), "folder with the programs")
}

func ownDir() string {
	self, err := os.Executable()
	if err != nil {
		return "bin"
	}
	return filepath.Dir(self)
}

func upCommand() *cobra.Command {
	var p place
	var tell bool
	c := &cobra.Command{
		Use: "up", Short: "Bring a whole development system up and keep it up", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			r, err := start(c.Context(), p, rig.DefaultPorts(), c.OutOrStdout())
			if err != nil {
				return err
			}
			err = stay(c.Context(), r, tell, c.OutOrStdout())
			fmt.Fprintln(c.OutOrStdout(), "stopping")
			return errors.Join(err, r.Down())
		},
	}
	p.flags(c, ".run")
	c.Flags().BoolVar(&tell, "story", false, "play the story once")
	return c
}

func demoCommand() *cobra.Command {
	var p place
	c := &cobra.Command{
		Use: "demo", Short: "Play the story; the exit status says whether every step held", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			r, err := start(c.Context(), p, rig.Ports{}, c.OutOrStdout())
			if err != nil {
				return err
			}
			return errors.Join(play(c.Context(), r, c.OutOrStdout()), r.Down())
		},
	}
	p.flags(c, ".run")
	return c
}

func start(ctx context.Context, p place, ports rig.Ports, stdout io.Writer) (*rig.Rig, error) {
	r, err := rig.New(rig.Options{Dir: p.dir, BinDir: p.binDir, Ports: ports, CloseEvery: demoClose})
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(stdout, "bringing the system up under %s\n", r.Path())
	if err := r.Up(ctx); err != nil {
		return nil, errors.Join(err, r.Down())
	}
	return r, nil
}

func stay(ctx context.Context, r *rig.Rig, tell bool, stdout io.Writer) error {
	if tell {
		if err := play(ctx, r, stdout); err != nil {
			return err
		}
	}
	fmt.Fprintf(stdout, "\nup: %s (public), %s (partner), %s (staff); stop with Ctrl-C\n", r.PublicURL(), r.PartnerURL(), r.StaffURL())
	fmt.Fprintf(stdout, "certificates for partner and staff are in %s, logs in %s\n", r.Path("ca"), r.Path("log"))
	return r.Wait(ctx, func(news string) { fmt.Fprintln(stdout, news) })
}

var errStory = errors.New("the story did not hold; see the table")

// play tells the story to the rig, prints it and writes story.json.
func play(ctx context.Context, r *rig.Rig, stdout io.Writer) error {
	w, err := world(r, stdout)
	if err != nil {
		return err
	}
	report, err := story.Play(ctx, w)
	if report != nil {
		err = errors.Join(err, report.Write(r.Path("story.json")), report.Print(stdout))
	}
	if err == nil && !report.OK() {
		err = errStory
	}
	return err
}

func world(r *rig.Rig, stdout io.Writer) (story.World, error) {
	first, err := genesis.Load(r.GenesisFile())
	if err != nil {
		return story.World{}, err
	}
	w := story.World{
		Public: r.PublicURL(), Partner: r.PartnerURL(), Staff: r.StaffURL(), HomeDomain: r.HomeDomain(),
		Passphrase: string(first.Passphrase), Root: first.Root.String(), Asset: rig.AssetCode,
		Bank: &story.Bank{IBAN: rig.BankIBAN, BIC: rig.BankBIC}, Attest: r.Attest,
		Package: r.Path("export", "audit-"+time.Now().UTC().Format("20060102T150405Z")+".tar"), LogKey: r.LogKeyFile(),
		Verify:   func(path, key string) error { return verifyFile(path, key, false, io.Discard) },
		Evidence: r.Evidence, SignerLogKey: r.SignerLogKeyFile(),
		Progress: stdout,
	}
	if w.Wallet, err = r.Client(""); err != nil {
		return w, err
	}
	if w.PartnerClient, err = r.Client(rig.PartnerName); err != nil {
		return w, err
	}
	w.StaffClient, err = r.Client(rig.StaffName)
	return w, err
}
