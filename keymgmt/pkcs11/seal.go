package pkcs11

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	p11 "github.com/miekg/pkcs11"

	"github.com/diamante/gateway/keymgmt"
)

// Bounds of Seal, in bytes. What is sealed here is keys; they in turn encrypt what is large.
const (
	MaxPlaintext = 8 << 10 // devices that have a limit take at least this in one call
	MaxAAD       = 1 << 10
	MaxSealed    = MaxPlaintext + sealExtra
)

// A sealed text is a version, the IV, and what AES-GCM makes, with its tag.
const (
	sealVersion = 1
	ivSize      = 12
	tagSize     = 16
	bitsInByte  = 8
	sealExtra   = 1 + ivSize + tagSize
)

// Seal encrypts 1 to MaxPlaintext bytes by AES-256-GCM inside the token, so that only Open with the same key and
// additional data gets them back. The IV is random, so one key should seal fewer than 2^32 texts.
//
// Some devices take no IV but choose their own and write it back. Both are handled, and before it is handed out every
// sealed text is opened once: a device that lies about its IV would otherwise make data that nobody can ever read.
func (k *Keyring) Seal(ctx context.Context, id keymgmt.KeyID, plaintext, aad []byte) ([]byte, error) {
	if len(plaintext) == 0 || len(plaintext) > MaxPlaintext || len(aad) > MaxAAD {
		return nil, fmt.Errorf("%w: %d bytes to seal with %d bytes of additional data", keymgmt.ErrMalformed, len(plaintext), len(aad))
	}
	plaintext, aad = bytes.Clone(plaintext), bytes.Clone(aad) // the call may outlive its caller
	return with(ctx, k, func(e *epoch, s session) ([]byte, error) {
		found, err := k.findFor(e, s, wanted{id, Sealing})
		if err != nil {
			return nil, err
		}
		return k.seal(s, found, plaintext, aad)
	})
}

func (k *Keyring) seal(s session, found key, plaintext, aad []byte) ([]byte, error) {
	iv := make([]byte, ivSize)
	if !k.deviceIV.Load() {
		_, _ = rand.Read(iv) // never fails
	}
	iv, text, err := k.lib.encrypt(s, found.private, gcm{iv, aad}, plaintext)
	if errors.Is(err, p11.Error(p11.CKR_MECHANISM_PARAM_INVALID)) && k.deviceIV.CompareAndSwap(false, true) {
		return nil, fmt.Errorf("%w: the device wants to choose the IV", errAgain)
	}
	if err != nil {
		return nil, err
	}
	if len(iv) != ivSize || bytes.Equal(iv, make([]byte, ivSize)) || len(text) != len(plaintext)+tagSize {
		k.deviceIV.Store(false) // it did not choose one, after all
		return nil, fmt.Errorf("%w: IV %x, %d bytes of text", errBadSeal, iv, len(text))
	}
	opened, err := k.lib.decrypt(s, found.private, gcm{iv, aad}, text)
	if code := p11.Error(0); errors.As(err, &code) && (notSealed[code] || maybeSealed[code]) {
		return nil, fmt.Errorf("%w: %v", errBadSeal, err)
	}
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(opened, plaintext) {
		return nil, errBadSeal
	}
	sealed := append(make([]byte, 0, sealExtra+len(plaintext)), sealVersion)
	return append(append(sealed, iv...), text...), nil
}

var (
	// errAgain: another session will do, and another way.
	errAgain = errors.New("pkcs11: once more")
	// errBadSeal: what the device sealed cannot be opened again, so nobody gets it.
	errBadSeal = errors.New("pkcs11: the device does not open what it sealed")
)

// Open decrypts what Seal made. ErrNotSealed says that it is not that.
func (k *Keyring) Open(ctx context.Context, id keymgmt.KeyID, sealed, aad []byte) ([]byte, error) {
	if len(sealed) <= sealExtra || len(sealed) > MaxSealed || sealed[0] != sealVersion || len(aad) > MaxAAD {
		return nil, fmt.Errorf("%w: no sealed text of this version and size", ErrNotSealed)
	}
	sealed, aad = bytes.Clone(sealed), bytes.Clone(aad)
	return with(ctx, k, func(e *epoch, s session) ([]byte, error) {
		found, err := k.findFor(e, s, wanted{id, Sealing})
		if err != nil {
			return nil, err
		}
		plaintext, err := k.lib.decrypt(s, found.private, gcm{sealed[1 : 1+ivSize], aad}, sealed[1+ivSize:])
		return plaintext, k.blame(e, found, err)
	})
}

// Answers to a text that does not open. The second kind means many other things, too.
var (
	notSealed   = map[p11.Error]bool{p11.CKR_ENCRYPTED_DATA_INVALID: true, p11.CKR_ENCRYPTED_DATA_LEN_RANGE: true, ckrAEADDecryptFailed: true}
	maybeSealed = map[p11.Error]bool{p11.CKR_GENERAL_ERROR: true, p11.CKR_FUNCTION_FAILED: true, p11.CKR_DEVICE_ERROR: true}
)

// blame finds out whether the text or the device is at fault. Devices answer a bad tag with errors that elsewhere mean
// their death, and whoever can hand us a bad text must not be able to stop all signing with it.
func (k *Keyring) blame(e *epoch, found key, err error) error {
	var code p11.Error
	if !errors.As(err, &code) || !notSealed[code] && !maybeSealed[code] {
		return err
	}
	if maybeSealed[code] {
		s, failed := k.lib.openSession(e.slot, 0)
		if failed != nil {
			return failed
		}
		defer k.lib.closeSession(s)
		if _, failed := k.seal(s, found, []byte{sealVersion}, nil); failed != nil {
			return err
		}
	}
	return fmt.Errorf("%w: %v", ErrNotSealed, err)
}

// gcm are the parameters of one encryption.
type gcm struct{ iv, aad []byte }

// encrypt returns the IV that was used, which need not be the one given.
func (l *library) encrypt(s session, secret object, g gcm, plaintext []byte) (iv, text []byte, err error) {
	params := p11.NewGCMParams(g.iv, g.aad, tagSize*bitsInByte)
	defer params.Free() // not before the IV is read: the device writes it into memory that this holds
	mechanism := []*p11.Mechanism{p11.NewMechanism(p11.CKM_AES_GCM, params)}
	if err := l.call("C_EncryptInit", func() error { return l.ctx.EncryptInit(s, mechanism, secret) }); err != nil {
		return nil, nil, err
	}
	err = l.call("C_Encrypt", func() (err error) { text, err = l.ctx.Encrypt(s, plaintext); return err })
	return params.IV(), text, err
}

func (l *library) decrypt(s session, secret object, g gcm, text []byte) (plaintext []byte, err error) {
	params := p11.NewGCMParams(g.iv, g.aad, tagSize*bitsInByte)
	defer params.Free()
	mechanism := []*p11.Mechanism{p11.NewMechanism(p11.CKM_AES_GCM, params)}
	if err := l.call("C_DecryptInit", func() error { return l.ctx.DecryptInit(s, mechanism, secret) }); err != nil {
		return nil, err
	}
	err = l.call("C_Decrypt", func() (err error) { plaintext, err = l.ctx.Decrypt(s, text); return err })
	return plaintext, err
}
