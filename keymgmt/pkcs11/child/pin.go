package child

import (
	"errors"
	"fmt"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/pkcs11"
)

// maxUnanswered is how many children in a row may die with the PIN before it is held to be what kills them. One can be
// chance; most tokens lock at the third wrong try or later.
const maxUnanswered = 2

// pinGuard knows when not to give the PIN away. A keyring tries a PIN that was refused never again, but it lives in the
// child, and dies with it.
type pinGuard struct {
	open       bool  // the child has it, and nothing is known of what came of it
	unanswered int   // children in a row that died so
	given      bool  // to any child
	refused    error // sticky
}

// give reports whether the child may have the PIN.
func (g *pinGuard) give() bool {
	if g.refused == nil && g.unanswered >= maxUnanswered {
		g.refused = refusal(fmt.Errorf("%d processes in a row died logging in", g.unanswered))
	}
	if g.refused != nil {
		return false
	}
	g.open, g.given = true, true // if it was open, the last try ended without a verdict, in the same child
	return true
}

// answered: the token said something to it.
func (g *pinGuard) answered() { g.open, g.unanswered = false, 0 }

// died: the child is gone.
func (g *pinGuard) died() {
	if g.open {
		g.unanswered++
	}
	g.open = false
}

func (g *pinGuard) refuse(why error) {
	if g.refused == nil {
		g.refused = refusal(why)
	}
}

func refusal(why error) error {
	return fmt.Errorf("%w: %w: %w; it is not tried again until an operator allows it", keymgmt.ErrUnavailable, pkcs11.ErrPIN, why)
}

// refusedPIN is why the PIN is not tried any more, nil while it is.
func (r *Ring) refusedPIN() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pin.refused
}

// learn reads from what the child says what became of the PIN, and keeps a refusal beyond the life of that child.
func (r *Ring) learn(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pin.answered()
	if errors.Is(err, pkcs11.ErrPIN) {
		r.pin.refuse(err)
	}
}

// readPIN reads the PIN for a child, nil when it must not have it or it cannot be read.
func (r *Ring) readPIN() []byte {
	r.mu.Lock()
	may := r.pin.give()
	r.mu.Unlock()
	if !may {
		return nil
	}
	pin, err := r.cfg.Keyring.PIN()
	if err != nil || len(pin) > maxSecret {
		clear(pin)
		return nil
	}
	return pin
}
