package keytest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/signature"
)

// poll is how often the suite looks whether something came back.
const poll = 10 * time.Millisecond

func valid(r keymgmt.Request, sig keymgmt.Signature) bool {
	return signature.Verify(sig.Public, message(r), sig.Bytes)
}

// untilAvailable asks again, as a caller would, until the signer is back.
func untilAvailable(t *testing.T, s keymgmt.Signer, r keymgmt.Request) (sig keymgmt.Signature) {
	t.Helper()
	Until(t, func(ctx context.Context) (err error) {
		sig, err = s.Sign(ctx, r)
		return err
	})
	return sig
}

// Until calls try until it stops answering keymgmt.ErrUnavailable, and fails the test on any other error.
func Until(t testing.TB, try func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		err := try(ctx)
		if err == nil {
			return
		}
		if !errors.Is(err, keymgmt.ErrUnavailable) {
			t.Fatal(err)
		}
		select {
		case <-ctx.Done():
			t.Fatalf("still not available: %v", err)
		case <-tick.C:
		}
	}
}
