package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/diamante/gateway/cmd/internal/boot"
)

const example = "../../deploy/config/gateway.toml"

func TestExample(t *testing.T) {
	var cfg Config
	if err := boot.Load(example, &cfg); err != nil {
		t.Fatal(err)
	}
	if len(cfg.Asset) != 1 || cfg.Asset[0].Code != "USD" || len(cfg.Limit) != 4 || cfg.Partner.Names["paycircle.partner.example.com"] != "paycircle" {
		t.Errorf("the example was read as %+v", cfg)
	}
}

// TestRefused changes one thing in the example and expects to be told what is wrong.
func TestRefused(t *testing.T) {
	raw, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct{ old, new, want string }{
		"unknown key":        {"max_lag ", "max_lagg", "max_lagg"},
		"no network":         {`"Diamante MainNet; SEP 2022"`, `""`, "passphrase"},
		"staff for anybody":  {`"compliance.staff.example.com" = "compliance"`, "", "staff: names"},
		"names for everyone": {"[public.tls]", "[public.names]\n\"x\" = \"y\"\n[public.tls]", "public: names"},
		"no port":            {`"0.0.0.0:443"`, `"0.0.0.0"`, "public: listen"},
		"bad address":        {"GC4QKROSEKTBB4CJRL6BNTWLGDHBLXOOV7KXQYNJ66VYBKDR7UIJJO3F", "GC4Q", "account id"},
		"float amount":       {`"50000"` + "\nmin_withdrawal", `50000.0` + "\nmin_withdrawal", ""},
		"negative amount":    {`min_deposit      = "1"`, `min_deposit      = "-1"`, "amount"},
		"8 decimals":         {`min_deposit      = "1"`, `min_deposit      = "1.00000001"`, "7 decimals"},
		"no signer":          {`"https://10.20.0.10:7443"`, `""`, "signer: url"},
		"bad duration":       {`"1h"`, `"1 hour"`, ""},
		"bad key id":         {`"audit/log"`, `"Audit Log"`, "key id"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			changed := bytes.Replace(raw, []byte(tt.old), []byte(tt.new), 1)
			if bytes.Equal(changed, raw) {
				t.Fatalf("%q is not in the example", tt.old)
			}
			path := filepath.Join(t.TempDir(), "c.toml")
			if err := os.WriteFile(path, changed, 0o600); err != nil {
				t.Fatal(err)
			}
			err := run(context.Background(), []string{"-config", path, "-check-config"}, new(strings.Builder))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
