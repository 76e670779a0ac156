// Package cluster runs a private PostgreSQL server: for development (diamante up) and for tests (schematest).
//
// The server is a child of this process, listens on a unix socket and, when Config.Port is set, on loopback with TLS
// and SCRAM passwords only. PostgreSQL refuses to run as root, so a root caller runs it as the postgres user, who then
// owns the data folder. Production brings its own PostgreSQL 15 or later and never sees this package.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// Superuser is the role that initdb makes. It is reachable through the unix socket only.
const Superuser = "diamante_admin"

// How long the server may take to answer after its start, and to stop.
const (
	startTimeout = 60 * time.Second
	stopTimeout  = 30 * time.Second
	pollInterval = 20 * time.Millisecond
)

// Config says where and how the server runs.
type Config struct {
	Dir      string // owned by the server; made and initialised when it does not exist
	Port     int    // loopback TCP port; 0 means unix socket only
	CertFile string // server certificate and key, copied into Dir; required with Port
	KeyFile  string
	Volatile bool // no fsync: for tests that never survive a crash of the machine
}

// Server is a running cluster.
type Server struct {
	cfg  Config
	cred *syscall.Credential
	cmd  *exec.Cmd
	done chan struct{} // closed when the process is gone
	err  error         // its exit, valid once done is closed
}

// Start initialises the cluster if it is new, starts the server and waits until it answers. Call Stop at the end.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.Port != 0 && (cfg.CertFile == "" || cfg.KeyFile == "") {
		return nil, errors.New("cluster: a TCP port needs a certificate and a key")
	}
	s := &Server{cfg: cfg, done: make(chan struct{})}
	if os.Geteuid() == 0 {
		cred, err := lookupPostgres()
		if err != nil {
			return nil, err
		}
		s.cred = cred
	}
	if err := s.initialise(ctx); err != nil {
		return nil, err
	}
	if err := s.launch(); err != nil {
		return nil, err
	}
	if err := s.waitReady(ctx); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// SocketDir is the folder of the unix socket, a host name for pgx.
func (s *Server) SocketDir() string { return s.cfg.Dir }

// AdminURL returns a connection string for the superuser, over the unix socket.
func (s *Server) AdminURL(database string) string {
	return fmt.Sprintf("host=%s port=%d user=%s dbname=%s", s.cfg.Dir, s.port(), Superuser, database)
}

// Done is closed when the server process has ended.
func (s *Server) Done() <-chan struct{} { return s.done }

// Pid is the server's process id.
func (s *Server) Pid() int { return s.cmd.Process.Pid }

// Stop ends the server cleanly: open sessions are cut, committed work is on disk.
func (s *Server) Stop() error {
	if s.cmd == nil || s.cmd.Process == nil {
		return nil
	}
	_ = s.cmd.Process.Signal(syscall.SIGINT) // fast shutdown; fails only if the process is gone already
	select {
	case <-s.done:
		return nil
	case <-time.After(stopTimeout):
		_ = s.cmd.Process.Kill()
		<-s.done
		return fmt.Errorf("cluster: server did not stop in %s", stopTimeout)
	}
}

func (s *Server) port() int {
	if s.cfg.Port != 0 {
		return s.cfg.Port
	}
	return 5432
}

func (s *Server) data() string { return filepath.Join(s.cfg.Dir, "data") }

func (s *Server) initialise(ctx context.Context) error {
	if err := os.MkdirAll(s.cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	if s.cred != nil {
		if err := os.Chown(s.cfg.Dir, int(s.cred.Uid), int(s.cred.Gid)); err != nil {
			return fmt.Errorf("cluster: %w", err)
		}
	}
	if _, err := os.Stat(filepath.Join(s.data(), "PG_VERSION")); err != nil {
		args := []string{"-D", s.data(), "-U", Superuser, "-A", "trust", "-E", "UTF8", "--locale=C", "--data-checksums"}
		if s.cfg.Volatile {
			args = append(args, "-N")
		}
		if out, err := s.command(ctx, "initdb", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("cluster: initdb: %w: %s", err, out)
		}
	}
	return s.configure()
}

// configure writes the settings on every start, so that a moved folder or another port works.
func (s *Server) configure() error {
	settings := map[string]string{
		"unix_socket_directories": quote(s.cfg.Dir), "port": strconv.Itoa(s.port()), "listen_addresses": quote(""),
		"password_encryption": "scram-sha-256", "max_connections": "200", "shared_buffers": quote("256MB"),
		"log_min_messages": "warning", "log_statement": "none", "timezone": quote("UTC"),
	}
	if s.cfg.Volatile {
		settings["fsync"], settings["synchronous_commit"], settings["full_page_writes"] = "off", "off", "off"
	}
	hba := "local all " + Superuser + " trust\nlocal all all scram-sha-256\n"
	if s.cfg.Volatile {
		hba = "local all all trust\n"
	}
	if s.cfg.Port != 0 {
		settings["listen_addresses"] = quote("127.0.0.1")
		settings["ssl"], settings["ssl_min_protocol_version"] = "on", quote("TLSv1.3")
		settings["ssl_cert_file"], settings["ssl_key_file"] = quote("server.crt"), quote("server.key")
		hba += "hostssl all " + Superuser + " 127.0.0.1/32 reject\nhostssl all all 127.0.0.1/32 scram-sha-256\n"
		for from, to := range map[string]string{s.cfg.CertFile: "server.crt", s.cfg.KeyFile: "server.key"} {
			b, err := os.ReadFile(from)
			if err != nil {
				return fmt.Errorf("cluster: %w", err)
			}
			if err := s.write(to, b); err != nil {
				return err
			}
		}
	}
	var conf strings.Builder
	conf.WriteString("# Written at every start by package cluster; edits are lost.\n")
	for _, k := range sortedKeys(settings) {
		fmt.Fprintf(&conf, "%s = %s\n", k, settings[k])
	}
	if err := s.write("postgresql.auto.conf", []byte(conf.String())); err != nil {
		return err
	}
	return s.write("pg_hba.conf", []byte(hba))
}

func (s *Server) write(name string, content []byte) error {
	path := filepath.Join(s.data(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	if s.cred != nil {
		if err := os.Chown(path, int(s.cred.Uid), int(s.cred.Gid)); err != nil {
			return fmt.Errorf("cluster: %w", err)
		}
	}
	return nil
}

// launch starts the server as a child that dies with us. The kernel ties that to the thread that forked, so the
// thread is locked for the child's life.
func (s *Server) launch() error {
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		s.cmd = s.command(context.Background(), "postgres", "-D", s.data())
		s.cmd.SysProcAttr.Pdeathsig = syscall.SIGINT
		logFile, err := os.OpenFile(filepath.Join(s.cfg.Dir, "server.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			started <- fmt.Errorf("cluster: %w", err)
			return
		}
		defer logFile.Close()
		s.cmd.Stdout, s.cmd.Stderr = logFile, logFile
		if err := s.cmd.Start(); err != nil {
			started <- fmt.Errorf("cluster: %w", err)
			return
		}
		started <- nil
		s.err = s.cmd.Wait()
		close(s.done)
	}()
	return <-started
}

func (s *Server) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		conn, err := pgx.Connect(ctx, s.AdminURL("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-s.done:
			log, _ := os.ReadFile(filepath.Join(s.cfg.Dir, "server.log"))
			return fmt.Errorf("cluster: server ended at start: %v: %s", s.err, log)
		case <-ctx.Done():
			return fmt.Errorf("cluster: server not ready: %w", err)
		case <-tick.C:
		}
	}
}

// command makes a command of the server's own programs, run as the postgres user where we are root.
func (s *Server) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, binary(name), args...)
	cmd.Dir = s.cfg.Dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.cred, Setpgid: true}
	return cmd
}

// binary finds a server program: Debian keeps them out of PATH, one folder a version.
func binary(name string) string {
	if found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name); len(found) > 0 {
		return found[len(found)-1]
	}
	return name
}

func lookupPostgres() (*syscall.Credential, error) {
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("cluster: running as root needs a postgres user: %w", err)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		return nil, fmt.Errorf("cluster: postgres user: %w", err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
