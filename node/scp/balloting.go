package scp

// Phase is how far a node has come with a slot.
type Phase int

// The phases, which only go forward.
const (
	_            Phase = iota
	Preparing          // looks for a ballot that can be committed
	Confirming         // has accepted a commit: the value will not change any more
	Externalized       // decided
)

// String names the phase.
func (p Phase) String() string {
	switch p {
	case Preparing:
		return "prepare"
	case Confirming:
		return "confirm"
	case Externalized:
		return "externalize"
	}
	return "?"
}

// maxDepth is how many of its own statements a node makes in answer to one, before it waits for more to be said. What it
// leaves undone it does with the next statement.
const maxDepth = 50

// balloting decides on a value: one ballot after the other is prepared, which gives all lower ones with other values up,
// until one can be committed. The names are those of the paper. At all times:
//
//	pp < p, with another value      c <= h <= b, with one value      in Confirming and later b, p, c and h are there
type balloting struct {
	slot    *slot
	phase   Phase
	b       *ballot // current
	p, pp   *ballot // the two highest accepted as prepared that have different values
	h, c    *ballot // highest and lowest that this node votes, or accepts, to commit; h alone: highest confirmed prepared
	locked  string  // the only value for further ballots, once one was confirmed prepared or its commit accepted
	latest  record
	last    *statement // of this node, the newest that may be sent
	sent    *statement // the newest that was
	heard   bool       // a quorum is at this counter or above
	timer   bool
	expired int // ballots that ran out
	depth   int
}

// process takes in what a node says about ballots.
func (b *balloting) process(e *entry, own bool) Verdict {
	if !b.latest.fresh(e.st) {
		return Ignored
	}
	valid := b.validity(e.st)
	if valid == Invalid {
		return Ignored
	}
	if b.phase == Externalized { // only kept to be shown to others
		if e.st.b.x != b.c.x {
			return Ignored
		}
		b.latest.put(e)
		return Accepted
	}
	if valid == Maybe {
		b.slot.voting = false
	}
	b.latest.put(e)
	b.advance(e.st)
	return Accepted
}

// validity is that of the worst value in a statement.
func (b *balloting) validity(st *statement) Validity {
	values := st.values()
	if len(values) == 0 {
		return Invalid
	}
	worst := Valid
	for _, x := range values {
		if worst = min(worst, b.slot.validate(x, false)); worst <= Invalid {
			return Invalid
		}
	}
	return worst
}

// advance does all that the statement hint makes possible. Every transition makes a statement of this node's own, which
// comes back in here; only the last of them is sent.
func (b *balloting) advance(hint *statement) {
	if b.depth >= maxDepth || b.slot.fault != nil {
		return
	}
	b.depth++
	did := b.acceptPrepared(hint)
	did = b.confirmPrepared(hint) || did
	did = b.acceptCommit(hint) || did
	did = b.confirmCommit(hint) || did
	if b.depth == 1 {
		for b.catchUp() {
			did = true
		}
		b.listen()
	}
	b.depth--
	if did {
		b.send()
	}
}

// announce takes in this node's own state as a statement, and sends it once all that follows from it has been done.
func (b *balloting) announce() {
	if b.slot.fault != nil {
		return
	}
	st := b.statement()
	if own := b.latest.of(b.slot.node.id); own != nil && own.st.same(st) {
		return // h may have changed its value and not its counter
	}
	begun := b.b != nil
	if !b.slot.say(st) {
		return
	}
	if begun && (b.last == nil || st.newer(b.last)) {
		b.last = st
		b.send()
	}
}

// send sends what was said last, if it was not sent and nothing more is about to follow.
func (b *balloting) send() {
	if b.depth == 0 && b.last != b.sent && b.slot.voting && b.slot.fault == nil {
		b.sent = b.last
		b.slot.do(Send{Statement: b.last.xdr()})
	}
}

// statement is the present state as a statement.
func (b *balloting) statement() *statement {
	st := &statement{}
	if b.b != nil {
		st.b = *b.b
	}
	if b.c != nil {
		st.c = b.c.n
	}
	if b.h != nil {
		st.h = b.h.n
	}
	switch b.phase {
	case Preparing:
		st.kind, st.p, st.pp = kindPrepare, b.p, b.pp
	case Confirming:
		st.kind, st.prepared = kindConfirm, b.p.n
	case Externalized:
		st.kind, st.b.n = kindExternalize, infinity
	}
	return st
}
