package sep_test

import (
	"io"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
)

func TestStellarTOML(t *testing.T) {
	f := newFixture(t)
	res, err := f.Get(f.url + "/.well-known/stellar.toml")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	if res.StatusCode != 200 || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/plain") || res.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Fatalf("%d %v", res.StatusCode, res.Header)
	}
	var doc map[string]any
	if err := toml.Unmarshal(body, &doc); err != nil {
		t.Fatal(err)
	}
	for k, want := range map[string]string{"NETWORK_PASSPHRASE": string(passphrase), "SIGNING_KEY": f.server.String(), "WEB_AUTH_ENDPOINT": origin + "/auth",
		"TRANSFER_SERVER": origin + "/sep6", "HORIZON_URL": origin} {
		if doc[k] != want {
			t.Errorf("%s = %v", k, doc[k])
		}
	}
	c := doc["CURRENCIES"].([]any)[0].(map[string]any)
	if c["code"] != "USD" || c["issuer"] != f.anchor.asset.Issuer().String() || c["display_decimals"] != int64(2) || c["anchor_asset"] != "USD" || c["is_asset_anchored"] != true {
		t.Errorf("%v", c)
	}
	if accounts := doc["ACCOUNTS"].([]any); len(accounts) != 2 {
		t.Errorf("%v", accounts)
	}
}
