package ceremony

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/node/protocol"
)

// device is a device in memory, with Ed25519 keys.
type device struct {
	keys   map[keymgmt.KeyID]ed25519.PrivateKey
	traits map[keymgmt.KeyID]keymgmt.Traits
	made   map[keymgmt.KeyID]int
	calls  int
	crash  int // at which call the process dies, counted from 1
	after  bool
}

var errCrash = errors.New("the process died")

func newDevice() *device {
	return &device{keys: map[keymgmt.KeyID]ed25519.PrivateKey{}, traits: map[keymgmt.KeyID]keymgmt.Traits{}, made: map[keymgmt.KeyID]int{}}
}

// do counts a call, and dies before or after it has its effect.
func (d *device) do(effect func() error) error {
	d.calls++
	dies := d.calls == d.crash
	if dies && !d.after {
		return errCrash
	}
	err := effect()
	if dies {
		return errCrash
	}
	return err
}

func (d *device) put(key keymgmt.KeyID, private ed25519.PrivateKey, t keymgmt.Traits) error {
	if _, taken := d.keys[key]; taken {
		return ErrExists
	}
	d.keys[key], d.traits[key] = private, t
	d.made[key]++
	return nil
}

func (d *device) Generate(_ context.Context, n New) error {
	return d.do(func() error {
		_, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return err
		}
		return d.put(n.Key, private, keymgmt.Traits{Sensitive: true, AlwaysSensitive: true, Local: true, Extractable: n.Wrappable, NeverExtractable: !n.Wrappable})
	})
}

func (d *device) Prove(_ context.Context, key keymgmt.KeyID, challenge [sha256.Size]byte) (p Proof, err error) {
	err = d.do(func() error {
		private := d.keys[key]
		if private == nil {
			return keymgmt.ErrUnknownKey
		}
		p.Public, err = keymgmt.NewPublicKey(keymgmt.Ed25519, private.Public().(ed25519.PublicKey))
		p.Traits = d.traits[key]
		p.Signature = ed25519.Sign(private, keymgmt.Possession{Key: key, Public: p.Public, Challenge: challenge}.Message())
		return err
	})
	return p, err
}

func (d *device) Wrap(_ context.Context, key, _ keymgmt.KeyID) (wrapped []byte, err error) {
	err = d.do(func() error {
		if !d.traits[key].Extractable {
			return ErrCannotWrap
		}
		wrapped = d.keys[key]
		return nil
	})
	return wrapped, err
}

func (d *device) Unwrap(_ context.Context, key keymgmt.KeyID, wrapped []byte) error {
	return d.do(func() error { return d.put(key, wrapped, keymgmt.Traits{Sensitive: true}) })
}

func (d *device) Destroy(_ context.Context, key keymgmt.KeyID) error {
	return d.do(func() error {
		if d.keys[key] == nil {
			return keymgmt.ErrUnknownKey
		}
		delete(d.keys, key)
		return nil
	})
}

// rig is a ceremony with three witnesses, of whom two must be there.
type rig struct {
	t          *testing.T
	device     *device
	people     map[string]ed25519.PrivateKey
	accounts   map[string]protocol.AccountID
	files      map[string][]byte
	transcript []byte
	lost       int // which line is not written any more, counted from 1
	torn       bool
	appended   int
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, device: newDevice(), people: map[string]ed25519.PrivateKey{}, accounts: map[string]protocol.AccountID{}, files: map[string][]byte{}}
	for _, name := range []string{"alice", "bob", "carol"} {
		public, private, err := ed25519.GenerateKey(rand.Reader)
		r.must(err)
		r.people[name] = private
		r.accounts[name], err = protocol.AccountIDFromKey(public)
		r.must(err)
	}
	return r
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func key(t *testing.T, s string) keymgmt.KeyID {
	t.Helper()
	id, err := keymgmt.ParseKeyID(s)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

const generates = `
[[wrapping]]
key = "backup/kek"
[[generate]]
key = "anchor/usd/issuing"
algorithm = "ed25519"
[[generate]]
key = "custody/hot"
algorithm = "ed25519"
wrappable = true
[[backup]]
key = "custody/hot"
wrapping = "backup/kek"
file = "/backup/hot.json"
`

func (r *rig) plan(steps string) Plan {
	r.t.Helper()
	p, err := ParsePlan([]byte(r.text(steps)))
	r.must(err)
	return p
}

func (r *rig) text(steps string) string {
	text := "format = 1\nname = \"Test\"\nquorum = 2\n[token]\nlabel = \"device\"\nserial = \"1234\"\n"
	for _, name := range []string{"alice", "bob", "carol"} {
		text += fmt.Sprintf("[[witness]]\nname = %q\npublic = %q\n", name, r.accounts[name])
	}
	return text + steps
}

var at = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// begin begins a transcript and lets people read the plan.
func (r *rig) begin(steps string, people ...string) *Transcript {
	r.t.Helper()
	t, line, err := Begin(r.plan(steps), at)
	r.must(err)
	r.must(r.append(line))
	for _, name := range people {
		r.sign(t, name)
	}
	return t
}

func (r *rig) sign(t *Transcript, name string) {
	r.t.Helper()
	line, err := t.Witness(name, r.people[name], at)
	r.must(err)
	r.must(r.append(line))
}

func (r *rig) append(line []byte) error {
	r.appended++
	if r.appended == r.lost {
		if r.torn {
			r.transcript = append(r.transcript, line[:len(line)/2]...)
		}
		return errCrash
	}
	r.transcript = append(r.transcript, line...)
	return nil
}

func (r *rig) config() Config {
	return Config{Device: r.device, Token: Token{"device", "1234"}, Append: r.append, Now: func() time.Time { return at },
		Read: func(path string) ([]byte, error) { return r.files[path], nil },
		Write: func(path string, content []byte, again bool) error {
			if r.files[path] != nil && !again {
				return errors.New("it exists")
			}
			r.files[path] = content
			return nil
		}}
}

// reread is another process that goes on with what is in the file.
func (r *rig) reread() *Transcript {
	r.t.Helper()
	t, whole, err := Parse(r.transcript)
	r.must(err)
	r.transcript = r.transcript[:whole]
	return t
}
