package rig

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node"
	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/scp"
)

// Validators is how many validators a rig's network has, of which Agree must agree on each ledger. The first is the bank's own,
// which its gateway asks; the others would be other institutions'.
const (
	Validators = 4
	Agree      = 3
)

// suffix tells the files of validators apart.
func suffix(i int) string {
	if i == 0 {
		return ""
	}
	return fmt.Sprintf("-%d", i+1)
}

func (r *Rig) seedFile(i int) string { return r.Path("secret", "validator"+suffix(i)+".seed") }

// validators returns the keys of all validators: the bank's own, which is in the token, and the others', made the first time.
func (r *Rig) validators(keys map[string]protocol.AccountID) (out []protocol.AccountID, err error) {
	out = append(out, keys[validatorKey])
	for i := 1; i < Validators; i++ {
		path := r.seedFile(i)
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			if _, err := node.CreateSeed(path); err != nil {
				return nil, err
			}
		}
		seed, err := node.LoadSeed(path)
		if err != nil {
			return nil, err
		}
		out = append(out, seed.NodeID())
	}
	return out, nil
}

func (r *Rig) doorOf(i int) int {
	if i == 0 {
		return r.ports.Node
	}
	return r.ports.Others[i-1]
}

// quorumHash is what validators say of whom they trust.
func quorumHash(ids []protocol.AccountID) protocol.Hash {
	set := xdr.ScpQuorumSet{Threshold: Agree, InnerSets: []xdr.ScpQuorumSet{}}
	for _, id := range ids {
		set.Validators = append(set.Validators, xdr.NodeId(id.XDR()))
	}
	return protocol.Hash(scp.HashQuorumSet(scp.NormalQuorumSet(set)))
}

func (r *Rig) writeNodeConfigs(keys map[string]protocol.AccountID) error {
	ids, err := r.validators(keys)
	if err != nil {
		return err
	}
	material, err := r.programTLS(NodeName)
	if err != nil {
		return err
	}
	for i := range ids {
		trusted, peers := []string{}, []table{}
		for j, id := range ids {
			trusted = append(trusted, id.String())
			if j != i {
				peers = append(peers, table{"id": id.String(), "address": loopback(r.ports.Peers[j])})
			}
		}
		config := table{
			"dir": r.Path("ledger" + suffix(i)), "genesis": r.GenesisFile(), "close_every": r.opts.CloseEvery.String(),
			"listen": loopback(r.doorOf(i)), "clients": []string{GatewayName, TreasuryName}, "tls": tlsTable(material),
			"consensus": table{"listen": loopback(r.ports.Peers[i]), "peer": peers,
				"quorum_set": table{"threshold": Agree, "validators": trusted}},
		}
		if i == 0 {
			config["signer"] = table{"url": "https://" + loopback(r.ports.Signer), "name": SignerName, "key": validatorKey, "public": ids[0].String()}
		} else {
			config["seed"] = r.seedFile(i)
		}
		if err := r.writeConfig("node"+suffix(i), config); err != nil {
			return err
		}
	}
	return nil
}

// defineValidators says how the validators are started, and how they are asked whether they serve.
func (r *Rig) defineValidators() error {
	path, err := program(r.opts.BinDir, "diamante-node")
	if err != nil {
		return err
	}
	for i := range Validators {
		up, err := r.answers(GatewayName, NodeName, fmt.Sprintf("https://%s/status", loopback(r.doorOf(i))))
		if err != nil {
			return err
		}
		name := "diamante-node" + suffix(i)
		p := &Process{Name: name, args: []string{path, "-config", r.Path("config", "node"+suffix(i)+".toml")}, log: r.Path("log", name+".log"), up: up}
		if i == 0 {
			r.Node = p
		} else {
			r.Others = append(r.Others, p)
		}
	}
	return nil
}

// watchOthers tells of each of the other validators that ends. The network goes on without one of them, and says itself when it
// does not.
func (r *Rig) watchOthers(ctx context.Context, tell func(string)) {
	for _, p := range r.Others {
		go func() {
			select {
			case <-ctx.Done():
			case <-p.Done():
				tell(fmt.Sprintf("%s has ended; its log is %s. Ledgers close while %d of %d validators agree.", p.Name, p.log, Agree, Validators))
			}
		}()
	}
}
