package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/node/protocol"
)

func lienCommand() *cobra.Command {
	c := &cobra.Command{Use: "lien", Short: "A lien holder's word on collateral"}
	c.AddCommand(lienDischargeCommand())
	return c
}

func lienDischargeCommand() *cobra.Command {
	var d keymgmt.Discharge
	var network, account, key string
	var life time.Duration
	var yes bool
	c := &cobra.Command{
		Use: "discharge --network PASSPHRASE --lien ID --account G... --asset ASSET --amount N --destination G... --holder NAME --key HOLDER_KEY", Args: cobra.NoArgs,
		Short: "Show a discharge of so much collateral to one destination, and sign it",
		RunE: func(c *cobra.Command, _ []string) error {
			id, err := networkID(network)
			if err != nil {
				return err
			}
			from, err := protocol.ParseAccountID(account)
			if err != nil {
				return err
			}
			if err := inFull(&d.Amount); err != nil {
				return err
			}
			d.Nonce, d.Expires = keymgmt.NewNonce(), time.Now().Add(life).UTC().Truncate(time.Second)
			if !yes {
				_, err := fmt.Fprintf(c.OutOrStdout(), "%snothing was signed; add --yes to sign this, with a nonce of its own\n", policy.DischargeText(id, from, d))
				return err
			}
			private, err := readOfficer(key)
			if err != nil {
				return err
			}
			signed, err := policy.SignDischarge(id, from, d, private)
			if err != nil {
				return err
			}
			return json.NewEncoder(c.OutOrStdout()).Encode(signed)
		},
	}
	f := c.Flags()
	f.StringVar(&network, "network", "", "the network's passphrase")
	f.StringVar(&d.Lien, "lien", "", "the lien's id in the policy")
	f.StringVar(&account, "account", "", "the account that holds the collateral")
	f.StringVar(&d.Asset, "asset", "", "native, or CODE:ISSUER")
	f.StringVar(&d.Amount, "amount", "", "what may leave, exactly")
	f.StringVar(&d.Destination, "destination", "", "the account that may get it")
	f.StringVar(&d.Holder, "holder", "", "your name in the policy")
	f.StringVar(&key, "key", "", "file with your private key")
	f.DurationVar(&life, "life", 24*time.Hour, "how long the discharge may lie before it is used, 31 days at most")
	f.BoolVar(&yes, "yes", false, "do it")
	return c
}
