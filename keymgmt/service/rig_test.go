package service_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"log/slog"
	"math/big"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/deploy/schema"
	"github.com/diamante/gateway/deploy/schema/schematest"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/keymgmt/service"
	"github.com/diamante/gateway/keymgmt/signature"
	"github.com/diamante/gateway/keymgmt/softkey"
	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/txbuild"
)

func TestMain(m *testing.M) { schematest.Main(m) }

const (
	passphrase = protocol.Passphrase("Signer Test Network ; 2026")
	gateway    = "gateway.diamante.internal"
	signer     = "signer.diamante.internal"
	origin     = "bank.example/audit"
	ownOrigin  = "bank.example/signer"
)

var (
	keyRoot         = mustKey("network/root")
	keyIssuing      = mustKey("anchor/usd/issuing")
	keyDistribution = mustKey("anchor/usd/distribution")
	keyChallenge    = mustKey("anchor/sep10")
	keyToken        = mustKey("anchor/jwt")
	keyLog          = mustKey("audit/log")
	keyOwnLog       = mustKey("signer/log")
	allKeys         = []keymgmt.KeyID{keyRoot, keyIssuing, keyDistribution, keyChallenge, keyToken, keyLog, keyOwnLog}
)

func mustKey(s string) keymgmt.KeyID {
	k, err := keymgmt.ParseKeyID(s)
	if err != nil {
		panic("service_test: " + err.Error())
	}
	return k
}

// clock is a clock that stands until it is set.
type clock struct {
	mu sync.Mutex
	at time.Time // guarded by mu
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// faulty is a keyring with switches to fail before the key signs, after it, or by signing something else.
type faulty struct {
	service.Keyring
	before, after func() error
	instead       func(made []signature.Verified) []signature.Verified // of what was signed
	signed        int
	mu            sync.Mutex // guards the fields above
}

func (f *faulty) Sign(ctx context.Context, a *policy.Approval) ([]signature.Verified, error) {
	f.mu.Lock()
	before, after, instead := f.before, f.after, f.instead
	f.mu.Unlock()
	if before != nil {
		if err := before(); err != nil {
			return nil, err
		}
	}
	sig, err := f.Keyring.Sign(ctx, a)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	f.signed++
	f.mu.Unlock()
	if instead != nil {
		sig = instead(sig)
	}
	if after != nil {
		return sig, after()
	}
	return sig, nil
}

func (f *faulty) set(before, after func() error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before, f.after = before, after
}

// rig is a signer over a private database.
type rig struct {
	sequence atomic.Int64 // of the last transaction
	t        testing.TB
	clock    *clock
	soft     *softkey.Keyring
	keyring  *faulty
	db       *audit.DB
	role     string // connection string of the program's role
	owner    string // and of the database's owner
	setup    policy.Setup
	asset    protocol.Asset
	officer  ed25519.PrivateKey
	svc      *service.Service // that the helpers ask
}

func newRig(t testing.TB) *rig {
	t.Helper()
	role, owner := schematest.NewWithOwner(t, schema.Signer)
	db, err := audit.Open(context.Background(), role, 20)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	_, officer, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	soft := softkey.New(allKeys...)
	r := &rig{t: t, soft: soft, keyring: &faulty{Keyring: soft}, db: db, role: role, owner: owner, officer: officer,
		clock: &clock{at: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}}
	r.setup = policy.Setup{Version: 1, Network: passphrase, Gateway: gateway, Signer: signer,
		Publics: policy.Publics{Root: r.account(keyRoot), Issuing: r.account(keyIssuing), Distribution: r.account(keyDistribution),
			Challenge: r.account(keyChallenge), Token: r.account(keyToken), Log: r.account(keyLog), SignerLog: r.account(keyOwnLog)},
		AssetCode: "USD", HomeDomain: "bank.example", WebAuthDomain: "auth.bank.example",
		TokenIssuer: "https://auth.bank.example/auth", LogOrigin: origin, SignerOrigin: ownOrigin,
		Asset:    policy.Bounds{PerTransaction: r.quantity("100"), PerDay: r.quantity("1000")},
		Native:   policy.Bounds{PerTransaction: r.quantity("1000"), PerDay: r.quantity("5000")},
		Starting: r.quantity("10")}
	if r.asset, err = protocol.NewCredit("USD", r.setup.Publics.Issuing); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) account(key keymgmt.KeyID) protocol.AccountID {
	r.t.Helper()
	public, err := r.soft.Public(context.Background(), key)
	if err != nil {
		r.t.Fatal(err)
	}
	id, err := protocol.AccountIDFromKey(public.Bytes())
	if err != nil {
		r.t.Fatal(err)
	}
	return id
}

func (r *rig) quantity(s string) policy.Quantity {
	r.t.Helper()
	q, err := policy.ParseQuantity(s)
	if err != nil {
		r.t.Fatal(err)
	}
	return q
}

// policy signs and loads the rig's policy, after change.
func (r *rig) policy(change func(*policy.File)) *policy.Policy {
	r.t.Helper()
	f, err := r.setup.File()
	if err != nil {
		r.t.Fatal(err)
	}
	if change != nil {
		change(&f)
	}
	file, err := policy.Marshal(f)
	if err != nil {
		r.t.Fatal(err)
	}
	sig, err := policy.Sign(file, r.officer)
	if err != nil {
		r.t.Fatal(err)
	}
	p, err := policy.Load(file, sig, policy.Alone(r.officer.Public().(ed25519.PublicKey)))
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

func (r *rig) config() service.Config {
	return service.Config{DB: r.db, Policy: r.policy(nil), Keyring: r.keyring, Log: slog.New(slog.DiscardHandler), Now: r.clock.now}
}

// open starts a signer, as a restart of the program would.
func (r *rig) open() *service.Service {
	r.t.Helper()
	s, err := service.Open(context.Background(), r.config())
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// pay asks to issue an amount of USD, under ref.
func (r *rig) pay(ref, amount string, to protocol.AccountID) keymgmt.Request {
	r.t.Helper()
	sum, err := protocol.ParseAmount(amount)
	if err != nil {
		r.t.Fatal(err)
	}
	return r.transaction(keyIssuing, ref, txbuild.Payment{Destination: to, Asset: r.asset, Amount: sum})
}

func (r *rig) transaction(key keymgmt.KeyID, ref string, ops ...txbuild.Operation) keymgmt.Request {
	r.t.Helper()
	u, err := txbuild.Build(txbuild.Params{Passphrase: passphrase, Source: r.account(key), Sequence: r.sequence.Add(1), FeePerOp: 100,
		NotAfter: r.clock.now().Add(5 * time.Minute), Operations: ops})
	if err != nil {
		r.t.Fatal(err)
	}
	return keymgmt.Request{Key: key, Kind: keymgmt.KindTransaction, Body: u.SignatureBase(), Ref: ref}
}

func checkpoint(size int, root byte) keymgmt.Request {
	hash := make([]byte, 32)
	hash[31] = root
	body := fmt.Sprintf("%s\n%d\n%s\n", origin, size, base64Std(hash))
	return keymgmt.Request{Key: keyLog, Kind: keymgmt.KindCheckpoint, Body: []byte(body), Ref: fmt.Sprintf("checkpoint/%d/%d", size, root)}
}

// query reads one value as the database's owner.
func (r *rig) query(dst any, sql string, args ...any) {
	r.t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, r.owner)
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close(ctx)
	if err := conn.QueryRow(ctx, sql, args...).Scan(dst); err != nil {
		r.t.Fatalf("%s: %v", sql, err)
	}
}

// exec changes the database as its owner.
func (r *rig) exec(sql string, args ...any) error { return r.execAs(r.owner, sql, args...) }

// asRole changes it as a thief of the role's password could.
func (r *rig) asRole(sql string, args ...any) error { return r.execAs(r.role, sql, args...) }

func (r *rig) execAs(who, sql string, args ...any) error {
	r.t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, who)
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, sql, args...)
	return err
}

// must changes the database as its owner; an empty statement changes nothing.
func (r *rig) must(sql string) {
	r.t.Helper()
	if sql == "" {
		return
	}
	if err := r.exec(sql); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) bind(f func(*rig) error) func() error {
	if f == nil {
		return nil
	}
	return func() error { return f(r) }
}

// spent is what counts of an asset for the issuing key at a moment, in whole units.
func (r *rig) spent(asset string, at time.Time) string {
	r.t.Helper()
	n := r.stroops(asset, at)
	return n.Div(n, big.NewInt(protocol.One)).String()
}

// stroops is the same in the smallest unit.
func (r *rig) stroops(asset string, at time.Time) *big.Int {
	r.t.Helper()
	c := policy.Counter{Name: asset, Window: 24 * time.Hour}
	var s string
	r.query(&s, `SELECT coalesce(sum(amount - released), 0)::text FROM signer.usage WHERE key = $1 AND name = $2 AND seconds = $3 AND slot BETWEEN $4 AND $5`,
		keyIssuing.String(), c.Name, int64(c.Window/time.Second), c.First(at), c.Slot(at))
	n, ok := new(big.Int).SetString(s, 10)
	if !ok {
		r.t.Fatalf("counter is %q", s)
	}
	return n
}

// proved checks that every sum is what its reservations make.
func (r *rig) proved() {
	r.t.Helper()
	var wrong int
	r.query(&wrong, `SELECT count(*) FROM signer.usage u WHERE ROW(amount, released) IS DISTINCT FROM (SELECT ROW(coalesce(sum(v.amount) FILTER (WHERE v.by = ''), 0),
		coalesce(-sum(v.amount) FILTER (WHERE v.by <> ''), 0)) FROM signer.reservation v WHERE (v.key, v.name, v.seconds, v.slot) = (u.key, u.name, u.seconds, u.slot))`)
	if wrong > 0 {
		r.t.Errorf("%d counters are not the sums of their reservations", wrong)
	}
}
