package service_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/diamante/gateway/keymgmt"
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
