package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	p11 "github.com/miekg/pkcs11"

	"github.com/diamante/gateway/cmd/internal/boot"
	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/deploy/schema/schematest"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/payload"
	"github.com/diamante/gateway/keymgmt/pkcs11"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/keymgmt/service"
	"github.com/diamante/gateway/keymgmt/signature"
)

// benchCallers is how many callers ask at once.
const benchCallers = 32

// burstTime is for how long one way of signing is measured before the next has its turn.
const burstTime = 500 * time.Millisecond

// BenchmarkSign measures one kind of signature, a token's, by 32 callers at once on four ways: by the HSM's library alone,
// by the pool of sessions, which verifies, by the service with the library in this process, and by the whole program through mutual TLS, whose library is in a
// process of its own. They take turns, so that all see the same machine, whose processors they share with the database and
// with SoftHSM, which spends processor time where a device would not. The database keeps its word about what is durable.
//
// Rates depend on what else the machine does. Processor time for a signature depends on it less, and is told apart by who
// spends it: the program (of remote, the client's too), the library's process, and the database.
func BenchmarkSign(b *testing.B) {
	r := newKeyedRig(b)
	schematest.Durable(b)
	ring := r.ring(b)
	ways := []*way{r.bare(b), r.keyring(b, ring), r.service(b, ring), r.remote(b)}
	for b.Loop() {
		for _, w := range ways {
			w.burst(b)
		}
	}
	for _, w := range ways {
		w.report(b, ways[0])
	}
	r.stages(b, ways[2], ways[0])
}

// way is a way to a signature.
type way struct {
	name string
	sign func(ctx context.Context, caller int, n int64) error

	signatures int64
	took       time.Duration
	spent      cpuTime
}

func (w *way) burst(b *testing.B) {
	b.Helper()
	var n atomic.Int64
	n.Store(w.signatures)
	var wg sync.WaitGroup
	before := used(b)
	began := time.Now()
	for caller := range benchCallers {
		wg.Go(func() {
			for time.Since(began) < burstTime {
				if err := w.sign(b.Context(), caller, n.Add(1)); err != nil {
					b.Errorf("%s: %v", w.name, err)
					return
				}
			}
		})
	}
	wg.Wait()
	w.took += time.Since(began)
	w.spent = w.spent.add(used(b).minus(before))
	w.signatures = n.Load()
}

// each is a share of what was spent, for one signature.
func (w *way) each(d time.Duration) float64 { return float64(d.Microseconds()) / float64(w.signatures) }

func (w *way) rate() float64 { return float64(w.signatures) / w.took.Seconds() }

func (w *way) report(b *testing.B, base *way) {
	b.ReportMetric(w.rate(), w.name+"/s")
	b.ReportMetric(w.each(w.spent.program), w.name+"-program-us")
	if w == base {
		return
	}
	b.ReportMetric(w.each(w.spent.library), w.name+"-library-us")
	b.ReportMetric(w.each(w.spent.database), w.name+"-database-us")
	b.ReportMetric(w.rate()/base.rate(), w.name+"-ratio")
	b.ReportMetric(base.each(base.spent.all())/w.each(w.spent.all()), w.name+"-cpu-ratio")
}

// cpuTime is processor time.
type cpuTime struct{ program, library, database time.Duration }

func (u cpuTime) all() time.Duration { return u.program + u.library + u.database }

func (u cpuTime) add(v cpuTime) cpuTime {
	return cpuTime{u.program + v.program, u.library + v.library, u.database + v.database}
}

func (u cpuTime) minus(v cpuTime) cpuTime {
	return cpuTime{u.program - v.program, u.library - v.library, u.database - v.database}
}

// used is the processor time spent so far. Processes that are not ours are not looked at, since looking costs time, too.
func used(b *testing.B) (u cpuTime) {
	b.Helper()
	self := strconv.Itoa(os.Getpid())
	database := strconv.Itoa(schematest.Server(b).Pid())
	u.program = ownTime(b)
	for _, pid := range childrenOf(b, self) {
		if pid != database {
			u.library += spentBy(pid)
		}
	}
	for _, pid := range append(childrenOf(b, database), database) {
		u.database += spentBy(pid)
	}
	return u
}

// ownTime is the processor time of this process.
func ownTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func childrenOf(b *testing.B, pid string) (children []string) {
	b.Helper()
	lists, err := filepath.Glob("/proc/" + pid + "/task/*/children")
	if err != nil || len(lists) == 0 {
		b.Skip("this kernel does not list the children of a process")
	}
	for _, list := range lists {
		text, _ := os.ReadFile(list) // of a thread that has ended in the meantime, nothing
		children = append(children, strings.Fields(string(text))...)
	}
	return children
}

// spentBy is the processor time of another process, none of one that has ended.
func spentBy(pid string) (sum time.Duration) {
	const tick = 10 * time.Millisecond // what Linux counts in
	stat, _ := os.ReadFile("/proc/" + pid + "/stat")
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return 0
	}
	for _, field := range fields[11:13] { // utime, stime
		n, _ := strconv.Atoi(field)
		sum += time.Duration(n) * tick
	}
	return sum
}

// stages tells what the processor time of one signature by the service goes to. The pure stages are measured by themselves,
// the device is the library alone, and the rest is the journal's.
func (r *rig) stages(b *testing.B, w, bare *way) {
	rules, err := r.cfg.load()
	r.must(err)
	request, key := r.token("", 0), ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	meaning, err := payload.Decode(request.Kind, request.Body)
	r.must(err)
	public, err := keymgmt.NewPublicKey(keymgmt.Ed25519, key.Public().(ed25519.PublicKey))
	r.must(err)
	signed := ed25519.Sign(key, request.Body)
	rest := w.each(w.spent.all())
	tell := func(stage string, us float64) {
		b.ReportMetric(100*us/w.each(w.spent.all()), stage+"-%")
		rest -= us
	}
	tell("device", bare.each(bare.spent.all()))
	for stage, do := range map[string]func() bool{
		"decode": func() bool { _, err := payload.Decode(request.Kind, request.Body); return err == nil },
		"policy": func() bool {
			_, err := rules.Decide(request, meaning, policy.Facts{Caller: gatewayName, Now: time.Now()})
			return err == nil
		},
		"verify": func() bool { return signature.Verify(public, request.Body, signed) },
	} {
		const times = 1000
		before := ownTime(b)
		for range times {
			if !do() {
				b.Fatal(stage)
			}
		}
		tell(stage, float64((ownTime(b)-before).Microseconds())/times)
	}
	tell("journal", rest)
}

// ring opens the library in this process.
func (r *rig) ring(b *testing.B) *pkcs11.Keyring {
	r.must(r.cfg.PKCS11.environment())
	ring, err := r.cfg.PKCS11.open(false)
	r.must(err)
	b.Cleanup(func() { r.must(ring.Close()) })
	r.must(ring.Ping(b.Context())) // logs the whole process in
	return ring
}

// bare signs with nothing but the library: a session for each caller, nothing looked up, read, written down or verified.
func (r *rig) bare(b *testing.B) *way {
	key := r.key("anchor/jwt")
	lib := p11.New(r.cfg.PKCS11.Module)
	if err := lib.Initialize(); !errors.Is(err, p11.Error(p11.CKR_CRYPTOKI_ALREADY_INITIALIZED)) {
		b.Fatal(err)
	}
	slots, err := lib.GetSlotList(true)
	r.must(err)
	sessions, objects := make([]p11.SessionHandle, benchCallers), make([]p11.ObjectHandle, benchCallers)
	for i := range sessions {
		sessions[i], err = lib.OpenSession(slots[0], p11.CKF_SERIAL_SESSION)
		r.must(err)
		r.must(lib.FindObjectsInit(sessions[i], []*p11.Attribute{p11.NewAttribute(p11.CKA_CLASS, p11.CKO_PRIVATE_KEY), p11.NewAttribute(p11.CKA_LABEL, key.String())}))
		found, _, err := lib.FindObjects(sessions[i], 1)
		r.must(err)
		r.must(lib.FindObjectsFinal(sessions[i]))
		objects[i] = found[0]
	}
	mechanism := []*p11.Mechanism{p11.NewMechanism(ckmEdDSA, nil)}
	return &way{name: "bare", sign: func(_ context.Context, caller int, n int64) error {
		if err := lib.SignInit(sessions[caller], mechanism, objects[caller]); err != nil {
			return err
		}
		_, err := lib.Sign(sessions[caller], r.token("", n).Body)
		return err
	}}
}

// keyring signs with the pool of sessions.
func (r *rig) keyring(b *testing.B, ring *pkcs11.Keyring) *way {
	rules, err := r.cfg.load()
	r.must(err)
	return &way{name: "keyring", sign: func(ctx context.Context, _ int, n int64) error {
		request := r.token("", n)
		meaning, err := payload.Decode(request.Kind, request.Body)
		if err != nil {
			return err
		}
		approval, err := rules.Decide(request, meaning, policy.Facts{Caller: gatewayName, Now: time.Now()})
		if err != nil {
			return err
		}
		_, err = ring.Sign(ctx, approval)
		return err
	}}
}

// service signs with the service and the library in this process.
func (r *rig) service(b *testing.B, ring *pkcs11.Keyring) *way {
	rules, err := r.cfg.load()
	r.must(err)
	url, err := boot.Secret(r.cfg.Database.URLFile)
	r.must(err)
	db, err := audit.Open(b.Context(), url, r.cfg.Database.MaxConnections)
	r.must(err)
	b.Cleanup(db.Close)
	svc, err := service.Open(b.Context(), service.Config{DB: db, Policy: rules, Keyring: ring, Log: slog.New(slog.DiscardHandler)})
	r.must(err)
	return r.through("service", svc.For(gatewayName))
}

// remote signs with the whole program.
func (r *rig) remote(b *testing.B) *way {
	p := r.serve()
	client := r.client(p, gatewayName)
	r.within("the signer is ready", func() bool {
		parts, err := client.Health(b.Context())
		for _, part := range parts {
			err = errors.Join(err, part)
		}
		return err == nil
	})
	return r.through("remote", client)
}

func (r *rig) through(name string, signer keymgmt.Signer) *way {
	return &way{name: name, sign: func(ctx context.Context, _ int, n int64) error {
		_, err := signer.Sign(ctx, r.token(name, n))
		return err
	}}
}

// token asks for a token's signature.
func (r *rig) token(series string, n int64) keymgmt.Request {
	encode := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	now := time.Now().Unix()
	claims := fmt.Sprintf(`{"iss":%q,"sub":%q,"iat":%d,"exp":%d,"jti":"%d"}`, r.setup.TokenIssuer, r.publics["network/root"], now, now+3600, n)
	return keymgmt.Request{Key: r.key("anchor/jwt"), Kind: keymgmt.KindJWT, Ref: fmt.Sprint("jwt/", series, n),
		Body: []byte(encode(`{"alg":"EdDSA","typ":"JWT"}`) + "." + encode(claims))}
}

// ckmEdDSA is the mechanism CKM_EDDSA.
const ckmEdDSA = 0x1057
