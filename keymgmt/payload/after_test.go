package payload_test

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/stellar/go-stellar-sdk/keypair"
	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/payload"
	"github.com/diamante/gateway/node/protocol"
)

func read(t testing.TB, slot uint64, pledge any) payload.Statement {
	t.Helper()
	m, err := payload.Decode(keymgmt.KindStatement, statement(slot, pledge))
	if err != nil {
		t.Fatal(err)
	}
	return *m.Statement
}

// What a validator says in a slot that goes well, in one that goes badly, and when the others carry it along. Each
// statement may follow all that come before it, and none may come before.
func TestStatementsOfAnHonestValidator(t *testing.T) {
	a, b, c := valueA, valueB, valueC
	for name, story := range map[string][]any{
		"nominates": {nominate([]xdr.Value{a}, nil), nominate([]xdr.Value{a, b}, nil), nominate([]xdr.Value{a, b}, []xdr.Value{b}),
			nominate([]xdr.Value{a, b, c}, []xdr.Value{a, b})},
		"goes well": {prepare(ballot(1, a), nil, nil, 0, 0), prepare(ballot(1, a), ptr(ballot(1, a)), nil, 0, 0),
			prepare(ballot(1, a), ptr(ballot(1, a)), nil, 1, 1), confirm(ballot(1, a), 1, 1, 1), externalize(ballot(1, a), 1)},
		"commits later than it confirms": {prepare(ballot(1, a), ptr(ballot(1, a)), nil, 0, 1), prepare(ballot(1, a), ptr(ballot(1, a)), nil, 1, 1),
			prepare(ballot(2, a), ptr(ballot(1, a)), nil, 1, 1), prepare(ballot(2, a), ptr(ballot(2, a)), nil, 1, 2)},
		"times out": {prepare(ballot(1, a), nil, nil, 0, 0), prepare(ballot(2, a), nil, nil, 0, 0), prepare(ballot(2, b), nil, nil, 0, 0),
			prepare(ballot(3, a), ptr(ballot(2, b)), nil, 0, 0), prepare(ballot(3, a), ptr(ballot(3, a)), ptr(ballot(2, b)), 3, 3)},
		"is carried from one value to another": {prepare(ballot(1, a), ptr(ballot(1, a)), nil, 1, 1),
			prepare(ballot(1, a), ptr(ballot(2, b)), ptr(ballot(1, a)), 0, 1), // the vote to commit falls
			prepare(ballot(2, b), ptr(ballot(2, b)), ptr(ballot(1, a)), 0, 0), prepare(ballot(2, b), ptr(ballot(2, b)), ptr(ballot(1, a)), 2, 2),
			confirm(ballot(2, b), 2, 2, 2)},
		"the same at once": {prepare(ballot(1, a), ptr(ballot(1, a)), nil, 1, 1), prepare(ballot(2, b), ptr(ballot(2, b)), ptr(ballot(1, a)), 2, 2)},
		"is excluded by a ballot of its counter": {prepare(ballot(1, a), ptr(ballot(1, a)), nil, 1, 1),
			prepare(ballot(1, b), ptr(ballot(1, b)), ptr(ballot(1, a)), 0, 0)},
		"jumps to what the others commit":  {prepare(ballot(1, a), ptr(ballot(1, a)), nil, 1, 1), confirm(ballot(4, b), 4, 2, 3)},
		"jumps to what the others decided": {prepare(ballot(1, a), ptr(ballot(1, a)), nil, 1, 1), externalize(ballot(2, b), 3)},
		"accepts more and more": {confirm(ballot(1, a), 1, 1, 1), confirm(ballot(2, a), 1, 1, 1), confirm(ballot(2, a), 2, 1, 1),
			confirm(ballot(2, a), 2, 1, 2), confirm(ballot(1<<32-1, a), 5, 3, 4), externalize(ballot(3, a), 4)},
	} {
		var said []payload.Statement
		for _, pledge := range story {
			said = append(said, read(t, 7, pledge))
		}
		for i, s := range said {
			for j, previous := range said {
				if err := s.After(previous); (err == nil) != (j <= i) || err != nil && !errors.Is(err, payload.ErrContradiction) {
					t.Errorf("%s: statement %d after statement %d: %v", name, i, j, err)
				}
			}
		}
	}
}

// Each pair is one step that the order of the protocol allows, or nearly does, and that takes something back.
func TestStatementsThatContradict(t *testing.T) {
	a, b, c := valueA, valueB, valueC
	for name, pair := range map[string][2]any{
		"a vote less":                          {nominate([]xdr.Value{a, b}, nil), nominate([]xdr.Value{b}, []xdr.Value{b})},
		"a nomination less":                    {nominate([]xdr.Value{a}, []xdr.Value{a}), nominate([]xdr.Value{a, b}, nil)},
		"as many votes, for others":            {nominate([]xdr.Value{a}, nil), nominate([]xdr.Value{b}, nil)},
		"nominates the same, with other nodes": {nominate([]xdr.Value{a}, nil), xdr.ScpNomination{QuorumSetHash: xdr.Hash{1}, Votes: []xdr.Value{a}}},
		"smaller ballot":                       {prepare(ballot(2, a), nil, nil, 0, 0), prepare(ballot(1, a), nil, nil, 0, 0)},
		"smaller value":                        {prepare(ballot(1, b), nil, nil, 0, 0), prepare(ballot(1, a), nil, nil, 0, 0)},
		"smaller ballot, more accepted":        {prepare(ballot(2, a), nil, nil, 0, 0), prepare(ballot(1, a), ptr(ballot(1, a)), nil, 0, 0)},
		"accepted no more":                     {prepare(ballot(1, a), ptr(ballot(1, a)), nil, 0, 0), prepare(ballot(2, a), nil, nil, 0, 0)},
		"less accepted":                        {prepare(ballot(1, a), ptr(ballot(2, b)), nil, 0, 0), prepare(ballot(2, a), ptr(ballot(1, b)), nil, 0, 0)},
		"second one accepted no more":          {prepare(ballot(1, a), ptr(ballot(2, b)), ptr(ballot(1, a)), 0, 0), prepare(ballot(2, a), ptr(ballot(2, b)), nil, 0, 0)},
		"confirmed no more":                    {prepare(ballot(2, a), ptr(ballot(2, a)), nil, 0, 2), prepare(ballot(2, a), ptr(ballot(2, a)), nil, 0, 1)},
		"commit vote withdrawn":                {prepare(ballot(1, a), ptr(ballot(1, a)), nil, 1, 1), prepare(ballot(2, a), ptr(ballot(2, a)), nil, 0, 2)},
		"commit vote for another value":        {prepare(ballot(1, a), ptr(ballot(1, a)), nil, 1, 1), prepare(ballot(2, b), ptr(ballot(1, a)), nil, 0, 0)},
		"commit vote for fewer":                {prepare(ballot(3, a), ptr(ballot(3, a)), nil, 1, 3), prepare(ballot(4, a), ptr(ballot(3, a)), nil, 1, 2)},
		"withdrawn for too small a ballot":     {prepare(ballot(3, b), ptr(ballot(3, b)), nil, 1, 3), prepare(ballot(4, a), ptr(ballot(3, b)), ptr(ballot(3, a)), 0, 0)},
		"accepts what it excluded":             {prepare(ballot(1, a), ptr(ballot(3, b)), nil, 0, 0), confirm(ballot(4, a), 4, 2, 4)},
		"accepts what its second excluded":     {prepare(ballot(1, a), ptr(ballot(4, a)), ptr(ballot(3, b)), 0, 0), confirm(ballot(4, a), 4, 3, 4)},
		"decides on what it excluded":          {prepare(ballot(1, a), ptr(ballot(3, b)), nil, 0, 0), externalize(ballot(2, a), 4)},
		"accepts two values":                   {confirm(ballot(1, a), 1, 1, 1), confirm(ballot(9, b), 9, 9, 9)},
		"accepts fewer":                        {confirm(ballot(2, a), 2, 1, 2), confirm(ballot(3, a), 2, 1, 1)},
		"prepared fewer":                       {confirm(ballot(2, a), 2, 1, 1), confirm(ballot(3, a), 1, 1, 1)},
		"as many, of a smaller ballot":         {confirm(ballot(3, a), 1, 1, 1), confirm(ballot(2, a), 1, 1, 1)},
		"commits from elsewhere":               {confirm(ballot(3, a), 3, 1, 3), confirm(ballot(3, a), 3, 2, 3)},
		"prepares after it accepted":           {confirm(ballot(1, a), 1, 1, 1), prepare(ballot(2, a), ptr(ballot(2, a)), nil, 1, 2)},
		"decides on another value":             {confirm(ballot(1, a), 1, 1, 1), externalize(ballot(2, b), 2)},
		"decides twice":                        {externalize(ballot(1, a), 1), externalize(ballot(2, b), 2)},
		"decides once more, on more of it":     {externalize(ballot(1, a), 1), externalize(ballot(1, a), 2)},
		"accepts after it decided":             {externalize(ballot(1, a), 1), confirm(ballot(2, a), 2, 2, 2)},
		"prepares after it decided":            {externalize(ballot(1, a), 1), prepare(ballot(2, c), nil, nil, 0, 0)},
		"votes for the same with other nodes":  {prepare(ballot(1, a), nil, nil, 0, 0), xdr.ScpStatementPrepare{QuorumSetHash: xdr.Hash{1}, Ballot: ballot(1, a)}},
	} {
		first, second := read(t, 7, pair[0]), read(t, 7, pair[1])
		if err := second.After(first); !errors.Is(err, payload.ErrContradiction) {
			t.Errorf("%s: %v", name, err)
		}
		// The next slot owes nothing to this one.
		if err := read(t, 8, pair[1]).After(first); err != nil {
			t.Errorf("%s, in the next slot: %v", name, err)
		}
		if err := second.After(read(t, 8, pair[0])); !errors.Is(err, payload.ErrContradiction) {
			t.Errorf("%s, in an older slot: %v", name, err)
		}
	}
}

func TestSeriesOfStatements(t *testing.T) {
	vote, last := read(t, 7, nominate([]xdr.Value{valueA}, nil)), read(t, 7, externalize(ballot(1, valueA), 1))
	if !vote.Nominates() || last.Nominates() || vote.After(last) != nil || last.After(vote) != nil {
		t.Error("nomination and ballots depend on each other")
	}
	if err := read(t, 6, nominate([]xdr.Value{valueA}, nil)).After(last); !errors.Is(err, payload.ErrContradiction) {
		t.Errorf("nomination in an older slot: %v", err)
	}
	var none payload.Statement
	for name, err := range map[string]error{"nothing after something": none.After(vote), "something after nothing": vote.After(none), "nothing after nothing": none.After(none)} {
		if !errors.Is(err, payload.ErrContradiction) {
			t.Errorf("%s: %v", name, err)
		}
	}
	stranger, elsewhere := last, last
	stranger.Node = must(protocol.ParseAccountID(keypair.MustRandom().Address()))
	elsewhere.Network[0]++
	if stranger.After(vote) == nil || elsewhere.After(vote) == nil {
		t.Error("statements of two validators, or networks, are compared")
	}
}

// However requests come in, two statements that were both let through never contradict: a second vote to commit, or an
// acceptance, of another value needs what excludes the first.
func TestNoScheduleSignsTwoDecisions(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 2026))
	values := []xdr.Value{valueA, valueB, valueC}
	pick := func() *xdr.ScpBallot {
		if random.IntN(3) == 0 {
			return nil
		}
		return ptr(ballot(1+random.Uint32N(3), values[random.IntN(3)]))
	}
	var pool []payload.Statement
	for len(pool) < 400 {
		b, n := ballot(1+random.Uint32N(3), values[random.IntN(3)]), random.Uint32N(4)
		var pledge any = prepare(b, pick(), pick(), min(n, random.Uint32N(4)), n)
		switch random.IntN(4) {
		case 0:
			pledge = confirm(b, n, random.Uint32N(4), n)
		case 1:
			pledge = externalize(b, n)
		}
		if m, err := payload.Decode(keymgmt.KindStatement, statement(7, pledge)); err == nil {
			pool = append(pool, *m.Statement)
		}
	}
	for range 2000 {
		var signed []payload.Statement
		for range 60 {
			s := pool[random.IntN(len(pool))]
			if len(signed) == 0 || s.After(signed[len(signed)-1]) == nil {
				signed = append(signed, s)
			}
		}
		consistent(t, signed)
	}
}

// consistent checks everything that was signed in a slot against everything else, by what the pledges mean.
func consistent(t *testing.T, signed []payload.Statement) {
	t.Helper()
	decided := map[string]bool{}
	for i, s := range signed {
		switch p := s.Pledge.(type) {
		case *payload.Confirm:
			decided[p.Ballot.Value.Hash().String()] = true
		case *payload.Externalize:
			decided[p.Commit.Value.Hash().String()] = true
		case *payload.Prepare:
			for _, later := range signed[i+1:] {
				next, ok := later.Pledge.(*payload.Prepare)
				if ok && p.NC != 0 && next.NC != 0 && next.Ballot.Value.Hash() != p.Ballot.Value.Hash() && !supersedes(next, p) {
					t.Fatalf("votes to commit %s, then %s", p.Ballot, next.Ballot)
				}
			}
		}
	}
	if len(decided) > 1 {
		t.Fatalf("%d values were accepted as committed", len(decided))
	}
}

// supersedes reports whether next accepts as prepared what excludes the ballots that p voted to commit.
func supersedes(next, p *payload.Prepare) bool {
	for _, q := range []*payload.Ballot{next.Prepared, next.PreparedPrime} {
		if q != nil && q.Value.Hash() != p.Ballot.Value.Hash() && q.Counter >= p.NH {
			return true
		}
	}
	return false
}
