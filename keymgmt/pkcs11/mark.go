package pkcs11

import (
	"context"
	"errors"
	"fmt"

	p11 "github.com/miekg/pkcs11"

	"github.com/diamante/gateway/keymgmt"
)

// The mark is a data object of this label and application, which no key can have: they hold a blank. It is private, so that
// it takes the PIN to see, change or remove it. A token keeps the mark of one signer's database.
const (
	markLabel       = "diamante mark"
	markApplication = "diamante"
)

// maxMarks bounds how many objects are looked at: one, and a few more where processes died between two steps of RaiseMark.
const maxMarks = 64

// ErrMark: the token's mark cannot be read as one. Somebody, or another program, wrote it: an operator must look.
var ErrMark = errors.New("pkcs11: the token's mark is damaged")

// Mark returns the token's anti-rollback mark. keymgmt.ErrNoMark says that the token is there and has none.
func (k *Keyring) Mark(ctx context.Context) (keymgmt.Mark, error) {
	return with(ctx, k, func(e *epoch, s session) (keymgmt.Mark, error) {
		marks, err := k.marks(e, s)
		if err != nil {
			return keymgmt.Mark{}, err
		}
		if len(marks) == 0 {
			return keymgmt.Mark{}, keymgmt.ErrNoMark
		}
		return highest(marks), nil
	})
}

// RaiseMark makes the token's mark no lower than m, and returns what it is then: no lower than it was, either.
//
// An object is never changed: the new one is made, and only then are those below it removed. So there is a mark at every
// moment, whole, and it takes nothing of the device but what every device can do.
func (k *Keyring) RaiseMark(ctx context.Context, m keymgmt.Mark) (keymgmt.Mark, error) {
	if _, err := m.MarshalText(); err != nil {
		return keymgmt.Mark{}, err
	}
	return with(ctx, k, func(e *epoch, s session) (keymgmt.Mark, error) {
		k.generating.Lock()
		defer k.generating.Unlock()
		marks, err := k.marks(e, s)
		if err != nil {
			return keymgmt.Mark{}, err
		}
		was := highest(marks)
		m := m.Join(was)
		if m == was && len(marks) == 1 {
			return m, nil
		}
		return m, k.writing(e, func(writer session) error { return k.replace(writer, marks, m) })
	})
}

// markObject is a mark with its handle.
type markObject struct {
	object object
	mark   keymgmt.Mark
}

func highest(marks []markObject) (m keymgmt.Mark) {
	for _, o := range marks {
		m = m.Join(o.mark)
	}
	return m
}

func markTemplate() []*p11.Attribute {
	return []*p11.Attribute{p11.NewAttribute(p11.CKA_CLASS, uint(p11.CKO_DATA)), p11.NewAttribute(p11.CKA_TOKEN, true),
		p11.NewAttribute(p11.CKA_PRIVATE, true), // another one can be made without the PIN
		p11.NewAttribute(p11.CKA_LABEL, markLabel), p11.NewAttribute(p11.CKA_APPLICATION, markApplication)}
}

// marks reads all there are. That there is none is only believed of a token that is there and logged in.
func (k *Keyring) marks(e *epoch, s session) ([]markObject, error) {
	objects, err := k.lib.search(s, markTemplate(), maxMarks)
	if err != nil {
		return nil, err
	}
	if len(objects) == 0 {
		return nil, k.confirm(e, s)
	}
	if len(objects) == maxMarks {
		return nil, fmt.Errorf("%w: there are too many", ErrMark)
	}
	marks := make([]markObject, 0, len(objects))
	for _, o := range objects {
		values, err := k.lib.attributes(s, o, p11.CKA_VALUE)
		if errors.Is(err, p11.Error(p11.CKR_OBJECT_HANDLE_INVALID)) {
			return nil, errAgain // another process has raised the mark between the two calls
		}
		if err != nil {
			return nil, err
		}
		found := markObject{object: o}
		if err := found.mark.UnmarshalText(values[0]); err != nil {
			return nil, fmt.Errorf("%w: %v", ErrMark, err)
		}
		marks = append(marks, found)
	}
	return marks, nil
}

// replace makes m, unless it is there, and removes the others. It wants a session that can write.
func (k *Keyring) replace(s session, marks []markObject, m keymgmt.Mark) error {
	there := false
	for _, o := range marks {
		there = there || o.mark == m
	}
	if !there {
		text, err := m.MarshalText()
		if err != nil {
			return err
		}
		template := append(markTemplate(), p11.NewAttribute(p11.CKA_VALUE, text))
		err = k.lib.call("C_CreateObject", func() error {
			_, err := k.lib.ctx.CreateObject(s, template)
			return err
		})
		if err != nil {
			return err
		}
	}
	for _, o := range marks {
		if o.mark == m {
			continue
		}
		err := k.lib.call("C_DestroyObject", func() error { return k.lib.ctx.DestroyObject(s, o.object) })
		if err != nil && !errors.Is(err, p11.Error(p11.CKR_OBJECT_HANDLE_INVALID)) { // another process was faster
			return err
		}
	}
	return nil
}
