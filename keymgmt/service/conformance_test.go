package service_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"testing"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/keytest"
	"github.com/diamante/gateway/node/txbuild"
)

func base64Std(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func base64URL(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func TestConformance(t *testing.T) {
	keytest.TestSigner(t, func(t *testing.T) keytest.SignerFixture {
		r := newRig(t)
		to := r.account(keyDistribution)
		return keytest.SignerFixture{
			Signer:  r.open().For(gateway),
			Allowed: func(n int) keymgmt.Request { return r.pay(fmt.Sprintf("tx/%d", n), fmt.Sprintf("1.%d", n+1), to) },
			Denied:  r.transaction(keyIssuing, "denied", txbuild.ManageData{Name: "a", Value: []byte("b")}),
			Unknown: keymgmt.Request{Key: mustKey("anchor/eur/issuing"), Kind: keymgmt.KindTransaction, Body: r.pay("x", "1", to).Body, Ref: "unknown"},
			Break:   func() func() { return r.soft.Break(errors.New("token removed")) },
		}
	})
}
