package remote_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/diamante/gateway/keymgmt"
)

// early signs nothing yet.
type early struct {
	picky
	err error
}

func (e early) For(string) keymgmt.Signer { return e }
func (e early) Sign(context.Context, keymgmt.Request) (keymgmt.Signature, error) {
	return keymgmt.Signature{}, e.err
}

// TestWhenToAskAgain: a caller behind the wire learns when it may ask again.
func TestWhenToAskAgain(t *testing.T) {
	a, due := newAuthority(t), time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	signer := early{picky{t}, fmt.Errorf("rule delay: %w", &keymgmt.Early{NotBefore: due})}
	client := newClient(t, serve(t, a, signer), a.client(gateway))
	_, err := client.Sign(t.Context(), checkpoint(key(t, "audit/log"), 1))
	if at, ok := keymgmt.NotBefore(err); !ok || !at.Equal(due) || !errors.Is(err, keymgmt.ErrNotYet) || errors.Is(err, keymgmt.ErrDenied) || err.Error() != signer.err.Error() {
		t.Errorf("error %v", err)
	}
	if _, ok := keymgmt.NotBefore(keymgmt.ErrDenied); ok {
		t.Error("a denial says when to ask again")
	}
}
