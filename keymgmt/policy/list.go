package policy

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/diamante/gateway/keymgmt/payload/ethereum"
	"github.com/diamante/gateway/node/protocol"
)

// ListFormat is the first line of meaning in the file of a list.
const ListFormat = "diamante-list/1"

// listReference is what a rule's destination begins with that is a list's name.
const listReference = "list:"

// Bounds of lists.
const (
	maxLists   = 50
	maxEntries = 10_000
)

var listName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,39}$`)

// ListRule names a list that the rules refer to, and those who decide what is on it: people of its own, so that who adds
// a destination need not be who writes rules. It is a file with its own versions, loaded next to the policy.
type ListRule struct {
	Name     string               `toml:"name"`
	Officers []protocol.AccountID `toml:"officers"` // their public keys, in the notation of accounts
	Quorum   int                  `toml:"quorum"`   // how many of them must sign each version
}

func (r ListRule) board() Board {
	b := Board{Quorum: r.Quorum}
	for _, o := range r.Officers {
		b.Officers = append(b.Officers, o.Key())
	}
	return b
}

func (r ListRule) explain() string {
	return fmt.Sprintf("list %s is what %d of these have signed: %s", r.Name, r.Quorum, parties(Only(r.Officers...)))
}

// List is the file of a list: destinations, or a roster of officers.
type List struct {
	Format  string              `toml:"format"`
	Name    string              `toml:"name"`
	Version uint64              `toml:"version"` // from 1; the signer never goes back to a lower one
	Network protocol.Passphrase `toml:"network"` // the policy's, so that a list is good for one installation
	Life
	// Entries are accounts and addresses, each exactly as it must be in a transaction.
	Entries  []string  `toml:"entries,omitempty"`
	Officers []Officer `toml:"officer,omitempty"`
}

// Signed is a file with its detached signatures.
type Signed struct{ File, Signatures []byte }

// ListVersion is a list that a policy was loaded with.
type ListVersion struct {
	Name    string
	Version uint64
	Hash    [sha256.Size]byte
	Source  Signed
}

// loaded is a list that a policy has.
type loaded struct {
	List
	hash    [sha256.Size]byte
	source  Signed
	entries map[string]bool
}

// has reports whether an entry is on the list, letter by letter.
func (l *loaded) has(entry string) bool { return l != nil && l.entries[entry] }

// Lists returns the lists that the policy was loaded with, sorted by name.
func (p *Policy) Lists() (list []ListVersion) {
	for _, name := range slices.Sorted(maps.Keys(p.lists)) {
		l := p.lists[name]
		list = append(list, ListVersion{name, l.Version, l.hash, l.source})
	}
	return list
}

// CheckList reads the file of a list that nobody has signed yet and says what is wrong with it.
func CheckList(file []byte) (List, error) {
	var l List
	if len(file) > MaxFile {
		return List{}, fmt.Errorf("%w: over %d bytes", ErrInvalid, MaxFile)
	}
	if err := decode(file, &l); err != nil {
		return List{}, err
	}
	if err := l.validate(); err != nil {
		return List{}, fmt.Errorf("%w: list %.40q: %w", ErrInvalid, l.Name, err)
	}
	return l, nil
}

// MarshalList returns the file to be signed, after checking it.
func MarshalList(l List) ([]byte, error) {
	if err := l.validate(); err != nil {
		return nil, fmt.Errorf("%w: list %.40q: %w", ErrInvalid, l.Name, err)
	}
	b, err := toml.Marshal(l)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return b, nil
}

func (l *List) validate() error {
	switch {
	case l.Format != ListFormat:
		return fmt.Errorf("format %.40q, need %q", l.Format, ListFormat)
	case !listName.MatchString(l.Name):
		return errors.New("the name is not one word of small letters, digits and dashes")
	case l.Version < 1 || l.Version > 1<<62:
		return fmt.Errorf("version %d", l.Version)
	case l.Network.Validate() != nil:
		return errors.New("network passphrase")
	case len(l.Entries) > maxEntries || len(l.Officers) > maxOfficers || (len(l.Entries) == 0) == (len(l.Officers) == 0):
		return fmt.Errorf("%d entries and %d officers: need one of them, at most %d or %d", len(l.Entries), len(l.Officers), maxEntries, maxOfficers)
	}
	seen := map[string]bool{}
	for _, e := range l.Entries {
		if seen[e] || e == anyAddress || strings.HasPrefix(e, listReference) {
			return fmt.Errorf("entry %.80q is there twice, or is no destination", e)
		}
		seen[e] = true
	}
	if len(l.Entries) > 0 {
		if err := validAddresses("list", l.Entries); err != nil {
			return err
		}
	}
	return l.Life.validate()
}

// bind verifies and reads the lists of a policy. Nothing of a file is read before those who decide on that list are known
// to have signed it, and which list it is it says itself: it is not known by where it lay.
func (f *File) bind(files []Signed) (map[string]*loaded, error) {
	if len(files) > maxLists {
		return nil, fmt.Errorf("%w: %d lists, at most %d", ErrInvalid, len(files), maxLists)
	}
	lists := map[string]*loaded{}
	for i, file := range files {
		found, err := f.find(file)
		if err != nil {
			return nil, fmt.Errorf("list file %d: %w", i+1, err)
		}
		if lists[found.Name] != nil {
			return nil, fmt.Errorf("%w: list %s is there twice", ErrInvalid, found.Name)
		}
		lists[found.Name] = found
	}
	return lists, f.complete(lists)
}

// complete checks the policy together with its lists, and takes the officers from the one that is the roster.
func (f *File) complete(lists map[string]*loaded) error {
	for _, rule := range f.Lists {
		if lists[rule.Name] == nil {
			return fmt.Errorf("%w: the file of list %s is missing", ErrInvalid, rule.Name)
		}
	}
	if f.Roster != "" {
		f.Officers = lists[f.Roster].Officers
		if len(f.Officers) == 0 {
			return fmt.Errorf("%w: list %s has no officers", ErrInvalid, f.Roster)
		}
		if err := errors.Join(f.validateOfficers(), f.validateSignatories()); err != nil {
			return fmt.Errorf("%w: %w", ErrInvalid, err)
		}
	}
	return f.fits(lists)
}

func load(l List, source Signed) *loaded {
	b := &loaded{List: l, hash: sha256.Sum256(source.File), source: source, entries: map[string]bool{}}
	for _, e := range l.Entries {
		b.entries[e] = true
	}
	return b
}

// find reads one file, as the list that those who signed it decide on.
func (f *File) find(file Signed) (*loaded, error) {
	if len(file.File) > MaxFile {
		return nil, fmt.Errorf("%w: over %d bytes", ErrInvalid, MaxFile)
	}
	err := fmt.Errorf("%w: nor by those who decide on any list of the policy", ErrSignature)
	for _, rule := range f.Lists {
		if failed := rule.board().verify(listPrefix, file.File, file.Signatures); failed != nil {
			continue
		}
		l, bad := CheckList(file.File)
		switch {
		case bad != nil:
			return nil, bad
		case l.Name != rule.Name:
			continue // of another list that the same people decide on
		case l.Network != f.Network:
			return nil, fmt.Errorf("%w: list %s is for network %.80q", ErrInvalid, l.Name, string(l.Network))
		}
		return load(l, Signed{bytes.Clone(file.File), bytes.Clone(file.Signatures)}), nil
	}
	return nil, err
}

// reference is a list's name in a rule, and what its entries must be there. A nil valid takes any text.
type reference struct {
	name  string
	valid func(entry string) bool
}

func isAccount(entry string) bool {
	_, err := protocol.ParseAccountID(entry)
	return err == nil
}

func isEthereum(entry string) bool {
	a, err := ethereum.ParseAddress(entry)
	return err == nil && a.String() == entry
}

// references returns the lists that the key's rules name.
func (k *Key) references() (refs []reference) {
	accounts := func(list []Party) {
		for _, p := range list {
			if p.list != "" {
				refs = append(refs, reference{p.list, isAccount})
			}
		}
	}
	addresses := func(list []string, valid func(string) bool) {
		for _, a := range list {
			if name, ok := strings.CutPrefix(a, listReference); ok {
				refs = append(refs, reference{name, valid})
			}
		}
	}
	if r := k.Transaction; r != nil {
		for _, list := range r.parties() {
			accounts(list)
		}
	}
	if r := k.FeeBump; r != nil {
		accounts(r.Sources)
	}
	if r := k.Bitcoin; r != nil {
		addresses(r.Destinations, nil)
	}
	if r := k.Ethereum; r != nil {
		if r.Transfer != nil {
			addresses(r.Transfer.Destinations, isEthereum)
		}
		for _, t := range r.Tokens {
			addresses(t.Destinations, isEthereum)
		}
	}
	return refs
}

// parties returns every list of accounts of the rule.
func (r *TransactionRule) parties() (all [][]Party) {
	if c := r.CreateAccount; c != nil {
		all = append(all, c.Destinations)
	}
	for _, p := range r.Payments {
		all = append(all, p.Destinations)
	}
	for _, p := range r.PathPayments {
		all = append(all, p.Destinations)
	}
	if s := r.SetTrustLineFlags; s != nil {
		all = append(all, s.Trustors)
	}
	if c := r.Clawback; c != nil {
		all = append(all, c.From)
	}
	if s := r.SetAside; s != nil {
		all = append(all, s.Claimants)
	}
	return all
}

// fits checks that what the rules refer to is what they can use.
func (f *File) fits(lists map[string]*loaded) error {
	for i := range f.Keys {
		for _, ref := range f.Keys[i].references() {
			l := lists[ref.name]
			if len(l.Entries) == 0 {
				return fmt.Errorf("%w: key %s: list %s has no destinations", ErrInvalid, f.Keys[i].ID, ref.name)
			}
			for _, e := range l.Entries {
				if ref.valid != nil && !ref.valid(e) {
					return fmt.Errorf("%w: key %s: entry %q of list %s is not what the key pays to", ErrInvalid, f.Keys[i].ID, e, ref.name)
				}
			}
		}
	}
	return nil
}

func (f *File) validateLists() error {
	if len(f.Lists) > maxLists {
		return fmt.Errorf("%d lists, at most %d", len(f.Lists), maxLists)
	}
	known := map[string]bool{}
	for _, l := range f.Lists {
		if !listName.MatchString(l.Name) || known[l.Name] {
			return fmt.Errorf("list %.40q has no good name, or is there twice", l.Name)
		}
		if err := l.board().Validate(); err != nil {
			return fmt.Errorf("list %s: %w", l.Name, err)
		}
		known[l.Name] = true
	}
	used := map[string]bool{}
	if f.Roster != "" {
		used[f.Roster] = true
		if !known[f.Roster] || len(f.Officers) > 0 {
			return errors.New("the roster is no list of this policy, or there are officers besides")
		}
	}
	for i := range f.Keys {
		for _, ref := range f.Keys[i].references() {
			used[ref.name] = true
			if !known[ref.name] {
				return fmt.Errorf("key %s: list %.40q does not exist", f.Keys[i].ID, ref.name)
			}
		}
	}
	if len(used) != len(known) {
		return errors.New("there is a list that no rule names")
	}
	return nil
}

// Explain says in words what is on the list, one line for each thing.
func (l *List) Explain() []string {
	lines := []string{fmt.Sprintf("list %s version %d for network %q, %s", l.Name, l.Version, string(l.Network), l.Life)}
	lines = append(lines, l.Entries...)
	for _, o := range l.Officers {
		lines = append(lines, o.explain())
	}
	return lines
}

// shown is how many characters at either end of an address people compare.
const shown = 5

// Lint says what on the list is unwise: above all destinations that people would take for one another.
func (l *List) Lint() (lines []string) {
	if l.ValidUntil == nil {
		lines = append(lines, "the list never ends: nobody will have to look at it again")
	}
	alike := map[string]string{}
	for _, e := range l.Entries {
		if len(e) <= 2*shown {
			continue
		}
		ends := strings.ToLower(e[:shown] + e[len(e)-shown:])
		if other := alike[ends]; other != "" {
			lines = append(lines, fmt.Sprintf("%s and %s look alike", other, e))
		}
		alike[ends] = e
	}
	return lines
}
