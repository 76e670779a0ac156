// Package boot is what all four programs do at their start: read a strict configuration, open a log, load TLS
// material and secrets from paths, serve until a signal and stop cleanly.
//
// A program's main calls Main with its run function and does nothing else, so that tests can run the program:
//
//	func main() { boot.Main(run) }
//	func run(ctx context.Context, args []string, stdout io.Writer) error { ... }
package boot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/pelletier/go-toml/v2"
)

// Bounds on what is read at the start, in bytes.
const (
	MaxConfig = 1 << 20
	MaxSecret = 64 << 10
)

// Limits of every HTTP server of ours.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 30 * time.Second
	idleTimeout       = 60 * time.Second
	maxHeaderBytes    = 16 << 10
	shutdownTimeout   = 10 * time.Second
)

// Main runs a program: run's context ends with SIGINT or SIGTERM, and its error is printed and becomes exit status 1.
func Main(run func(ctx context.Context, args []string, stdout io.Writer) error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// Validator is a configuration that can check itself.
type Validator interface{ Validate() error }

// Load reads the TOML file at path into cfg and validates it. A key that cfg does not have is an error that names it.
func Load(path string, cfg Validator) error {
	raw, err := readBounded(path, MaxConfig)
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	dec := toml.NewDecoder(bytes.NewReader(raw)).DisallowUnknownFields()
	if err := dec.Decode(cfg); err != nil {
		var strict *toml.StrictMissingError
		if errors.As(err, &strict) {
			return fmt.Errorf("config: %s: unknown keys:\n%s", path, strict.String())
		}
		var syntax *toml.DecodeError
		if errors.As(err, &syntax) {
			row, _ := syntax.Position()
			return fmt.Errorf("config: %s: line %d: %w", path, row, err)
		}
		return fmt.Errorf("config: %s: %w", path, err)
	}
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("config: %s: %w", path, err)
	}
	return nil
}

// Secret reads a secret from a file that only its owner can read, without surrounding blanks.
func Secret(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("secret: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("secret: %s has mode %04o; only its owner may read it", path, info.Mode().Perm())
	}
	raw, err := readBounded(path, MaxSecret)
	if err != nil {
		return "", fmt.Errorf("secret: %w", err)
	}
	s := strings.TrimSpace(string(raw))
	if s == "" {
		return "", fmt.Errorf("secret: %s is empty", path)
	}
	return s, nil
}

func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(raw)) > limit {
		err = fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return raw, err
}

// secretWords are parts of attribute names whose values never reach a log.
var secretWords = []string{"pin", "secret", "password", "token", "seed", "private", "authorization"}

// Logger writes JSON lines to w, with the program's name. Attributes whose names say that they hold a secret are
// blanked: the last guard, not the first.
func Logger(w io.Writer, program string) *slog.Logger {
	redact := func(_ []string, a slog.Attr) slog.Attr {
		name := strings.ToLower(a.Key)
		for _, word := range secretWords {
			if name == word || strings.HasSuffix(name, "_"+word) || strings.HasSuffix(name, "-"+word) {
				return slog.String(a.Key, "redacted")
			}
		}
		return a
	}
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{ReplaceAttr: redact})).With("program", program)
}

// Server makes an HTTP server with every limit set. Streaming handlers lift the write deadline for themselves.
func Server(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeaderBytes, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// Serve serves on l until ctx ends, then lets requests under way finish for a while.
func Serve(ctx context.Context, srv *http.Server, l net.Listener) error {
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := srv.Shutdown(stop); err != nil {
		return errors.Join(fmt.Errorf("serve %s: %w", l.Addr(), err), srv.Close())
	}
	return nil
}
