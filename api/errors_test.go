package api_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"

	"github.com/diamante/gateway/api"
	"github.com/diamante/gateway/api/sep"
	"github.com/diamante/gateway/api/web"
	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/node/protocol"
)

// TestTheRightPartIsBlamed: every part is reached over a network, so its errors may wrap the same broken connection.
func TestTheRightPartIsBlamed(t *testing.T) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	for _, tt := range []struct {
		err    error
		status int
		name   string
	}{
		{fmt.Errorf("sign: %w: %w", sep.ErrSigner, refused), 503, "signer-unavailable"},
		{fmt.Errorf("submit: %w: %w", protocol.ErrUnavailable, refused), 503, "node-unavailable"},
		{fmt.Errorf("submit: %w: %w", protocol.ErrUnavailable, context.DeadlineExceeded), 503, "node-unavailable"},
		{fmt.Errorf("query: %w", refused), 503, "database-unavailable"},
		{fmt.Errorf("begin: %w: gone", audit.ErrUnavailable), 503, "database-unavailable"},
		{fmt.Errorf("query: %w", context.DeadlineExceeded), 504, "deadline-exceeded"},
		{fmt.Errorf("query: %w", context.Canceled), 499, "client-disconnected"},
		{audit.ErrContention, 503, "busy"},
		{web.Malformed("amount", "negative"), 400, "malformed-request"},
		{errors.New("anything else"), 500, "internal-error"},
	} {
		if p := api.Table().Problem(tt.err); p.Status != tt.status || p.Name != tt.name {
			t.Errorf("%v: %d %s, want %d %s", tt.err, p.Status, p.Name, tt.status, tt.name)
		}
	}
}

// TestTheTableIsSound: an answer without a status or a name could not be told from another.
func TestTheTableIsSound(t *testing.T) {
	for i, row := range api.Table() {
		if row.Status < 400 || row.Status > 599 || row.Name == "" || row.Title == "" || (row.Is == nil) == (row.Match == nil) {
			t.Errorf("row %d: %+v", i, row)
		}
		if row.Status >= 500 && row.Show {
			t.Errorf("row %d shows what went wrong inside: %+v", i, row)
		}
	}
}
