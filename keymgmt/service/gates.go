package service

import (
	"bytes"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/node/protocol"
)

// gates is what the gates of a policy look at besides limits: what validators have said, what stands behind what is issued
// and what lien holders have said before. Make it with newGates.
type gates struct {
	said       map[validator]*said
	backing    map[protocol.Asset]*backing // of assets that need a reserve
	discharged map[string]name             // nonce of a discharge -> the request it was used for
	issued     map[name][]issuance         // what was written down with intents that have no answer yet
}

func newGates() gates {
	return gates{said: map[validator]*said{}, backing: map[protocol.Asset]*backing{}, discharged: map[string]name{}, issued: map[name][]issuance{}}
}

// queueGates asks for what the gates look at before a group.
func (s *Service) queueGates(b *pgx.Batch, k *known, group []*entry) {
	for _, e := range group {
		if e.made == nil {
			s.queueMarks(b, k, e)
		}
	}
	s.queueBacking(b, k, group)
	k.queueDischarges(b, group)
}

// gateFacts adds it to the facts.
func (s *Service) gateFacts(k *known, e *entry, facts *policy.Facts) {
	if v, series := s.speaks(e); series != "" {
		facts.Marks = &k.said[v].Marks
	}
	k.backingFacts(e, facts)
	facts.Discharged = k.usedDischarges(e)
}

// whole reports, as a nil error, that an intent in the journal has with it what is written down in the same transaction: the
// high-water marks, and what it issues. One that has not was put there by somebody else, who has the role's password and
// would have it signed without a trace in them. It has passed its gates, so a mark that is not behind it is its own.
func (s *Service) whole(k *known, e *entry) error {
	c := e.meaning.Checkpoint
	v, series := s.speaks(e)
	switch {
	case c != nil && c.Size > k.last[c.Origin].Size, series != "" && !bytes.Equal(k.said[v].newest[series].body, e.request.Body), !k.hasIssued(e):
		return fmt.Errorf("%w: the journal has %s of %s, and not what belongs to it", keymgmt.ErrUnavailable, e.request.Ref, e.request.Key)
	}
	return nil
}

// passGates writes down that a request has passed; first says that its intent is written down with it.
func (s *Service) passGates(k *known, e *entry, first bool, w *writes) {
	s.mark(k, e, w)
	k.discharge(e, w)
	if first {
		k.issue(e, w)
	}
}

// queueGates adds the rows of the gates. Those of the requests are there already.
func (w *writes) queueGates(b *pgx.Batch) {
	w.queueSteps(b)
	w.queueIssuances(b)
	w.queueDischarges(b)
}
