package pkcs11

import (
	"fmt"
	"strings"

	p11 "github.com/miekg/pkcs11"
)

// isToken reports whether info is of the initialised token that is meant. An empty serial fits all.
func isToken(info p11.TokenInfo, label, serial string) bool {
	return info.Flags&p11.CKF_TOKEN_INITIALIZED != 0 && strings.TrimRight(info.Label, " \x00") == label &&
		(serial == "" || strings.TrimRight(info.SerialNumber, " \x00") == serial)
}

// token returns the slot of the one token that is meant.
func (l *library) token(label, serial string) (uint, error) {
	slots, err := l.slots()
	if err != nil {
		return 0, err
	}
	var found []uint
	for _, slot := range slots {
		info, err := l.tokenInfo(slot)
		if err != nil {
			continue // a broken neighbour is not our token
		}
		if isToken(info, label, serial) {
			found = append(found, slot)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return 0, fmt.Errorf("%w: %d tokens have the label %q; name one by its serial number", ErrToken, len(found), label)
	case serial != "":
		return 0, fmt.Errorf("%w: label %q, serial %q", ErrToken, label, serial)
	}
	return 0, fmt.Errorf("%w: label %q", ErrToken, label)
}

// NewToken says which token InitToken makes.
type NewToken struct {
	Module string // as in Config
	Label  string
	SOPIN  []byte // of the security officer, who can reset the user's PIN but not use the keys
	PIN    []byte // of the user, who can
}

// InitToken initialises the first token of the library that has no owner yet, and sets its PINs. A token that has the
// label, and any token that is initialised, is left alone: initialising it again would erase its keys. It goes through
// the library and not the vendor's command so that no PIN ever stands in the arguments of a process.
func InitToken(n NewToken) (err error) {
	if n.Label == "" || len(n.Label) > maxTokenLabel || len(n.SOPIN) == 0 || len(n.PIN) == 0 {
		return fmt.Errorf("pkcs11: a new token needs a label of 1 to %d characters and two PINs", maxTokenLabel)
	}
	lib, err := load(n.Module)
	if err != nil {
		return err
	}
	defer func() {
		if e := lib.release(); err == nil {
			err = e
		}
	}()
	if err := lib.restart(); err != nil {
		return err
	}
	blank, err := lib.blank(n.Label)
	if err != nil {
		return err
	}
	err = lib.call("C_InitToken", func() error { return lib.ctx.InitToken(blank, sharing(n.SOPIN), n.Label) })
	if err != nil {
		return err
	}
	slot, err := lib.token(n.Label, "") // SoftHSM renumbers, so it is looked up
	if err != nil {
		return err
	}
	return lib.setPIN(slot, n)
}

// blank returns the slot of a token without an owner, after checking that no token has the label.
func (l *library) blank(label string) (uint, error) {
	slots, err := l.slots()
	if err != nil {
		return 0, err
	}
	var blank []uint
	for _, slot := range slots {
		info, err := l.tokenInfo(slot)
		if err != nil {
			return 0, err // it could be the one with the label
		}
		if isToken(info, label, "") {
			return 0, fmt.Errorf("%w: token %q", ErrExists, label)
		}
		if info.Flags&p11.CKF_TOKEN_INITIALIZED == 0 {
			blank = append(blank, slot)
		}
	}
	if len(blank) == 0 {
		return 0, fmt.Errorf("%w: no token without an owner", ErrToken)
	}
	return blank[0], nil
}

func (l *library) setPIN(slot uint, n NewToken) error {
	s, err := l.openSession(slot, p11.CKF_RW_SESSION)
	if err != nil {
		return err
	}
	defer l.closeSession(s)
	if err := l.logIn(s, p11.CKU_SO, n.SOPIN); err != nil {
		return err
	}
	return l.call("C_InitPIN", func() error { return l.ctx.InitPIN(s, sharing(n.PIN)) })
}
