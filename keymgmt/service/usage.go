package service

import (
	"fmt"
	"maps"
	"math/big"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/diamante/gateway/keymgmt/policy"
)

// numbered is a key with a source account and a sequence number: of all transactions that share these, the ledger applies
// one at most.
type numbered struct {
	key, source string
	sequence    int64
}

// counts reports whether an entry is of a kind that limits count.
func (e *entry) counts() bool { return policy.Counted(e.meaning) }

// numbered returns what an entry shares its reservation by. A payment of Bitcoin has no number and goes by its own ref: of
// two that spend the same output both count.
func (e *entry) numbered() numbered {
	n := e.name()
	if source, sequence, ok := policy.Sequence(e.meaning); ok {
		return numbered{n.key, source, sequence}
	}
	return numbered{n.key, "ref:" + n.ref, 0}
}

// holder is the ref that a sequence number was signed for last, and what it has reserved and not given back.
type holder struct {
	ref  string
	held []part
}

// part is an amount in one part of a counter's time line.
type part struct {
	counter policy.Counter
	slot    int64
	amount  *big.Int
}

// reservation is a row of the journal of reservations: what a ref reserves, or, with a negative amount, gives back to
// another.
type reservation struct {
	name
	part
	by string
}

// queueUsage asks for what a decision about a transaction depends on.
func (k *known) queueUsage(b *pgx.Batch, p *policy.Policy, e *entry) {
	n := e.name()
	if k.spent[n.key] == nil {
		k.spent[n.key] = map[policy.Counter]*big.Int{}
		var names []string
		var seconds, firsts []int64
		for _, c := range p.Counters(e.request.Key) {
			names, seconds, firsts = append(names, c.Name), append(seconds, int64(c.Window/time.Second)), append(firsts, c.First(k.countFrom))
		}
		b.Queue(`SELECT u.name, u.seconds, sum(g.amount - g.released)::text FROM unnest($2::text[], $3::integer[], $4::bigint[]) AS u (name, seconds, first)
			JOIN signer.usage g ON g.key = $1 AND g.name = u.name AND g.seconds = u.seconds AND g.slot >= u.first GROUP BY u.name, u.seconds`,
			n.key, names, seconds, firsts).Query(each(func(rows pgx.Rows) error {
			c, amount, err := scanCounter(rows)
			k.spent[n.key][c] = amount
			return err
		}))
	}
	number := e.numbered()
	if _, asked := k.holders[number]; asked {
		return
	}
	k.holders[number] = nil
	b.Queue(`SELECT h.ref, r.name, r.seconds, r.slot, sum(r.amount)::text
		FROM (SELECT key, ref FROM signer.sequence WHERE key = $1 AND source = $2 AND sequence = $3 ORDER BY n DESC LIMIT 1) h
		JOIN signer.reservation r USING (key, ref) GROUP BY h.ref, r.name, r.seconds, r.slot HAVING sum(r.amount) <> 0`,
		number.key, number.source, number.sequence).Query(each(func(rows pgx.Rows) error {
		var ref, amount string
		var seconds int64
		var held part
		if err := rows.Scan(&ref, &held.counter.Name, &seconds, &held.slot, &amount); err != nil {
			return err
		}
		held.counter.Window = time.Duration(seconds) * time.Second
		var ok bool
		if held.amount, ok = new(big.Int).SetString(amount, 10); !ok || held.amount.Sign() < 0 {
			return fmt.Errorf("service: %s of %s has reserved %q", ref, number.key, amount)
		}
		if k.holders[number] == nil {
			k.holders[number] = &holder{ref: ref}
		}
		k.holders[number].held = append(k.holders[number].held, held)
		return nil
	}))
}

func scanCounter(rows pgx.Rows) (c policy.Counter, n *big.Int, err error) {
	var seconds int64
	var amount string
	if err := rows.Scan(&c.Name, &seconds, &amount); err != nil {
		return c, nil, err
	}
	c.Window = time.Duration(seconds) * time.Second
	n, ok := new(big.Int).SetString(amount, 10)
	if !ok {
		return c, nil, fmt.Errorf("service: counter %s is %q", c, amount)
	}
	return c, n, nil
}

// usage returns what counts against a transaction, and who has its sequence number.
func (k *known) usage(e *entry) (map[policy.Counter]*big.Int, *policy.Holder) {
	spent := maps.Clone(k.spent[e.request.Key.String()])
	h := k.holders[e.numbered()]
	if h == nil {
		return spent, nil
	}
	reserved := map[policy.Counter]*big.Int{}
	for _, p := range h.held {
		reserved[p.counter] = sum(reserved[p.counter], p.amount)
		if p.slot >= p.counter.First(k.countFrom) && spent[p.counter] != nil {
			spent[p.counter] = new(big.Int).Sub(spent[p.counter], p.amount)
		}
	}
	return spent, &policy.Holder{Reserved: reserved}
}

func sum(a, b *big.Int) *big.Int {
	if a == nil {
		return b
	}
	return new(big.Int).Add(a, b)
}

// reserve writes down what an approval uses up, now, and gives back what the sequence number had reserved before.
func (k *known) reserve(e *entry, a *policy.Approval, w *writes) {
	n, number := e.name(), e.numbered()
	h, next := k.holders[number], &holder{ref: n.ref}
	for _, r := range a.Reservations() {
		if r.Amount.Sign() == 0 {
			continue
		}
		next.held = append(next.held, part{r.Counter, r.Counter.Slot(k.now), r.Amount})
	}
	if h != nil && h.ref == n.ref && sameParts(h.held, next.held) {
		return // asked again after a crash, a moment later
	}
	if h == nil || h.ref != n.ref {
		w.sequences = append(w.sequences, e)
	}
	spent, _ := k.usage(e)
	if h != nil {
		for _, p := range h.held {
			w.reservations = append(w.reservations, reservation{name{n.key, h.ref}, part{p.counter, p.slot, new(big.Int).Neg(p.amount)}, n.ref})
		}
	}
	for _, p := range next.held {
		w.reservations = append(w.reservations, reservation{n, p, ""})
		spent[p.counter] = sum(spent[p.counter], p.amount)
	}
	k.spent[n.key], k.holders[number] = spent, next
	if len(w.requests) == 0 || w.requests[len(w.requests)-1] != e { // journalled before: the move is recorded by itself
		w.record(e, "reservation.moved", map[string]any{"ref": n.ref})
	}
}

func sameParts(a, b []part) bool {
	if len(a) != len(b) {
		return false
	}
	amounts := map[string]string{}
	for _, p := range a {
		amounts[fmt.Sprint(p.counter, p.slot)] = p.amount.String()
	}
	for _, p := range b {
		if amounts[fmt.Sprint(p.counter, p.slot)] != p.amount.String() {
			return false
		}
	}
	return true
}

// queueReservations adds what was reserved and given back, to the journal and to the sums.
func (w *writes) queueReservations(b *pgx.Batch) {
	if len(w.sequences) > 0 {
		var keys, sources, refs []string
		var numbers []int64
		for _, e := range w.sequences {
			n := e.numbered()
			keys, sources, numbers, refs = append(keys, n.key), append(sources, n.source), append(numbers, n.sequence), append(refs, e.request.Ref)
		}
		b.Queue(`INSERT INTO signer.sequence (key, source, sequence, ref)
			SELECT key, source, sequence, ref FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[]) WITH ORDINALITY AS u (key, source, sequence, ref, o) ORDER BY o`,
			keys, sources, numbers, refs)
	}
	if len(w.reservations) == 0 {
		return
	}
	var keys, refs, names, amounts, by []string
	var seconds, slots []int64
	for _, r := range w.reservations {
		keys, refs, names, amounts, by = append(keys, r.key), append(refs, r.ref), append(names, r.counter.Name), append(amounts, r.amount.String()), append(by, r.by)
		seconds, slots = append(seconds, int64(r.counter.Window/time.Second)), append(slots, r.slot)
	}
	const rows = `unnest($1::text[], $2::text[], $3::text[], $4::integer[], $5::bigint[], $6::text[], $7::text[]) AS u (key, ref, name, seconds, slot, amount, by)`
	b.Queue(`INSERT INTO signer.reservation (key, ref, name, seconds, slot, amount, by) SELECT key, ref, name, seconds, slot, amount::numeric, by FROM `+rows,
		keys, refs, names, seconds, slots, amounts, by)
	b.Queue(`INSERT INTO signer.usage AS g (key, name, seconds, slot, amount) SELECT key, name, seconds, slot, sum(amount::numeric)
		FROM `+rows+` WHERE by = '' AND ref <> '' GROUP BY key, name, seconds, slot
		ON CONFLICT (key, name, seconds, slot) DO UPDATE SET amount = g.amount + excluded.amount`, keys, refs, names, seconds, slots, amounts, by)
	b.Queue(`UPDATE signer.usage AS g SET released = g.released + u.amount
		FROM (SELECT key, name, seconds, slot, -sum(amount::numeric) AS amount FROM `+rows+` WHERE by <> '' AND ref <> '' GROUP BY key, name, seconds, slot) u
		WHERE (g.key, g.name, g.seconds, g.slot) = (u.key, u.name, u.seconds, u.slot)`, keys, refs, names, seconds, slots, amounts, by)
}
