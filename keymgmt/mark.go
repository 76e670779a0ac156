package keymgmt

import (
	"errors"
	"fmt"
	"regexp"
)

// Mark is what a device remembers of a signer's database, so that an older copy of the database is known for one. It only
// ever goes forward. The zero value says nothing.
type Mark struct {
	// Epoch counts how often officers have accepted that the database was lost. Within one epoch nothing is ever lost.
	Epoch uint64
	// Policy is the highest version of a policy that was in force, in whatever epoch.
	Policy uint64
	// Position is how far the database had got, a number for people; Record is the name of the audit record there, which no
	// other history of the same database has.
	Position uint64
	Record   string
}

// ErrNoMark: the device is there and has no mark.
var ErrNoMark = errors.New("keymgmt: the device has no anti-rollback mark")

// MaxMark bounds the text of a Mark, in bytes.
const MaxMark = 128

var markRecord = regexp.MustCompile(`^[0-9a-f]{32}$`)

const markFormat = "diamante-mark-1 %d %d %d %s"

// IsZero reports whether m says nothing.
func (m Mark) IsZero() bool { return m == Mark{} }

// Join is the least mark that is not behind m nor behind o. An epoch ends what the ones before it said of the journal, and
// nothing of what they said of the policy.
func (m Mark) Join(o Mark) Mark {
	further := m
	if o.Epoch > m.Epoch || o.Epoch == m.Epoch && o.Position > m.Position {
		further = o
	}
	further.Policy = max(m.Policy, o.Policy)
	return further
}

// String says it in words.
func (m Mark) String() string {
	return fmt.Sprintf("epoch %d, policy %d, position %d (record %s)", m.Epoch, m.Policy, m.Position, m.Record)
}

// MarshalText returns the form in which a device keeps it; a mark that says nothing is an error.
func (m Mark) MarshalText() ([]byte, error) {
	if m.Epoch == 0 || !markRecord.MatchString(m.Record) {
		return nil, fmt.Errorf("%w: mark without an epoch or a record", ErrMalformed)
	}
	return fmt.Appendf(nil, markFormat, m.Epoch, m.Policy, m.Position, m.Record), nil
}

// UnmarshalText reads exactly what MarshalText writes.
func (m *Mark) UnmarshalText(b []byte) error {
	var read Mark
	if len(b) <= MaxMark {
		if _, err := fmt.Sscanf(string(b), markFormat, &read.Epoch, &read.Policy, &read.Position, &read.Record); err == nil {
			if again, err := read.MarshalText(); err == nil && string(again) == string(b) {
				*m = read
				return nil
			}
		}
	}
	return fmt.Errorf("%w: mark %.100q", ErrMalformed, b)
}
