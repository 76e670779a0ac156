package pkcs11

import (
	"errors"
	"fmt"

	p11 "github.com/miekg/pkcs11"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/pkcs11/internal/relay"
)

// Constants of PKCS#11 3.0 that the binding, which follows 2.40, does not have.
const (
	ckkECEdwards           = 0x40
	ckmECEdwardsKeyPairGen = 0x1055
	ckmEdDSA               = 0x1057
	ckmAESKeyWrapKWP       = 0x210B
	ckrAEADDecryptFailed   = 0x42
)

// class says what a failed call means for the session, the login and the device. Zero is invalid.
type class uint8

const (
	classSession  class = iota + 1 // this session is gone or dirty: another one will do
	classLogin                     // the login is gone, or handles of before it: log in and look up again
	classCapacity                  // the token has no room at the moment: wait
	classDevice                    // the device is gone or confused: restart the library, until then stay away
	classPIN                       // the PIN is wrong, locked or not set: never again without an operator
	classKey                       // the key cannot do this: an operator must act
	classFatal                     // anything else: not retried
	classVerdict                   // the token's word on what it was given: the caller's answer, but the session is not used again
	classAnswer                    // not a failure of the token at all, but our answer
)

var classes = map[p11.Error]class{
	p11.CKR_SESSION_HANDLE_INVALID:    classSession,
	p11.CKR_SESSION_CLOSED:            classSession,
	p11.CKR_OPERATION_ACTIVE:          classSession,
	p11.CKR_OPERATION_NOT_INITIALIZED: classSession,

	p11.CKR_USER_NOT_LOGGED_IN:    classLogin,
	p11.CKR_OBJECT_HANDLE_INVALID: classLogin,
	p11.CKR_KEY_HANDLE_INVALID:    classLogin,

	p11.CKR_SESSION_COUNT: classCapacity,
	p11.CKR_DEVICE_MEMORY: classCapacity,
	p11.CKR_HOST_MEMORY:   classCapacity,

	p11.CKR_DEVICE_ERROR:             classDevice,
	p11.CKR_DEVICE_REMOVED:           classDevice,
	p11.CKR_TOKEN_NOT_PRESENT:        classDevice,
	p11.CKR_TOKEN_NOT_RECOGNIZED:     classDevice,
	p11.CKR_SLOT_ID_INVALID:          classDevice,
	p11.CKR_GENERAL_ERROR:            classDevice,
	p11.CKR_FUNCTION_FAILED:          classDevice,
	p11.CKR_CRYPTOKI_NOT_INITIALIZED: classDevice,

	p11.CKR_PIN_INCORRECT:            classPIN,
	p11.CKR_PIN_INVALID:              classPIN,
	p11.CKR_PIN_LEN_RANGE:            classPIN,
	p11.CKR_PIN_EXPIRED:              classPIN,
	p11.CKR_PIN_LOCKED:               classPIN,
	p11.CKR_USER_PIN_NOT_INITIALIZED: classPIN,

	p11.CKR_KEY_FUNCTION_NOT_PERMITTED: classKey,
	p11.CKR_KEY_TYPE_INCONSISTENT:      classKey,
	p11.CKR_KEY_SIZE_RANGE:             classKey,
}

// classify reads the class of err. A code that is not listed is fatal: what we do not understand we do not repeat.
func classify(err error) class {
	var code p11.Error
	switch {
	case errors.Is(err, ErrNotSealed), errors.Is(err, ErrCannotWrap):
		return classVerdict
	case errors.As(err, &code):
		if c, ok := classes[code]; ok {
			return c
		}
		return classFatal
	case errors.Is(err, errAgain):
		return classSession
	case errors.Is(err, errLoggedOut), errors.Is(err, relay.ErrMismatch), errors.Is(err, errBadSeal):
		return classLogin
	case errors.Is(err, ErrToken), errors.Is(err, errVanished):
		return classDevice
	case errors.Is(err, ErrPIN):
		return classPIN
	default:
		return classAnswer
	}
}

// answer turns a failure into what the contract of a keyring allows.
func answer(err error) error {
	if err == nil || errors.Is(err, keymgmt.ErrUnavailable) {
		return err
	}
	switch classify(err) {
	case classAnswer, classVerdict:
		return err
	case classKey:
		return fmt.Errorf("%w: %w: %w", keymgmt.ErrUnknownKey, ErrKeyRefused, err)
	case classPIN:
		return fmt.Errorf("%w: %w: %w", keymgmt.ErrUnavailable, ErrPIN, err)
	default:
		return fmt.Errorf("%w: %w", keymgmt.ErrUnavailable, err)
	}
}
