// Command vault is a Vault server for tests and development: the core of Vault 1.14.2 with what the gateway uses of it,
// and nothing else. It is a module of its own, since no program of ours links it.
//
//	go build -o vault . && ./vault -data DIR -listen 127.0.0.1:8200 -cert server.pem -key server.key -client-ca clients.pem
//
// It starts sealed and without keys. Initialise and unseal it through its API (sys/init, sys/unseal), as any Vault. All
// state is in the data folder, encrypted by Vault, so that a restart loses nothing; a restart seals. The address that it
// listens on is printed once it does, which matters with port 0; nothing else is printed but warnings.
//
// Inside are the engines transit, pki and kv, and authentication by token, certificate, AppRole and Kubernetes. The full
// vault command is not used because it does not start when built with the Go version of this project: it also links every
// database driver, and one of them parses its built-in certificates in a way that Go refuses today.
//
// Not for production: memory is not locked and there is one node. Use a Vault or OpenBao cluster there.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	log "github.com/hashicorp/go-hclog"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/vault"
)

// The timeouts of the listener. Vault bounds the work on a request by itself.
const (
	headerTimeout = 10 * time.Second
	idleTimeout   = 5 * time.Minute
	endTimeout    = 5 * time.Second
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "vault:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	data, listen, cert, key, clientCA string
	stdin                             bool
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("vault", flag.ContinueOnError)
	flags.StringVar(&o.data, "data", "", "folder of the encrypted storage; must exist")
	flags.StringVar(&o.listen, "listen", "127.0.0.1:8200", "address to listen on")
	flags.StringVar(&o.cert, "cert", "", "file of the server's certificate chain, PEM")
	flags.StringVar(&o.key, "key", "", "file of the certificate's private key, PEM")
	flags.StringVar(&o.clientCA, "client-ca", "", "file of the authorities of client certificates, PEM")
	flags.BoolVar(&o.stdin, "stdin", false, "end when standard input ends, as it does when the process that started this one does")
	if err := flags.Parse(args); err != nil {
		return options{}, err
	}
	if flags.NArg() > 0 {
		return options{}, fmt.Errorf("argument %q is not a flag", flags.Arg(0))
	}
	for name, value := range map[string]string{"data": o.data, "cert": o.cert, "key": o.key, "client-ca": o.clientCA} {
		if value == "" {
			return options{}, fmt.Errorf("flag -%s is missing", name)
		}
	}
	if info, err := os.Stat(o.data); err != nil {
		return options{}, err
	} else if !info.IsDir() {
		return options{}, fmt.Errorf("%s is not a folder", o.data)
	}
	return o, nil
}

// run serves until ctx ends, then closes the storage.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	if o.stdin {
		var end context.CancelFunc
		ctx, end = context.WithCancel(ctx)
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			end()
		}()
	}
	config, err := tlsConfig(o)
	if err != nil {
		return err
	}
	logger := log.New(&log.LoggerOptions{Name: "vault", Level: log.Warn, Output: os.Stderr})
	core, err := newCore(o.data, logger)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", o.listen)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: vaulthttp.Handler.Handler(&vault.HandlerProperties{Core: core}), TLSConfig: config,
		ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, ErrorLog: logger.StandardLogger(&log.StandardLoggerOptions{ForceLevel: log.Warn})}
	served := make(chan error, 1)
	go func() { served <- server.ServeTLS(listener, "", "") }()
	fmt.Fprintln(stdout, "listening on", listener.Addr())

	select {
	case err = <-served:
	case <-ctx.Done():
		end, cancel := context.WithTimeout(context.Background(), endTimeout)
		defer cancel()
		err = server.Shutdown(end)
		if errors.Is(err, context.DeadlineExceeded) {
			err = server.Close()
		}
		<-served
	}
	return errors.Join(err, core.Shutdown())
}

// tlsConfig asks clients for a certificate and lets those without one in: they show a token.
func tlsConfig(o options) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(o.cert, o.key)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(o.clientCA)
	if err != nil {
		return nil, err
	}
	authorities := x509.NewCertPool()
	if !authorities.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate", o.clientCA)
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair},
		ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: authorities, NextProtos: []string{"h2", "http/1.1"}}, nil
}
