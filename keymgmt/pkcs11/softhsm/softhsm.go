// Package softhsm prepares a folder for SoftHSM, the software token of development and tests: its configuration, an
// empty store for tokens, and files with two random PINs. It links no C, so that the operator's command can use it. The
// token itself is made by pkcs11.InitToken (diamante-signer init-token), through the library, since SoftHSM's own
// command takes PINs as arguments, where every user of the machine can read them.
package softhsm

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Env names the environment variable in which the library looks for its configuration file. It is read by C code when
// the library is initialised; os.Setenv reaches it in a program that links C.
const Env = "SOFTHSM2_CONF"

// modules are where Linux distributions and Homebrew install the library.
var modules = []string{
	"/usr/lib/softhsm/libsofthsm2.so",
	"/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
	"/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
	"/usr/lib64/softhsm/libsofthsm2.so",
	"/usr/lib64/pkcs11/libsofthsm2.so",
	"/usr/lib/pkcs11/libsofthsm2.so",
	"/usr/local/lib/softhsm/libsofthsm2.so",
	"/opt/homebrew/lib/softhsm/libsofthsm2.so",
}

// ErrNotInstalled: SoftHSM is in none of the usual places.
var ErrNotInstalled = errors.New("softhsm: libsofthsm2.so not found; install SoftHSM 2 (Debian: softhsm2)")

// Module returns the path of the installed library.
func Module() (string, error) {
	for _, path := range modules {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path, nil
		}
	}
	return "", ErrNotInstalled
}

// Setup is a prepared folder.
type Setup struct {
	Module    string // the library
	Conf      string // the configuration file, the value of Env
	Tokens    string // the folder of the tokens
	PINFile   string // the user's PIN
	SOPINFile string // the security officer's PIN
}

// Prepare makes under dir what is missing and leaves what is there: run again, it gives the same Setup.
func Prepare(dir string) (Setup, error) {
	module, err := Module()
	if err != nil {
		return Setup{}, err
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return Setup{}, fmt.Errorf("softhsm: %w", err)
	}
	if strings.ContainsAny(dir, "\n\r=") {
		return Setup{}, fmt.Errorf("softhsm: the configuration file cannot hold the folder's name %q", dir)
	}
	s := Setup{Module: module, Conf: filepath.Join(dir, "softhsm2.conf"), Tokens: filepath.Join(dir, "tokens"),
		PINFile: filepath.Join(dir, "pin"), SOPINFile: filepath.Join(dir, "so-pin")}
	if err := os.MkdirAll(s.Tokens, 0o700); err != nil {
		return Setup{}, fmt.Errorf("softhsm: %w", err)
	}
	conf := "directories.tokendir = " + s.Tokens + "\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n"
	for path, content := range map[string]string{s.Conf: conf, s.PINFile: rand.Text(), s.SOPINFile: rand.Text()} {
		if err := createOnce(path, content); err != nil {
			return Setup{}, err
		}
	}
	return s, nil
}

// createOnce writes a file that only its owner can read, unless it is there. It appears whole or not at all: half a PIN
// would be a wrong one.
func createOnce(path, content string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("softhsm: %w", err)
	}
	temporary := path + ".new"
	if err := os.WriteFile(temporary, []byte(content), 0o600); err != nil {
		return fmt.Errorf("softhsm: %w", err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return fmt.Errorf("softhsm: %w", err)
	}
	return nil
}
