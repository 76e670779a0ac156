package remote_test

import (
	"context"
	"sync/atomic"
	"testing"
)

// BenchmarkSign measures tokens through the service in this process and through mutual TLS, over keys in memory.
func BenchmarkSign(b *testing.B) {
	for _, way := range []string{"service", "remote"} {
		b.Run(way, func(b *testing.B) {
			a := newAuthority(b)
			svc, _ := newTokenService(b)
			signer := svc.For(gateway)
			if way == "remote" {
				signer = newClient(b, serve(b, a, svc), a.client(gateway))
			}
			k := key(b, "anchor/jwt")
			var n atomic.Int64
			b.SetParallelism(8)
			b.ResetTimer() // the database took seconds to start
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := signer.Sign(context.Background(), token(k, int(n.Add(1)))); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "signatures/s")
		})
	}
}
