package devca

import (
	"crypto/tls"
	"os"
	"testing"
)

func TestIssueKeepsWhatIsThere(t *testing.T) {
	dir := t.TempDir()
	read := func() string {
		ca, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		cert, key, err := ca.Issue(Leaf{Name: "a", DNS: []string{"a.internal"}, Loopback: true})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tls.LoadX509KeyPair(cert, key); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("key file: %v, %v", info.Mode(), err)
		}
		b, err := os.ReadFile(cert)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if first := read(); first != read() {
		t.Error("opening the folder again made another certificate")
	}
}
