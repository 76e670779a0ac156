package policy

import (
	"errors"
	"math/big"
	"time"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/payload"
)

// Past is a request that a signer has allowed, as its journal has it: a line of the export.
type Past struct {
	Key       keymgmt.KeyID     `json:"key"`
	Kind      keymgmt.Kind      `json:"kind"`
	Body      []byte            `json:"body"` // base64
	Ref       string            `json:"ref"`
	Initiator string            `json:"initiator,omitempty"`
	Consents  []keymgmt.Consent `json:"consents,omitempty"`
	Caller    string            `json:"caller"`
	At        time.Time         `json:"at"`
	FirstSeen *time.Time        `json:"first_seen,omitempty"` // when it had to lie
	Policy    uint64            `json:"policy"`               // the version that allowed it
}

// ErrNotSimulated: the decision depends on what the journal of requests does not tell.
var ErrNotSimulated = errors.New("policy: not simulated: what validators have said is not in a journal of requests")

// Simulation decides again, by other rules, what a signer has allowed, to show what new rules would have changed. It knows
// the limits as they would have been used up, and no attestations and discharges: rules that need these are left out. It
// takes approvals for what they were, given under the version of then. Whether the policy is in force does not matter.
type Simulation struct {
	policy *Policy
	used   map[keymgmt.KeyID]map[Counter]map[int64]*big.Int // by part of the time line
	held   map[simulated]simulatedHolder
	last   map[string]*Last
}

// simulated is what shares a reservation, as in Sequence.
type simulated struct {
	key    keymgmt.KeyID
	source string
	number int64
}

type simulatedHolder struct {
	slot    map[Counter]int64
	reserve []Reservation
}

// Simulate begins a simulation of a policy file that nobody needs to have signed, with its lists.
func Simulate(file []byte, lists ...[]byte) (*Simulation, error) {
	f, err := Check(file)
	if err != nil {
		return nil, err
	}
	known := map[string]*loaded{}
	for _, text := range lists {
		l, err := CheckList(text)
		if err != nil {
			return nil, err
		}
		known[l.Name] = load(l, Signed{File: text})
	}
	if err := f.complete(known); err != nil {
		return nil, err
	}
	for i := range f.Keys {
		if t := f.Keys[i].Transaction; t != nil {
			t.Reserves, t.Liens = nil, nil
		}
	}
	return &Simulation{policy: compile(f, known, Source{File: file}), used: map[keymgmt.KeyID]map[Counter]map[int64]*big.Int{},
		held: map[simulated]simulatedHolder{}, last: map[string]*Last{}}, nil
}

// Decide decides on the next request, in the order of time. Nil: it would be allowed again. The error is a *Denial,
// ErrNotSimulated, or wraps keymgmt.ErrMalformed. What is refused does not use up anything.
func (s *Simulation) Decide(past Past) error {
	r := keymgmt.Request{Key: past.Key, Kind: past.Kind, Body: past.Body, Ref: past.Ref, Initiator: past.Initiator, Consents: past.Consents}
	if err := r.Validate(); err != nil {
		return err
	}
	m, err := payload.Decode(r.Kind, r.Body)
	if err != nil {
		return err
	}
	if m.Statement != nil || m.SCPValue != nil {
		return ErrNotSimulated
	}
	facts := Facts{Caller: past.Caller, Now: past.At}
	if past.FirstSeen != nil {
		facts.FirstSeen = *past.FirstSeen
	}
	if c := m.Checkpoint; c != nil {
		if facts.Last = s.last[c.Origin]; facts.Last == nil {
			facts.Last = new(Last)
		}
	}
	shared := simulated{key: r.Key, source: "ref:" + r.Ref}
	if source, number, ok := Sequence(m); ok {
		shared.source, shared.number = source, number
	}
	facts.Spent, facts.Holder = s.spent(shared, past.At)
	then := *s.policy
	then.file.Version = past.Policy
	a, err := then.decide(r, m, facts)
	if err != nil {
		return err
	}
	if c := m.Checkpoint; c != nil {
		s.last[c.Origin] = &Last{Size: c.Size, Root: c.Root}
	}
	s.use(shared, a.Reservations(), past.At)
	return nil
}

// spent adds up what counts at that time, without what the holder has reserved.
func (s *Simulation) spent(shared simulated, now time.Time) (map[Counter]*big.Int, *Holder) {
	holder, held := s.held[shared]
	sums := map[Counter]*big.Int{}
	for _, c := range s.policy.Counters(shared.key) {
		sums[c] = new(big.Int)
		for slot, amount := range s.used[shared.key][c] {
			if slot >= c.First(now) {
				sums[c].Add(sums[c], amount)
			}
		}
	}
	if !held {
		return sums, nil
	}
	reserved := map[Counter]*big.Int{}
	for _, r := range holder.reserve {
		reserved[r.Counter] = r.Amount
		if sum := sums[r.Counter]; sum != nil && holder.slot[r.Counter] >= r.Counter.First(now) {
			sum.Sub(sum, r.Amount)
		}
	}
	return sums, &Holder{Reserved: reserved}
}

// use reserves, and gives back what was reserved before for the same number.
func (s *Simulation) use(shared simulated, reserve []Reservation, now time.Time) {
	used := s.used[shared.key]
	if used == nil {
		used = map[Counter]map[int64]*big.Int{}
		s.used[shared.key] = used
	}
	add := func(c Counter, slot int64, amount *big.Int) {
		if used[c] == nil {
			used[c] = map[int64]*big.Int{}
		}
		if used[c][slot] == nil {
			used[c][slot] = new(big.Int)
		}
		used[c][slot].Add(used[c][slot], amount)
	}
	before := s.held[shared]
	for _, r := range before.reserve {
		add(r.Counter, before.slot[r.Counter], new(big.Int).Neg(r.Amount))
	}
	next := simulatedHolder{slot: map[Counter]int64{}, reserve: reserve}
	for _, r := range reserve {
		next.slot[r.Counter] = r.Counter.Slot(now)
		add(r.Counter, next.slot[r.Counter], r.Amount)
	}
	s.held[shared] = next
}
