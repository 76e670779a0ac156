package compliance

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/node/protocol"
)

var (
	// ErrUnknownCustomer: no customer has this account.
	ErrUnknownCustomer = errors.New("compliance: unknown customer")
	// ErrEnrolled: the account is enrolled under another name, or the name for another account.
	ErrEnrolled = errors.New("compliance: customer is enrolled differently")
)

// Status says whether a customer may move money. Zero is invalid.
type Status uint8

// The statuses of a customer.
const (
	Active Status = iota + 1
	Suspended       // frozen: every movement of his is held
)

var statusNames = map[Status]string{Active: "active", Suspended: "frozen"}

// String returns the status' name in the database and the API, "" for an invalid one.
func (s Status) String() string { return statusNames[s] }

// MarshalText returns the name; an invalid status is an error.
func (s Status) MarshalText() ([]byte, error) {
	if statusNames[s] == "" {
		return nil, fmt.Errorf("%w: status %d", ErrInvalid, s)
	}
	return []byte(statusNames[s]), nil
}

// UnmarshalText reads a name.
func (s *Status) UnmarshalText(b []byte) error {
	for status, name := range statusNames {
		if name == string(b) {
			*s = status
			return nil
		}
	}
	return fmt.Errorf("%w: status %.40q", ErrInvalid, b)
}
