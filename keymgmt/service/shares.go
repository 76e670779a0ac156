package service

import (
	"context"
	"sync"

	"github.com/diamante/gateway/keymgmt"
)

// Of the MaxInFlight turns, some are always left to others: requests that do not come back, since the home of their key hangs
// or their client wants just that, must not keep another key or another client from signing.
const (
	// MaxClientShare bounds the turns of one client.
	MaxClientShare = MaxInFlight * 7 / 8
	// MaxKeyShare bounds a client's turns for one key.
	MaxKeyShare = MaxInFlight * 3 / 4
)

// shares are the turns of each by name. The zero value is ready.
type shares struct {
	mu sync.Mutex
	m  map[string]chan struct{} // guarded by mu; one for each client that the policy knows, one for each of his keys, and one for all strangers
}

// take waits until less than most are taken by that name, and returns what gives the turn back.
func (s *shares) take(ctx context.Context, name string, most int) (leave func(), err error) {
	s.mu.Lock()
	if s.m == nil {
		s.m = map[string]chan struct{}{}
	}
	share := s.m[name]
	if share == nil {
		share = make(chan struct{}, most)
		s.m[name] = share
	}
	s.mu.Unlock()
	select {
	case share <- struct{}{}:
		return func() { <-share }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// turn waits for a turn: within the client's share for the key, then within his own, then for one of all. In that order,
// whoever waits for a key that does not come back takes nothing from the client's other keys.
func (s *Service) turn(ctx context.Context, caller string, key keymgmt.KeyID) (leave func(), err error) {
	type share struct {
		name string
		most int
	}
	list := []share{{"stranger", MaxClientShare}}
	if s.cfg.Policy.KnowsCaller(caller) {
		list[0].name = "client " + caller
	}
	if s.cfg.Policy.Knows(caller, key) {
		list = []share{{"key " + key.String() + " of " + caller, MaxKeyShare}, list[0]}
	}
	var held []func()
	leave = func() {
		for _, give := range held {
			give()
		}
	}
	for _, share := range list {
		give, err := s.shares.take(ctx, share.name, share.most)
		if err != nil {
			leave()
			return nil, err
		}
		held = append(held, give)
	}
	select {
	case s.slots <- struct{}{}:
		held = append(held, func() { <-s.slots })
		return leave, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}
