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
	"os/exec"
	"os/signal"
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
	writeTimeout      = 60 * time.Second
	idleTimeout       = 60 * time.Second
	maxHeaderBytes    = 16 << 10
	shutdownTimeout   = 10 * time.Second
)

// Exit is an error with an exit status of its own, for programs whose status answers a question. Without a reason, nothing
// is printed: the answer has been.
type Exit struct {
	Status int
	Reason error // may be nil
}

// Error gives the reason.
func (e Exit) Error() string {
	if e.Reason == nil {
		return fmt.Sprintf("exit status %d", e.Status)
	}
	return e.Reason.Error()
}

// Unwrap gives the reason.
func (e Exit) Unwrap() error { return e.Reason }

// Main runs a program: run's context ends with SIGINT or SIGTERM, and its error is printed and becomes exit status 1, or that
// of an Exit. One that is nothing but the exit status of another program becomes ours: that program has said why.
func Main(run func(ctx context.Context, args []string, stdout io.Writer) error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if other, ok := err.(*exec.ExitError); ok && other.ExitCode() > 0 { // not wrapped: then there is more to say
		os.Exit(other.ExitCode())
	}
	if exit, ok := err.(Exit); ok {
		if exit.Reason != nil {
			fmt.Fprintln(os.Stderr, "error:", exit.Reason)
		}
		os.Exit(exit.Status)
	}
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
	if err := decode(raw, cfg); err != nil {
		return fmt.Errorf("config: %s: %w", path, err)
	}
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("config: %s: %w", path, err)
	}
	return nil
}

// decode reads TOML strictly. The decoder is known to panic on some input, such as a bare date where text is expected; a
// configuration that does that is as wrong as any other.
func decode(raw []byte, cfg any) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("cannot be read: %v", r)
		}
	}()
	err = toml.NewDecoder(bytes.NewReader(raw)).DisallowUnknownFields().Decode(cfg)
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) {
		return fmt.Errorf("unknown keys:\n%s", strict.String())
	}
	var syntax *toml.DecodeError
	if errors.As(err, &syntax) {
		row, _ := syntax.Position()
		return fmt.Errorf("line %d: %w", row, err)
	}
	return err
}

// Server makes an HTTP server with every limit set. Streaming handlers move their write deadline for
// themselves.
func Server(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
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
