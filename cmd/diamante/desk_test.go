package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/diamante/gateway/cmd/internal/boot"
	"github.com/diamante/gateway/cmd/internal/boot/devca"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/policy"
)

// standIn is a staff listener with one request that waits.
type standIn struct {
	mu       sync.Mutex
	request  waitingRequest
	consents []keymgmt.Consent
	verdict  given
}

func (s *standIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	shown := s.request
	switch r.Method + " " + r.URL.Path {
	case "GET /v1/approvals":
		_ = json.NewEncoder(w).Encode(map[string]any{"records": []waitingRequest{shown}, "next": ""})
	case "GET /v1/approvals/" + shown.ID:
		for _, c := range s.consents {
			g := s.verdict
			g.Nonce, g.Officer = c.Nonce, c.Officer
			shown.Approvals = append(shown.Approvals, g)
		}
		_ = json.NewEncoder(w).Encode(shown)
	case "POST /v1/approvals/" + shown.ID + "/consents":
		var c keymgmt.Consent
		if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		s.consents = append(s.consents, c)
		w.WriteHeader(http.StatusAccepted)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// TestApproveAtGateway: what waits is listed, read here, approved and handed in, and what the signer makes of it is told.
func TestApproveAtGateway(t *testing.T) {
	dir := t.TempDir()
	key, id := outsider(t)
	file, source := setupFile(t)
	file.Officers = []policy.Officer{{Name: "alice", Public: policy.Ledger(id), Groups: []string{"treasury"}}}
	raw, err := policy.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	rules := filepath.Join(dir, "policy.toml")
	if err := os.WriteFile(rules, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	s := &standIn{request: waitingRequest{ID: strings.Repeat("ab", 16), Request: paymentRequest(t, source), Why: "needs 1 of treasury\x1b[2J", State: "open"}, verdict: given{State: "good"}}
	server, mine := deskTLS(t, dir)
	listener := httptest.NewUnstartedServer(s)
	if listener.TLS, err = server.ServerConfig(); err != nil {
		t.Fatal(err)
	}
	listener.StartTLS()
	defer listener.Close()
	at := []string{"approve", "--gateway", listener.URL, "--gateway-name", "localhost", "--cert", mine.Cert, "--cert-key", mine.Key, "--ca", mine.CA,
		"--policy", rules, "--officer", "alice", "--key", key}
	if out := good(t, at...); !strings.Contains(out, s.request.ID) || !strings.Contains(out, "anchor/usd/issuing") || strings.Contains(out, "\x1b") {
		t.Errorf("the list:\n%s", out)
	}
	if out := good(t, append(at, "--json")...); !strings.Contains(out, `"ref": "tx/1"`) {
		t.Errorf("the list in JSON:\n%s", out)
	}
	one := append(at, s.request.ID)
	if out := good(t, one...); !strings.Contains(out, "| pays 1.0000000 DIAM to "+source.String()) || !strings.Contains(out, "nothing was signed") || len(s.consents) != 0 {
		t.Errorf("shown:\n%s", out)
	}
	if out := good(t, append(one, "--yes")...); !strings.Contains(out, "the signer counts it") || len(s.consents) != 1 {
		t.Errorf("handed in:\n%s", out)
	}
	intent, err := s.request.Request.Intent(file.Version)
	if err != nil {
		t.Fatal(err)
	}
	if err := file.CheckConsent(intent, s.consents[0]); err != nil {
		t.Error(err)
	}
	s.verdict = given{State: "refused", Reason: "rule approval.nonce"}
	if out, err := command(t, append(one, "--yes")...); err == nil || !strings.Contains(err.Error(), "approval.nonce") {
		t.Errorf("refused: %v\n%s", err, out)
	}
	s.request.Request.Body = append(s.request.Request.Body, 0)
	if out, err := command(t, append(one, "--yes")...); err == nil || len(s.consents) != 2 {
		t.Errorf("bytes that cannot be read: %s", out)
	}
	s.request.State = "closed"
	if out, err := command(t, append(one, "--yes")...); err == nil {
		t.Errorf("what does not wait: %s", out)
	}
}

// deskTLS makes the certificates of a listener and of a member of staff.
func deskTLS(t *testing.T, dir string) (server, mine boot.TLS) {
	t.Helper()
	ca, err := devca.Open(filepath.Join(dir, "ca"))
	if err != nil {
		t.Fatal(err)
	}
	issue := func(l devca.Leaf) boot.TLS {
		cert, key, err := ca.Issue(l)
		if err != nil {
			t.Fatal(err)
		}
		return boot.TLS{Cert: cert, Key: key, CA: ca.CertFile()}
	}
	return issue(devca.Leaf{Name: "staff", DNS: []string{"localhost"}, Loopback: true}), issue(devca.Leaf{Name: "alice", DNS: []string{"alice.staff.test"}})
}
