// Package rig brings the whole system up in one folder, for development (diamante up), for the story and for tests
// that kill parts of it.
//
// Prepare makes what a real installation is given: an authority and certificates, a PostgreSQL cluster with two
// databases, an HSM token with keys, a signed policy, a genesis file and a configuration per program. Up starts the
// programs, each a process of its own, and waits until they serve. Nothing is restarted silently: when a program ends,
// Wait says so. Everything can be stopped and started again in the same folder.
package rig

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/diamante/gateway/cmd/internal/boot"
	"github.com/diamante/gateway/cmd/internal/boot/devca"
	"github.com/diamante/gateway/deploy/schema/cluster"
)

// The names in the programs' certificates, by which they know each other.
const (
	NodeName    = "node.diamante.internal"
	SignerName  = "signer.diamante.internal"
	GatewayName = "gateway.diamante.internal"
	// TreasuryName is the bank's treasury, which reads the ledger and tells the signer what is held.
	TreasuryName = "treasury.bank.diamante.internal"
	PartnerName  = "paycircle.partner.diamante.internal"
	StaffName    = "officer.staff.diamante.internal"
)

// callTimeout bounds one question to a program, such as whether it is ready.
const callTimeout = 5 * time.Second

// Options says what to bring up, and where.
type Options struct {
	Dir        string        // the data folder
	BinDir     string        // where the programs are
	Ports      Ports         // zero ports are chosen once and then kept in the folder
	CloseEvery time.Duration // how often the network closes a ledger
	Env        []string      // added to the gateway's environment: failpoints, in test builds
}

// Rig is a system in a folder.
type Rig struct {
	opts     Options
	ports    Ports
	ca       *devca.CA
	postgres *cluster.Server
	Signer   *Process
	Node     *Process   // the bank's own validator
	Others   []*Process // the other validators of the network
	Gateway  *Process
	reserve  reserve
}

// New makes the data folder, or opens it. It starts nothing.
func New(opts Options) (*Rig, error) {
	abs, err := filepath.Abs(opts.Dir)
	if err != nil {
		return nil, fmt.Errorf("rig: %w", err)
	}
	opts.Dir = abs
	r := &Rig{opts: opts}
	// The server's own user must be able to reach its folder below this one.
	for dir, mode := range map[string]os.FileMode{"": 0o711, "log": 0o700, "config": 0o700, "secret": 0o700, "export": 0o700} {
		if err := os.MkdirAll(r.Path(dir), mode); err != nil {
			return nil, fmt.Errorf("rig: %w", err)
		}
	}
	if r.ca, err = devca.Open(r.Path("ca")); err != nil {
		return nil, err
	}
	if r.ports, err = r.choosePorts(); err != nil {
		return nil, err
	}
	return r, r.definePrograms()
}

// Path returns a path in the data folder.
func (r *Rig) Path(elem ...string) string {
	return filepath.Join(append([]string{r.opts.Dir}, elem...)...)
}

// Up prepares what is not there yet, starts everything and waits until it serves.
func (r *Rig) Up(ctx context.Context) error {
	if err := r.StartPostgres(ctx); err != nil {
		return err
	}
	if err := r.prepare(ctx); err != nil {
		return err
	}
	for _, p := range r.programs() {
		if err := p.Start(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Postgres returns the database server, nil before it was started.
func (r *Rig) Postgres() *cluster.Server { return r.postgres }

// Down stops everything, the gateway first.
func (r *Rig) Down() error {
	var errs []error
	all := r.programs()
	for i := len(all) - 1; i >= 0; i-- {
		errs = append(errs, all[i].Stop())
	}
	if r.postgres != nil {
		errs = append(errs, r.postgres.Stop())
	}
	return errors.Join(errs...)
}

// Wait blocks until ctx ends, which is no error, or until a program or the database server ends by itself, which is. Of another
// validator that ends it only tells.
func (r *Rig) Wait(ctx context.Context, tell func(string)) error {
	r.watchOthers(ctx, tell)
	ended := func(p *Process) error { return fmt.Errorf("rig: %s ended by itself; its log is %s", p.Name, p.log) }
	select {
	case <-ctx.Done():
		return nil
	case <-r.postgres.Done():
		return errors.New("rig: the database server ended by itself")
	case <-r.Signer.Done():
		return ended(r.Signer)
	case <-r.Node.Done():
		return ended(r.Node)
	case <-r.Gateway.Done():
		return ended(r.Gateway)
	}
}

// programs returns our own programs in the order in which they start.
func (r *Rig) programs() []*Process {
	return append(append([]*Process{r.Signer}, r.Others...), r.Node, r.Gateway)
}

// URLs returns where the listeners are.
func (r *Rig) URLs() map[string]string {
	return map[string]string{"public": r.PublicURL(), "partner": r.PartnerURL(), "staff": r.StaffURL()}
}

// PublicURL is where wallets go; its host and port are also the home domain.
func (r *Rig) PublicURL() string { return "https://" + r.HomeDomain() }

// HomeDomain is the anchor's, with the port.
func (r *Rig) HomeDomain() string { return fmt.Sprintf("localhost:%d", r.ports.Public) }

// PartnerURL is where PayCircle and the bank's files go.
func (r *Rig) PartnerURL() string { return fmt.Sprintf("https://localhost:%d", r.ports.Partner) }

// StaffURL is where officers and auditors go.
func (r *Rig) StaffURL() string { return fmt.Sprintf("https://localhost:%d", r.ports.Staff) }

// Client returns an HTTP client that trusts the rig's authority. With a name it shows a certificate of that name:
// PartnerName, StaffName or one of the programs'.
func (r *Rig) Client(name string) (*http.Client, error) {
	cfg, err := r.clientTLS(name)
	if err != nil {
		return nil, err
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: cfg, ForceAttemptHTTP2: true}, Timeout: time.Minute}, nil
}

func (r *Rig) clientTLS(name string) (*tls.Config, error) {
	file := name
	if file == "" {
		file = "wallet"
	}
	m, err := r.material(devca.Leaf{Name: file, DNS: []string{file}})
	if err != nil {
		return nil, err
	}
	cfg, err := m.ClientConfig("")
	if err == nil && name == "" {
		cfg.GetClientCertificate = nil
	}
	return cfg, err
}

func (r *Rig) material(l devca.Leaf) (boot.TLS, error) {
	cert, key, err := r.ca.Issue(l)
	return boot.TLS{Cert: cert, Key: key, CA: r.ca.CertFile()}, err
}

// answers makes a readiness question of a URL that answers 200 to the program or person of the given name.
func (r *Rig) answers(client, serverName, url string) (func(ctx context.Context) error, error) {
	cfg, err := r.clientTLS(client)
	if err != nil {
		return nil, err
	}
	cfg.ServerName = serverName
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true, ForceAttemptHTTP2: true}, Timeout: callTimeout}
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := c.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s answers %s", url, resp.Status)
		}
		return nil
	}, nil
}
