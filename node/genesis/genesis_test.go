package genesis_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/diamante/gateway/node/genesis"
	"github.com/diamante/gateway/node/ledger"
	"github.com/diamante/gateway/node/nodetest"
)

func example(t testing.TB) ledger.Genesis {
	t.Helper()
	return ledger.Genesis{Passphrase: "A network ; 2026", Root: nodetest.NewWallet(t).ID, Supply: nodetest.Amount(t, "100000000000"),
		BaseFee: 100, BaseReserve: 5_000_000, Protocol: 22, MaxTxSetSize: 1000, CloseTime: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
}

func TestRoundTrip(t *testing.T) {
	want := example(t)
	path := filepath.Join(t.TempDir(), "genesis.toml")
	if err := genesis.Write(path, want); err != nil {
		t.Fatal(err)
	}
	got, err := genesis.Load(path)
	if err != nil || got != want {
		t.Errorf("read %+v, %v; wrote %+v", got, err, want)
	}
	if err := genesis.Write(path, want); !errors.Is(err, fs.ErrExist) {
		t.Errorf("written over: %v, want ErrExist", err)
	}
	elsewhere := want
	elsewhere.CloseTime = want.CloseTime.In(time.FixedZone("east", 3600))
	if err := genesis.Write(path+"2", elsewhere); err != nil {
		t.Fatal(err)
	}
	if got, err := genesis.Load(path + "2"); err != nil || got != want {
		t.Errorf("the same instant in another zone is read as %+v, %v", got, err)
	}
}

func TestRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "genesis.toml")
	if err := genesis.Write(path, example(t)); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	good := string(b)
	replace := func(key, value string) string {
		var lines []string
		for _, l := range strings.Split(good, "\n") {
			if strings.HasPrefix(l, key+" =") {
				if l = ""; value != "" {
					l = key + " = " + value
				}
			}
			lines = append(lines, l)
		}
		return strings.Join(lines, "\n")
	}
	for name, c := range map[string]struct{ text, says string }{
		"empty":                {"", "missing"},
		"unknown key":          {good + "\nadmin = true\n", "admin"},
		"key twice":            {good + good, ""},
		"no root":              {replace("root", ""), "root is missing"},
		"no supply":            {replace("supply", ""), "supply is missing"},
		"secret for root":      {replace("root", `"SA`+strings.Repeat("A", 54)+`"`), ""},
		"supply with 8 digits": {replace("supply", `"1.00000001"`), "7 decimals"},
		"supply in thousands":  {replace("supply", `1e3`), ""},
		"negative supply":      {replace("supply", `"-1"`), ""},
		"no DIAM":              {replace("supply", `"0"`), ""},
		"empty passphrase":     {replace("network_passphrase", `""`), "passphrase"},
		"negative fee":         {replace("base_fee", "-1"), ""},
		"fee zero":             {replace("base_fee", "0"), ""},
		"huge reserve":         {replace("base_reserve", "4294967296"), ""},
		"fraction of a second": {replace("close_time", `"2026-03-01T12:00:00.5Z"`), "whole seconds"},
		"no zone":              {replace("close_time", `"2026-03-01T12:00:00"`), "close_time"},
		"bare date":            {replace("close_time", "2026-03-01"), ""},
		"no time":              {replace("close_time", `"soon"`), ""},
		"not TOML":             {"{", ""},
		"huge":                 {good + strings.Repeat("#", 1<<20), "larger"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := genesis.Parse([]byte(c.text))
			if !errors.Is(err, genesis.ErrInvalid) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want ErrInvalid with %q", err, c.says)
			}
		})
	}
	if _, err := genesis.Load(path + ".none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v, want ErrNotExist", err)
	}
	bad := example(t)
	bad.BaseFee = 0
	if err := genesis.Write(path+".bad", bad); err == nil {
		t.Error("a genesis that cannot be read was written")
	}
}

func FuzzParse(f *testing.F) {
	good, err := genesis.Encode(example(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte("root = 1"))
	f.Add([]byte("[a.b]\nc = [1979-05-27]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		g, err := genesis.Parse(text)
		if err != nil {
			if !errors.Is(err, genesis.ErrInvalid) {
				t.Errorf("error %v is not ErrInvalid", err)
			}
			return
		}
		again, err := genesis.Encode(g)
		if err != nil {
			t.Fatalf("what was read is not written: %v", err)
		}
		if back, err := genesis.Parse(again); err != nil || back != g {
			t.Errorf("read %+v, again %+v, %v", g, back, err)
		}
	})
}
