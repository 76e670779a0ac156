package rig

import (
	"context"
	"fmt"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/diamante/gateway/cmd/internal/boot"
	"github.com/diamante/gateway/cmd/internal/boot/devca"
	"github.com/diamante/gateway/deploy/schema"
	"github.com/diamante/gateway/keymgmt/pkcs11/softhsm"
	"github.com/diamante/gateway/node/genesis"
	"github.com/diamante/gateway/node/ledger"
	"github.com/diamante/gateway/node/protocol"
)

// table is a TOML table.
type table = map[string]any

func (r *Rig) writeConfig(name string, t table) error {
	raw, err := toml.Marshal(t)
	if err != nil {
		return fmt.Errorf("rig: %w", err)
	}
	return r.write(r.Path("config", name+".toml"), raw)
}

func tlsTable(t boot.TLS) table { return table{"cert": t.Cert, "key": t.Key, "ca": t.CA} }

func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

func (r *Rig) writeSignerConfig() error {
	officer, err := r.officerAddress()
	if err != nil {
		return err
	}
	material, err := r.programTLS(SignerName)
	if err != nil {
		return err
	}
	module, err := softhsm.Module()
	if err != nil {
		return err
	}
	return r.writeConfig("signer", table{
		"listen": loopback(r.ports.Signer), "allowed_clients": []string{GatewayName, NodeName, TreasuryName}, "tls": tlsTable(material),
		"pkcs11": table{"module": module, "token_label": "diamante", "pin_file": r.Path("secret", "pin"), "max_sessions": 16,
			"softhsm_conf": r.softhsmConf()},
		"database": table{"url_file": r.databaseURLFile(schema.Signer), "max_connections": 16},
		"policy": table{"file": r.Path("config", "policy.toml"), "signature": r.Path("config", "policy.toml.sig"),
			"officers": []string{officer.String()}, "quorum": 1},
		"log": table{"key": signerLog},
	})
}

// writeGenesis makes the network's genesis once; it is never changed afterwards.
func (r *Rig) writeGenesis(keys map[string]protocol.AccountID) error {
	if _, err := genesis.Load(r.GenesisFile()); err == nil {
		return nil
	}
	supply, err := protocol.ParseAmount(Supply)
	if err != nil {
		return err
	}
	return genesis.Write(r.GenesisFile(), ledger.Genesis{Passphrase: Passphrase, Root: keys["network/root"], Supply: supply,
		BaseFee: 100, BaseReserve: 5_000_000, Protocol: 22, MaxTxSetSize: 5000, CloseTime: time.Now().UTC().Truncate(time.Second)})
}

// definePrograms says how each program is started and how it is asked whether it serves.
func (r *Rig) definePrograms() error {
	signerUp, err := r.answers(GatewayName, SignerName, fmt.Sprintf("https://%s/health", loopback(r.ports.Signer)))
	if err != nil {
		return err
	}
	if err := r.defineValidators(); err != nil {
		return err
	}
	gatewayUp, err := r.answers(StaffName, "localhost", r.StaffURL()+"/livez")
	if err != nil {
		return err
	}
	for _, p := range []struct {
		to   **Process
		name string
		args []string
		env  []string
		up   func(context.Context) error
	}{
		{&r.Signer, "diamante-signer", []string{"serve", "-config", r.Path("config", "signer.toml")}, nil, signerUp},
		{&r.Gateway, "diamante-gateway", []string{"-config", r.Path("config", "gateway.toml")}, r.opts.Env, gatewayUp},
	} {
		path, err := program(r.opts.BinDir, p.name)
		if err != nil {
			return err
		}
		*p.to = &Process{Name: p.name, args: append([]string{path}, p.args...), env: p.env, log: r.Path("log", p.name+".log"), up: p.up}
	}
	return nil
}

func (r *Rig) listenerTLS() (boot.TLS, error) {
	return r.material(devca.Leaf{Name: "listener", Loopback: true})
}
