package ceremony

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/node/protocol"
)

// Bounds of a plan: bytes of its text, witnesses, steps, and bytes of a name.
const (
	MaxPlan      = 64 << 10
	MaxWitnesses = 16
	MaxSteps     = 128
	maxName      = 64
)

// PlanFormat is the version of the plan's form.
const PlanFormat = 1

// Plan is what is to be done, as a TOML file says it, in this order: wrapping keys, new keys, keys that come back, backups,
// and keys that are destroyed.
type Plan struct {
	Format    int       `toml:"format"`   // PlanFormat
	Name      string    `toml:"name"`     // of the ceremony, for people
	Token     Token     `toml:"token"`    // the device
	Quorum    int       `toml:"quorum"`   // how many of the witnesses must be there
	Witnesses []Witness `toml:"witness"`  // who may be one
	Wrapping  []Wrapper `toml:"wrapping"` // AES keys to make, which take other keys out encrypted. Optional
	Generate  []Maker   `toml:"generate"` // keys to make. Optional
	Restore   []Comer   `toml:"restore"`  // keys to bring back from a backup: no other import is known. Optional
	Backup    []Saver   `toml:"backup"`   // keys to take out encrypted. Optional
	Destroy   []Goer    `toml:"destroy"`  // keys to destroy. Optional
	raw       []byte    // the file
}

// Token names the device by label and serial number.
type Token struct {
	Label  string `toml:"label" json:"label"`
	Serial string `toml:"serial" json:"serial"`
}

// Witness is a person with a key of his own.
type Witness struct {
	Name   string             `toml:"name"`
	Public protocol.AccountID `toml:"public"` // Ed25519, in the notation of accounts
}

// Wrapper is a wrapping key to make.
type Wrapper struct {
	Key keymgmt.KeyID `toml:"key"`
}

// Maker is a signing key to make.
type Maker struct {
	Key       keymgmt.KeyID `toml:"key"`
	Algorithm string        `toml:"algorithm"` // ed25519, secp256k1 or p256
	Wrappable bool          `toml:"wrappable"` // it may leave encrypted: else no backup of it is ever possible
}

// Comer is a key that comes back from a backup.
type Comer struct {
	Key    keymgmt.KeyID     `toml:"key"`
	Public keymgmt.PublicKey `toml:"public"` // what it must be
	File   string            `toml:"file"`   // an absolute path
}

// Saver is a key to take out encrypted.
type Saver struct {
	Key      keymgmt.KeyID `toml:"key"`
	Wrapping keymgmt.KeyID `toml:"wrapping"` // by which key
	File     string        `toml:"file"`     // an absolute path that does not exist yet
}

// Goer is a key to destroy.
type Goer struct {
	Key    keymgmt.KeyID     `toml:"key"`
	Public keymgmt.PublicKey `toml:"public"` // what it is
}

// ErrPlan: the plan cannot be read or makes no sense.
var ErrPlan = errors.New("ceremony: bad plan")

// ParsePlan reads a plan strictly.
func ParsePlan(raw []byte) (p Plan, err error) {
	defer func() { // the decoder is known to panic on some input
		if r := recover(); r != nil {
			p, err = Plan{}, fmt.Errorf("%w: cannot be read: %v", ErrPlan, r)
		}
	}()
	if len(raw) > MaxPlan {
		return Plan{}, fmt.Errorf("%w: more than %d bytes", ErrPlan, MaxPlan)
	}
	if err := toml.NewDecoder(bytes.NewReader(raw)).DisallowUnknownFields().Decode(&p); err != nil {
		var strict *toml.StrictMissingError
		if errors.As(err, &strict) {
			return Plan{}, fmt.Errorf("%w: unknown keys:\n%s", ErrPlan, strict.String())
		}
		return Plan{}, fmt.Errorf("%w: %v", ErrPlan, err)
	}
	p.raw = bytes.Clone(raw)
	if err := p.validate(); err != nil {
		return Plan{}, fmt.Errorf("%w: %v", ErrPlan, err)
	}
	return p, nil
}

// Hash is the SHA-256 of the file.
func (p Plan) Hash() [sha256.Size]byte { return sha256.Sum256(p.raw) }

func (p Plan) validate() error {
	if p.Format != PlanFormat {
		return fmt.Errorf("format %d, need %d", p.Format, PlanFormat)
	}
	for what, name := range map[string]string{"name": p.Name, "token.label": p.Token.Label, "token.serial": p.Token.Serial} {
		if !printable(name) {
			return fmt.Errorf("%s %q must be 1 to %d printable ASCII characters", what, name, maxName)
		}
	}
	if err := p.people(); err != nil {
		return err
	}
	steps := p.steps()
	if len(steps) == 0 || len(steps) > MaxSteps {
		return fmt.Errorf("%d steps, need 1 to %d", len(steps), MaxSteps)
	}
	used := map[string]bool{}
	for _, s := range steps {
		if used[s.String()] {
			return fmt.Errorf("twice: %s", s)
		}
		used[s.String()] = true
		if err := p.sensible(s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

func (p Plan) people() error {
	if len(p.Witnesses) > MaxWitnesses || p.Quorum < 1 || p.Quorum > len(p.Witnesses) {
		return fmt.Errorf("a quorum of %d of %d witnesses; need at least one, and %d at most", p.Quorum, len(p.Witnesses), MaxWitnesses)
	}
	names, publics := map[string]bool{}, map[protocol.AccountID]bool{}
	for _, w := range p.Witnesses {
		if !printable(w.Name) || strings.Contains(w.Name, " ") || names[w.Name] || w.Public.IsZero() || publics[w.Public] {
			return fmt.Errorf("witness %q needs a name without blanks and a key, both his own", w.Name)
		}
		names[w.Name], publics[w.Public] = true, true
	}
	return nil
}

// sensible looks at one step among the others.
func (p Plan) sensible(s step) error {
	if s.key.IsZero() {
		return errors.New("no key")
	}
	switch s.act {
	case actGenerate:
		if s.algorithm.String() == "" {
			return errors.New("algorithm must be ed25519, secp256k1 or p256")
		}
		for _, r := range p.Restore {
			if r.Key == s.key {
				return errors.New("it is also restored")
			}
		}
	case actBackup:
		for _, g := range p.Generate {
			if g.Key == s.key && !g.Wrappable {
				return errors.New("it is made never to leave the device, so it cannot be wrapped: have it wrappable = true, or no backup")
			}
		}
		if s.wrapping.IsZero() {
			return errors.New("no wrapping key")
		}
	case actRestore, actDestroy:
		if s.public.IsZero() {
			return errors.New("no public key")
		}
	}
	if (s.act == actBackup || s.act == actRestore) && !filepath.IsAbs(s.file) {
		return fmt.Errorf("file %q must be an absolute path", s.file)
	}
	return nil
}

func printable(s string) bool {
	if s == "" || len(s) > maxName {
		return false
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// act is what a step does. Zero is invalid.
type act string

const (
	actWrapping act = "wrapping"
	actGenerate act = "generate"
	actRestore  act = "restore"
	actBackup   act = "backup"
	actDestroy  act = "destroy"
)

// step is one thing to do. Its String names it within the plan.
type step struct {
	act       act
	key       keymgmt.KeyID
	algorithm keymgmt.Algorithm
	wrappable bool
	public    keymgmt.PublicKey
	wrapping  keymgmt.KeyID
	file      string
}

// String names the step.
func (s step) String() string { return string(s.act) + " " + s.key.String() }

// steps returns the plan in the order in which it is done.
func (p Plan) steps() (list []step) {
	for _, w := range p.Wrapping {
		list = append(list, step{act: actWrapping, key: w.Key})
	}
	for _, g := range p.Generate {
		s := step{act: actGenerate, key: g.Key, wrappable: g.Wrappable}
		for _, a := range []keymgmt.Algorithm{keymgmt.Ed25519, keymgmt.Secp256k1, keymgmt.P256} {
			if a.String() == g.Algorithm {
				s.algorithm = a
			}
		}
		list = append(list, s)
	}
	for _, r := range p.Restore {
		list = append(list, step{act: actRestore, key: r.Key, public: r.Public, file: r.File})
	}
	for _, b := range p.Backup {
		list = append(list, step{act: actBackup, key: b.Key, wrapping: b.Wrapping, file: b.File})
	}
	for _, d := range p.Destroy {
		list = append(list, step{act: actDestroy, key: d.Key, public: d.Public})
	}
	return list
}

// Outside returns the keys that may leave the token as a backup, and those that come into it from one: what the keyring must
// be told.
func (p Plan) Outside() (wrappable, imported []keymgmt.KeyID) {
	for _, g := range p.Generate {
		if g.Wrappable {
			wrappable = append(wrappable, g.Key)
		}
	}
	for _, b := range p.Backup {
		wrappable = append(wrappable, b.Key)
	}
	for _, r := range p.Restore {
		imported = append(imported, r.Key)
	}
	for _, d := range p.Destroy { // what it once could is no reason to keep it
		wrappable, imported = append(wrappable, d.Key), append(imported, d.Key)
	}
	return wrappable, imported
}

// Words says what the plan does.
func (p Plan) Words() []string {
	words := []string{fmt.Sprintf("%s, plan %x", p.Name, p.Hash()), fmt.Sprintf("token %q, serial %q", p.Token.Label, p.Token.Serial)}
	for _, w := range p.Witnesses {
		words = append(words, fmt.Sprintf("witness %s %s", w.Name, w.Public))
	}
	words = append(words, fmt.Sprintf("%d of %d witnesses must be there", p.Quorum, len(p.Witnesses)))
	for _, s := range p.steps() {
		words = append(words, s.words())
	}
	return words
}

func (s step) words() string {
	switch s.act {
	case actWrapping:
		return fmt.Sprintf("make wrapping key %s, which never leaves the token", s.key)
	case actGenerate:
		stays := "which never leaves the token and can never be backed up"
		if s.wrappable {
			stays = "WHICH CAN LEAVE THE TOKEN, ENCRYPTED"
		}
		return fmt.Sprintf("make %s key %s, %s", s.algorithm, s.key, stays)
	case actRestore:
		return fmt.Sprintf("bring back key %s, %s, from %q", s.key, s.public, s.file)
	case actBackup:
		return fmt.Sprintf("take key %s out, encrypted by %s, into %q", s.key, s.wrapping, s.file)
	default:
		return fmt.Sprintf("DESTROY key %s, %s, for ever", s.key, s.public)
	}
}

// witness returns the public key of a witness.
func (p Plan) witness(name string) (ed25519.PublicKey, bool) {
	for _, w := range p.Witnesses {
		if w.Name == name {
			return w.Public.Key(), true
		}
	}
	return nil, false
}
