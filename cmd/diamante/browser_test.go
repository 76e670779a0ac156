package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// browser is a headless Chromium, told what to do over its debugging pipe, with an authenticator in software.
type browser struct {
	t       *testing.T
	in      *os.File
	mu      sync.Mutex
	next    int
	waiting map[int]chan reply
	session string
	key     string // of the authenticator
}

type reply struct {
	ID     int             `json:"id"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

func newBrowser(t *testing.T) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("needs chromium: make deps")
	}
	// Not t.TempDir: a process of the browser's may write there for a moment after the browser has ended.
	profile, err := os.MkdirTemp("", "diamante-browser-")
	if err != nil {
		t.Fatal(err)
	}
	in, theirIn, err1 := os.Pipe()
	out, theirOut, err2 := os.Pipe()
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	args := []string{"--headless=new", "--remote-debugging-pipe", "--user-data-dir=" + profile, "--no-first-run", "--disable-gpu", "--disable-dev-shm-usage",
		"--disable-background-networking", "--window-size=1000,760"}
	if os.Getuid() == 0 {
		args = append(args, "--no-sandbox") // it refuses to run as root with one
	}
	cmd := exec.Command(path, args...)
	cmd.ExtraFiles = []*os.File{in, theirOut} // it reads from descriptor 3 and writes to 4
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	b := &browser{t: t, in: theirIn, waiting: map[int]chan reply{}}
	done := make(chan struct{})
	go func() { defer close(done); b.read(out) }()
	t.Cleanup(func() {
		_, _ = theirIn.Write([]byte(`{"id":999999,"method":"Browser.close"}` + "\x00")) // so that it leaves nothing behind
		late := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		late.Stop()
		in.Close()
		theirIn.Close()
		theirOut.Close()
		<-done
		out.Close()
		_ = os.RemoveAll(profile)
	})
	var target struct {
		ID      string `json:"targetId"`
		Session string `json:"sessionId"`
	}
	b.do("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	b.do("Target.attachToTarget", map[string]any{"targetId": target.ID, "flatten": true}, &target)
	b.session = target.Session
	b.do("Page.enable", nil, nil)
	b.do("WebAuthn.enable", map[string]any{"enableUI": false}, nil)
	var added struct {
		ID string `json:"authenticatorId"`
	}
	b.do("WebAuthn.addVirtualAuthenticator", map[string]any{"options": map[string]any{"protocol": "ctap2", "transport": "internal", "hasResidentKey": true,
		"hasUserVerification": true, "isUserVerified": true, "automaticPresenceSimulation": true}}, &added)
	b.key = added.ID
	return b
}

// read takes what the browser says, one message after the other, each ended by a zero.
func (b *browser) read(out *os.File) {
	r := bufio.NewReader(out)
	for {
		raw, err := r.ReadBytes(0)
		if err != nil {
			return
		}
		var m reply
		if json.Unmarshal(raw[:len(raw)-1], &m) != nil || m.ID == 0 {
			continue // something that happened
		}
		b.mu.Lock()
		if c := b.waiting[m.ID]; c != nil {
			c <- m
		}
		b.mu.Unlock()
	}
}

// do has the browser do something.
func (b *browser) do(method string, params map[string]any, out any) {
	b.t.Helper()
	c := make(chan reply, 1)
	b.mu.Lock()
	b.next++
	id := b.next
	b.waiting[id] = c
	b.mu.Unlock()
	if params == nil {
		params = map[string]any{}
	}
	message := map[string]any{"id": id, "method": method, "params": params}
	if b.session != "" {
		message["sessionId"] = b.session
	}
	raw, err := json.Marshal(message)
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.in.Write(append(raw, 0)); err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(b.t.Context(), 60*time.Second)
	defer cancel()
	select {
	case m := <-c:
		if m.Error != nil {
			b.t.Fatalf("%s: %s", method, m.Error.Message)
		}
		if out != nil {
			if err := json.Unmarshal(m.Result, out); err != nil {
				b.t.Fatal(err)
			}
		}
	case <-ctx.Done():
		b.t.Fatalf("%s: no answer", method)
	}
}

// run evaluates an expression on the page and returns it as text.
func (b *browser) run(expression string) string {
	b.t.Helper()
	var out struct {
		Result struct {
			Value any `json:"value"`
		} `json:"result"`
	}
	b.do("Runtime.evaluate", map[string]any{"expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true}, &out)
	return fmt.Sprint(out.Result.Value)
}

// until waits for an expression to be true on the page.
func (b *browser) until(expression string) {
	b.t.Helper()
	deadline, tick := time.After(2*time.Minute), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	for b.run(expression) != "true" {
		select {
		case <-deadline:
			b.t.Fatalf("the page never has %s: %s", expression, b.run("document.documentElement.outerHTML"))
		case <-tick.C:
		}
	}
}

// open goes to a page.
func (b *browser) open(url string) {
	b.t.Helper()
	b.do("Page.navigate", map[string]any{"url": url}, nil)
	b.until(`document.readyState === "complete" && !document.getElementById("sign").disabled`)
}

// picture keeps what the page looks like, where a person asked for it.
func (b *browser) picture(name string) {
	b.t.Helper()
	dir := os.Getenv("DIAMANTE_PICTURES")
	if dir == "" {
		return
	}
	var shot struct {
		Data string `json:"data"`
	}
	b.do("Page.captureScreenshot", map[string]any{"format": "png"}, &shot)
	raw, err := base64.StdEncoding.DecodeString(shot.Data)
	if err == nil {
		err = os.WriteFile(dir+"/"+strings.ReplaceAll(name, " ", "-")+".png", raw, 0o600)
	}
	if err != nil {
		b.t.Error(err)
	}
}
