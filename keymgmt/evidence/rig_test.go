package evidence_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/deploy/schema"
	"github.com/diamante/gateway/deploy/schema/schematest"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/evidence"
	"github.com/diamante/gateway/keymgmt/payload"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/keymgmt/service"
	"github.com/diamante/gateway/keymgmt/softkey"
	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/txbuild"
)

func TestMain(m *testing.M) { schematest.Main(m) }

const (
	passphrase   = protocol.Passphrase("Evidence Test Network ; 2026")
	gateway      = "gateway.diamante.internal"
	signer       = "signer.diamante.internal"
	origin       = "bank.example/signer"
	issuing      = "anchor/usd/issuing"
	distribution = "anchor/usd/distribution"
	ownLog       = "signer/log"
)

// rig is a signer with its own log.
type rig struct {
	t        testing.TB
	db       *audit.DB
	log      audit.LogKey
	soft     *softkey.Keyring
	svc      atomic.Pointer[service.Service]
	asset    protocol.Asset
	officers map[string]ed25519.PrivateKey
	policy   *policy.Policy
	sequence int64
	version  uint64       // of the policy
	ahead    atomic.Int64 // by how much the signer's clock is ahead, in nanoseconds
	// change alters the policy before it is signed, and returns the files of the lists that it then names.
	change func(f *policy.File) []policy.Signed
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func id(t testing.TB, s string) keymgmt.KeyID {
	t.Helper()
	return must(keymgmt.ParseKeyID(s))(t)
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t}
	r.start()
	return r
}

func (r *rig) now() time.Time { return time.Now().Add(time.Duration(r.ahead.Load())) }

// start makes the keys and the policy and starts the signer.
func (r *rig) start() {
	t := r.t
	t.Helper()
	r.db, r.officers = must(audit.Open(context.Background(), schematest.New(t, schema.Signer), 8))(t), map[string]ed25519.PrivateKey{}
	t.Cleanup(r.db.Close)
	var keys []keymgmt.KeyID
	for _, s := range []string{"network/root", issuing, distribution, "anchor/sep10", "anchor/jwt", "audit/log", ownLog} {
		keys = append(keys, id(t, s))
	}
	r.soft = softkey.New(keys...)
	r.asset = must(protocol.NewCredit("USD", r.account(issuing)))(t)
	r.version = 7
	r.open()
	r.log = must(audit.NewLogKey(origin, ed25519.PublicKey(r.account(ownLog).Key())))(t)
	sequencer := must(audit.NewSequencer(r.db, r, audit.Config{Key: r.log, Interval: 10 * time.Millisecond, Quiet: service.CheckpointTrace(id(t, ownLog))}))(t)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- sequencer.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// open starts the signer under a new policy.
func (r *rig) open() {
	r.t.Helper()
	r.policy = r.newPolicy()
	svc := must(service.Open(r.t.Context(), service.Config{DB: r.db, Policy: r.policy, Keyring: r.soft, Log: slog.New(slog.DiscardHandler), Now: r.now}))(r.t)
	r.svc.Store(svc)
}

// SignCheckpoint is part of audit.CheckpointSigner.
func (r *rig) SignCheckpoint(ctx context.Context, text []byte) ([]byte, error) {
	ref, err := audit.CheckpointRef(text)
	if err != nil {
		return nil, err
	}
	key, err := keymgmt.ParseKeyID(ownLog)
	if err != nil {
		return nil, err
	}
	sig, err := r.svc.Load().For(signer).Sign(ctx, keymgmt.Request{Key: key, Kind: keymgmt.KindCheckpoint, Body: text, Ref: ref})
	return sig.Bytes, err
}

func (r *rig) account(key string) protocol.AccountID {
	r.t.Helper()
	public := must(r.soft.Public(context.Background(), id(r.t, key)))(r.t)
	return must(protocol.AccountIDFromKey(public.Bytes()))(r.t)
}

// newPolicy lets issuing pay up to 50 alone, and up to 1000 with two of the treasury, one of whom can thaw.
func (r *rig) newPolicy() *policy.Policy {
	t := r.t
	t.Helper()
	quantity := func(s string) policy.Quantity { return must(policy.ParseQuantity(s))(t) }
	bounds := policy.Bounds{PerTransaction: quantity("1000"), PerDay: quantity("100000")}
	file := must(policy.Setup{Version: r.version, Network: passphrase, Gateway: gateway, Signer: signer,
		Publics: policy.Publics{Root: r.account("network/root"), Issuing: r.account(issuing), Distribution: r.account(distribution),
			Challenge: r.account("anchor/sep10"), Token: r.account("anchor/jwt"), Log: r.account("audit/log"), SignerLog: r.account(ownLog)},
		AssetCode: "USD", HomeDomain: "bank.example", WebAuthDomain: "auth.bank.example", TokenIssuer: "https://auth.bank.example/auth",
		LogOrigin: "bank.example/audit", SignerOrigin: origin, Asset: bounds, Native: bounds, Starting: quantity("10")}.File())(t)
	for _, name := range []string{"alice", "bob", "carol"} {
		public, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		r.officers[name] = private
		file.Officers = append(file.Officers, policy.Officer{Name: name, Public: policy.Ledger(must(protocol.AccountIDFromKey(public))(t)), Groups: []string{"treasury"}})
	}
	file.Thaw = []policy.Need{{Group: "treasury", Count: 1}}
	for i := range file.Keys {
		if file.Keys[i].ID == id(t, issuing) {
			file.Keys[i].Transaction.Approvals = []policy.ApprovalRule{{Above: &policy.Threshold{Asset: r.asset, Amount: quantity("50")},
				Needs: []policy.Need{{Group: "treasury", Count: 2}}}}
		}
	}
	var lists []policy.Signed
	if r.change != nil {
		lists = r.change(&file)
	}
	text := must(policy.Marshal(file))(t)
	var board policy.Board
	var signatures []byte
	for range 2 {
		public, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		board.Officers = append(board.Officers, public)
		signatures = append(signatures, must(policy.Sign(text, private))(t)...)
	}
	board.Quorum = 2
	return must(policy.Load(text, signatures, board, lists...))(t)
}

// pay asks to issue an amount.
func (r *rig) pay(ref, amount string) keymgmt.Request {
	r.t.Helper()
	return r.move(ref, issuing, distribution, amount)
}

// move asks to pay an amount from the account of one key to that of another.
func (r *rig) move(ref, from, to, amount string) keymgmt.Request {
	r.t.Helper()
	r.sequence++
	u := must(txbuild.Build(txbuild.Params{Passphrase: passphrase, Source: r.account(from), Sequence: r.sequence, FeePerOp: 100,
		NotAfter: r.now().Add(5 * time.Minute), Operations: []txbuild.Operation{txbuild.Payment{Destination: r.account(to), Asset: r.asset,
			Amount: must(protocol.ParseAmount(amount))(r.t)}}}))(r.t)
	return keymgmt.Request{Key: id(r.t, from), Kind: keymgmt.KindTransaction, Body: u.SignatureBase(), Ref: ref}
}

// approve adds an officer's approval.
func (r *rig) approve(q *keymgmt.Request, officer string) {
	r.t.Helper()
	intent := must(policy.IntentOf(*q, must(payload.Decode(q.Kind, q.Body))(r.t), r.policy.Version()))(r.t)
	q.Consents = append(q.Consents, must(intent.Approve(keymgmt.Consent{Officer: officer, Nonce: keymgmt.NewNonce(), Expires: r.now().Add(time.Hour)}, r.officers[officer]))(r.t))
}

func (r *rig) sign(q keymgmt.Request, want error) keymgmt.Signature {
	r.t.Helper()
	sig, err := r.svc.Load().For(gateway).Sign(r.t.Context(), q)
	if !errors.Is(err, want) {
		r.t.Fatalf("%s: %v, want %v", q.Ref, err, want)
	}
	return sig
}

// signed asks for a payment that two officers approve, after one try without them, and returns the request's evidence.
func (r *rig) signed(ref string) (keymgmt.Request, keymgmt.Signature, evidence.Bundle) {
	r.t.Helper()
	q := r.pay(ref, "75")
	q.Initiator = "carol"
	r.sign(q, keymgmt.ErrApprovalNeeded)
	r.approve(&q, "alice")
	r.approve(&q, "bob")
	sig := r.sign(q, nil)
	return q, sig, r.bundle(evidence.Of{Key: q.Key, Ref: ref})
}

// file makes evidence, once the log is signed so far.
func (r *rig) file(of evidence.Of, withoutPolicy bool) []byte {
	r.t.Helper()
	deadline, tick := time.After(2*time.Minute), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for {
		file, err := evidence.Make(r.t.Context(), r.db.Reader(), r.log, of, withoutPolicy)
		if err == nil {
			must(evidence.Verify(file, r.log))(r.t)
			return file
		}
		if !errors.Is(err, evidence.ErrNotSigned) {
			r.t.Fatal(err)
		}
		select {
		case <-deadline:
			r.t.Fatal("the log is not signed")
		case <-tick.C:
		}
	}
}
