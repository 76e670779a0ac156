package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/diamante/gateway/cmd/internal/boot"
	"github.com/diamante/gateway/cmd/internal/boot/devca"
	"github.com/diamante/gateway/deploy/schema"
	"github.com/diamante/gateway/deploy/schema/schematest"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/pkcs11/child"
	"github.com/diamante/gateway/keymgmt/pkcs11/softhsm"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/keymgmt/remote"
	"github.com/diamante/gateway/node/protocol"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == childCommand { // the signer under test has started its own program, which is this one
		if err := child.Run(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	schematest.Main(m)
}

const (
	gatewayName = "gateway.diamante.internal"
	signerName  = "signer.diamante.internal"
	network     = protocol.Passphrase("Signer Program Network ; 2026")
	asset       = "USD"
)

var keyIDs = []string{"network/root", "anchor/usd/issuing", "anchor/usd/distribution", "anchor/sep10", "anchor/jwt", "audit/log", "signer/log"}

// rig is everything that a signer is given: a folder with certificates, PINs, a policy and a configuration, and a
// private database.
type rig struct {
	t       testing.TB
	dir     string
	cfg     Config
	config  string // path of the configuration file
	hsm     softhsm.Setup
	ca      *devca.CA
	officer ed25519.PrivateKey
	publics map[string]protocol.AccountID
	setup   policy.Setup
}

// newRig prepares all but the token and its keys.
func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), publics: map[string]protocol.AccountID{}}
	var err error
	r.hsm, err = softhsm.Prepare(filepath.Join(r.dir, "hsm"))
	r.must(err)
	t.Setenv(softhsm.Env, "") // restored after the program has set it
	r.ca, err = devca.Open(filepath.Join(r.dir, "ca"))
	r.must(err)
	cert, key, err := r.ca.Issue(devca.Leaf{Name: "signer", DNS: []string{signerName}, Loopback: true})
	r.must(err)
	officer, private, err := ed25519.GenerateKey(rand.Reader)
	r.must(err)
	r.officer = private
	account, err := protocol.AccountIDFromKey(officer)
	r.must(err)
	r.cfg = Config{Listen: "127.0.0.1:0", AllowedClients: []string{gatewayName},
		TLS: boot.TLS{Cert: cert, Key: key, CA: r.ca.CertFile()},
		PKCS11: &HSM{Module: r.hsm.Module, TokenLabel: "signer test", PINFile: r.hsm.PINFile, MaxSessions: 4,
			SoftHSMConf: r.hsm.Conf},
		Database: Database{URLFile: r.write("database-url", []byte(schematest.New(t, schema.Signer))), MaxConnections: 8},
		Policy:   Policy{File: r.path("policy.toml"), Signature: r.path("policy.toml.sig"), Officers: []protocol.AccountID{account}, Quorum: 1}}
	r.cfg.Log.Key = r.key("signer/log")
	r.save()
	return r
}

// newKeyedRig prepares everything.
func newKeyedRig(t testing.TB) *rig {
	t.Helper()
	r := newRig(t)
	r.initToken()
	r.generate()
	r.sign(nil)
	return r
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) path(name string) string { return filepath.Join(r.dir, name) }

func (r *rig) write(name string, content []byte) string {
	r.t.Helper()
	r.must(os.WriteFile(r.path(name), content, 0o600))
	return r.path(name)
}

// save writes the configuration as it is in cfg.
func (r *rig) save() {
	r.t.Helper()
	text, err := toml.Marshal(r.cfg)
	r.must(err)
	r.config = r.write("signer.toml", text)
}

// run runs the program to its end.
func (r *rig) run(args ...string) (string, error) {
	var out bytes.Buffer
	err := run(r.t.Context(), append(args, "-config", r.config), &out)
	return out.String(), err
}

func (r *rig) initToken() {
	r.t.Helper()
	_, err := r.run("init-token", "-so-pin-file", r.hsm.SOPINFile, "--yes")
	r.must(err)
}

func (r *rig) generate() {
	r.t.Helper()
	args := []string{"keygen", "--yes"}
	for _, id := range keyIDs {
		args = append(args, "-key", id)
	}
	_, err := r.run(args...)
	r.must(err)
	out, err := r.run("keys", "--json")
	r.must(err)
	var rows []keyRow
	r.must(json.Unmarshal([]byte(out), &rows))
	for _, row := range rows {
		id, err := protocol.ParseAccountID(row.Address)
		r.must(err)
		r.publics[row.Key] = id
	}
}

// sign writes a policy for the keys, after change, with the officer's signature.
func (r *rig) sign(change func(*policy.File)) {
	r.t.Helper()
	quantity := func(s string) policy.Quantity {
		q, err := policy.ParseQuantity(s)
		r.must(err)
		return q
	}
	r.setup = policy.Setup{Version: 1, Network: network, Gateway: gatewayName, Signer: signerName,
		Publics: policy.Publics{Root: r.publics[keyIDs[0]], Issuing: r.publics[keyIDs[1]], Distribution: r.publics[keyIDs[2]],
			Challenge: r.publics[keyIDs[3]], Token: r.publics[keyIDs[4]], Log: r.publics[keyIDs[5]], SignerLog: r.publics[keyIDs[6]]},
		AssetCode: asset, HomeDomain: "bank.example", WebAuthDomain: "auth.bank.example",
		TokenIssuer: "https://auth.bank.example/auth", LogOrigin: "bank.example/audit", SignerOrigin: "bank.example/signer",
		Asset:    policy.Bounds{PerTransaction: quantity("1000"), PerDay: quantity("100000")},
		Native:   policy.Bounds{PerTransaction: quantity("1000"), PerDay: quantity("5000")},
		Starting: quantity("10")}
	file, err := r.setup.File()
	r.must(err)
	if change != nil {
		change(&file)
	}
	text, err := policy.Marshal(file)
	r.must(err)
	signature, err := policy.Sign(text, r.officer)
	r.must(err)
	r.must(os.WriteFile(r.cfg.Policy.File, text, 0o600))
	r.must(os.WriteFile(r.cfg.Policy.Signature, signature, 0o600))
}

// takeAway makes the token disappear.
func (r *rig) takeAway() (bringBack func()) {
	r.t.Helper()
	r.must(os.Rename(r.hsm.Tokens, r.hsm.Tokens+".away"))
	return func() { r.must(os.Rename(r.hsm.Tokens+".away", r.hsm.Tokens)) }
}

// program is a running signer.
type program struct {
	address string
	stop    func() error // waits until it has ended; may be called again
	log     *lockedBuffer
}

// lockedBuffer collects a log that is read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// serve starts the program and waits until it listens.
func (r *rig) serve() *program {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	reader, writer := io.Pipe()
	p := &program{log: new(lockedBuffer)}
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, []string{"serve", "-config", r.config}, writer)
		_ = writer.Close()
		ended <- err
	}()
	p.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	r.t.Cleanup(func() { r.must(p.stop()) })
	address := make(chan string, 1)
	go func() {
		defer close(address)
		lines := bufio.NewScanner(reader)
		for lines.Scan() {
			var line struct{ Msg, Address string }
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "serving" {
				address <- line.Address
			}
			_, _ = p.log.Write(append(lines.Bytes(), '\n'))
		}
	}()
	select {
	case p.address = <-address:
	case <-time.After(time.Minute):
	}
	if p.address == "" {
		r.t.Fatalf("the signer does not serve: %v", p.stop())
	}
	return p
}

func (r *rig) clientTLS(name string) boot.TLS {
	r.t.Helper()
	cert, key, err := r.ca.Issue(devca.Leaf{Name: name, DNS: []string{name}})
	r.must(err)
	return boot.TLS{Cert: cert, Key: key, CA: r.ca.CertFile()}
}

// client connects to the program under a name.
func (r *rig) client(p *program, name string) *remote.Client {
	r.t.Helper()
	cfg, err := r.clientTLS(name).ClientConfig(signerName)
	r.must(err)
	c, err := remote.NewClient(remote.Config{URL: "https://" + p.address, TLS: cfg, Timeout: 20 * time.Second})
	r.must(err)
	r.t.Cleanup(c.Close)
	return c
}

func (r *rig) key(id string) keymgmt.KeyID {
	r.t.Helper()
	k, err := keymgmt.ParseKeyID(id)
	r.must(err)
	return k
}

// within waits until what holds.
func (r *rig) within(what string, holds func() bool) {
	r.t.Helper()
	deadline, tick := time.After(2*time.Minute), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline:
			r.t.Fatalf("not within two minutes: %s", what)
		case <-tick.C:
		}
	}
}
