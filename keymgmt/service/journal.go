package service

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/payload"
	"github.com/diamante/gateway/keymgmt/policy"
)

const (
	// maxGroup bounds what is written down in one transaction.
	maxGroup = 64
	// gatherTime is the longest that a group waits for company, while most of those who are in the service are still on their
	// way to the journal. Half of a transaction's price is the same for one entry and for thirty.
	gatherTime = 2 * time.Millisecond
	// groupPatience bounds one transaction, whoever waits for it.
	groupPatience = 15 * time.Second
)

// journal writes down what many ask for in one transaction: a database spends the same on the commit of one request and of
// sixty. While one group is on its way the next one gathers; after that it waits for company for a moment, and not at all when
// as many wait already as are elsewhere in the service. So one caller by himself never waits.
type journal struct {
	grew chan struct{} // holds one token when somebody has come since the last look

	mu      sync.Mutex
	waiting []*entry // guarded by mu
	busy    bool     // a goroutine is writing and will look at waiting again; guarded by mu
}

// asked is one request on its way.
type asked struct {
	caller     string
	request    keymgmt.Request
	meaning    payload.Meaning
	unreadable error // of payload.Decode
}

func (q asked) name() name { return name{q.request.Key.String(), q.request.Ref} }

// entry is a request that asks to be admitted, or the signature that was made for it.
type entry struct {
	asked
	made *keymgmt.Signature

	ctx  context.Context // of whoever waits
	done chan struct{}   // closed when out and err are final
	out  admitted
	err  error
}

// admitted is what came of it: an answer from the journal, or permission to make one.
type admitted struct {
	stored   *keymgmt.Signature
	approval *policy.Approval
}

// write has an entry written down and waits for that. Whoever stops waiting finds what became of it by asking again.
func (s *Service) write(ctx context.Context, e *entry) (admitted, error) {
	e.ctx, e.done = ctx, make(chan struct{})
	j := &s.journal
	j.mu.Lock()
	j.waiting = append(j.waiting, e)
	if !j.busy {
		j.busy = true
		go s.drain()
	}
	j.mu.Unlock()
	select {
	case j.grew <- struct{}{}:
	default:
	}
	select {
	case <-e.done:
		return e.out, e.err
	case <-ctx.Done():
		return admitted{}, ctx.Err()
	}
}

// drain writes one group after the other until nobody waits.
func (s *Service) drain() {
	j := &s.journal
	for {
		j.gather(s.slots)
		j.mu.Lock()
		group := j.waiting[:min(len(j.waiting), maxGroup)]
		j.waiting = append([]*entry(nil), j.waiting[len(group):]...)
		if len(group) == 0 {
			j.busy = false
			j.mu.Unlock()
			return
		}
		j.mu.Unlock()
		s.commit(group)
		for _, e := range group {
			close(e.done)
		}
	}
}

// gather returns when those who wait are at least half of those in the service, or enough for a group, or have waited long
// enough.
func (j *journal) gather(inside chan struct{}) {
	late := time.NewTimer(gatherTime)
	defer late.Stop()
	for {
		j.mu.Lock()
		n := len(j.waiting)
		j.mu.Unlock()
		if n == 0 || n >= maxGroup || 2*n >= len(inside) {
			return
		}
		select {
		case <-j.grew:
		case <-late.C:
			return
		}
	}
}

// commit writes a group down. What makes one entry fail for a reason of its own must not fail the others: then each is
// tried by itself.
func (s *Service) commit(group []*entry) {
	ctx, cancel := context.WithTimeout(context.Background(), groupPatience)
	defer cancel()
	var k *known
	err := s.guarded(ctx, func() error {
		return audit.Do(ctx, s.cfg.DB, audit.Actor{Kind: "worker", Name: "signer"}, func(ctx context.Context, tx *audit.Tx) (err error) {
			k, err = s.writeGroup(ctx, tx, group)
			return err
		})
	})
	s.wrote(err)
	if err == nil {
		s.spoken.learn(k.said)
		return
	}
	if len(group) > 1 && !audit.Unavailable(err) && ctx.Err() == nil {
		for _, e := range group {
			s.commit([]*entry{e})
		}
		return
	}
	for _, e := range group {
		e.out, e.err = admitted{}, fmt.Errorf("journal: %w", err)
	}
}

// writeGroup decides on every entry in turn, each knowing what those before it used up, and writes down what came of them.
// It may run several times.
func (s *Service) writeGroup(ctx context.Context, tx *audit.Tx, group []*entry) (*known, error) {
	k, err := s.load(ctx, tx, group)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(s.spoken.check(k.said), k.loadIssued(ctx, tx, group)); err != nil {
		return nil, err
	}
	var w writes
	for _, e := range group {
		e.out, e.err = admitted{}, e.ctx.Err()
		switch {
		case e.err != nil: // nobody waits for it any more
		case e.made != nil:
			e.out.stored, e.err = k.keep(e, &w)
		default:
			e.out, e.err = s.admit(k, e, &w)
		}
	}
	return k, w.flush(ctx, tx, k)
}

// known is what a group's decisions depend on. Decisions change it as they would the database.
type known struct {
	now time.Time
	// countFrom is the moment whose windows count: now, or earlier by what the clocks of two processes may differ.
	countFrom time.Time
	// deciding: somebody of the group asks to be admitted. Else nothing but intents is known.
	deciding bool
	newest   uint64 // version of the newest policy
	intents  map[name]intent
	spent    map[string]map[policy.Counter]*big.Int // key -> counter -> what counts now
	holders  map[numbered]*holder
	frozen   map[string]bool         // key, or keymgmt.EveryKey
	used     map[string]name         // nonce of an approval -> the request it was used for
	last     map[string]*policy.Last // origin -> newest checkpoint
	gates
	timely
	lists map[string]uint64 // version of the newest of each list
}

// load reads what the decisions on a group depend on, in one round trip. What was decided before, and only has its signature
// to be kept, depends on nothing but what the journal has of it. No question is asked about nothing: the planner takes as
// long for it as for another.
func (s *Service) load(ctx context.Context, tx *audit.Tx, group []*entry) (*known, error) {
	k := &known{now: s.cfg.Now().UTC(), intents: map[name]intent{}, spent: map[string]map[policy.Counter]*big.Int{}, holders: map[numbered]*holder{}, frozen: map[string]bool{}, used: map[string]name{}, last: map[string]*policy.Last{}, gates: newGates(), timely: newTimely(), lists: map[string]uint64{}}
	k.countFrom = s.countFrom(k.now)
	var b pgx.Batch
	k.queueIntents(&b, group)
	asking := slices.DeleteFunc(slices.Clone(group), func(e *entry) bool { return e.made != nil })
	if len(asking) > 0 {
		k.queueRules(&b, s.cfg.Policy, asking)
		k.queueConsents(&b, asking)
		k.queueCheckpoints(&b, asking)
		s.queueGates(&b, k, asking)
		s.queueTime(&b, k, asking)
		s.queueLists(&b, k)
		for _, e := range asking {
			if e.counts() {
				k.queueUsage(&b, s.cfg.Policy, e)
			}
		}
	}
	return k, tx.SendBatch(ctx, &b).Close()
}

// queueIntents asks what the journal has of the requests.
func (k *known) queueIntents(b *pgx.Batch, group []*entry) {
	var keys, refs []string
	for _, e := range group {
		n := e.name()
		keys, refs = append(keys, n.key), append(refs, n.ref)
	}
	b.Queue(findRequests, keys, refs).Query(each(func(rows pgx.Rows) error {
		n, in, err := scanIntent(rows)
		k.intents[n] = in
		return err
	}))
}

// queueRules asks which policy is in force, and which keys are frozen.
func (k *known) queueRules(b *pgx.Batch, p *policy.Policy, asking []*entry) {
	k.queueNewest(b)
	k.deciding = true
	keys := []string{keymgmt.EveryKey}
	for _, e := range asking {
		keys = append(keys, e.name().key, p.Behind(e.meaning).String())
	}
	slices.Sort(keys)
	b.Queue(`SELECT DISTINCT ON (key) key, action = 'freeze' FROM signer.orders WHERE key = ANY($1) ORDER BY key, n DESC`, slices.Compact(keys)).
		Query(each(func(rows pgx.Rows) error {
			var key string
			var frozen bool
			err := rows.Scan(&key, &frozen)
			k.frozen[key] = frozen
			return err
		}))
}

func (k *known) queueNewest(b *pgx.Batch) {
	b.Queue(`SELECT max(version) FROM signer.policy`).QueryRow(func(row pgx.Row) error {
		var newest int64
		err := row.Scan(&newest)
		k.newest = uint64(newest)
		return err
	})
}

// queueConsents asks which approvals of people were used before.
func (k *known) queueConsents(b *pgx.Batch, asking []*entry) {
	var nonces []string
	for _, e := range asking {
		for _, c := range e.request.Consents {
			nonces = append(nonces, c.Nonce)
		}
	}
	if len(nonces) == 0 {
		return
	}
	b.Queue(`SELECT nonce, key, ref FROM signer.consent WHERE nonce = ANY($1)`, nonces).Query(each(func(rows pgx.Rows) error {
		var nonce string
		var n name
		err := rows.Scan(&nonce, &n.key, &n.ref)
		k.used[nonce] = n
		return err
	}))
}

// queueCheckpoints asks for the newest checkpoints of logs.
func (k *known) queueCheckpoints(b *pgx.Batch, asking []*entry) {
	var origins []string
	for _, e := range asking {
		if c := e.meaning.Checkpoint; c != nil && k.last[c.Origin] == nil {
			origins, k.last[c.Origin] = append(origins, c.Origin), &policy.Last{}
		}
	}
	if len(origins) == 0 {
		return
	}
	b.Queue(`SELECT DISTINCT ON (origin) origin, size, root FROM signer.checkpoint WHERE origin = ANY($1) ORDER BY origin, size DESC`, origins).Query(each(func(rows pgx.Rows) error {
		var origin string
		var root []byte
		var last policy.Last
		err := rows.Scan(&origin, &last.Size, &root)
		copy(last.Root[:], root)
		k.last[origin] = &last
		return err
	}))
}

// each reads rows one by one.
func each(scan func(pgx.Rows) error) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		for rows.Next() {
			if err := scan(rows); err != nil {
				return err
			}
		}
		return rows.Err()
	}
}

// admit decides on one request.
func (s *Service) admit(k *known, e *entry, w *writes) (admitted, error) {
	n := e.name()
	in, journalled := k.intents[n]
	if journalled {
		if err := in.same(e.request); err != nil || in.stored != nil {
			return admitted{stored: in.stored}, err
		}
	}
	if err := s.inForce(k); err != nil {
		return admitted{}, err
	}
	if e.unreadable != nil {
		return admitted{}, e.unreadable
	}
	if err := s.clock(k.now, k.timely); err != nil {
		return admitted{}, err
	}
	facts := policy.Facts{Caller: e.caller, Now: k.now, FirstSeen: k.firstSeen(e), Used: map[string]bool{}, Frozen: k.frozen[n.key] || k.frozen[keymgmt.EveryKey] || k.frozen[s.cfg.Policy.Behind(e.meaning).String()]}
	for _, c := range e.request.Consents {
		if by, used := k.used[c.Nonce]; used && by != n {
			facts.Used[c.Nonce] = true
		}
	}
	if e.counts() {
		facts.Spent, facts.Holder = k.usage(e)
	}
	if c := e.meaning.Checkpoint; c != nil {
		facts.Last = k.last[c.Origin]
	}
	s.gateFacts(k, e, &facts)
	approval, err := s.cfg.Policy.Decide(e.request, e.meaning, facts)
	if err != nil {
		s.see(k, e, err, w)
		return admitted{}, err
	}
	if journalled { // before a crash
		if err := s.whole(k, e); err != nil {
			return admitted{}, err
		}
	} else {
		k.journal(e, s.basis(e, facts), w)
	}
	k.consume(e, w)
	s.passGates(k, e, !journalled, w)
	if e.counts() {
		k.reserve(e, approval, w)
	}
	return admitted{approval: approval}, nil
}

// consume writes down the approvals that a request has used up, with it and for ever.
func (k *known) consume(e *entry, w *writes) {
	var given []keymgmt.Consent
	for _, c := range e.request.Consents {
		if _, used := k.used[c.Nonce]; !used {
			k.used[c.Nonce] = e.name()
			w.consents = append(w.consents, consent{e.name(), c})
			given = append(given, c)
		}
	}
	if len(given) > 0 {
		w.record(e, "approval.used", map[string]any{"ref": e.request.Ref, "initiator": e.request.Initiator, "approvals": given})
	}
}

// journal writes down a request that was approved on some basis.
func (k *known) journal(e *entry, basis map[string]any, w *writes) {
	n, r := e.name(), e.request
	k.intents[n] = intent{kind: r.Kind.String(), body: r.Body}
	w.requests = append(w.requests, e)
	if c := e.meaning.Checkpoint; c != nil && c.Size > k.last[c.Origin].Size {
		k.last[c.Origin] = &policy.Last{Size: c.Size, Root: c.Root}
		w.checkpoints = append(w.checkpoints, c)
	}
	w.record(e, "signature.approved", basis)
}

// keep stores an answer. When another process was faster, its answer is the one.
func (k *known) keep(e *entry, w *writes) (*keymgmt.Signature, error) {
	n := e.name()
	in, journalled := k.intents[n]
	if !journalled {
		return nil, fmt.Errorf("service: the journal has lost %s of %s", n.ref, n.key)
	}
	if in.stored != nil {
		return in.stored, nil
	}
	in.stored = e.made
	k.intents[n] = in
	w.signatures = append(w.signatures, e)
	w.record(e, "signature.made", map[string]any{"ref": n.ref, "sha256": digest(e.request.Body), "signature": hex.EncodeToString(e.made.Bytes)})
	return e.made, nil
}
