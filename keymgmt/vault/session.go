package vault

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"
)

// Pauses between tries to log in.
const (
	minPause = 50 * time.Millisecond
	maxPause = 5 * time.Second
)

const (
	// grace is the end of a token's life in which it is not used any more, as a request takes its time; at most a tenth
	// of the life, so that tokens that live for seconds are renewed before it begins.
	grace = time.Second
	// proven is the age from which a token can be blamed for a refusal. A younger one was just given out, so another
	// would be refused as well, and callers who ask for what they may not would make us log in without end.
	proven = time.Second
	// parting bounds what is done after Run was told to end.
	parting = 2 * time.Second
)

var (
	errNotRunning = errors.New("vault: the client is not running")
	errRunning    = errors.New("vault: the client runs already")
	errEndless    = errors.New("vault: login gives a token without an end; set token_ttl and token_max_ttl of the role")
)

// session is one login.
type session struct {
	token     token
	renewable bool
	began     time.Time
	full      time.Duration // how long the token lived when it was new
	life      time.Duration // how long it lived when it was renewed last
	expires   time.Time
}

func newSession(a auth, asked time.Time) (*session, error) {
	life := time.Duration(a.Seconds) * time.Second
	if a.Token == "" || life <= 0 {
		return nil, errEndless
	}
	return &session{token: a.Token, renewable: a.Renewable, began: asked, full: life, life: life,
		expires: asked.Add(life)}, nil
}

func (s *session) valid(at time.Time) bool {
	return s != nil && at.Before(s.expires.Add(-min(grace, s.full/10)))
}

// due is how long to wait before the session is renewed: until about a third of its life is left. Not a part of what is
// left now, which whoever is woken often would split into ever smaller parts until the end.
func (s *session) due(at time.Time) time.Duration {
	return max(s.expires.Sub(at)-spread(s.life/3), minPause)
}

// spread moves a time by up to a tenth, so that a fleet that started together does not come together for ever.
func spread(d time.Duration) time.Duration {
	tenth := max(d/10, 1)
	return d - tenth + rand.N(2*tenth)
}

// session returns a login that is good as far as we know and is not the one that Vault refused. It waits while a login is
// being made, and does not wait when the last one failed: then it says why.
func (c *Client) session(ctx context.Context, refused *session) (*session, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		c.mu.Lock()
		s, failed, running, changed := c.current, c.failed, c.running, c.changed
		c.mu.Unlock()
		switch at := time.Now(); {
		case !running:
			return nil, unavailable(errNotRunning)
		case s.valid(at) && s != refused:
			return s, nil
		case failed != nil:
			return nil, unavailable(failed)
		case refused != nil && s == refused && at.Before(refused.began.Add(proven)):
			return nil, unavailable(ErrForbidden)
		}
		if refused != nil && s == refused {
			c.blame(s)
		}
		select {
		case <-ctx.Done():
		case <-changed:
		}
	}
}

// blame asks Run for a fresh login in place of s.
func (c *Client) blame(s *session) {
	c.mu.Lock()
	c.blamed = s
	c.mu.Unlock()
	select {
	case c.wanted <- struct{}{}:
	default: // somebody asked already
	}
}

// Run logs in, keeps the login alive and replaces it, until ctx ends; then it gives the login back. However a login ends
// (its longest life reached, revoked, not renewable, renewal refused or failed), the answer is a fresh one. Only one Run
// at a time.
func (c *Client) Run(ctx context.Context) error {
	if !c.begin() {
		return errRunning
	}
	c.keep(ctx)
	return nil
}

// While runs the client for as long as do takes, for commands that end.
func (c *Client) While(ctx context.Context, do func(context.Context) error) error {
	if !c.begin() {
		return errRunning
	}
	session, leave := context.WithCancel(ctx)
	left := make(chan struct{})
	go func() { defer close(left); c.keep(session) }()
	err := do(ctx)
	leave()
	<-left
	return err
}

// keep is Run after begin.
func (c *Client) keep(ctx context.Context) {
	defer c.end(ctx)
	var pause time.Duration
	for {
		wait, err := c.advance(ctx)
		wanted := c.wanted
		if err == nil {
			pause = 0
		} else {
			pause = min(max(2*pause, minPause), maxPause)
			wait, wanted = min(spread(pause), c.left()), nil // callers do not shorten the pause
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-wanted:
			timer.Stop()
		}
	}
}

// left is how long the login that there is needs no renewal.
func (c *Client) left() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at := time.Now(); c.current.valid(at) {
		return c.current.due(at)
	}
	return maxPause
}

// advance does what is due: renews the login, or makes a fresh one. It says when to come again.
func (c *Client) advance(ctx context.Context) (time.Duration, error) {
	c.mu.Lock()
	s, blamed := c.current, c.blamed
	c.mu.Unlock()
	refused := s != nil && s == blamed
	if at := time.Now(); !refused && s.valid(at) && s.expires.Sub(at) > s.full/2 {
		return s.due(at), nil // woken for a login that was replaced meanwhile
	}
	if !refused && c.renew(ctx, s) {
		return c.settle(ctx, nil, nil)
	}
	asked := time.Now()
	a, err := c.login.login(ctx, c)
	var fresh *session
	if err == nil {
		fresh, err = newSession(a, asked)
	}
	if err != nil && refused {
		// One request was refused, and there is no other login to be had: the rest of what we may do goes on with this one.
		c.renew(ctx, s)
	}
	return c.settle(ctx, fresh, err)
}

// renew prolongs s, if half of its first life is over. Less than half of it left afterwards means that its longest life
// comes to an end: then it reports false, so that a fresh login is made while the old one is still good, without a gap.
func (c *Client) renew(ctx context.Context, s *session) bool {
	at := time.Now()
	if !s.valid(at) || !s.renewable {
		return false
	}
	if s.expires.Sub(at) > s.full/2 {
		return true
	}
	var got auth
	err := c.send(ctx, s.token, call{method: http.MethodPost, path: "auth/token/renew-self", body: struct{}{}}, intoAuth(&got))
	if err != nil {
		return false
	}
	renewed, err := newSession(got, at)
	if err != nil || renewed.token != s.token {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// The same session to everyone who holds it, with another end; sessions do not change, so it is a new value.
	renewed.began, renewed.full = s.began, s.full
	if c.blamed == s {
		c.blamed = renewed
	}
	c.current = renewed
	return renewed.expires.Sub(at) > s.full/2
}

func intoAuth(got *auth) func(answer) error {
	return func(a answer) error {
		if a.Auth == nil {
			return fmt.Errorf("%w: its answer holds no login", errNotWell)
		}
		*got = *a.Auth
		return nil
	}
}

// settle stores how a try ended, tells those who wait, and says when the next one is due. A failed try leaves the login
// that there is, while it lasts.
func (c *Client) settle(ctx context.Context, fresh *session, err error) (time.Duration, error) {
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch was := c.failed; {
	case err == nil && was != nil:
		c.cfg.Log.Info("logged in at Vault again")
	case errors.Is(err, ErrWrappingToken) && !errors.Is(was, ErrWrappingToken):
		c.cfg.Log.Error("login at Vault failed", "error", err)
	case err != nil && (was == nil || was.Error() != fmt.Sprintf("login: %v", err)):
		c.cfg.Log.Warn("login at Vault failed", "error", err)
	}
	if fresh != nil {
		c.current = fresh
	}
	c.failed = nil
	if err != nil {
		c.failed = fmt.Errorf("login: %w", err)
	}
	close(c.changed)
	c.changed = make(chan struct{})
	if err != nil {
		return 0, err
	}
	return c.current.due(time.Now()), nil
}

func (c *Client) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running {
		return false
	}
	c.running = true
	return true
}

// end revokes the login: a token that nobody uses any more should not be worth stealing.
func (c *Client) end(ctx context.Context) {
	c.mu.Lock()
	s := c.current
	c.current, c.failed, c.running = nil, nil, false
	close(c.changed)
	c.changed = make(chan struct{})
	c.mu.Unlock()
	if s != nil {
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), parting)
		defer cancel()
		// Vault may be away; the token then ends by itself.
		_ = c.send(limited, s.token, call{method: http.MethodPost, path: "auth/token/revoke-self", body: struct{}{}}, nil)
	}
	c.http.CloseIdleConnections()
}
