package service

import (
	"github.com/jackc/pgx/v5"

	"github.com/diamante/gateway/keymgmt/policy"
)

// gates is what the gates of a policy look at besides limits: what validators have said. The zero value is not ready; see
// newGates.
type gates struct {
	said map[validator]*said
}

func newGates() gates { return gates{said: map[validator]*said{}} }

// queueGates asks for what the gates look at before a request.
func (s *Service) queueGates(b *pgx.Batch, k *known, e *entry) {
	s.queueMarks(b, k, e)
}

// gateFacts adds it to the facts.
func (s *Service) gateFacts(k *known, e *entry, facts *policy.Facts) {
	if v, series := s.speaks(e); series != "" {
		facts.Marks = &k.said[v].Marks
	}
}

// passGates writes down that a request has passed.
func (s *Service) passGates(k *known, e *entry, w *writes) {
	s.mark(k, e, w)
}

// queueGates adds the rows of the gates. Those of the requests are there already.
func (w *writes) queueGates(b *pgx.Batch) {
	w.queueSteps(b)
}
