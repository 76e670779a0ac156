package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/cobra"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/policy"
)

// onPage runs a command that shows a page, in the background, and returns the page's address and what the command says in
// the end.
func onPage(t *testing.T, c *cobra.Command, args ...string) (address string, end func() (string, error)) {
	t.Helper()
	r, w := io.Pipe()
	var out bytes.Buffer
	c.SetArgs(args)
	c.SetOut(&out)
	c.SetErr(w)
	c.SilenceUsage, c.SilenceErrors = true, true
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	done := make(chan error, 1)
	go func() {
		err := c.ExecuteContext(ctx)
		w.CloseWithError(fmt.Errorf("the command ended: %w", errors.Join(err, io.EOF)))
		done <- err
	}()
	lines := bufio.NewReader(r)
	for address == "" { // what is signed comes first
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if rest, ok := strings.CutPrefix(line, "open "); ok {
			address, _, _ = strings.Cut(rest, " ")
		}
	}
	go func() { _, _ = io.Copy(io.Discard, lines) }()
	return address, func() (string, error) { err := <-done; return out.String(), err }
}

// TestPasskeyInBrowser: an officer makes a passkey in a real browser, enters the roster with what is printed, and approves
// with it what his own program read; the signer's side takes it.
func TestPasskeyInBrowser(t *testing.T) {
	b := newBrowser(t)
	address, end := onPage(t, officerEnrolCommand(), "--passkey", "--officer", "petra", "--group", "treasury", "--port", "0")
	b.open(address)
	b.run(`document.getElementById("sign").click()`)
	b.until(`document.getElementById("title").textContent === "Try the passkey" && !document.getElementById("sign").disabled`)
	b.run(`document.getElementById("sign").click()`)
	b.until(`document.getElementById("title").textContent === "Done"`)
	entry, err := end()
	if err != nil {
		t.Fatal(err)
	}
	var enrolled struct {
		Origins  []string         `toml:"passkey_origins"`
		Officers []policy.Officer `toml:"officer"`
	}
	if err := toml.Unmarshal([]byte(entry), &enrolled); err != nil || len(enrolled.Officers) != 1 || len(enrolled.Origins) != 1 {
		t.Fatalf("%s %v", entry, err)
	}
	dir := t.TempDir()
	file, source := setupFile(t)
	file.Officers, file.PasskeyOrigins = enrolled.Officers, enrolled.Origins
	file.Keys[1].Transaction.Approvals = []policy.ApprovalRule{{Needs: []policy.Need{{Group: "treasury", Count: 1}}}}
	raw, err := policy.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	rules := filepath.Join(dir, "policy.toml")
	request := filepath.Join(dir, "request.json")
	asked := paymentRequest(t, source)
	text, err := json.Marshal(asked)
	if err := errors.Join(err, os.WriteFile(rules, raw, 0o600), os.WriteFile(request, text, 0o600)); err != nil {
		t.Fatal(err)
	}
	origin, err := url.Parse(enrolled.Origins[0])
	if err != nil {
		t.Fatal(err)
	}
	args := []string{request, "--policy", rules, "--officer", "petra", "--passkey", "--port", origin.Port()}

	address, end = onPage(t, approveCommand(), args...)
	b.open(address)
	if shown := b.run(`document.getElementById("text").textContent`); !strings.Contains(shown, "| pays 1.0000000 DIAM to ") || !strings.Contains(shown, "initiator erin") {
		t.Errorf("the page shows %q", shown)
	}
	b.picture("approve")
	b.run(`document.getElementById("sign").click()`)
	b.until(`document.getElementById("title").textContent === "Done"`)
	out, err := end()
	if err != nil {
		t.Fatal(err, out)
	}
	var consent keymgmt.Consent
	if err := json.Unmarshal([]byte(out[strings.Index(out, "{"):]), &consent); err != nil || consent.Passkey == nil {
		t.Fatal(err, out)
	}
	intent, err := asked.Intent(file.Version)
	if err != nil {
		t.Fatal(err)
	}
	if err := file.CheckConsent(intent, consent); err != nil {
		t.Error(err)
	}

	// Nobody verified: the browser does not even ask the passkey to sign. And an officer can say no.
	b.do("WebAuthn.setUserVerified", map[string]any{"authenticatorId": b.key, "isUserVerified": false}, nil)
	address, end = onPage(t, approveCommand(), args...)
	b.open(address)
	b.run(`document.getElementById("sign").click()`)
	b.until(`document.getElementById("status").textContent !== "" && !document.getElementById("decline").disabled`)
	b.picture("not verified")
	b.run(`document.getElementById("decline").click()`)
	if _, err := end(); !errors.Is(err, errDeclined) {
		t.Errorf("declined: %v", err)
	}
}

// TestPageAnswersOnlyItself: whoever does not know the token, calls this machine by another name, or is another page, gets
// nothing, and an answer is taken once.
func TestPageAnswersOnlyItself(t *testing.T) {
	steps := 0
	listeners, port, err := listenLocal(0)
	if err != nil {
		t.Fatal(err)
	}
	p := newPage(port, ask{Title: "t", Text: "secret text"}, func(told) (*ask, error) { steps++; return nil, nil })
	ready, done := make(chan string, 1), make(chan error, 1)
	go func() { done <- p.serve(t.Context(), listeners, func(url string) error { ready <- url; return nil }) }()
	address := <-ready
	if _, _, err := listenLocal(port); err == nil {
		t.Error("somebody else has the port, too")
	}
	call := func(method, url, body string, change func(r *http.Request)) (int, string) {
		r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Origin", p.origin)
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		if change != nil {
			change(r)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		raw, _ := io.ReadAll(resp.Body)
		if !strings.Contains(resp.Header.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
			t.Errorf("%s %s: headers %v", method, url, resp.Header)
		}
		return resp.StatusCode, string(raw)
	}
	for name, tt := range map[string]struct {
		method, url string
		change      func(r *http.Request)
	}{
		"no token":              {"GET", p.origin + "/", nil},
		"another token":         {"GET", p.origin + "/" + strings.Repeat("A", len(p.token)) + "/", nil},
		"by another name":       {"GET", address, func(r *http.Request) { r.Host = "evil.example" }},
		"by address":            {"GET", address, func(r *http.Request) { r.Host = "127.0.0.1:" + strings.Split(p.host, ":")[1] }},
		"the text, from abroad": {"GET", address + "ask", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }},
		"an answer from abroad": {"POST", address + "answer", func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") }},
		"an answer from nobody": {"POST", address + "answer", func(r *http.Request) { r.Header.Del("Origin") }},
		"a form":                {"POST", address + "answer", func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }},
		"a file that is not":    {"GET", address + "../main.go", nil},
	} {
		if status, body := call(tt.method, tt.url, `{"declined":false}`, tt.change); status != http.StatusNotFound || strings.Contains(body, "secret") {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	if status, body := call("GET", address+"ask", "", nil); status != 200 || !strings.Contains(body, "secret text") {
		t.Errorf("%d %s", status, body)
	}
	if status, _ := call("POST", address+"answer", `{"more":1}`, nil); status != http.StatusBadRequest || steps != 0 {
		t.Errorf("%d", status)
	}
	if status, _ := call("POST", address+"answer", `{}`, nil); status != 200 || steps != 1 {
		t.Errorf("%d, %d steps", status, steps)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestDER: there is one encoding of a signature, and no other is read.
func TestDER(t *testing.T) {
	good := []byte{0x30, 0x08, 0x02, 0x02, 0x00, 0x81, 0x02, 0x02, 0x01, 0x02}
	if rs, err := fromDER(good); err != nil || new(big.Int).SetBytes(rs[:32]).Int64() != 0x81 || new(big.Int).SetBytes(rs[32:]).Int64() != 0x102 {
		t.Errorf("%x %v", rs, err)
	}
	for name, der := range map[string][]byte{
		"nothing":              {},
		"something after":      append(good[:len(good):len(good)], 0),
		"something inside":     {0x30, 0x0b, 0x02, 0x02, 0x00, 0x81, 0x02, 0x02, 0x01, 0x02, 0x02, 0x01, 0x01},
		"negative":             {0x30, 0x07, 0x02, 0x01, 0x81, 0x02, 0x02, 0x01, 0x02},
		"a zero too many":      {0x30, 0x09, 0x02, 0x03, 0x00, 0x00, 0x81, 0x02, 0x02, 0x01, 0x02},
		"a long length":        {0x30, 0x81, 0x08, 0x02, 0x02, 0x00, 0x81, 0x02, 0x02, 0x01, 0x02},
		"indefinite":           {0x30, 0x80, 0x02, 0x02, 0x00, 0x81, 0x02, 0x02, 0x01, 0x02, 0, 0},
		"nought":               {0x30, 0x07, 0x02, 0x01, 0x00, 0x02, 0x02, 0x01, 0x02},
		"larger than the rest": append(append([]byte{0x30, 0x26, 0x02, 0x21, 0x01}, make([]byte, 32)...), 0x02, 0x01, 0x01),
		"a string":             {0x30, 0x08, 0x04, 0x02, 0x00, 0x81, 0x02, 0x02, 0x01, 0x02},
	} {
		if rs, err := fromDER(der); err == nil {
			t.Errorf("%s: %x", name, rs)
		}
	}
}
