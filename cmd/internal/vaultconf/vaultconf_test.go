package vaultconf

import (
	"log/slog"
	"testing"
	"time"

	"github.com/diamante/gateway/keymgmt/vault"
)

func TestServer(t *testing.T) {
	good := Server{Address: "https://vault:8200", CA: "/ca", MaxConnections: 8, Timeout: "5s",
		Login: Login{Method: vault.ByAppRole, Mount: "approle", Role: "signer", RoleID: "id", TokenFile: "/token"}}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	cfg, err := good.Config(slog.Default())
	if err != nil || cfg.Timeout != 5*time.Second || cfg.Login.TokenFile != "/token" || cfg.CAFile != "/ca" {
		t.Errorf("%+v %v", cfg, err)
	}
	for name, change := range map[string]func(*Server){
		"no TLS":         func(s *Server) { s.Address = "http://vault:8200" },
		"relative path":  func(s *Server) { s.CA = "ca" },
		"relative token": func(s *Server) { s.Login.TokenFile = "token" },
		"no role id":     func(s *Server) { s.Login.RoleID = "" },
		"no certificate": func(s *Server) { s.Login.Method = vault.ByCertificate },
		"no time":        func(s *Server) { s.Timeout = "" },
	} {
		s := good
		change(&s)
		if s.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
