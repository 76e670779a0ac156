package sep_test

import (
	"crypto/ed25519"
	"strings"
	"testing"
	"time"

	"github.com/diamante/gateway/api/sep"
)

func TestConfig(t *testing.T) {
	f := newFixture(t)
	if err := f.config().Validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*sep.Config){
		"http":               func(c *sep.Config) { c.Origin = "http://anchor.test" },
		"trailing slash":     func(c *sep.Config) { c.Origin = "https://anchor.test/" },
		"a path":             func(c *sep.Config) { c.Origin = "https://anchor.test/x" },
		"no origin":          func(c *sep.Config) { c.Origin = "" },
		"upper case":         func(c *sep.Config) { c.Origin = "https://Anchor.test" },
		"long host":          func(c *sep.Config) { c.Origin = "https://" + strings.Repeat("a", 65) },
		"no home domain":     func(c *sep.Config) { c.HomeDomain = "" },
		"long home domain":   func(c *sep.Config) { c.HomeDomain = strings.Repeat("a", 60) },
		"home domain, URL":   func(c *sep.Config) { c.HomeDomain = "https://anchor.test" },
		"no passphrase":      func(c *sep.Config) { c.Passphrase = "" },
		"no signing key":     func(c *sep.Config) { c.SigningKey = account{} },
		"no token key":       func(c *sep.Config) { c.TokenKey = nil },
		"one key for both":   func(c *sep.Config) { c.TokenKey = ed25519.PublicKey(c.SigningKey.Key()) },
		"endless challenges": func(c *sep.Config) { c.Challenge = 2 * time.Hour },
		"endless tokens":     func(c *sep.Config) { c.Token = 48 * time.Hour },
		"no life":            func(c *sep.Config) { c.Token = 0 },
		"nobody":             func(c *sep.Config) { c.Organization = sep.Organization{} },
	} {
		t.Run(name, func(t *testing.T) {
			c := f.config()
			change(&c)
			if err := c.Validate(); err == nil {
				t.Error("valid")
			}
		})
	}
	if _, err := sep.New(f.config(), sep.Parts{}); err == nil {
		t.Error("a server without parts")
	}
}
