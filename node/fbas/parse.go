package fbas

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

// MaxFile is the most bytes of a list of nodes that are read.
const MaxFile = 32 << 20

// listed is a node as lists write it. All other fields are ignored.
type listed struct {
	PublicKey *string    `json:"publicKey"`
	QuorumSet *listedSet `json:"quorumSet"`
}

// listedSet is a quorum set as lists write it: some name its inner sets one way, some the other.
type listedSet struct {
	Threshold       *int        `json:"threshold"`
	Validators      []string    `json:"validators"`
	InnerQuorumSets []listedSet `json:"innerQuorumSets"`
	InnerSets       []listedSet `json:"innerSets"`
}

// Parse reads a list of nodes as stellarbeat and Radar write it: an array of nodes, or an object with such an array in
// "nodes". What does not have that form is ErrInput.
func Parse(r io.Reader) ([]Node, error) {
	raw, err := io.ReadAll(io.LimitReader(r, MaxFile+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInput, err)
	}
	if len(raw) > MaxFile {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrInput, MaxFile)
	}
	var list []listed
	if bytes.HasPrefix(bytes.TrimLeft(raw, " \t\r\n"), []byte("{")) {
		var object struct {
			Nodes *[]listed `json:"nodes"`
		}
		if err := json.Unmarshal(raw, &object); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrInput, err)
		}
		if object.Nodes == nil {
			return nil, fmt.Errorf("%w: the object has no nodes", ErrInput)
		}
		list = *object.Nodes
	} else if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInput, err)
	} else if list == nil {
		return nil, fmt.Errorf("%w: null is not a list of nodes", ErrInput)
	}
	nodes := make([]Node, len(list))
	for i, l := range list {
		if l.PublicKey == nil {
			return nil, fmt.Errorf("%w: node %d has no publicKey", ErrInput, i+1)
		}
		nodes[i].ID = *l.PublicKey
		if l.QuorumSet == nil {
			continue
		}
		q, err := l.QuorumSet.read(MaxNesting)
		if err != nil {
			return nil, fmt.Errorf("quorum set of node %q: %w", *l.PublicKey, err)
		}
		nodes[i].QuorumSet = &q
	}
	return nodes, nil
}

func (l listedSet) read(deep int) (QuorumSet, error) {
	switch {
	case deep == 0:
		return QuorumSet{}, fmt.Errorf("%w: nested deeper than %d", ErrInput, MaxNesting)
	case l.Threshold == nil:
		return QuorumSet{}, fmt.Errorf("%w: no threshold", ErrInput)
	}
	q := QuorumSet{Threshold: *l.Threshold, Validators: l.Validators}
	for _, inner := range append(l.InnerQuorumSets, l.InnerSets...) {
		i, err := inner.read(deep - 1)
		if err != nil {
			return QuorumSet{}, err
		}
		q.Inner = append(q.Inner, i)
	}
	return q, nil
}
