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
	expires   time.Time
}

func newSession(a auth, asked time.Time) (*session, error) {
	life := time.Duration(a.Seconds) * time.Second
	if a.Token == "" || life <= 0 {
		return nil, errEndless
	}
	return &session{token: a.Token, renewable: a.Renewable, began: asked, full: life, expires: asked.Add(life)}, nil
}

func (s *session) valid(at time.Time) bool {
	return s != nil && at.Before(s.expires.Add(-min(grace, s.full/10)))
}

// due is how long to wait before the session is renewed: until about two thirds of what is left are over.
func (s *session) due(at time.Time) time.Duration {
	return max(spread(s.expires.Sub(at)*2/3), minPause)
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
		select {
		case c.wanted <- struct{}{}:
		default: // somebody asked already
		}
		select {
		case <-ctx.Done():
		case <-changed:
		}
	}
}

// Run logs in, keeps the login alive and replaces it, until ctx ends; then it gives the login back. However a login ends
// (its longest life reached, revoked, not renewable, renewal refused or failed), the answer is a fresh one. Only one Run
// at a time.
func (c *Client) Run(ctx context.Context) error {
	if !c.begin() {
		return errRunning
	}
	defer c.end(ctx)
	var pause time.Duration
	fresh := false
	for {
		wait, err := c.advance(ctx, fresh)
		wanted := c.wanted
		if err == nil {
			pause = 0
		} else {
			pause = min(max(2*pause, minPause), maxPause)
			wait, wanted = spread(pause), nil // callers do not shorten the pause
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
			fresh = fresh && err != nil // a fresh login that failed is still wanted
		case <-wanted:
			timer.Stop()
			fresh = true
		}
	}
}

// advance renews the login, or makes a fresh one, and says when to come again.
func (c *Client) advance(ctx context.Context, fresh bool) (time.Duration, error) {
	c.mu.Lock()
	s := c.current
	c.mu.Unlock()
	if !fresh && s.valid(time.Now()) && s.renewable {
		// Less than half of its first life left after renewing means that its longest life comes to an end. The fresh
		// login is made now, while the old one is still good, so that there is no gap.
		if renewed, err := c.renew(ctx, s); err == nil && renewed.expires.Sub(time.Now()) > s.full/2 {
			c.settle(renewed, nil)
			return renewed.due(time.Now()), nil
		}
	}
	asked := time.Now()
	a, err := c.login.login(ctx, c)
	if err == nil {
		s, err = newSession(a, asked)
	}
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if err != nil {
		c.settle(nil, fmt.Errorf("login: %w", err))
		return 0, err
	}
	c.settle(s, nil)
	return s.due(time.Now()), nil
}

func (c *Client) renew(ctx context.Context, s *session) (*session, error) {
	asked := time.Now()
	var got auth
	err := c.send(ctx, s.token, call{method: http.MethodPost, path: "auth/token/renew-self", body: struct{}{}}, intoAuth(&got))
	if err != nil {
		return nil, err
	}
	renewed, err := newSession(got, asked)
	if err != nil || renewed.token != s.token {
		return nil, errors.Join(err, errNotWell)
	}
	renewed.began, renewed.full = s.began, s.full
	return renewed, nil
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

// settle stores how a try ended and tells those who wait. A failed try leaves the login that there is, while it lasts.
func (c *Client) settle(s *session, failed error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch was := c.failed; {
	case failed == nil && was != nil:
		c.cfg.Log.Info("logged in at Vault again")
	case errors.Is(failed, ErrWrappingToken) && !errors.Is(was, ErrWrappingToken):
		c.cfg.Log.Error("login at Vault failed", "error", failed)
	case failed != nil && (was == nil || was.Error() != failed.Error()):
		c.cfg.Log.Warn("login at Vault failed", "error", failed)
	}
	if s != nil {
		c.current = s
	}
	c.failed = failed
	close(c.changed)
	c.changed = make(chan struct{})
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
