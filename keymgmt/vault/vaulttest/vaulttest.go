// Package vaulttest gives a test a real Vault server of its own: initialised, unsealed, reached by TLS on this machine,
// and gone with the test. Only tests import it.
//
//	server := vaulttest.Start(t)
//	server.Root(t, "POST", "sys/mounts/transit", map[string]any{"type": "transit"})
//	server.Seal(t)
//	server.Unseal(t)
//
// The program is that of deploy/vault, built once (see Build). The unseal keys and the root token are in this process'
// memory and nowhere else. The server ends when this process does, however that ends: it reads a pipe from here.
package vaulttest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait: for an answer, for the server to listen, for it to end.
const patience = 60 * time.Second

// Two of three keys unseal, as a ceremony would have it.
const (
	shares    = 3
	threshold = 2
)

// Server is a Vault server. Its methods fail the test when they cannot do what they say; call them from one goroutine.
type Server struct {
	program   string
	dir       string
	authority *authority
	client    *http.Client
	address   string // host:port, the same after a restart
	token     string
	keys      []string
	process   *exec.Cmd
	lifeline  io.WriteCloser
	said      bytes.Buffer // by the server, about what goes wrong; to be read when it has ended
}

// Start builds the server if need be, and starts, initialises and unseals one.
func Start(t testing.TB) *Server {
	t.Helper()
	program, err := Build()
	must(t, err)
	s := &Server{program: program, dir: t.TempDir(), address: "127.0.0.1:0"}
	must(t, os.Mkdir(s.path("data"), 0o700))
	s.authority = newAuthority(t, s.dir)
	s.authority.issue(t, "server")
	roots := x509.NewCertPool()
	roots.AddCert(s.authority.cert)
	s.client = &http.Client{Timeout: patience,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots}}}
	s.Start(t)
	t.Cleanup(func() {
		s.client.CloseIdleConnections()
		s.Stop(t)
	})
	var made struct {
		Keys      []string `json:"keys"`
		RootToken string   `json:"root_token"`
	}
	must(t, s.call(t.Context(), request{method: "POST", path: "sys/init",
		body: map[string]any{"secret_shares": shares, "secret_threshold": threshold}}, &made))
	s.keys, s.token = made.Keys, made.RootToken
	s.Unseal(t)
	return s
}

// Address is the server's URL.
func (s *Server) Address() string { return "https://" + s.address }

// CAFile is the file with the authority of the server's certificate, and of those that ClientCertificate makes.
func (s *Server) CAFile() string { return s.path("ca.pem") }

// ClientCertificate makes a certificate for a client of that name and returns the files with it and its key.
func (s *Server) ClientCertificate(t testing.TB, name string) (certFile, keyFile string) {
	t.Helper()
	return s.authority.issue(t, name)
}

func (s *Server) path(name string) string { return filepath.Join(s.dir, name) }

// Start starts a stopped server, on the address that it had. It is sealed then.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	process := exec.Command(s.program, "-data", s.path("data"), "-listen", s.address, "-cert", s.path("server.pem"),
		"-key", s.path("server.key"), "-client-ca", s.CAFile(), "-stdin")
	process.Stderr = &s.said
	stdin, err := process.StdinPipe()
	must(t, err)
	stdout, err := process.StdoutPipe()
	must(t, err)
	must(t, process.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	address, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	if !ok {
		t.Fatalf("vaulttest: the server does not start: %v, %v\n%s", err, errors.Join(stdin.Close(), process.Wait()), &s.said)
	}
	s.address, s.process, s.lifeline = address, process, stdin
}

// Stop ends the server, if it runs.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	if s.process == nil {
		return
	}
	must(t, s.process.Process.Signal(syscall.SIGTERM))
	kill := time.AfterFunc(patience, func() { _ = s.process.Process.Kill() })
	err := s.process.Wait()
	kill.Stop()
	_ = s.lifeline.Close()
	s.process = nil
	if err != nil {
		t.Errorf("vaulttest: the server ended with %v", err)
	}
	if t.Failed() {
		t.Logf("vaulttest: the server said:\n%s", &s.said)
	}
}

// Seal seals the server: it keeps answering, and refuses everything.
func (s *Server) Seal(t testing.TB) {
	t.Helper()
	s.Root(t, "PUT", "sys/seal", nil)
}

// Unseal unseals the server and waits until it answers.
func (s *Server) Unseal(t testing.TB) {
	t.Helper()
	for _, key := range s.keys[:threshold] {
		must(t, s.call(t.Context(), request{method: "PUT", path: "sys/unseal", body: map[string]any{"key": key}}, nil))
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := s.call(ctx, request{method: "GET", path: "sys/mounts"}, nil)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("vaulttest: still not unsealed: %v", err)
		case <-tick.C:
		}
	}
}

// Root makes a request with the root token and returns the answer's data. path has neither slash nor version in front.
func (s *Server) Root(t testing.TB, method, path string, body any) map[string]any {
	t.Helper()
	answer := s.Answer(t, method, path, body)
	data, _ := answer["data"].(map[string]any)
	return data
}

// Answer does what Root does and returns the whole answer, with what is beside the data.
func (s *Server) Answer(t testing.TB, method, path string, body any) map[string]any {
	t.Helper()
	answer, err := s.TryRoot(t.Context(), method, path, body)
	must(t, err)
	return answer
}

// TryRoot makes a request with the root token and returns the whole answer or what went wrong.
func (s *Server) TryRoot(ctx context.Context, method, path string, body any) (map[string]any, error) {
	var answer map[string]any
	err := s.call(ctx, request{method: method, path: path, body: body}, &answer)
	return answer, err
}

// WrapRoot makes a request with the root token whose answer Vault keeps for whoever shows the wrapping token, which is
// returned.
func (s *Server) WrapRoot(t testing.TB, method, path string, body any) (wrappingToken string) {
	t.Helper()
	var answer struct {
		Wrap struct {
			Token string `json:"token"`
		} `json:"wrap_info"`
	}
	must(t, s.call(t.Context(), request{method: method, path: path, body: body, wrap: "300"}, &answer))
	return answer.Wrap.Token
}

type request struct {
	method, path string
	body         any
	wrap         string // seconds for which the answer is kept, "" not to keep it
}

func (s *Server) call(ctx context.Context, q request, answer any) error {
	text, err := json.Marshal(q.body)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, q.method, s.Address()+"/v1/"+q.path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	r.Header.Set("X-Vault-Token", s.token)
	if q.wrap != "" {
		r.Header.Set("X-Vault-Wrap-TTL", q.wrap)
	}
	response, err := s.client.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	got, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("vaulttest: %s %s: %s: %s", q.method, q.path, response.Status, bytes.TrimSpace(got))
	}
	if answer == nil || len(got) == 0 {
		return nil
	}
	return json.Unmarshal(got, answer)
}
