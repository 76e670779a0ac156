package node

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/fbas"
	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/scp"
)

const (
	// quorumPause is how often it is looked whether the quorum sets that were heard have changed.
	quorumPause = time.Minute
	// quorumLimit bounds one analysis of them.
	quorumLimit = 30 * time.Second
)

// ErrSplit is wrapped by the refusal of a quorum set with which the network could agree on two ledgers.
var ErrSplit = errors.New("node: two quorums would have no node in common")

// SetQuorumSet changes whom the validator trusts, from the next message on, without a restart. It is refused if it is not sane, or
// if with it, as far as this validator has heard what others trust, two quorums would have no node in common: ErrSplit.
func (n *Node) SetQuorumSet(ctx context.Context, q xdr.ScpQuorumSet) error {
	if err := scp.CheckQuorumSet(q); err != nil {
		return fmt.Errorf("node: %w", err)
	}
	heard := n.consensus.QuorumSets()
	heard[n.id] = &q
	nodes := make([]fbas.Node, 0, len(heard))
	for id, set := range system(heard) {
		nodes = append(nodes, fbas.Node{ID: id, QuorumSet: set})
	}
	s, err := fbas.New(nodes, fbas.Absent)
	if err != nil {
		return fmt.Errorf("node: quorum sets: %w", err)
	}
	limited, cancel := context.WithTimeout(ctx, quorumLimit)
	defer cancel()
	in, err := s.Intersection(limited)
	if err != nil {
		return fmt.Errorf("node: quorum sets: %w", err)
	}
	if in.Verdict == fbas.Splits {
		return fmt.Errorf("%w: %v and %v", ErrSplit, in.Disjoint[0], in.Disjoint[1])
	}
	return n.consensus.SetQuorumSet(ctx, q)
}

// system is what was heard in the form of the analysis.
func system(heard map[protocol.AccountID]*xdr.ScpQuorumSet) map[string]*fbas.QuorumSet {
	out := map[string]*fbas.QuorumSet{}
	for id, set := range heard {
		if out[id.String()] = nil; set != nil {
			q := quorumSet(*set)
			out[id.String()] = &q
		}
	}
	return out
}

func quorumSet(x xdr.ScpQuorumSet) fbas.QuorumSet {
	q := fbas.QuorumSet{Threshold: int(x.Threshold)}
	for _, v := range x.Validators {
		if id, err := protocol.AccountIDFromXDR(xdr.AccountId(v)); err == nil {
			q.Validators = append(q.Validators, id.String())
		}
	}
	for _, inner := range x.InnerSets {
		q.Inner = append(q.Inner, quorumSet(inner))
	}
	return q
}

// watchQuorums analyses what the validators trust whenever that has changed, until ctx ends, for those who watch the metrics.
func (n *Node) watchQuorums(ctx context.Context) {
	var before map[string]*fbas.QuorumSet
	for {
		now := system(n.consensus.QuorumSets())
		if !reflect.DeepEqual(now, before) {
			limited, cancel := context.WithTimeout(ctx, quorumLimit)
			a, err := fbas.Analyse(limited, now)
			cancel()
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				n.logger.Error("quorum sets that were heard cannot be analysed", "error", err)
			}
			if a.Intersection.Verdict == fbas.Splits {
				n.logger.Error("TWO QUORUMS HAVE NO NODE IN COMMON: the network may agree on two ledgers", "one", a.Intersection.Disjoint[0], "other", a.Intersection.Disjoint[1])
			}
			n.metrics.quorums(a, err)
			before = now
		}
		select {
		case <-ctx.Done():
			return
		case <-n.clock.Until(n.clock.Now().Add(quorumPause)):
		}
	}
}
