package policy

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/pelletier/go-toml/v2"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/node/protocol"
)

// Format is the first line of meaning in a policy file: which schema it is written in.
const Format = "diamante-policy/3"

// MaxFile bounds a policy file, in bytes.
const MaxFile = 1 << 20

// The errors of Load.
var (
	// ErrSignature: the file is not what enough of the board signed.
	ErrSignature = errors.New("policy: not signed by the board")
	// ErrInvalid: the file was signed but says something that has no meaning here.
	ErrInvalid = errors.New("policy: invalid policy file")
)

// File is a policy as the officer writes it, in TOML. Every field is required unless its comment says otherwise.
type File struct {
	Format  string              `toml:"format"`
	Version uint64              `toml:"version"` // from 1; the signer never goes back to a lower one
	Network protocol.Passphrase `toml:"network"` // of every transaction and challenge
	Life
	// DenyDestinations never get anything from any key, whatever else is allowed. Optional.
	DenyDestinations []protocol.AccountID `toml:"deny_destinations"`
	Officers         []Officer            `toml:"officer,omitempty"` // who may approve. Optional
	// Roster names the list that has the officers, in place of those here. Optional.
	Roster string `toml:"roster,omitempty"`
	// Lists are files of their own that the rules refer to as "list:NAME". Optional.
	Lists []ListRule `toml:"list,omitempty"`
	// PasskeyOrigins are the pages on which officers use passkeys, as "http://localhost:7465". Required with passkeys.
	PasskeyOrigins []string `toml:"passkey_origins,omitempty"`
	Thaw           []Need   `toml:"thaw,omitempty"` // who lets a frozen key sign again. Optional: nobody
	Keys           []Key    `toml:"key"`
}

// Key holds the rules of one key. Exactly one of the sections is there: a key has one purpose, so that no message
// of one kind can be mistaken for one of another under the same key.
type Key struct {
	ID     keymgmt.KeyID `toml:"id"`
	Public PublicKey     `toml:"public"` // the one key that the id stands for
	// Account is the ledger's account that the key signs for, when that is another than its own: it is a signer of it. Only
	// one key is for an account, or it would have two sets of limits. Optional.
	Account *protocol.AccountID `toml:"account,omitempty"`
	// Home is where the private key is: hardware, vault or software-sealed. Optional: hardware.
	Home keymgmt.Home `toml:"home,omitempty"`
	// MovedFrom is what the id stood for before, when that was another key or home. Optional.
	MovedFrom *Move    `toml:"moved_from,omitempty"`
	Callers   []string `toml:"callers"` // the first DNS name in the certificate of each client that may ask
	Frozen    bool     `toml:"frozen"`  // true stops the key. Optional
	// Hours are when it signs; without them, always. Optional.
	Hours []Hours `toml:"hours,omitempty"`
	// Delays say what has to lie before it is signed. Optional.
	Delays []DelayRule `toml:"delay,omitempty"`
	// Approvals say what needs people's approval, of a key for coins. Optional.
	Approvals []CoinApprovalRule `toml:"approval,omitempty"`

	Transaction *TransactionRule `toml:"transaction,omitempty"`
	FeeBump     *FeeBumpRule     `toml:"fee_bump,omitempty"`
	Challenge   *ChallengeRule   `toml:"challenge,omitempty"`
	Checkpoint  *CheckpointRule  `toml:"checkpoint,omitempty"`
	JWT         *JWTRule         `toml:"jwt,omitempty"`
	SCP         *SCPRule         `toml:"scp,omitempty"`
	Bitcoin     *BitcoinRule     `toml:"bitcoin,omitempty"`
	Ethereum    *EthereumRule    `toml:"ethereum,omitempty"`
}

// Marshal returns the file to be signed, after checking it.
func Marshal(f File) ([]byte, error) {
	if err := f.validate(); err != nil {
		return nil, err
	}
	b, err := toml.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return b, nil
}

// Load verifies file against its detached signatures and the board, and reads it; then the lists that it names, each against
// those who sign that list. All of them must be there, and no others.
func Load(file, sigs []byte, board Board, lists ...Signed) (*Policy, error) {
	if len(file) > MaxFile {
		return nil, fmt.Errorf("%w: over %d bytes", ErrInvalid, MaxFile)
	}
	if err := board.verify(policyPrefix, file, sigs); err != nil {
		return nil, err
	}
	f, err := Check(file)
	if err != nil {
		return nil, err
	}
	bound, err := f.bind(lists)
	if err != nil {
		return nil, err
	}
	source := Source{bytes.Clone(file), bytes.Clone(sigs), board}
	return compile(f, bound, source), nil
}

// compile makes a policy of a file that is valid, with its lists.
func compile(f File, lists map[string]*loaded, source Source) *Policy {
	p := &Policy{file: f, lists: lists, hash: sha256.Sum256(source.File), source: source, network: f.Network.NetworkID(),
		keys: map[keymgmt.KeyID]*Key{}, callers: map[string]bool{}}
	for i := range f.Keys {
		p.keys[f.Keys[i].ID] = &p.file.Keys[i]
		for _, c := range f.Keys[i].Callers {
			p.callers[c] = true
		}
	}
	return p
}

// Check reads a policy file that nobody has signed yet and says what is wrong with it.
func Check(file []byte) (f File, err error) {
	if err := decode(file, &f); err != nil {
		return File{}, err
	}
	if err := f.validate(); err != nil {
		return File{}, err
	}
	return f, nil
}

// decode reads TOML without anything that is not known.
func decode(file []byte, into any) (err error) {
	// The decoder indexes an empty list, and panics, on a table such as [[key.0]] (go-toml v2.2.4).
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: the TOML decoder gave up: %v", ErrInvalid, r)
		}
	}()
	if err := toml.NewDecoder(bytes.NewReader(file)).DisallowUnknownFields().Decode(into); err != nil {
		var strict *toml.StrictMissingError
		if errors.As(err, &strict) {
			return fmt.Errorf("%w: unknown field: %s", ErrInvalid, strict.String())
		}
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return exactNames(file)
}

// exactNames refuses names that the decoder would match although they are spelt otherwise: "Frozen" next to "frozen"
// could read one way to the officer and another to the signer. It also refuses numbers with a point.
func exactNames(file []byte) error {
	var tree map[string]any
	if err := toml.Unmarshal(file, &tree); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return walk(tree)
}

func walk(v any) error {
	switch v := v.(type) {
	case string, bool, int64:
	case map[string]any:
		for name, inner := range v {
			if strings.ContainsFunc(name, func(r rune) bool { return r > unicode.MaxASCII || unicode.IsUpper(r) }) {
				return fmt.Errorf("%w: unknown field %q", ErrInvalid, name)
			}
			if err := walk(inner); err != nil {
				return err
			}
		}
	case []any:
		for _, inner := range v {
			if err := walk(inner); err != nil {
				return err
			}
		}
	default: // a number with a point, a date: amounts are text, in quotes
		return fmt.Errorf("%w: value %v", ErrInvalid, v)
	}
	return nil
}

func (f *File) validate() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
	}
	if f.Format != Format {
		return bad("format %.40q, need %q", f.Format, Format)
	}
	if f.Version < 1 || f.Version > 1<<62 {
		return bad("version %d", f.Version)
	}
	if f.Network.Validate() != nil {
		return bad("network passphrase")
	}
	if err := f.Life.validate(); err != nil {
		return bad("%v", err)
	}
	if len(f.Keys) == 0 {
		return bad("no keys")
	}
	ids, publics, accounts := map[keymgmt.KeyID]bool{}, map[PublicKey]bool{}, map[protocol.AccountID]bool{}
	for i := range f.Keys {
		k := &f.Keys[i]
		if k.ID.IsZero() || k.Public.IsZero() {
			return bad("key %d needs an id and a public key", i+1)
		}
		if account := k.account(); !account.IsZero() {
			if accounts[account] {
				return bad("key %s: account %s has a key already", k.ID, account)
			}
			accounts[account] = true
		}
		if ids[k.ID] || publics[k.Public] {
			return bad("key %s or its public key is there twice", k.ID)
		}
		ids[k.ID], publics[k.Public] = true, true
		if err := k.validate(); err != nil {
			return bad("key %s: %v", k.ID, err)
		}
	}
	if err := errors.Join(f.validateLists(), f.validateOfficers(), f.validateSignatories()); err != nil {
		return bad("%v", err)
	}
	return nil
}

// account returns the ledger's account that the key signs for, zero when it is no key for one.
func (k *Key) account() protocol.AccountID {
	if k.Account != nil {
		return *k.Account
	}
	return k.Public.account()
}

func (k *Key) validate() error {
	if k.Account != nil && (k.Account.IsZero() || k.Public.Algorithm() != keymgmt.Ed25519 || k.Transaction == nil && k.FeeBump == nil) {
		return errors.New("account is for Ed25519 keys that sign transactions")
	}
	if len(k.Callers) == 0 {
		return errors.New("no callers")
	}
	for _, c := range k.Callers {
		if c == "" || strings.ContainsFunc(c, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return fmt.Errorf("caller %.80q", c)
		}
	}
	var sections []error
	if k.Transaction != nil {
		sections = append(sections, k.Transaction.validate())
	}
	if k.FeeBump != nil {
		sections = append(sections, k.FeeBump.validate())
	}
	if k.Challenge != nil {
		sections = append(sections, k.Challenge.validate())
	}
	if k.Checkpoint != nil {
		sections = append(sections, k.Checkpoint.validate())
	}
	if k.JWT != nil {
		sections = append(sections, k.JWT.validate())
	}
	if k.SCP != nil {
		sections = append(sections, k.SCP.validate(k))
	}
	if k.Bitcoin != nil {
		sections = append(sections, k.Bitcoin.validate(k))
	}
	if k.Ethereum != nil {
		sections = append(sections, k.Ethereum.validate(k))
	}
	if len(sections) != 1 {
		return fmt.Errorf("%d kinds of thing to sign, need exactly one", len(sections))
	}
	return errors.Join(sections[0], k.validateTimes(), k.validateHome())
}
