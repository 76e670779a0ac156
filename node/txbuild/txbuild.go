// Package txbuild turns typed operations into a transaction envelope and attaches signatures that were made elsewhere.
//
// It never sees a private key and never chooses a sequence number or a time: the caller stores both before anything is
// signed, so that a lost answer can be looked up by hash and a dead transaction proved dead by its time bounds. Use:
//
//	u, err := txbuild.Build(txbuild.Params{...})   // u.Hash() identifies it; store u.Envelope() now
//	base := u.SignatureBase()                      // what a signer reads and signs
//	env, err := u.Attach(txbuild.Signature{...})   // base64 or binary XDR to submit
package txbuild

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// ErrInvalid is wrapped by every error of Build and Attach.
var ErrInvalid = errors.New("txbuild: invalid transaction")

// MaxOperations is the protocol's bound on operations in one transaction.
const MaxOperations = 100

// Params says what to build. Every field is required except Memo, whose zero value means none.
type Params struct {
	Passphrase protocol.Passphrase
	Source     protocol.AccountID
	Sequence   int64         // of this transaction: the account's current one plus one
	FeePerOp   int64         // stroops of DIAM bid for each operation
	NotBefore  time.Time     // zero: no lower bound
	NotAfter   time.Time     // required: a transaction without an end can never be proved dead
	Memo       protocol.Memo // zero: none
	Operations []Operation
}

// Unsigned is a built transaction that nobody has signed.
type Unsigned struct {
	tx   xdr.Transaction
	base []byte
	hash protocol.Hash
}

// Build checks p and builds the transaction.
func Build(p Params) (*Unsigned, error) {
	if err := p.validate(); err != nil {
		return nil, err
	}
	bounds := xdr.TimeBounds{MaxTime: xdr.TimePoint(p.NotAfter.Unix())}
	if !p.NotBefore.IsZero() {
		bounds.MinTime = xdr.TimePoint(p.NotBefore.Unix())
	}
	tx := xdr.Transaction{
		SourceAccount: p.Source.Muxed(),
		Fee:           xdr.Uint32(p.FeePerOp * int64(len(p.Operations))),
		SeqNum:        xdr.SequenceNumber(p.Sequence),
		Cond:          xdr.Preconditions{Type: xdr.PreconditionTypePrecondTime, TimeBounds: &bounds},
		Memo:          p.Memo.XDR(),
	}
	for i, op := range p.Operations {
		x, err := op.build()
		if err != nil {
			return nil, fmt.Errorf("%w: operation %d: %v", ErrInvalid, i, err)
		}
		tx.Operations = append(tx.Operations, x)
	}
	return fromTransaction(p.Passphrase, tx)
}

func (p Params) validate() error {
	switch {
	case p.Passphrase.Validate() != nil:
		return fmt.Errorf("%w: no network passphrase", ErrInvalid)
	case p.Source.IsZero():
		return fmt.Errorf("%w: no source account", ErrInvalid)
	case p.Sequence <= 0:
		return fmt.Errorf("%w: sequence number %d", ErrInvalid, p.Sequence)
	case len(p.Operations) == 0 || len(p.Operations) > MaxOperations:
		return fmt.Errorf("%w: %d operations, need 1 to %d", ErrInvalid, len(p.Operations), MaxOperations)
	case p.FeePerOp <= 0 || p.FeePerOp > math.MaxUint32/int64(len(p.Operations)):
		return fmt.Errorf("%w: fee %d", ErrInvalid, p.FeePerOp)
	case !p.NotBefore.IsZero() && p.NotBefore.Unix() < 0 || p.NotAfter.Unix() <= 0 || p.NotAfter.Before(p.NotBefore):
		return fmt.Errorf("%w: time bounds %s to %s", ErrInvalid, p.NotBefore, p.NotAfter)
	}
	return nil
}

// Parse reads an unsigned envelope that Envelope wrote earlier, so that a worker can go on after a crash. Trailing
// bytes, other encodings of the same transaction, signatures that are already there and a transaction without an end are
// refused.
func Parse(passphrase protocol.Passphrase, envelope []byte) (*Unsigned, error) {
	env, err := protocol.DecodeEnvelope(envelope)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrInvalid, err)
	}
	if env.Type != xdr.EnvelopeTypeEnvelopeTypeTx || len(env.V1.Signatures) != 0 {
		return nil, fmt.Errorf("%w: not an unsigned version 1 envelope", ErrInvalid)
	}
	if bounds := env.V1.Tx.Cond.TimeBounds; bounds == nil || bounds.MaxTime == 0 || bounds.MaxTime > math.MaxInt64 {
		return nil, fmt.Errorf("%w: the transaction has no end", ErrInvalid)
	}
	return fromTransaction(passphrase, env.V1.Tx)
}

func fromTransaction(passphrase protocol.Passphrase, tx xdr.Transaction) (*Unsigned, error) {
	env := xdr.TransactionEnvelope{Type: xdr.EnvelopeTypeEnvelopeTypeTx, V1: &xdr.TransactionV1Envelope{Tx: tx}}
	base, err := passphrase.SignatureBase(env)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrInvalid, err)
	}
	hash, err := passphrase.TxHash(env)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrInvalid, err)
	}
	return &Unsigned{tx: tx, base: base, hash: hash}, nil
}

// Hash identifies the transaction on its network.
func (u *Unsigned) Hash() protocol.Hash { return u.hash }

// Sequence returns the sequence number the transaction uses up.
func (u *Unsigned) Sequence() int64 { return int64(u.tx.SeqNum) }

// NotAfter returns the end of the time bounds. Once a ledger has closed later than this without the transaction, it
// can never be applied.
func (u *Unsigned) NotAfter() time.Time {
	return time.Unix(int64(u.tx.Cond.TimeBounds.MaxTime), 0).UTC()
}

// SignatureBase returns the bytes a signer is given to read and sign.
func (u *Unsigned) SignatureBase() []byte { return append([]byte(nil), u.base...) }

// Envelope returns the XDR of the envelope without signatures, to be stored before signing.
func (u *Unsigned) Envelope() []byte {
	env := xdr.TransactionEnvelope{Type: xdr.EnvelopeTypeEnvelopeTypeTx, V1: &xdr.TransactionV1Envelope{Tx: u.tx}}
	b, err := env.MarshalBinary()
	if err != nil {
		panic("txbuild: a transaction that was encoded before does not encode: " + err.Error())
	}
	return b
}

// Signature is an Ed25519 signature over the hash of a transaction.
type Signature struct {
	Account protocol.AccountID // whose key made it
	Bytes   []byte             // 64 bytes
}

// Attach verifies each signature against the hash and its account's key and returns the signed envelope.
func (u *Unsigned) Attach(sigs ...Signature) (xdr.TransactionEnvelope, error) {
	v1 := &xdr.TransactionV1Envelope{Tx: u.tx}
	for _, s := range sigs {
		if len(s.Bytes) != ed25519.SignatureSize || !ed25519.Verify(s.Account.Key(), u.hash[:], s.Bytes) {
			return xdr.TransactionEnvelope{}, fmt.Errorf("%w: signature of %s does not verify", ErrInvalid, s.Account)
		}
		v1.Signatures = append(v1.Signatures, xdr.DecoratedSignature{Hint: s.Account.Hint(), Signature: s.Bytes})
	}
	return xdr.TransactionEnvelope{Type: xdr.EnvelopeTypeEnvelopeTypeTx, V1: v1}, nil
}
