package vaulttest

import (
	"strings"
	"testing"
)

// What is stored survives a restart, which seals; nothing is answered while sealed.
func TestServer(t *testing.T) {
	server := Start(t)
	server.Root(t, "POST", "sys/mounts/kv", map[string]any{"type": "kv", "options": map[string]string{"version": "2"}})
	server.Root(t, "POST", "kv/data/one", map[string]any{"data": map[string]string{"word": "kept"}})
	address := server.Address()

	server.Stop(t)
	server.Start(t)
	if server.Address() != address {
		t.Fatalf("the server moved from %s to %s", address, server.Address())
	}
	wantSealed(t, server)
	server.Unseal(t)
	wantWord(t, server)

	server.Seal(t)
	wantSealed(t, server)
	server.Unseal(t)
	wantWord(t, server)
}

func wantSealed(t *testing.T, server *Server) {
	t.Helper()
	if _, err := server.TryRoot(t.Context(), "GET", "kv/data/one", nil); err == nil || !strings.Contains(err.Error(), "503") {
		t.Fatalf("a sealed server answers %v", err)
	}
}

func wantWord(t *testing.T, server *Server) {
	t.Helper()
	data, _ := server.Root(t, "GET", "kv/data/one", nil)["data"].(map[string]any)
	if data["word"] != "kept" {
		t.Fatalf("stored: %v", data)
	}
}

// Everything that the gateway uses is in the program.
func TestEngines(t *testing.T) {
	server := Start(t)
	for _, engine := range []string{"transit", "pki", "kv"} {
		server.Root(t, "POST", "sys/mounts/"+engine, map[string]any{"type": engine})
	}
	for _, method := range []string{"cert", "approle", "kubernetes"} {
		server.Root(t, "POST", "sys/auth/"+method, map[string]any{"type": method})
	}
	if _, err := server.TryRoot(t.Context(), "POST", "sys/mounts/x", map[string]any{"type": "ssh"}); err == nil {
		t.Fatal("an engine that is not there was mounted")
	}
	token := server.WrapRoot(t, "GET", "sys/mounts", nil)
	if token == "" {
		t.Fatal("no wrapping token")
	}
}
