package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/ceremony"
	"github.com/diamante/gateway/keymgmt/pkcs11"
	"github.com/diamante/gateway/node/protocol"
)

// stage is a token with two witnesses.
type stage struct {
	*rig
	people map[string]ed25519.PrivateKey
	head   string // of every plan
}

func newStage(t *testing.T) stage {
	s := stage{rig: newRig(t), people: map[string]ed25519.PrivateKey{}}
	s.initToken()
	ring, err := s.cfg.PKCS11.open(false)
	s.must(err)
	identity, err := ring.Identify(t.Context())
	s.must(errors.Join(err, ring.Close()))
	s.head = fmt.Sprintf("format = 1\nname = \"Test\"\nquorum = 2\n[token]\nlabel = %q\nserial = %q\n", identity.Label, identity.Serial)
	for _, name := range []string{"alice", "bob"} {
		public, private, err := ed25519.GenerateKey(rand.Reader)
		s.must(err)
		account, err := protocol.AccountIDFromKey(public)
		s.must(err)
		s.people[name] = private
		s.head += fmt.Sprintf("[[witness]]\nname = %q\npublic = %q\n", name, account)
	}
	return s
}

// witness has both sign.
func (s stage) witness(transcript string) {
	s.t.Helper()
	for name, private := range s.people {
		file, err := ceremony.OpenFile(transcript)
		s.must(err)
		line, err := file.Witness(name, private, time.Now())
		s.must(err)
		s.must(errors.Join(file.Append(line), file.Close()))
	}
}

// hold holds a ceremony from its beginning to its end.
func (s stage) hold(name, steps string) ceremony.Report {
	s.t.Helper()
	plan, transcript := s.write(name+".toml", []byte(s.head+steps)), s.path(name+".transcript")
	args := []string{"ceremony", "-plan", plan, "-transcript", transcript}
	if out, err := s.run(args...); err != nil || !strings.Contains(out, dryRun) {
		s.t.Fatal(out, err)
	}
	if _, err := os.Stat(transcript); err == nil {
		s.t.Fatal("a dry run wrote the transcript")
	}
	if out, err := s.run(append(args, "--yes")...); err != nil || !strings.Contains(out, "2 witnesses have yet to sign") {
		s.t.Fatal(out, err)
	}
	s.witness(transcript)
	out, err := s.run(append(args, "--yes")...)
	if err != nil {
		s.t.Fatal(out, err)
	}
	s.witness(transcript)
	raw, err := os.ReadFile(transcript)
	s.must(err)
	t, _, err := ceremony.Parse(raw)
	s.must(err)
	report := t.Report()
	if !report.Complete {
		s.t.Fatal(report.Words())
	}
	return report
}

func (s stage) public(key string) keymgmt.PublicKey {
	ring, err := s.cfg.PKCS11.open(false)
	s.must(err)
	public, err := ring.Public(s.t.Context(), s.key(key))
	if errors.Is(err, keymgmt.ErrUnknownKey) {
		err = nil
	}
	s.must(errors.Join(err, ring.Close()))
	return public
}

// Keys are made, one is taken out, destroyed and brought back, and is the same; one that may not leave does not.
func TestCeremony(t *testing.T) {
	s := newStage(t)
	backup := s.path("hot.json")
	made := s.hold("make", fmt.Sprintf(`
[[wrapping]]
key = "backup/kek"
[[generate]]
key = "anchor/usd/issuing"
algorithm = "ed25519"
[[generate]]
key = "custody/hot"
algorithm = "secp256k1"
wrappable = true
[[generate]]
key = "custody/notes"
algorithm = "p256"
[[backup]]
key = "custody/hot"
wrapping = "backup/kek"
file = %q
`, backup))
	if made.Steps[1].Public != s.public("anchor/usd/issuing") {
		t.Errorf("%+v", made.Steps)
	}
	s.cfg.PKCS11.Wrappable = []keymgmt.KeyID{s.key("custody/hot")}
	hot := s.public("custody/hot")
	if hot.IsZero() || hot != made.Steps[2].Public {
		t.Fatalf("%s, %+v", hot, made.Steps)
	}
	refused := s.hold("refused", fmt.Sprintf("[[backup]]\nkey = \"custody/notes\"\nwrapping = \"backup/kek\"\nfile = %q\n", s.path("notes.json")))
	if refused.Steps[0].State != "refused" || !strings.Contains(refused.Steps[0].Why, pkcs11.ErrCannotWrap.Error()) {
		t.Errorf("%+v", refused.Steps)
	}
	s.hold("destroy", fmt.Sprintf("[[destroy]]\nkey = \"custody/hot\"\npublic = %q\n", hot))
	if public := s.public("custody/hot"); !public.IsZero() {
		t.Fatal("it is still there")
	}
	back := s.hold("back", fmt.Sprintf("[[restore]]\nkey = \"custody/hot\"\npublic = %q\nfile = %q\n", hot, backup))
	s.cfg.PKCS11.Wrappable, s.cfg.PKCS11.Imported = nil, []keymgmt.KeyID{s.key("custody/hot")}
	if public := s.public("custody/hot"); public != hot || back.Steps[0].Public != hot {
		t.Errorf("%s came back as %s", hot, public)
	}
}
