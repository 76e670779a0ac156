package client_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/diamante/gateway/node/nodetest"
	"github.com/diamante/gateway/node/txbuild"
)

// Whatever is posted, the answer is 200 for a transaction and 400 for everything else, and only a transaction reaches
// the node.
func FuzzPostTx(f *testing.F) {
	env, _ := nodetest.NewWallet(f).Sign(f, "fuzz", 1, note, txbuild.CreateAccount{Destination: nodetest.NewWallet(f).ID, StartingBalance: nodetest.Amount(f, "1")})
	good, err := env.MarshalBinary()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:50])
	f.Add([]byte("AAAAAgAAAAA="))
	f.Add(bytes.Repeat([]byte{0, 0, 0, 1}, 100))
	f.Add([]byte{})
	door := newFakeDoor(2)
	h := handlerOf(f, door)
	f.Fuzz(func(t *testing.T, body []byte) {
		r := httptest.NewRequest(http.MethodPost, "/tx", bytes.NewReader(body))
		r.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{DNSNames: []string{gatewayName}}}}}
		w := httptest.NewRecorder()
		before, _ := door.counts()
		h.ServeHTTP(w, r)
		after, _ := door.counts()
		reached := after > before
		if !(w.Code == http.StatusOK && reached || w.Code == http.StatusBadRequest && !reached) {
			t.Errorf("answer %d %s, reached the node: %v", w.Code, w.Body, reached)
		}
	})
}
