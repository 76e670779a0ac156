package ceremony

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/payload"
	"github.com/diamante/gateway/node/protocol"
)

func TestCeremony(t *testing.T) {
	r := newRig(t)
	tr := r.begin(generates, "alice")
	if err := Run(t.Context(), tr, r.config()); !errors.Is(err, ErrWaiting) || r.device.calls > 0 {
		t.Fatal("one witness of two:", err)
	}
	r.sign(tr, "bob")
	r.must(Run(t.Context(), tr, r.config()))
	if report := r.reread().Report(); !report.Closed || report.Complete {
		t.Fatalf("%+v", report)
	}
	r.sign(tr, "carol") // another one than before
	r.sign(tr, "alice")
	report := r.reread().Report()
	if !report.Complete || len(report.Steps) != 4 || report.Steps[1].Public.IsZero() || report.Steps[3].File == nil {
		t.Fatalf("%+v", report)
	}
	if words := strings.Join(report.Words(), "\n"); !strings.Contains(words, "COMPLETE, transcript") || !strings.Contains(words, report.Steps[1].Public.String()) {
		t.Error(words)
	}
	if err := Run(t.Context(), r.reread(), r.config()); err != nil {
		t.Error("once more:", err)
	}

	public := report.Steps[2].Public
	second := newRig(t)
	second.device, second.files = r.device, r.files
	tr = second.begin(fmt.Sprintf("[[restore]]\nkey = \"custody/back\"\nfile = \"/backup/hot.json\"\npublic = %[1]q\n[[destroy]]\nkey = \"custody/hot\"\npublic = %[1]q\n", public), "alice", "bob")
	second.must(Run(t.Context(), tr, second.config()))
	if back := second.reread().Report().Steps; back[0].Public != public || back[1].State != "done" || back[1].Public != public {
		t.Errorf("%+v", back)
	}
	if second.device.keys[key(t, "custody/hot")] != nil {
		t.Error("it was not destroyed")
	}
}

// The process dies at every call of the device, before it and after it, and at every line, whole or torn. The next goes on,
// and no key is made twice.
func TestInterrupted(t *testing.T) {
	const steps = generates + "[[destroy]]\nkey = \"old\"\npublic = %q\n"
	for n := 1; n <= 24; n++ {
		for _, how := range []string{"before a call", "after a call", "line lost", "line torn"} {
			r := newRig(t)
			r.must(r.device.Generate(t.Context(), New{Key: key(t, "old")}))
			old, err := r.device.Prove(t.Context(), key(t, "old"), [32]byte{})
			r.must(err)
			r.device.calls = 0
			tr := r.begin(fmt.Sprintf(steps, old.Public), "alice", "bob")
			switch how {
			case "before a call", "after a call":
				r.device.crash, r.device.after = n, how == "after a call"
			default:
				r.lost, r.torn = r.appended+n, how == "line torn"
			}
			err = Run(t.Context(), tr, r.config())
			if err == nil && !r.reread().Closed() {
				t.Fatalf("%s %d: done, and the transcript does not say so", how, n)
			}
			r.device.crash, r.lost = 0, 0
			tr = r.reread()
			r.must(Run(t.Context(), tr, r.config()))
			r.sign(tr, "alice")
			r.sign(tr, "carol")
			if report := r.reread().Report(); !report.Complete {
				t.Fatalf("%s %d: %v", how, n, report.Words())
			}
			for id, made := range r.device.made {
				if made != 1 {
					t.Fatalf("%s %d: %s was made %d times", how, n, id, made)
				}
			}
		}
	}
}

func TestTamperedTranscripts(t *testing.T) {
	r := newRig(t)
	tr := r.begin(generates, "alice", "bob")
	r.must(Run(t.Context(), tr, r.config()))
	r.sign(tr, "alice")
	r.sign(tr, "bob")
	lines := bytes.SplitAfter(r.transcript, []byte("\n"))
	lines = lines[:len(lines)-1]
	for n := range lines {
		if n < len(lines)-1 {
			without := bytes.Join(slices.Delete(slices.Clone(lines), n, n+1), nil)
			if _, _, err := Parse(without); !errors.Is(err, ErrTranscript) {
				t.Errorf("without line %d: %v", n+1, err)
			}
		}
		for _, change := range [][2]string{{"2026-03-01", "2026-03-02"}, {`"n":`, `"n": `}} {
			changed := slices.Clone(lines)
			changed[n] = bytes.Replace(changed[n], []byte(change[0]), []byte(change[1]), 1)
			_, _, err := Parse(bytes.Join(changed, nil))
			if last := n == len(lines)-1 && change[0] == "2026-03-01"; !last && !errors.Is(err, ErrTranscript) {
				t.Errorf("line %d changed: %v", n+1, err)
			}
		}
	}
}

func TestWitnesses(t *testing.T) {
	r := newRig(t)
	tr := r.begin(generates, "alice")
	if _, err := tr.Witness("alice", r.people["alice"], at); !errors.Is(err, ErrWitness) {
		t.Error("twice:", err)
	}
	if _, err := tr.Witness("bob", r.people["alice"], at); !errors.Is(err, ErrWitness) {
		t.Error("with another's key:", err)
	}
	if _, err := tr.Witness("mallory", r.people["bob"], at); !errors.Is(err, ErrWitness) {
		t.Error("a stranger:", err)
	}
	r.sign(tr, "bob")
	wrong := r.config()
	wrong.Token.Serial = "4321"
	if err := Run(t.Context(), tr, wrong); !errors.Is(err, ErrPlan) || r.device.calls > 0 {
		t.Error("another device:", err)
	}
	r.device.crash = 3
	if err := Run(t.Context(), tr, r.config()); !errors.Is(err, ErrStep) {
		t.Fatal(err)
	}
	if _, err := tr.Witness("carol", r.people["carol"], at); err == nil {
		t.Error("a witness who came after the beginning")
	}
}

// A key that was there before is not taken for one that was made, however often one tries.
func TestKeyThatWasThere(t *testing.T) {
	r := newRig(t)
	r.must(r.device.Generate(t.Context(), New{Key: key(t, "anchor/usd/issuing")}))
	r.must(r.device.Generate(t.Context(), New{Key: key(t, "backup/kek")}))
	tr := r.begin("[[generate]]\nkey = \"anchor/usd/issuing\"\nalgorithm = \"ed25519\"\n", "alice", "bob")
	kek := r.begin("[[wrapping]]\nkey = \"backup/kek\"\n", "alice", "bob")
	for range 3 {
		for _, tr := range []*Transcript{tr, kek} {
			if err := Run(t.Context(), tr, r.config()); !errors.Is(err, ErrExists) {
				t.Fatal(err)
			}
		}
	}
}

func TestDeviceThatLetsKeysOut(t *testing.T) {
	r := newRig(t)
	tr := r.begin("[[generate]]\nkey = \"a\"\nalgorithm = \"ed25519\"\n", "alice", "bob")
	r.device.crash, r.device.after = 2, true // made, and not proved
	if err := Run(t.Context(), tr, r.config()); !errors.Is(err, ErrStep) {
		t.Fatal(err)
	}
	r.device.traits[key(t, "a")] = keymgmt.Traits{Sensitive: true, AlwaysSensitive: true, Local: true, Extractable: true}
	if err := Run(t.Context(), tr, r.config()); !errors.Is(err, ErrTranscript) {
		t.Fatal(err)
	}
	if report := r.reread().Report(); report.Closed || !strings.Contains(report.Failed, "the device says of the key") {
		t.Error(report.Words())
	}
}

// That a key cannot be wrapped is said, and no failure.
func TestBackupRefused(t *testing.T) {
	r := newRig(t)
	r.must(r.device.Generate(t.Context(), New{Key: key(t, "a")}))
	tr := r.begin("[[backup]]\nkey = \"a\"\nwrapping = \"kek\"\nfile = \"/a.json\"\n", "alice", "bob")
	r.must(Run(t.Context(), tr, r.config()))
	if report := r.reread().Report(); !report.Closed || report.Steps[0].State != "refused" || report.Steps[0].Why == "" {
		t.Errorf("%+v", report)
	}
}

func TestBadPlans(t *testing.T) {
	r := newRig(t)
	good := r.text(generates)
	for name, text := range map[string]string{
		"unknown key":               good + "surprise = 1\n",
		"no quorum":                 strings.Replace(good, "quorum = 2", "quorum = 0", 1),
		"a quorum that cannot be":   strings.Replace(good, "quorum = 2", "quorum = 4", 1),
		"a witness twice":           strings.Replace(good, `"bob"`, `"alice"`, 1),
		"one key of two witnesses":  strings.Replace(good, r.accounts["bob"].String(), r.accounts["alice"].String(), 1),
		"no serial number":          strings.Replace(good, `"1234"`, `""`, 1),
		"a key twice":               good + "[[generate]]\nkey = \"custody/hot\"\nalgorithm = \"p256\"\n",
		"no such algorithm":         strings.Replace(good, `"ed25519"`, `"rsa"`, 1),
		"backup of what never goes": strings.Replace(good, "wrappable = true", "wrappable = false", 1),
		"a relative path":           strings.Replace(good, "/backup/hot.json", "hot.json", 1),
		"nothing to do":             r.text(""),
		"a date for a name":         strings.Replace(good, `name = "Test"`, "name = 2026-01-01", 1),
	} {
		if _, err := ParsePlan([]byte(text)); !errors.Is(err, ErrPlan) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What a ceremony has a key sign is no payload of any kind, whatever key and challenge.
func TestPossessionIsNoPayload(t *testing.T) {
	public, err := keymgmt.NewPublicKey(keymgmt.P256, append([]byte{2}, make([]byte, 32)...))
	if err != nil {
		t.Fatal(err)
	}
	text := keymgmt.Possession{Key: key(t, "a"), Public: public}.Text()
	kinds := 0
	for k := keymgmt.Kind(1); k.String() != ""; k++ {
		kinds++
		if _, err := payload.Decode(k, text); err == nil {
			t.Errorf("it is a %s", k)
		}
	}
	if kinds < 10 {
		t.Errorf("only %d kinds", kinds)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"n":1,"before":"","at":"2026-03-01T12:00:00Z","event":"opened"}` + "\n"))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _, _ = Parse(b) })
}

func FuzzParsePlan(f *testing.F) {
	f.Add([]byte("format = 1\nname = \"x\"\nquorum = 1\n[[generate]]\nkey = \"a\"\nalgorithm = \"p256\"\n"))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = ParsePlan(b) })
}

// liar is a device that has an answer changed.
type liar struct {
	*device
	lie func(key keymgmt.KeyID, challenge [32]byte, p *Proof)
}

func (l liar) Prove(ctx context.Context, key keymgmt.KeyID, challenge [32]byte) (Proof, error) {
	p, err := l.device.Prove(ctx, key, challenge)
	if err == nil {
		l.lie(key, challenge, &p)
	}
	return p, err
}

func TestProofsThatProveNothing(t *testing.T) {
	r := newRig(t)
	var earlier Proof
	for name, lie := range map[string]func(keymgmt.KeyID, [32]byte, *Proof){
		"of another moment": func(key keymgmt.KeyID, _ [32]byte, p *Proof) {
			earlier, _ = r.device.Prove(t.Context(), key, [32]byte{1})
			p.Signature = earlier.Signature
		},
		"of another name": func(_ keymgmt.KeyID, challenge [32]byte, p *Proof) {
			p.Signature = ed25519.Sign(r.device.keys[key(t, "a")], keymgmt.Possession{Key: key(t, "b"), Public: p.Public, Challenge: challenge}.Message())
		},
		"of another key":              func(_ keymgmt.KeyID, _ [32]byte, p *Proof) { p.Public = account(t, r.accounts["alice"]) },
		"of a key that can be shown":  func(_ keymgmt.KeyID, _ [32]byte, p *Proof) { p.Traits.Sensitive = false },
		"of a key that could be":      func(_ keymgmt.KeyID, _ [32]byte, p *Proof) { p.Traits.AlwaysSensitive = false },
		"of a key from elsewhere":     func(_ keymgmt.KeyID, _ [32]byte, p *Proof) { p.Traits.Local = false },
		"of a key that could get out": func(_ keymgmt.KeyID, _ [32]byte, p *Proof) { p.Traits.NeverExtractable = false },
	} {
		r.transcript, r.device = nil, newDevice()
		tr := r.begin("[[generate]]\nkey = \"a\"\nalgorithm = \"ed25519\"\n", "alice", "bob")
		cfg := r.config()
		cfg.Device = liar{r.device, lie}
		if err := Run(t.Context(), tr, cfg); !errors.Is(err, ErrTranscript) {
			t.Errorf("%s: %v", name, err)
		}
		if report := r.reread().Report(); report.Closed || report.Failed == "" {
			t.Errorf("%s: %v", name, report.Words())
		}
	}
}

func account(t *testing.T, a protocol.AccountID) keymgmt.PublicKey {
	t.Helper()
	public, err := keymgmt.NewPublicKey(keymgmt.Ed25519, a.Key())
	if err != nil {
		t.Fatal(err)
	}
	return public
}
