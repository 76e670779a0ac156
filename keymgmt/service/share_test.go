package service_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/keytest"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/keymgmt/service"
	"github.com/diamante/gateway/keymgmt/signature"
)

// stuck is a keyring two of whose keys do not answer, as when their home hangs.
type stuck struct{ service.Keyring }

func (s stuck) Sign(ctx context.Context, a *policy.Approval) ([]signature.Verified, error) {
	if a.Key() == keyToken || a.Key() == keyIssuing {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return s.Keyring.Sign(ctx, a)
}

// TestNobodyTakesEveryTurn: requests that do not come back leave the client's other keys theirs, and other clients theirs.
func TestNobodyTakesEveryTurn(t *testing.T) {
	r := newRig(t)
	cfg := r.config()
	cfg.Keyring = stuck{r.keyring}
	svc, err := service.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	hang := func(request keymgmt.Request, until int) {
		t.Helper()
		for range service.MaxInFlight { // of one ref, so that the others wait for the first
			wg.Go(func() { _, _ = svc.For(gateway).Sign(ctx, request) })
		}
		keytest.Until(t, func(context.Context) error {
			if n := svc.InFlight(); n < until {
				return fmt.Errorf("%w: %d have come", keymgmt.ErrUnavailable, n)
			}
			return nil
		})
	}
	signs := func(caller string, request keymgmt.Request) {
		t.Helper()
		soon, done := context.WithTimeout(t.Context(), 2*time.Minute)
		defer done()
		if _, err := svc.For(caller).Sign(soon, request); err != nil {
			t.Errorf("%s with key %s: %v", caller, request.Key, err)
		}
	}
	hang(r.token(0), service.MaxKeyShare)
	signs(gateway, checkpoint(1, 1))
	hang(r.pay("tx/1", "1", r.account(keyDistribution)), service.MaxClientShare)
	body := fmt.Sprintf("%s\n%d\n%s\n", ownOrigin, 1, base64Std(make([]byte, 32)))
	signs(signer, keymgmt.Request{Key: keyOwnLog, Kind: keymgmt.KindCheckpoint, Body: []byte(body), Ref: "own/1"})
}
