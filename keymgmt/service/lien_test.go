package service_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/keymgmt/service"
	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/txbuild"
)

// lienRig is a rig whose distribution account holds collateral.
type lienRig struct {
	*rig
	holder ed25519.PrivateKey
	cfg    service.Config
}

func newLienRig(t *testing.T) *lienRig {
	t.Helper()
	r := &lienRig{rig: newRig(t)}
	r.setup.Asset.PerDay = r.quantity("100000")
	lender, private := newSignatory(t, "lender")
	r.holder, r.cfg = private, r.config()
	r.cfg.Policy = r.policy(func(f *policy.File) {
		for i := range f.Keys {
			if f.Keys[i].ID == keyDistribution {
				f.Keys[i].Transaction.Liens = []policy.LienRule{{ID: "loan-1", Holders: []policy.Signatory{lender}}}
			}
		}
	})
	return r
}

func (r *lienRig) start() *service.Service {
	r.t.Helper()
	s, err := service.Open(r.t.Context(), r.cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// release asks to pay 5 USD of the collateral.
func (r *lienRig) release(ref string, to protocol.AccountID, discharges ...keymgmt.Discharge) keymgmt.Request {
	r.t.Helper()
	five, err := protocol.ParseAmount("5")
	if err != nil {
		r.t.Fatal(err)
	}
	request := r.transaction(keyDistribution, ref, txbuild.Payment{Destination: to, Asset: r.asset, Amount: five})
	request.Discharges = discharges
	return request
}

func (r *lienRig) discharge(to protocol.AccountID) keymgmt.Discharge {
	r.t.Helper()
	d, err := policy.SignDischarge(passphrase.NetworkID(), r.account(keyDistribution), keymgmt.Discharge{Lien: "loan-1", Asset: r.asset.String(), Amount: "5.0000000",
		Destination: to.String(), Nonce: keymgmt.NewNonce(), Expires: r.clock.now().Add(time.Hour), Holder: "lender"}, r.holder)
	if err != nil {
		r.t.Fatal(err)
	}
	return d
}

// TestADischargeCountsOnce: for the request that it was used for, however often that is asked, and for no other, in no
// process.
func TestADischargeCountsOnce(t *testing.T) {
	r := newLienRig(t)
	first, second := r.start(), r.start()
	to := r.account(keyRoot)
	word := r.discharge(to)
	if _, err := first.For(gateway).Sign(t.Context(), r.release("tx/0", to)); !errors.Is(err, keymgmt.ErrApprovalNeeded) || !strings.Contains(err.Error(), "loan-1") {
		t.Errorf("without a discharge: %v", err)
	}
	if _, err := first.For(gateway).Sign(t.Context(), r.release("tx/0", r.account(keyIssuing), word)); err == nil {
		t.Error("signed for another destination")
	}
	request := r.release("tx/1", to, word)
	r.keyring.set(func() error { return errCrash }, nil)
	if _, err := first.For(gateway).Sign(t.Context(), request); !errors.Is(err, keymgmt.ErrUnavailable) {
		t.Fatal(err) // it is used up, and nothing is signed yet
	}
	r.keyring.set(nil, nil)
	for _, svc := range []*service.Service{second, r.start()} {
		if _, err := svc.For(gateway).Sign(t.Context(), r.release("tx/2", to, word)); !errors.Is(err, keymgmt.ErrDenied) || !strings.Contains(err.Error(), "transaction.lien.nonce") {
			t.Errorf("replayed: %v", err)
		}
	}
	sig, err := second.For(gateway).Sign(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := first.For(gateway).Sign(t.Context(), request); err != nil || !bytes.Equal(sig.Bytes, again.Bytes) {
		t.Errorf("asked again: %v", err)
	}
	var holder, data string
	if r.query(&holder, `SELECT holder FROM signer.discharge WHERE nonce = $1`, word.Nonce); holder != "lender" {
		t.Errorf("holder %q", holder)
	}
	if r.query(&data, `SELECT convert_from(body, 'UTF8') FROM audit.record WHERE action = 'lien.discharged'`); !strings.Contains(data, word.Nonce) || !strings.Contains(data, `"ref":"tx/1"`) {
		t.Errorf("record %s", data)
	}
	for _, statement := range []string{`DELETE FROM signer.discharge`, `UPDATE signer.discharge SET ref = 'tx/2'`} {
		if err := r.exec(statement); err == nil {
			t.Errorf("%s was carried out", statement)
		}
	}
}

// TestOneDischargeManyRequests: of many that bring the same discharge at once to two processes, one is signed.
func TestOneDischargeManyRequests(t *testing.T) {
	r := newLienRig(t)
	services, to := []*service.Service{r.start(), r.start()}, r.account(keyRoot)
	for round := range 5 {
		word := r.discharge(to)
		var mu sync.Mutex
		var signed int
		var wg sync.WaitGroup
		for i := range 8 {
			request := r.release(fmt.Sprint("tx/", round, "/", i), to, word)
			wg.Go(func() {
				err := keymgmt.ErrUnavailable
				for errors.Is(err, keymgmt.ErrUnavailable) { // contention: ask again, as callers do
					_, err = services[i%2].For(gateway).Sign(t.Context(), request)
				}
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					signed++
				} else if !errors.Is(err, keymgmt.ErrDenied) {
					t.Error(err)
				}
			})
		}
		if wg.Wait(); signed != 1 {
			t.Errorf("round %d: %d were signed", round, signed)
		}
	}
}

// TestGatesFailClosed: what cannot be written down is not signed, and what cannot be read opens nothing.
func TestGatesFailClosed(t *testing.T) {
	for table, ask := range map[string]func(t *testing.T) (*rig, *service.Service, keymgmt.Request){
		"discharge": func(t *testing.T) (*rig, *service.Service, keymgmt.Request) {
			r := newLienRig(t)
			return r.rig, r.start(), r.release("tx/1", r.account(keyRoot), r.discharge(r.account(keyRoot)))
		},
		"issuance": func(t *testing.T) (*rig, *service.Service, keymgmt.Request) {
			r := newReserveRig(t)
			svc := r.start()
			if err := svc.Attest(t.Context(), gateway, r.word("100", "0", 1, 9)); err != nil {
				t.Fatal(err)
			}
			return r.rig, svc, r.issue("tx/1", 5, 10, time.Minute)
		},
		"scp": func(t *testing.T) (*rig, *service.Service, keymgmt.Request) {
			r := newValidatorRig(t)
			return r.rig, r.start(), r.Request(keyNode, "scp/1", r.Proposal('x', r.clock.now()))
		},
	} {
		for _, right := range []string{"INSERT", "SELECT"} {
			t.Run(table+" "+right, func(t *testing.T) {
				r, svc, request := ask(t)
				r.must(fmt.Sprintf(`REVOKE %s ON signer.%s FROM diamante_signer`, right, table))
				if _, err := svc.For(gateway).Sign(t.Context(), request); !errors.Is(err, keymgmt.ErrUnavailable) {
					t.Errorf("without the right: %v", err)
				}
				r.must(fmt.Sprintf(`GRANT %s ON signer.%s TO diamante_signer`, right, table))
				untilAnswer(t, svc, request)
			})
		}
	}
}
