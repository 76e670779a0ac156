package vaulttest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// Build returns the path of the server's program, and builds it if this source was never built by this Go on this
// machine: that takes some minutes, once. The folder is below os.UserCacheDir, named after everything that went in.
func Build() (string, error) {
	source, err := sourceFolder()
	if err != nil {
		return "", err
	}
	name, err := digest(source)
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("vaulttest: %w", err)
	}
	folder := filepath.Join(cache, "diamante-gateway", "vault-"+name)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", fmt.Errorf("vaulttest: %w", err)
	}
	unlock, err := lock(filepath.Join(folder, "lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	program := filepath.Join(folder, "vault")
	if _, err := os.Stat(program); !errors.Is(err, fs.ErrNotExist) {
		return program, err
	}
	fresh := program + ".new" // renamed when whole: half a program must not be found
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", fresh, ".")
	build.Dir, build.Env = source, append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("vaulttest: building the Vault server: %w\n%s", err, out)
	}
	return program, os.Rename(fresh, program)
}

// sourceFolder is deploy/vault of the module that the test runs in.
func sourceFolder() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/diamante/gateway").Output()
	if err != nil {
		return "", fmt.Errorf("vaulttest: finding the module's folder: %w", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "deploy", "vault"), nil
}

// digest names what the program is built from.
func digest(source string) (string, error) {
	var files []string
	err := filepath.WalkDir(source, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := entry.Name(); filepath.Ext(name) == ".go" || name == "go.mod" || name == "go.sum" {
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("vaulttest: %w", err)
	}
	hash := sha256.New()
	fmt.Fprintln(hash, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	for _, path := range files {
		content, err := os.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("vaulttest: %w", err)
		}
		fmt.Fprintln(hash, strings.TrimPrefix(path, source), len(content))
		hash.Write(content)
	}
	const shown = 12 // bytes; enough to tell versions apart
	return hex.EncodeToString(hash.Sum(nil)[:shown]), nil
}

// lock waits until no other test process builds.
func lock(path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("vaulttest: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("vaulttest: %w", err), file.Close())
	}
	return func() { _ = file.Close() }, nil // closing unlocks
}
