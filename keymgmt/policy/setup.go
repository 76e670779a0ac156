package policy

import (
	"fmt"
	"strings"
	"time"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/node/protocol"
)

// Setup is what the policy of an anchor with one asset is made of. Every field is required but the last two. File turns it
// into the rules; an officer who wants others edits the file before he signs it.
type Setup struct {
	Version uint64
	Network protocol.Passphrase
	Gateway string // the gateway's name in its client certificate
	Signer  string // the signer's name in its own certificate
	Publics Publics

	// Validators are the validators whose keys the signer holds. Optional.
	Validators []ValidatorKey

	AssetCode     string // of the asset that Publics.Issuing issues
	HomeDomain    string // where the stellar.toml is
	WebAuthDomain string // where SEP-10 is answered
	TokenIssuer   string // the iss of SEP-10 tokens
	LogOrigin     string // the first line of the audit log's checkpoints
	SignerOrigin  string // the same of the signer's own log

	Asset  Bounds // of issuing and of distribution, each
	Native Bounds // of root and of distribution, each
	// Starting bounds the balance with which distribution creates a customer's account.
	Starting Quantity
	// Attestors are those whose word the asset's reserve needs, and ReserveAge is how old it may be. Without them the asset is
	// issued on the gateway's word alone.
	Attestors  []Signatory
	ReserveAge time.Duration
}

// ValidatorKey is the key of a validator.
type ValidatorKey struct {
	ID         string // of the key
	Public     protocol.AccountID
	Caller     string          // the node's name in its client certificate
	QuorumSets []protocol.Hash // whom it may say it trusts; none: anybody
}

// Bounds is how much may leave an account.
type Bounds struct{ PerTransaction, PerDay Quantity }

// Publics holds the public keys, as the keyring reports them.
type Publics struct{ Root, Issuing, Distribution, Challenge, Token, Log, SignerLog protocol.AccountID }

// Fees and lives of an anchor's transactions.
const (
	setupFee       = "0.0100000"
	setupFeePerDay = "100.0000000"
	setupSeconds   = 600
	setupOps       = 10
	setupToken     = 24 * 60 * 60
	setupAhead     = 60 // seconds, as the network allows
)

// File returns the rules: root funds the two anchor accounts and nothing else; issuing sets itself up, authorises
// holders and issues; distribution trusts, pays out, refunds and funds customers' accounts; the other keys make
// challenges, tokens and checkpoints. The key ids are network/root, anchor/CODE/issuing and anchor/CODE/distribution in
// lower case, anchor/sep10, anchor/jwt, audit/log for the gateway's log and signer/log for the signer's own.
func (s Setup) File() (File, error) {
	asset, err := protocol.NewCredit(s.AssetCode, s.Publics.Issuing)
	if err != nil {
		return File{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	rules := []struct {
		id     string
		public protocol.AccountID
		key    Key
	}{
		{"network/root", s.Publics.Root, Key{Transaction: s.root()}},
		{"anchor/" + strings.ToLower(s.AssetCode) + "/issuing", s.Publics.Issuing, Key{Transaction: s.issuing(asset)}},
		{"anchor/" + strings.ToLower(s.AssetCode) + "/distribution", s.Publics.Distribution, Key{Transaction: s.distribution(asset)}},
		{"anchor/sep10", s.Publics.Challenge, Key{Challenge: &ChallengeRule{HomeDomains: []string{s.HomeDomain},
			WebAuthDomain: s.WebAuthDomain, MaxSeconds: int64(maxChallenge.Seconds()), ClientDomain: true}}},
		{"anchor/jwt", s.Publics.Token, Key{JWT: &JWTRule{Issuers: []string{s.TokenIssuer}, MaxSeconds: setupToken,
			HomeDomains: []string{s.HomeDomain}, ClientDomain: true}}},
		{"audit/log", s.Publics.Log, Key{Checkpoint: &CheckpointRule{Origin: s.LogOrigin}}},
		{"signer/log", s.Publics.SignerLog, Key{Checkpoint: &CheckpointRule{Origin: s.SignerOrigin}, Callers: []string{s.Signer}}},
	}
	for _, v := range s.Validators {
		key := Key{SCP: &SCPRule{MaxSeconds: setupAhead, QuorumSets: v.QuorumSets}, Callers: []string{v.Caller}}
		rules = append(rules, struct {
			id     string
			public protocol.AccountID
			key    Key
		}{v.ID, v.Public, key})
	}
	f := File{Format: Format, Version: s.Version, Network: s.Network}
	for _, r := range rules {
		if r.key.ID, err = keymgmt.ParseKeyID(r.id); err != nil {
			return File{}, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		r.key.Public = Ledger(r.public)
		if r.key.Callers == nil {
			r.key.Callers = []string{s.Gateway}
		}
		f.Keys = append(f.Keys, r.key)
	}
	return f, f.validate()
}

func (s Setup) rule(limits ...Limit) *TransactionRule {
	return &TransactionRule{MaxFee: constant(setupFee), FeeWindows: Day(constant(setupFeePerDay)), MaxSeconds: setupSeconds,
		MaxOperations: setupOps, Limits: limits}
}

func (s Setup) root() *TransactionRule {
	r := s.rule(Limit{protocol.Native(), s.Native.PerTransaction, Day(s.Native.PerDay)})
	r.CreateAccount = &CreateAccountRule{Destinations: Only(s.Publics.Issuing, s.Publics.Distribution), MaxStarting: s.Native.PerTransaction}
	return r
}

func (s Setup) issuing(asset protocol.Asset) *TransactionRule {
	r := s.rule(Limit{asset, s.Asset.PerTransaction, Day(s.Asset.PerDay)})
	r.SetOptions = &SetOptionsRule{SetFlags: []string{"auth_required", "auth_revocable", "auth_clawback_enabled"}, HomeDomains: []string{s.HomeDomain}}
	r.SetTrustLineFlags = &SetTrustLineFlagsRule{Assets: []protocol.Asset{asset}, Trustors: Anyone(), Set: []string{"authorized"}, Clear: []string{"authorized"}}
	r.Payments = []PaymentRule{{Assets: []protocol.Asset{asset}, Destinations: Anyone()}}
	if len(s.Attestors) > 0 {
		r.Reserves = []ReserveRule{{Asset: asset, MaxAge: Duration(s.ReserveAge), Attestors: s.Attestors}}
	}
	return r
}

func (s Setup) distribution(asset protocol.Asset) *TransactionRule {
	r := s.rule(Limit{asset, s.Asset.PerTransaction, Day(s.Asset.PerDay)}, Limit{protocol.Native(), s.Native.PerTransaction, Day(s.Native.PerDay)})
	r.ChangeTrust = &ChangeTrustRule{Assets: []protocol.Asset{asset}}
	r.Payments = []PaymentRule{{Assets: []protocol.Asset{asset}, Destinations: Anyone()}}
	r.CreateAccount = &CreateAccountRule{Destinations: Anyone(), MaxStarting: s.Starting}
	return r
}

func constant(s string) Quantity {
	q, err := ParseQuantity(s)
	if err != nil {
		panic("policy: constant " + s + " is not a quantity")
	}
	return q
}
