package rig

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/diamante/gateway/cmd/internal/boot/devca"
	"github.com/diamante/gateway/deploy/schema/cluster"
)

// maxSocketDir is how long the path of a folder may be in which PostgreSQL opens its unix socket.
const maxSocketDir = 90

// StartPostgres starts the database server alone.
func (r *Rig) StartPostgres(ctx context.Context) error {
	cert, key, err := r.ca.Issue(devca.Leaf{Name: "postgres", Loopback: true})
	if err != nil {
		return err
	}
	dir, err := r.postgresDir()
	if err != nil {
		return err
	}
	server, err := cluster.Start(ctx, cluster.Config{Dir: dir, Port: r.ports.Postgres, CertFile: cert, KeyFile: key})
	if err != nil {
		return err
	}
	r.postgres = server
	return nil
}

// KillPostgres ends the database server with SIGKILL and waits until its first process is gone; the others notice that
// and end a moment later.
func (r *Rig) KillPostgres() {
	_ = syscall.Kill(r.postgres.Pid(), syscall.SIGKILL) // fails only when it is gone already
	<-r.postgres.Done()
}

// RestartPostgres starts the server after it ended. A killed one may have left processes that still use its memory: the
// next refuses to start until they are gone, and is started again until then.
func (r *Rig) RestartPostgres(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for {
		err := r.StartPostgres(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

// postgresDir returns the cluster's folder. It is in the data folder, unless the server could not work there: a root
// caller's server runs as another user, who cannot enter folders that are closed to others, and the path of a socket
// has a length. Then it is in the system's folder for such files, and the data folder has a link to it.
func (r *Rig) postgresDir() (string, error) {
	link := r.Path("postgres")
	if to, err := os.Readlink(link); err == nil {
		return to, nil
	}
	if len(link) <= maxSocketDir && (os.Geteuid() != 0 || openToAll(r.Path())) {
		return link, nil
	}
	sum := sha256.Sum256([]byte(r.Path()))
	dir := filepath.Join("/var/tmp", "diamante-"+hex.EncodeToString(sum[:8]))
	if err := os.RemoveAll(dir); err != nil { // of a data folder that is gone
		return "", fmt.Errorf("rig: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("rig: %w", err)
	}
	if err := os.Symlink(dir, link); err != nil {
		return "", fmt.Errorf("rig: %w", err)
	}
	return dir, nil
}

// openToAll reports whether every user can pass through dir and the folders above it.
func openToAll(dir string) bool {
	for ; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil || info.Mode().Perm()&0o001 == 0 {
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
	}
}
