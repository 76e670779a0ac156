package service_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/diamante/gateway/deploy/schema/schematest"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/payload"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/keymgmt/service"
	"github.com/diamante/gateway/node/protocol"
)

// BenchmarkSign measures signatures through the whole service, over keys in memory: payments of one key, which share
// its daily counters, and tokens, which share nothing.
func BenchmarkSign(b *testing.B) {
	for _, kind := range []string{"payment", "token"} {
		b.Run(kind, func(b *testing.B) {
			r := newRig(b)
			r.setup.Asset.PerDay = r.quantity("1000000000")
			svc := r.open().For(gateway)
			var n atomic.Int64
			b.SetParallelism(16) // 32 callers on the two processors that the ratios are told of
			b.ResetTimer()       // the database took seconds to start
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					i := n.Add(1)
					request := r.token(i)
					if kind == "payment" {
						request = r.pay(fmt.Sprint("tx/", i), "0.0000001", r.setup.Publics.Distribution)
					}
					if _, err := svc.Sign(context.Background(), request); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "signatures/s")
		})
	}
}

func (r *rig) token(n int64) keymgmt.Request {
	now := r.clock.now()
	claims := fmt.Sprintf(`{"iss":%q,"sub":%q,"iat":%d,"exp":%d,"jti":"%d"}`, r.setup.TokenIssuer, r.setup.Publics.Root, now.Unix(), now.Add(time.Hour).Unix(), n)
	return keymgmt.Request{Key: keyToken, Kind: keymgmt.KindJWT, Ref: fmt.Sprint("jwt/", n),
		Body: []byte(base64URL(`{"alg":"EdDSA","typ":"JWT"}`) + "." + base64URL(claims))}
}

// BenchmarkApprovals measures what three people's approvals add to one payment at the median: by one caller, who takes turns
// with a payment that is too small to need them. The database keeps its word about what is durable.
func BenchmarkApprovals(b *testing.B) {
	r := newRig(b)
	schematest.Durable(b)
	r.setup.Asset.PerDay = r.quantity("1000000000")
	officers := map[string]ed25519.PrivateKey{}
	cfg := r.config()
	cfg.Policy = r.policy(func(f *policy.File) {
		for _, name := range []string{"alice", "bob", "carol"} {
			public, private, err := ed25519.GenerateKey(rand.Reader)
			if err != nil {
				b.Fatal(err)
			}
			id, err := protocol.AccountIDFromKey(public)
			if err != nil {
				b.Fatal(err)
			}
			officers[name] = private
			f.Officers = append(f.Officers, policy.Officer{Name: name, Public: policy.Ledger(id), Groups: []string{"treasury"}})
		}
		for i := range f.Keys {
			if f.Keys[i].ID == keyIssuing {
				f.Keys[i].Transaction.Approvals = []policy.ApprovalRule{{Above: &policy.Threshold{Asset: r.asset, Amount: r.quantity("1")}, Needs: []policy.Need{{Group: "treasury", Count: 3}}}}
			}
		}
	})
	svc, err := service.Open(b.Context(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	var plain, approved []time.Duration
	for n := 0; b.Loop(); n++ {
		plain = append(plain, r.timed(svc, r.pay(fmt.Sprint("small/", n), "0.5", r.setup.Publics.Distribution)))
		request := r.pay(fmt.Sprint("large/", n), "2", r.setup.Publics.Distribution)
		request.Initiator = "erin"
		r.approve(cfg.Policy, &request, officers)
		approved = append(approved, r.timed(svc, request))
	}
	median := func(list []time.Duration) float64 {
		slices.Sort(list)
		return float64(list[len(list)/2].Microseconds())
	}
	b.ReportMetric(median(plain), "plain-median-us")
	b.ReportMetric(median(approved), "approved-median-us")
	b.ReportMetric(median(approved)-median(plain), "added-us")
}

// approve lets all officers approve a request.
func (r *rig) approve(p *policy.Policy, request *keymgmt.Request, officers map[string]ed25519.PrivateKey) {
	r.t.Helper()
	m, err := payload.Decode(request.Kind, request.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	intent, err := policy.IntentOf(*request, m, p.Version())
	if err != nil {
		r.t.Fatal(err)
	}
	for name, private := range officers {
		c, err := intent.Approve(keymgmt.Consent{Officer: name, Nonce: keymgmt.NewNonce(), Expires: r.clock.now().Add(time.Hour)}, private)
		if err != nil {
			r.t.Fatal(err)
		}
		request.Consents = append(request.Consents, c)
	}
}

// timed is how long a signature takes.
func (r *rig) timed(svc *service.Service, request keymgmt.Request) time.Duration {
	r.t.Helper()
	began := time.Now()
	if _, err := svc.For(gateway).Sign(context.Background(), request); err != nil {
		r.t.Fatal(err)
	}
	return time.Since(began)
}
