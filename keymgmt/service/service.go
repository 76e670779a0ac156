// Package service is the signer itself: it reads a request, asks the policy, writes down what it is about to do, signs
// with a Keyring that verifies, and writes the signature down, too, before anyone gets it.
//
//	svc, err := service.Open(ctx, service.Config{DB: db, Policy: p, Keyring: keys, Log: log})
//	signer := svc.For("gateway.diamante.internal") // a keymgmt.Signer for that client
//
// What rests on what. A key signs only for an Approval, and the keyring gets that only once the transaction with the request and
// its reservations is committed; a signature is returned only once the one with it is. One ref has one body and one signature by
// the primary keys of their tables, whatever a program does. No limit is exceeded by several processes over one database since
// each group of requests is decided in the SERIALIZABLE transaction that also reserves. Each row has its record since audit.Do
// commits nothing without. That a signature is good rests on its type, signature.Verified, which only verifying makes.
//
// Rollback. Limits, sequence numbers, used approvals, orders and high-water marks are worth what the database remembers, so
// an older copy of it must not pass for it. With Config.Mark, a device outside of it remembers the name of its newest
// record and the highest version of a policy. What is detected, and answered with ErrRollback:
//
//   - at the start, a database without the record that the mark names: restored from a backup, copied back, emptied, or gone
//     another way since, also when it has grown past the mark's position again; and another device than before;
//   - at the start, a policy that is older than the mark's, whatever the database says;
//   - while running, with or without a device, a database that lost a record which this process has seen. Then nothing is
//     signed until the process is started again, which brings the check at the start.
//
// What is not: the mark is raised at the start (and with it whenever a policy is adopted), at most MarkInterval and one write
// of the device after something was written, and at the end by Close. So a process that is killed leaves what it wrote in
// that last second unmarked, and a copy that lacks no more than that is taken for the database. While running, a look is
// LookInterval old at most; a rollback shorter than that goes unseen until the next. Whoever has the PIN can remove the
// mark: then the signer does not start, and only AcceptLoss, which leaves a record, lets it. Without a device, as with keys
// in Vault alone, a rollback while the process is down is not detected at all; Open says so in the log.
//
// All state is in the signer's database, in schema signer (deploy/schema/signer). Its audit records are in the same
// database, and the program runs a sequencer for them whose checkpoints this service signs; CheckpointTrace keeps those from
// making work for each other.
package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/payload"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/keymgmt/signature"
)

// The errors of Open besides keymgmt.ErrUnavailable. Each needs an operator.
var (
	// ErrRollback: the journal has seen a newer policy or list, or another file of the same version; or the device's mark, or
	// this process, has seen more of the journal than there is.
	ErrRollback = errors.New("service: rolled back")
	// ErrOtherKey: the keyring's public key is not the one that the policy registers.
	ErrOtherKey = errors.New("service: keyring holds another key than the policy registers")
	// ErrOtherHome: the key is not where the policy says that it is.
	ErrOtherHome = errors.New("service: key is not in the home that the policy registers")
	// ErrMoved: the journal knows the id as another key, or in another home, and the policy does not say that it moved from there.
	ErrMoved = errors.New("service: key id stands for something else than before")
)

// MaxInFlight bounds the requests that are worked on at once; others wait for their turn or their deadline.
const MaxInFlight = 128

// Config is what the signer is made of. Every field but Mark and Now is required.
type Config struct {
	DB      *audit.DB        // the signer's database
	Policy  *policy.Policy   // the rules in force until the process ends
	Keyring Keyring          // where the keys are
	Log     *slog.Logger     // for what an operator must know beyond the answers
	Mark    Marker           // remembers how far DB had got; nil when no device can, see the package comment
	Now     func() time.Time // the clock; nil means the machine's
}

// Validate reports what is missing.
func (c Config) Validate() error {
	if c.DB == nil || c.Policy == nil || c.Keyring == nil || c.Log == nil {
		return errors.New("service: Config needs DB, Policy, Keyring and Log")
	}
	return nil
}

// Service is the signer. It is safe for concurrent use.
type Service struct {
	cfg       Config
	machine   bool // the clock is the machine's
	refusals  refusals
	sightings refusals // of requests that have to lie
	refs      lanes    // one request at a time per key and ref
	journal   journal
	spoken    spoken
	shares    shares        // of the slots
	slots     chan struct{} // MaxInFlight of them
	watch     *watch

	mu     sync.Mutex
	broken map[keymgmt.KeyID]bool // keys whose signature did not verify; guarded by mu
	// failure is how the last attempt to write the journal ended, at failed; guarded by mu
	failure error
	failed  time.Time
}

// Open checks that the keyring holds exactly the keys that the policy registers and that the policy is not older than
// any that was in force, and records the policy if it is new. With a Mark, database and policy are held to it first, and it
// is raised to them then. It starts nothing.
func Open(ctx context.Context, cfg Config) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	machine := cfg.Now == nil
	if machine {
		cfg.Now = time.Now
	}
	for _, key := range cfg.Policy.Keys() {
		public, err := cfg.Keyring.Public(ctx, key)
		if err != nil {
			return nil, fmt.Errorf("service: public key of %s: %w", key, err)
		}
		if cfg.Policy.Public(key) != public {
			return nil, fmt.Errorf("%w: %s", ErrOtherKey, key)
		}
		if home := cfg.Keyring.Home(key); home != cfg.Policy.Home(key) {
			return nil, fmt.Errorf("%w: %s is in %q, not in %q", ErrOtherHome, key, home, cfg.Policy.Home(key))
		}
	}
	var mark keymgmt.Mark
	if cfg.Mark != nil {
		var err error
		if mark, err = compare(ctx, cfg); err != nil {
			return nil, err
		}
	}
	if err := adopt(ctx, cfg.DB, cfg.Policy); err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, machine: machine, journal: journal{grew: make(chan struct{}, 1)}, slots: make(chan struct{}, MaxInFlight), broken: map[keymgmt.KeyID]bool{}}
	if err := s.begin(ctx, mark); err != nil {
		return nil, err
	}
	return s, nil
}

// For returns the Signer of one client, who was authenticated by that name.
func (s *Service) For(caller string) keymgmt.Signer { return client{s, caller} }

type client struct {
	service *Service
	caller  string
}

// Sign implements keymgmt.Signer.
func (c client) Sign(ctx context.Context, r keymgmt.Request) (keymgmt.Signature, error) {
	s := c.service
	leave, err := s.turn(ctx, c.caller, r.Key)
	if err != nil {
		return keymgmt.Signature{}, err
	}
	defer leave()
	sig, err := s.sign(ctx, c.caller, r)
	if err == nil {
		return sig, nil
	}
	if ctx.Err() != nil {
		return keymgmt.Signature{}, ctx.Err()
	}
	if refused(err) {
		if again := s.refuse(ctx, c.caller, r, err); again != nil {
			return keymgmt.Signature{}, unavailable(again)
		}
		return keymgmt.Signature{}, err
	}
	return keymgmt.Signature{}, unavailable(err)
}

// sign is the whole procedure. A crash after any step is made good by asking again with the same Ref and Body, which
// goes through the same steps and finds what is already there.
func (s *Service) sign(ctx context.Context, caller string, r keymgmt.Request) (keymgmt.Signature, error) {
	// 1. Authenticate: to whom a key is not open, it does not exist.
	if !s.cfg.Policy.KnowsCaller(caller) {
		return keymgmt.Signature{}, keymgmt.ErrUnknownKey
	}
	// 2. Validate the shape of the request.
	if err := r.Validate(); err != nil {
		return keymgmt.Signature{}, err
	}
	if !s.cfg.Policy.Knows(caller, r.Key) {
		return keymgmt.Signature{}, fmt.Errorf("%w: %s", keymgmt.ErrUnknownKey, r.Key)
	}
	if s.isBroken(r.Key) {
		return keymgmt.Signature{}, fmt.Errorf("%w: key %s is stopped: a signature of it did not verify", keymgmt.ErrUnavailable, r.Key)
	}
	// 3. Whoever asks for the same thing at the same time waits here and finds the answer in the journal.
	leave, err := s.refs.enter(ctx, r.Key.String()+" "+r.Ref)
	if err != nil {
		return keymgmt.Signature{}, err
	}
	defer leave()
	// 4. Read what is asked. That it can't be read is told below, if the journal does not know the Ref.
	meaning, unreadable := payload.Decode(r.Kind, r.Body)
	// 5. In one transaction, with others that wait: look in the journal, ask the policy, reserve the limits, raise the
	// high-water mark and write down the intent.
	q := asked{caller: caller, request: r, meaning: meaning, unreadable: unreadable}
	a, err := s.write(ctx, &entry{asked: q})
	if err != nil {
		return keymgmt.Signature{}, err
	}
	if a.stored != nil {
		return *a.stored, nil
	}
	// 6. The key signs what was approved.
	made, err := s.cfg.Keyring.Sign(ctx, a.approval)
	if errors.Is(err, keymgmt.ErrUnavailable) {
		return keymgmt.Signature{}, &failure{fmt.Errorf("sign: %w", err)}
	}
	if err != nil {
		return keymgmt.Signature{}, fmt.Errorf("sign: %w", err)
	}
	// 7. Nobody sees a signature that does not verify: a stale handle or a faulty device may have used another key. That it
	// was verified is in its type; here it is held to the key and to the messages that are meant.
	public := s.cfg.Policy.Public(r.Key)
	raw, ok := joined(public, meaning.Messages(public), made)
	if !ok {
		return keymgmt.Signature{}, s.stop(ctx, caller, r)
	}
	// 8. Journal the signature; if the journal has one already, that one is the answer.
	a, err = s.write(ctx, &entry{asked: q, made: &keymgmt.Signature{Public: public, Bytes: raw}})
	if err != nil {
		return keymgmt.Signature{}, fmt.Errorf("journal: %w", err)
	}
	return *a.stored, nil
}

// joined returns the signatures one after the other, if they are those of the messages by the key.
func joined(public keymgmt.PublicKey, messages [][]byte, made []signature.Verified) (raw []byte, ok bool) {
	if len(messages) == 0 || len(made) != len(messages) {
		return nil, false
	}
	for i, m := range messages {
		if !made[i].Of(public, m) {
			return nil, false
		}
		raw = append(raw, made[i].Bytes()...)
	}
	return raw, true
}

func (s *Service) isBroken(key keymgmt.KeyID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.broken[key]
}

// stop takes a key out of use until an operator has looked at its keyring and started the signer again.
func (s *Service) stop(ctx context.Context, caller string, r keymgmt.Request) error {
	s.mu.Lock()
	s.broken[r.Key] = true
	s.mu.Unlock()
	s.cfg.Log.Error("signature does not verify; key stopped", "key", r.Key.String(), "ref", r.Ref)
	err := audit.Do(ctx, s.cfg.DB, actor(caller), func(ctx context.Context, tx *audit.Tx) error {
		_, err := tx.Record(ctx, audit.Event{Action: "key.stopped", Subject: r.Key.String(),
			Data: map[string]any{"ref": r.Ref, "reason": "signature does not verify"}})
		return err
	})
	return errors.Join(fmt.Errorf("%w: signature of key %s does not verify; the key is stopped", keymgmt.ErrUnavailable, r.Key), err)
}

// refused reports whether err is a final answer.
func refused(err error) bool {
	for _, final := range []error{keymgmt.ErrMalformed, keymgmt.ErrUnknownKey, keymgmt.ErrDenied, keymgmt.ErrApprovalNeeded, keymgmt.ErrNotYet, keymgmt.ErrRefUsed} {
		if errors.Is(err, final) {
			return true
		}
	}
	return false
}

// unavailable makes every failure that is not an answer the one error that says: ask again.
func unavailable(err error) error {
	if errors.Is(err, keymgmt.ErrUnavailable) {
		return err
	}
	return &failure{err}
}

// failure is of the signer's own parts: its text, which may name hosts and users of theirs, is for its log.
type failure struct{ cause error }

// Error tells everything.
func (f *failure) Error() string { return fmt.Sprintf("%v: %v", keymgmt.ErrUnavailable, f.cause) }

// Unwrap returns keymgmt.ErrUnavailable.
func (f *failure) Unwrap() error { return keymgmt.ErrUnavailable }

// Outside is what a client is told.
func (f *failure) Outside() string {
	return fmt.Sprintf("%v: a part of the signer is not working", keymgmt.ErrUnavailable)
}

func actor(caller string) audit.Actor { return audit.Actor{Kind: "worker", Name: caller} }
