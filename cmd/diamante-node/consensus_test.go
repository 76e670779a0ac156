package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/diamante/gateway/cmd/internal/boot"
	"github.com/diamante/gateway/node"
	"github.com/diamante/gateway/node/ledger"
	"github.com/diamante/gateway/node/protocol"
)

// notes is a log that a test reads while it is written.
type notes struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (n *notes) Write(b []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.Write(b)
}

func (n *notes) take() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	defer n.text.Reset()
	return n.text.String()
}

// TestReread: a hang-up makes the program read its quorum set again; one that is not sane changes nothing.
func TestReread(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "node.toml")
	id, err := node.CreateSeed(filepath.Join(dir, "seed"))
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	// The example's own validator is this one, and trusts itself alone.
	write := func(threshold string) {
		t.Helper()
		text := string(example)
		from, to := strings.Index(text, "[consensus.quorum_set]"), strings.Index(text, "[[consensus.peer]]")
		text = text[:from] + "[consensus.quorum_set]\nthreshold = " + threshold + "\nvalidators = [\"" + id.String() + "\"]\n" + text[to:]
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("1")
	var cfg Config
	if err := boot.Load(file, &cfg); err != nil {
		t.Fatal(err)
	}
	cfg.file = file
	seed, err := node.LoadSeed(filepath.Join(dir, "seed"))
	if err != nil {
		t.Fatal(err)
	}
	supply, err := protocol.ParseAmount("1000")
	if err != nil {
		t.Fatal(err)
	}
	of := node.Config{Dir: filepath.Join(dir, "ledger"), CloseEvery: time.Second, Signer: seed, Logger: slog.New(slog.DiscardHandler),
		Genesis: ledger.Genesis{Passphrase: "node test", Root: id, Supply: supply, BaseFee: 100, BaseReserve: 5_000_000, Protocol: ledger.Protocol,
			MaxTxSetSize: 100, CloseTime: time.Unix(1_700_000_000, 0).UTC()}}
	if of.QuorumSet, err = cfg.Consensus.QuorumSet.read(); err != nil {
		t.Fatal(err)
	}
	n, err := node.New(of)
	if err != nil {
		t.Fatal(err)
	}
	ignored := make(chan os.Signal, 1)
	signal.Notify(ignored, syscall.SIGHUP) // so that one that comes too early ends nothing
	defer signal.Stop(ignored)
	ctx, cancel := context.WithCancel(t.Context())
	log := new(notes)
	var wg sync.WaitGroup
	wg.Go(func() { cfg.reread(ctx, n, slog.New(slog.NewTextHandler(log, nil))) })
	wg.Go(func() {
		if err := n.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	defer func() {
		cancel()
		wg.Wait()
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}()
	for _, step := range []struct{ threshold, want string }{{"2", "stays as it is"}, {"1", "was read again"}} {
		write(step.threshold)
		log.take()
		if err := hangUp(log, step.want); err != nil {
			t.Fatalf("threshold %s: %v", step.threshold, err)
		}
	}
}

// hangUp sends hang-ups until the log says so.
func hangUp(log *notes, want string) error {
	deadline, tick := time.After(2*time.Minute), time.NewTicker(50*time.Millisecond)
	defer tick.Stop()
	text := ""
	for {
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			return err
		}
		select {
		case <-deadline:
			return errors.New("it says " + text)
		case <-tick.C:
		}
		if text += log.take(); strings.Contains(text, want) {
			return nil
		}
	}
}
