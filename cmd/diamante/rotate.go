package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/cmd/internal/paper"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/payload"
	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/txbuild"
)

// rotation is one key of an account on the network that takes the place of another.
type rotation struct {
	passphrase            string
	account, old, new     string // addresses; old is the account's own when it is empty
	oldKey, newKey        string // ids in the signer
	sequence, fee         int64
	weight                uint32
	life                  time.Duration
	initiator, out        string
	yes                   bool
	accountID, oldID, nID protocol.AccountID
}

func rotateCommand() *cobra.Command {
	var r rotation
	c := &cobra.Command{
		Use: "rotate", Args: cobra.NoArgs,
		Short: "Write the two requests by which a new key takes the place of an old one on an account of the network",
		Long: `The first adds the new key as a signer and is signed by the old one. The second takes the old one's weight away and is
signed by the new one: so the old key is let go only by a key that works. Both go to the signer like any other request, under
a policy that allows this rotation and names who must approve it. Submit the first and see it in a closed ledger before the
second is signed. Coins are moved by a payment of all there is from the old key's addresses to the new key's (a sweep).`,
		RunE: func(c *cobra.Command, _ []string) error { return r.run(c.OutOrStdout(), time.Now()) },
	}
	f := c.Flags()
	f.StringVar(&r.passphrase, "passphrase", "", "the network's passphrase")
	f.StringVar(&r.account, "account", "", "the account whose key is replaced")
	f.StringVar(&r.old, "old", "", "address of the old key; the account's own (its master key) when left out")
	f.StringVar(&r.new, "new", "", "address of the new key")
	f.StringVar(&r.oldKey, "old-key", "", "id of the old key in the signer")
	f.StringVar(&r.newKey, "new-key", "", "id of the new key in the signer")
	f.Int64Var(&r.sequence, "sequence", 0, "the account's sequence number now")
	f.Int64Var(&r.fee, "fee", genesisFee, "stroops bid for each of the two")
	f.Uint32Var(&r.weight, "weight", 1, "of the new key; at least the account's high threshold, or the second cannot be signed by it alone")
	f.DurationVar(&r.life, "life", time.Hour, "how long the first may take until it is in a ledger; the second has twice that")
	f.StringVar(&r.initiator, "initiator", "", "on whose word; he cannot approve it")
	f.StringVar(&r.out, "out", "rotate", "beginning of the two files' names")
	f.BoolVar(&r.yes, "yes", false, "write them")
	return c
}

// maxSignerWeight is the greatest weight that the ledger knows.
const maxSignerWeight = 255

func (r *rotation) run(out io.Writer, now time.Time) error {
	if err := r.parse(); err != nil {
		return err
	}
	requests, err := r.requests(now)
	if err != nil {
		return err
	}
	names := []string{r.out + ".1-add.json", r.out + ".2-remove.json"}
	for i, q := range requests {
		meaning, err := payload.Decode(q.Kind, q.Body)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%d. signed by %s: %v\n   %s\n", i+1, q.Key, meaning.Brief(), names[i])
	}
	if !r.yes {
		_, err := fmt.Fprintln(out, "nothing was written; add --yes to write them")
		return err
	}
	for i, q := range requests {
		raw, err := json.MarshalIndent(q, "", "  ")
		if err != nil {
			return err
		}
		f, err := os.OpenFile(names[i], os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		_, err = f.Write(append(raw, '\n'))
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

func (r *rotation) parse() (err error) {
	if r.accountID, err = protocol.ParseAccountID(r.account); err != nil {
		return fmt.Errorf("--account: %w", err)
	}
	r.oldID = r.accountID
	if r.old != "" {
		if r.oldID, err = protocol.ParseAccountID(r.old); err != nil {
			return fmt.Errorf("--old: %w", err)
		}
	}
	if r.nID, err = protocol.ParseAccountID(r.new); err != nil {
		return fmt.Errorf("--new: %w", err)
	}
	switch {
	case r.nID == r.oldID || r.nID == r.accountID:
		return errors.New("--new must be a key that the account does not have: a master key that lost its weight cannot be added as a signer")
	case r.weight < 1 || r.weight > maxSignerWeight:
		return fmt.Errorf("--weight must be 1 to %d", maxSignerWeight)
	case r.sequence < 1:
		return errors.New("--sequence is required")
	}
	return nil
}

// requests returns the two, in their order.
func (r *rotation) requests(now time.Time) ([]paper.Request, error) {
	nothing := uint32(0)
	remove := txbuild.SetOptions{Signer: signerOf(r.oldID, 0)}
	if r.oldID == r.accountID {
		remove = txbuild.SetOptions{MasterWeight: &nothing}
	}
	var requests []paper.Request
	for i, s := range []struct {
		key string
		op  txbuild.SetOptions
	}{{r.oldKey, txbuild.SetOptions{Signer: signerOf(r.nID, r.weight)}}, {r.newKey, remove}} {
		u, err := txbuild.Build(txbuild.Params{Passphrase: protocol.Passphrase(r.passphrase), Source: r.accountID, Sequence: r.sequence + int64(i) + 1,
			FeePerOp: r.fee, NotAfter: now.Add(time.Duration(i+1) * r.life), Operations: []txbuild.Operation{s.op}})
		if err != nil {
			return nil, err
		}
		key, err := keymgmt.ParseKeyID(s.key)
		if err != nil {
			return nil, err
		}
		requests = append(requests, paper.Request{Key: key, Kind: keymgmt.KindTransaction, Body: u.SignatureBase(), Ref: "rotate/" + u.Hash().String(), Initiator: r.initiator})
	}
	return requests, nil
}

func signerOf(key protocol.AccountID, weight uint32) *xdr.Signer {
	var bytes xdr.Uint256
	copy(bytes[:], key.Key())
	return &xdr.Signer{Key: xdr.SignerKey{Type: xdr.SignerKeyTypeSignerKeyTypeEd25519, Ed25519: &bytes}, Weight: xdr.Uint32(weight)}
}
