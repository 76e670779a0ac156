package softkey_test

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/keytest"
	"github.com/diamante/gateway/keymgmt/service"
	"github.com/diamante/gateway/keymgmt/softkey"
)

var _ service.Keyring = (*softkey.Keyring)(nil)

func TestConformance(t *testing.T) {
	keytest.TestKeyring(t, func(_ *testing.T, keys ...keymgmt.KeyID) keytest.KeyringFixture {
		ring := softkey.New(keys...)
		return keytest.KeyringFixture{Keyring: ring, Break: func() func() { return ring.Break(errors.New("unplugged")) }}
	})
}

// A release build must not be able to contain this package, whoever imports it.
func TestAbsentFromRelease(t *testing.T) {
	const path = "github.com/diamante/gateway/keymgmt/softkey"
	out, err := exec.Command("go", "build", "-tags", "release", path).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "build constraints exclude all Go files") {
		t.Fatalf("a release build accepts the package: error %v: %s", err, out)
	}
	out, err = exec.Command("go", "list", "-e", "-tags", "release", "-deps", "github.com/diamante/gateway/cmd/...").CombinedOutput()
	if err != nil {
		t.Fatalf("go list: %v: %s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if strings.TrimSpace(line) == path {
			t.Fatal("a program links the development keyring")
		}
	}
}
