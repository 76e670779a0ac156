package protocol

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/stellar/go-stellar-sdk/xdr"
)

// MaxMemoText bounds a text memo, in bytes.
const MaxMemoText = 28

// MemoKind is the type of a memo. Zero is invalid.
type MemoKind uint8

// The kinds of memo, in the order of the wire's union.
const (
	MemoNone MemoKind = iota + 1
	MemoText
	MemoID
	MemoHash
	MemoReturn
)

var memoKindNames = map[MemoKind]string{MemoNone: "none", MemoText: "text", MemoID: "id", MemoHash: "hash", MemoReturn: "return"}

// String returns Horizon's name of the kind.
func (k MemoKind) String() string { return memoKindNames[k] }

// Memo is what a transaction carries for its recipient. It is comparable; the zero value is invalid, NoMemo is none.
type Memo struct {
	kind MemoKind
	text string // text as it is; hash and return as raw 32 bytes
	id   uint64
}

// NoMemo is the memo of a transaction that has none.
func NoMemo() Memo { return Memo{kind: MemoNone} }

// TextMemo makes a text memo of at most 28 bytes of UTF-8.
func TextMemo(s string) (Memo, error) {
	if len(s) > MaxMemoText || !utf8.ValidString(s) {
		return Memo{}, fmt.Errorf("%w: memo text must be UTF-8 of at most %d bytes", ErrInvalid, MaxMemoText)
	}
	return Memo{kind: MemoText, text: s}, nil
}

// IDMemo makes a numeric memo.
func IDMemo(id uint64) Memo { return Memo{kind: MemoID, id: id} }

// HashMemo makes a memo of 32 bytes.
func HashMemo(h Hash) Memo { return Memo{kind: MemoHash, text: string(h[:])} }

// ReturnMemo makes a memo that names the hash of the transaction being returned.
func ReturnMemo(h Hash) Memo { return Memo{kind: MemoReturn, text: string(h[:])} }

// MemoFromXDR reads the wire form. Text memos there may hold any bytes; they are kept as they came.
func MemoFromXDR(x xdr.Memo) (Memo, error) {
	switch x.Type {
	case xdr.MemoTypeMemoNone:
		return NoMemo(), nil
	case xdr.MemoTypeMemoText:
		return Memo{kind: MemoText, text: *x.Text}, nil
	case xdr.MemoTypeMemoId:
		return IDMemo(uint64(*x.Id)), nil
	case xdr.MemoTypeMemoHash:
		return HashMemo(Hash(*x.Hash)), nil
	case xdr.MemoTypeMemoReturn:
		return ReturnMemo(Hash(*x.RetHash)), nil
	}
	return Memo{}, fmt.Errorf("%w: memo type %d", ErrInvalid, x.Type)
}

// Kind returns the memo's type.
func (m Memo) Kind() MemoKind { return m.kind }

// ID returns the number of an id memo, 0 otherwise.
func (m Memo) ID() uint64 { return m.id }

// String returns the value as Horizon shows it: text, decimal id, or hex; "" for none.
func (m Memo) String() string {
	switch m.kind {
	case MemoText:
		return m.text
	case MemoID:
		return strconv.FormatUint(m.id, 10)
	case MemoHash, MemoReturn:
		return hex.EncodeToString([]byte(m.text))
	}
	return ""
}

// XDR returns the wire form; the zero Memo becomes none.
func (m Memo) XDR() xdr.Memo {
	switch m.kind {
	case MemoText:
		return xdr.Memo{Type: xdr.MemoTypeMemoText, Text: &m.text}
	case MemoID:
		id := xdr.Uint64(m.id)
		return xdr.Memo{Type: xdr.MemoTypeMemoId, Id: &id}
	case MemoHash:
		h := xdr.Hash([]byte(m.text))
		return xdr.Memo{Type: xdr.MemoTypeMemoHash, Hash: &h}
	case MemoReturn:
		h := xdr.Hash([]byte(m.text))
		return xdr.Memo{Type: xdr.MemoTypeMemoReturn, RetHash: &h}
	}
	return xdr.Memo{Type: xdr.MemoTypeMemoNone}
}
