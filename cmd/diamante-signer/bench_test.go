package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/diamante/gateway/cmd/internal/boot"
	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/pkcs11"
	"github.com/diamante/gateway/keymgmt/service"
)

// benchCallers is how many callers ask at once, for each processor.
const benchCallers = 16

// BenchmarkSign measures tokens signed by a key in the HSM, with the journal in PostgreSQL: by the service in this
// process, and by the whole program through mutual TLS.
func BenchmarkSign(b *testing.B) {
	b.Run("service", func(b *testing.B) {
		r := newKeyedRig(b)
		r.must(r.cfg.PKCS11.environment())
		rules, err := r.cfg.load()
		r.must(err)
		url, err := boot.Secret(r.cfg.Database.URLFile)
		r.must(err)
		db, err := audit.Open(b.Context(), url, r.cfg.Database.MaxConnections)
		r.must(err)
		defer db.Close()
		r.must(withRing(&r.cfg, false, func(ring *pkcs11.Keyring) error {
			svc, err := service.Open(b.Context(), service.Config{DB: db, Policy: rules, Keyring: ring, Log: slog.New(slog.DiscardHandler)})
			r.must(err)
			r.measure(b, svc.For(gatewayName))
			return nil
		}))
	})
	b.Run("remote", func(b *testing.B) {
		r := newKeyedRig(b)
		p := r.serve()

		client := r.client(p, gatewayName)
		deadline, tick := time.After(30*time.Second), time.NewTicker(20*time.Millisecond)
		defer tick.Stop()
		for {
			parts, err := client.Health(b.Context())
			for _, part := range parts {
				err = errors.Join(err, part)
			}
			if err == nil {
				break
			}
			select {
			case <-deadline:
				b.Fatal("the signer is not ready")
			case <-tick.C:
			}
		}
		r.measure(b, client)
	})
}

// measure signs tokens from many callers at once.
func (r *rig) measure(b *testing.B, signer keymgmt.Signer) {
	encode := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	now := time.Now().Unix()
	key, subject := r.key("anchor/jwt"), r.publics["network/root"]
	var n atomic.Int64
	b.SetParallelism(benchCallers)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := n.Add(1)
			claims := fmt.Sprintf(`{"iss":%q,"sub":%q,"iat":%d,"exp":%d,"jti":"%d"}`, r.setup.TokenIssuer, subject, now, now+3600, i)
			_, err := signer.Sign(context.Background(), keymgmt.Request{Key: key, Kind: keymgmt.KindJWT, Ref: fmt.Sprint("jwt/", i),
				Body: []byte(encode(`{"alg":"EdDSA","typ":"JWT"}`) + "." + encode(claims))})
			if err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "signatures/s")
}
