package main

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"time"

	"github.com/diamante/gateway/cmd/internal/boot"
	"github.com/diamante/gateway/compliance"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/node/protocol"
)

// Config is the gateway's configuration file. Paths are absolute; secrets are paths.
type Config struct {
	Network      protocol.Passphrase `toml:"network"`        // the network's passphrase
	Origin       string              `toml:"origin"`         // where wallets reach the public listener: https://host[:port]
	HomeDomain   string              `toml:"home_domain"`    // the host whose stellar.toml this is
	Organization Organization        `toml:"organization"`   // for the stellar.toml
	TLS          boot.TLS            `toml:"tls"`            // our certificate towards the node and the signer, and their authority
	Node         Upstream            `toml:"node"`           // the validator
	Signer       Upstream            `toml:"signer"`         // the key-management instance
	Database     Database            `toml:"database"`       // PostgreSQL
	Public       Listener            `toml:"public"`         // for wallets
	Partner      Listener            `toml:"partner"`        // for partners, by client certificate
	Staff        Listener            `toml:"staff"`          // for staff and auditors, by client certificate
	Keys         Keys                `toml:"keys"`           // of the gateway itself
	Log          Log                 `toml:"log"`            // the audit log
	Asset        []Asset             `toml:"asset"`          // what the anchor issues
	Funding      Funding             `toml:"funding"`        // who pays for new accounts
	Limit        []compliance.Limit  `toml:"limit"`          // per movement; a kind without one is refused
	Transactions Transactions        `toml:"transactions"`   // of the anchor on the ledger
	MaxLag       uint32              `toml:"max_lag"`        // ledgers that the observer may be behind before readiness says so
	TokenLife    Duration            `toml:"token_life"`     // of SEP-10 tokens
	Challenge    Duration            `toml:"challenge_life"` // of SEP-10 challenges
}

// Organization is who runs the anchor.
type Organization struct {
	Name string `toml:"name"`
	URL  string `toml:"url"`
}

// Upstream is a program of ours that the gateway calls.
type Upstream struct {
	URL  string `toml:"url"`
	Name string `toml:"name"` // the name in its certificate
}

// Database says where the data are.
type Database struct {
	URLFile        string `toml:"url_file"` // a file with the connection string, which holds a password; mode 0600
	MaxConnections int32  `toml:"max_connections"`
}

// Listener is one of the three doors.
type Listener struct {
	Listen string            `toml:"listen"` // host and port
	TLS    boot.TLS          `toml:"tls"`    // its certificate, and the authority of its clients
	Names  map[string]string `toml:"names"`  // first DNS name of a client certificate to who has it; not for the public one
}

// Keys names the keys of the gateway itself.
type Keys struct {
	Challenge        keymgmt.KeyID      `toml:"challenge"`
	ChallengeAddress protocol.AccountID `toml:"challenge_address"`
	Token            keymgmt.KeyID      `toml:"token"`
	TokenAddress     protocol.AccountID `toml:"token_address"`
}

// Log names the audit log.
type Log struct {
	KeyFile string        `toml:"key_file"` // the log's public key, as signed notes are verified with
	Key     keymgmt.KeyID `toml:"key"`      // the signer's key for checkpoints
}

// Asset is a credit that the anchor issues.
type Asset struct {
	Code            string             `toml:"code"`
	IssuingKey      keymgmt.KeyID      `toml:"issuing_key"`
	Issuing         protocol.AccountID `toml:"issuing"`
	DistributionKey keymgmt.KeyID      `toml:"distribution_key"`
	Distribution    protocol.AccountID `toml:"distribution"`
	BankName        string             `toml:"bank_name"` // our account at the bank: whose, where
	BankIBAN        string             `toml:"bank_iban"`
	BankBIC         string             `toml:"bank_bic"`
	BankPartner     string             `toml:"bank_partner"` // the partner who keeps that account: one of partner.names
	MinDeposit      protocol.Amount    `toml:"min_deposit"`
	MaxDeposit      protocol.Amount    `toml:"max_deposit"`
	MinWithdrawal   protocol.Amount    `toml:"min_withdrawal"`
	MaxWithdrawal   protocol.Amount    `toml:"max_withdrawal"`
}

// Funding says who creates accounts on the ledger and what they start with.
type Funding struct {
	RootKey         keymgmt.KeyID      `toml:"root_key"`
	Root            protocol.AccountID `toml:"root"`
	AnchorBalance   protocol.Amount    `toml:"anchor_balance"`   // of the issuing and distribution accounts
	CustomerBalance protocol.Amount    `toml:"customer_balance"` // of a customer's account
}

// Transactions says how the anchor's transactions are built.
type Transactions struct {
	FeePerOp int64    `toml:"fee_per_op"` // stroops bid for each operation
	Life     Duration `toml:"life"`       // from building to the end of the time bounds; at most what the signer's policy allows
	// PeopleLife is the same of a transaction that people must approve: the policy's max_seconds must allow it. Optional: Life.
	PeopleLife Duration `toml:"people_life,omitempty"`
}

// Duration is a time.Duration in a configuration, written as "5s".
type Duration time.Duration

// UnmarshalText reads the text form.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// Validate checks that everything required is there; the parts check the rest when they are made.
func (c *Config) Validate() error {
	errs := []error{c.Network.Validate(), c.TLS.Validate()}
	for name, l := range map[string]Listener{"public": c.Public, "partner": c.Partner, "staff": c.Staff} {
		if _, _, err := net.SplitHostPort(l.Listen); err != nil {
			errs = append(errs, fmt.Errorf("%s: listen: %w", name, err))
		}
		if err := l.TLS.Validate(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
		if (name == "public") != (len(l.Names) == 0) {
			errs = append(errs, fmt.Errorf("%s: names are for partner and staff, where they are required", name))
		}
	}
	for _, who := range slices.Concat(slices.Collect(maps.Values(c.Partner.Names)), slices.Collect(maps.Values(c.Staff.Names))) {
		if (keymgmt.Request{Initiator: who}).ValidPeople() != nil { // then the signer could not be told on whose word it is asked
			errs = append(errs, fmt.Errorf("the name %.80q of a partner or of staff has other characters than letters, digits, points and dashes", who))
		}
	}
	for _, a := range c.Asset {
		if !slices.Contains(slices.Collect(maps.Values(c.Partner.Names)), a.BankPartner) {
			errs = append(errs, fmt.Errorf("asset %s: bank_partner %q is none of the partner's names", a.Code, a.BankPartner))
		}
	}
	for name, u := range map[string]Upstream{"node": c.Node, "signer": c.Signer} {
		if u.URL == "" || u.Name == "" {
			errs = append(errs, fmt.Errorf("%s: url and name are required", name))
		}
	}
	if c.Database.URLFile == "" || c.Database.MaxConnections < 2 {
		errs = append(errs, errors.New("database: url_file and at least 2 max_connections are required"))
	}
	if c.Log.KeyFile == "" || c.Log.Key.IsZero() || c.Keys.Challenge.IsZero() || c.Keys.Token.IsZero() {
		errs = append(errs, errors.New("log.key_file, log.key, keys.challenge and keys.token are required"))
	}
	if len(c.Asset) == 0 || c.MaxLag == 0 {
		errs = append(errs, errors.New("an asset and max_lag are required"))
	}
	return errors.Join(errs...)
}
