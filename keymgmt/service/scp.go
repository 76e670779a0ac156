package service

import (
	"bytes"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/payload"
	"github.com/diamante/gateway/keymgmt/policy"
)

// The series of what a validator signs, each with a high-water mark of its own.
const (
	seriesNomination = "nomination"
	seriesBallot     = "ballot"
	seriesValue      = "value"
)

// validator is a node of a network. Marks are kept by it: a key id is the policy's to give, a node's past is not.
type validator struct{ network, node string }

// said is what a validator has signed last.
type said struct {
	policy.Marks
	newest map[string]mark // by series
}

// mark is the newest step of a series, and its body.
type mark struct {
	step int64
	body []byte
}

// step is a row of the journal of marks.
type step struct {
	validator
	series string
	number int64
	name
}

// speaks returns which validator an entry is of, and its series, "" when it is of none.
func (s *Service) speaks(e *entry) (validator, string) {
	node := s.cfg.Policy.Node(e.request.Key)
	switch {
	case node.IsZero():
		return validator{}, ""
	case e.meaning.SCPValue != nil:
		return validator{e.meaning.SCPValue.Network.String(), node.String()}, seriesValue
	case e.meaning.Statement != nil && e.meaning.Statement.Nominates():
		return validator{e.meaning.Statement.Network.String(), node.String()}, seriesNomination
	case e.meaning.Statement != nil:
		return validator{e.meaning.Statement.Network.String(), node.String()}, seriesBallot
	}
	return validator{}, ""
}

// queueMarks asks for the marks of the validator that an entry is of.
func (s *Service) queueMarks(b *pgx.Batch, k *known, e *entry) {
	v, series := s.speaks(e)
	if series == "" || k.said[v] != nil {
		return
	}
	last := &said{newest: map[string]mark{}}
	k.said[v] = last
	b.Queue(`SELECT s.series, s.step, r.body FROM unnest($3::text[]) AS u (series)
		CROSS JOIN LATERAL (SELECT series, step, key, ref FROM signer.scp m WHERE m.network = $1 AND m.node = $2 AND m.series = u.series ORDER BY step DESC LIMIT 1) s
		JOIN signer.request r ON r.key = s.key AND r.ref = s.ref`, v.network, v.node, []string{seriesNomination, seriesBallot, seriesValue}).
		Query(each(func(rows pgx.Rows) error {
			var series string
			var m mark
			if err := rows.Scan(&series, &m.step, &m.body); err != nil {
				return err
			}
			kind := keymgmt.KindStatement
			if series == seriesValue {
				kind = keymgmt.KindSCPValue
			}
			meaning, err := payload.Decode(kind, m.body)
			if err != nil {
				return fmt.Errorf("service: high-water mark of %s: %v", v.node, err)
			}
			last.raise(series, m, meaning)
			return nil
		}))
}

// raise takes m as the newest of its series.
func (l *said) raise(series string, m mark, meaning payload.Meaning) {
	l.newest[series] = m
	switch series {
	case seriesNomination:
		l.Nomination = meaning.Statement
	case seriesBallot:
		l.Ballot = meaning.Statement
	case seriesValue:
		l.Value = meaning.SCPValue
	}
}

// mark raises the high-water mark to what is about to be signed. It is written down with the request, so that a crash can
// cost a signature and never gives a second one that contradicts it.
func (s *Service) mark(k *known, e *entry, w *writes) {
	v, series := s.speaks(e)
	if series == "" {
		return
	}
	last := k.said[v]
	old := last.newest[series]
	if bytes.Equal(old.body, e.request.Body) {
		return // the same once more
	}
	w.steps = append(w.steps, step{v, series, old.step + 1, e.name()})
	last.raise(series, mark{old.step + 1, e.request.Body}, e.meaning)
}

// queueSteps adds the marks.
func (w *writes) queueSteps(b *pgx.Batch) {
	if len(w.steps) == 0 {
		return
	}
	var networks, nodes, series, keys, refs []string
	var numbers []int64
	for _, s := range w.steps {
		networks, nodes, series, numbers = append(networks, s.network), append(nodes, s.node), append(series, s.series), append(numbers, s.number)
		keys, refs = append(keys, s.key), append(refs, s.ref)
	}
	b.Queue(`INSERT INTO signer.scp (network, node, series, step, key, ref) SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[])`,
		networks, nodes, series, numbers, keys, refs)
}
