package pkcs11

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	p11 "github.com/miekg/pkcs11"

	"github.com/diamante/gateway/keymgmt"
)

// ProfileFormat is the version of Profile's JSON.
const ProfileFormat = 1

// How much Doctor does.
const (
	doctorSignatures = 64                     // to see how many have a high s
	doctorTexts      = 8                      // sealed, to see whether IVs repeat
	doctorSessions   = 256                    // opened at once, at most
	doctorSpell      = 500 * time.Millisecond // for which each speed is measured
	doctorCleanUp    = 30 * time.Second       // for removing the keys it made
)

// doctorFolder is where Doctor's keys are, each run in a folder of its own below.
const doctorFolder = "doctor"

// Profile is what a device was found to do. A field named Fault holds the device's own answer, "" when there was none.
type Profile struct {
	Format     int                `json:"format"` // ProfileFormat
	Library    LibraryProfile     `json:"library"`
	Token      TokenProfile       `json:"token"`
	Mechanisms []MechanismProfile `json:"mechanisms"` // all that the token names, by code
	Algorithms []AlgorithmProfile `json:"algorithms"`
	Sealing    SealingProfile     `json:"sealing"`
	Wrapping   []WrapProfile      `json:"wrapping"` // each kind of key by each mechanism
	Sessions   SessionProfile     `json:"sessions"`
	Handles    HandleProfile      `json:"handles"`
	// Leftovers are labels of keys that an earlier run, which was interrupted, could not remove. They are for an operator
	// to remove: Doctor destroys only what it made itself.
	Leftovers []string `json:"leftovers"`
}

// LibraryProfile is what the library says of itself.
type LibraryProfile struct {
	Manufacturer string `json:"manufacturer"`
	Description  string `json:"description"`
	Version      string `json:"version"`
	Cryptoki     string `json:"cryptoki"` // the version of PKCS#11
}

// TokenProfile is what the token says of itself.
type TokenProfile struct {
	Label        string `json:"label"`
	Serial       string `json:"serial"`
	Manufacturer string `json:"manufacturer"`
	Model        string `json:"model"`
	Hardware     string `json:"hardware"`
	Firmware     string `json:"firmware"`
}

// MechanismProfile is one mechanism.
type MechanismProfile struct {
	Name  string   `json:"name"` // as in PKCS#11 without CKM_, or its code
	Min   uint     `json:"min"`  // key size, in the mechanism's own unit
	Max   uint     `json:"max"`
	Flags []string `json:"flags"` // what it can be used for
	Fault string   `json:"fault,omitempty"`
}

// AlgorithmProfile is how keys of one algorithm are made and sign.
type AlgorithmProfile struct {
	Algorithm  string   `json:"algorithm"`
	Works      bool     `json:"works"`
	Fault      string   `json:"fault,omitempty"`
	Accepts    []string `json:"accepts"`     // the forms of CKA_EC_PARAMS that make a key: "oid", "name"
	Reports    string   `json:"reports"`     // the form that the device reports
	Point      string   `json:"point"`       // the form of CKA_EC_POINT: "der", "raw"
	Signatures int      `json:"signatures"`  // made, to see
	HighS      int      `json:"high_s"`      // how many have a high s, which is normalised
	MaxMessage int      `json:"max_message"` // the longest message of those tried that was signed, in bytes
	Speeds     []Speed  `json:"speeds"`
}

// Speed is how many signatures a second the device makes for as many callers.
type Speed struct {
	Callers   int   `json:"callers"`
	PerSecond int64 `json:"per_second"`
}

// SealingProfile is how AES-256-GCM works.
type SealingProfile struct {
	Works   bool   `json:"works"`
	Fault   string `json:"fault,omitempty"`
	IV      string `json:"iv"`       // who chooses it: "caller", "device"
	Repeats bool   `json:"repeats"`  // an IV came twice: never seal anything with this device
	Largest bool   `json:"largest"`  // MaxPlaintext bytes were sealed
	BadText string `json:"bad_text"` // the answer to a text that was tampered with
}

// WrapProfile is one kind of key wrapped by one mechanism.
type WrapProfile struct {
	Key       string `json:"key"` // an algorithm, or "aes256"
	Mechanism string `json:"mechanism"`
	Wraps     bool   `json:"wraps"`
	Unwraps   bool   `json:"unwraps"` // and is the same key then
	Fault     string `json:"fault,omitempty"`
}

// SessionProfile is how many sessions there can be. Zero means that the token does not say.
type SessionProfile struct {
	Max    uint   `json:"max"`
	MaxRW  uint   `json:"max_rw"`
	Opened int    `json:"opened"` // at once, of those tried
	Fault  string `json:"fault,omitempty"`
}

// HandleProfile is what becomes of a handle after all sessions were closed and a new login.
type HandleProfile struct {
	Survives bool   `json:"survives"` // it still means the same key
	Fault    string `json:"fault,omitempty"`
}

// Doctor exercises a device, with keys of its own below "doctor/" that it removes, and says how it behaves. It opens as
// many sessions as it can and measures speed at full load, so it is for a device before it is put to use. Its error says
// that the device cannot be reached, or went away for good during an examination, or that keys were left; what it cannot
// do is in the profile, which with an error is what was found until then.
func Doctor(ctx context.Context, cfg Config) (profile Profile, err error) {
	d := newPatient(cfg)
	if d.ring, err = Open(d.cfg); err != nil {
		return Profile{}, err
	}
	defer func() { err = errors.Join(err, d.ring.Close()) }()
	if err := d.ring.Ping(ctx); err != nil {
		return Profile{}, err
	}
	defer func() { err = errors.Join(err, d.cleanUp(ctx)) }()
	d.profile.Format = ProfileFormat
	for _, examine := range []func(context.Context) error{d.leftovers, d.papers, d.mechanisms, d.algorithms, d.sealing, d.wrapping, d.sessions, d.handles} {
		if err := examine(ctx); err != nil {
			return d.profile, err
		}
		if err := d.recover(ctx); err != nil {
			return d.profile, err
		}
	}
	return d.profile, nil
}

// patient is a device under examination.
type patient struct {
	cfg     Config
	ring    *Keyring
	folder  string // of this run
	made    []keymgmt.KeyID
	profile Profile
}

// newPatient lets the keys of this run, whose names nobody has, leave the token and come back.
func newPatient(cfg Config) *patient {
	d := &patient{cfg: cfg, folder: doctorFolder + "/" + strings.ToLower(rand.Text())}
	d.cfg.Wrappable, d.cfg.Imported = nil, nil
	for _, kind := range wrapKinds() {
		d.cfg.Wrappable = append(d.cfg.Wrappable, d.key("out-"+kind))
		d.cfg.Imported = append(d.cfg.Imported, d.key("back-"+kind))
	}
	return d
}

// key names a key of this run.
func (d *patient) key(name string) keymgmt.KeyID {
	id, err := keymgmt.ParseKeyID(d.folder + "/" + name)
	if err != nil {
		panic("pkcs11: name of a doctor's key: " + err.Error())
	}
	return id
}

// will notes a key before it is made, so that it is removed even when nobody learnt that it was.
func (d *patient) will(name string) keymgmt.KeyID {
	id := d.key(name)
	d.made = append(d.made, id)
	return id
}

func (d *patient) cleanUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), doctorCleanUp)
	defer cancel()
	left := d.recover(ctx)
	for _, id := range d.made {
		if err := d.ring.Destroy(ctx, id); err != nil && !errors.Is(err, keymgmt.ErrUnknownKey) {
			left = errors.Join(left, fmt.Errorf("pkcs11: key %s was left in the token: %w", id, err))
		}
	}
	return left
}

// leftovers looks for keys of earlier runs.
func (d *patient) leftovers(ctx context.Context) error {
	d.profile.Leftovers = []string{}
	pairs, err := d.ring.List(ctx)
	if err != nil {
		return err
	}
	secrets, err := d.ring.ListSecrets(ctx)
	if err != nil {
		return err
	}
	for _, item := range slices.Concat(pairs, secrets) {
		if strings.HasPrefix(item.Label, doctorFolder+"/") {
			d.profile.Leftovers = append(d.profile.Leftovers, item.Label)
		}
	}
	return nil
}

// papers reads what library and token say of themselves.
func (d *patient) papers(ctx context.Context) error {
	_, err := with(ctx, d.ring, func(e *epoch, _ session) (struct{}, error) {
		var library p11.Info
		err := d.ring.lib.call("C_GetInfo", func() (err error) { library, err = d.ring.lib.ctx.GetInfo(); return err })
		if err != nil {
			return struct{}{}, err
		}
		token, err := d.ring.lib.tokenInfo(e.slot)
		if err != nil {
			return struct{}{}, err
		}
		d.profile.Library = LibraryProfile{Manufacturer: trim(library.ManufacturerID), Description: trim(library.LibraryDescription),
			Version: version(library.LibraryVersion), Cryptoki: version(library.CryptokiVersion)}
		d.profile.Token = TokenProfile{Label: trim(token.Label), Serial: trim(token.SerialNumber), Manufacturer: trim(token.ManufacturerID),
			Model: trim(token.Model), Hardware: version(token.HardwareVersion), Firmware: version(token.FirmwareVersion)}
		d.profile.Sessions = SessionProfile{Max: told(token.MaxSessionCount), MaxRW: told(token.MaxRwSessionCount)}
		return struct{}{}, nil
	})
	return err
}

func trim(s string) string { return strings.TrimRight(s, " \x00") }

func version(v p11.Version) string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }

// told is zero for both ways to say nothing: CK_UNAVAILABLE_INFORMATION and CK_EFFECTIVELY_INFINITE.
func told(n uint) uint {
	if n == ^uint(0) {
		return 0
	}
	return n
}

// fault is a device's answer for the profile.
func fault(err error) string {
	if err == nil {
		return ""
	}
	var code p11.Error
	if errors.As(err, &code) {
		return code.Error()
	}
	return err.Error()
}
