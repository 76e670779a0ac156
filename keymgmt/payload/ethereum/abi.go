package ethereum

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

// wordSize is the unit of the contract ABI's encoding.
const wordSize = 32

// argument is one argument of a call: a word, and for bytes what the word points at.
type argument struct {
	kind  string
	word  [wordSize]byte
	bytes []byte
}

// readable reports whether arguments of this type are read: address, bool, uintN, bytesN and bytes.
func readable(kind string) bool {
	_, bits := cutNumber(kind, "uint")
	_, size := cutNumber(kind, "bytes")
	return kind == "address" || kind == "bool" || kind == "bytes" || bits || size
}

// cutNumber returns the number that follows prefix.
func cutNumber(kind, prefix string) (n int, ok bool) {
	digits, ok := strings.CutPrefix(kind, prefix)
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(digits)
	return n, err == nil
}

// readArguments reads the one encoding of arguments of these types: every unused bit of a word is zero, what is pointed
// at follows in order and without gaps, and nothing comes after. Contracts take less for granted; who deviates from
// this wants two readers to see different things.
func readArguments(kinds []string, data []byte) ([]argument, error) {
	tail := wordSize * len(kinds)
	if len(data) < tail {
		return nil, malformed("arguments of %d bytes, need %d", len(data), tail)
	}
	out := make([]argument, len(kinds))
	for i, kind := range kinds {
		a := argument{kind: kind, word: [wordSize]byte(data[wordSize*i:])}
		if kind == "bytes" {
			offset := a.number()
			if !offset.IsUint64() || offset.Uint64() != uint64(tail) {
				return nil, malformed("argument %d is at %d, need %d", i, offset, tail)
			}
			var err error
			if a.bytes, err = readBytes(data[tail:]); err != nil {
				return nil, fmt.Errorf("argument %d: %w", i, err)
			}
			tail += wordSize + padded(len(a.bytes))
		} else if !a.clean() {
			return nil, malformed("argument %d is no %s: %x", i, kind, a.word)
		}
		out[i] = a
	}
	if len(data) != tail {
		return nil, malformed("%d bytes follow the arguments", len(data)-tail)
	}
	return out, nil
}

// readBytes reads a length, as many bytes, and zeros up to the end of the word.
func readBytes(b []byte) ([]byte, error) {
	if len(b) < wordSize {
		return nil, malformed("no length of bytes")
	}
	length := new(big.Int).SetBytes(b[:wordSize])
	b = b[wordSize:]
	if !length.IsInt64() || length.Int64() > int64(len(b)) {
		return nil, malformed("%d bytes announced, %d there", length, len(b))
	}
	n := int(length.Int64())
	if padded(n) > len(b) || !zero(b[n:padded(n)]) {
		return nil, malformed("bytes are not padded with zeros")
	}
	return b[:n], nil
}

func padded(n int) int { return (n + wordSize - 1) / wordSize * wordSize }

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// clean reports whether the bytes of the word that its type does not use are zero.
func (a argument) clean() bool {
	if bits, ok := cutNumber(a.kind, "uint"); ok {
		return zero(a.word[:wordSize-bits/8])
	}
	if size, ok := cutNumber(a.kind, "bytes"); ok {
		return zero(a.word[size:])
	}
	if a.kind == "bool" {
		return zero(a.word[:wordSize-1]) && a.word[wordSize-1] <= 1
	}
	return zero(a.word[:wordSize-len(Address{})])
}

func (a argument) number() *big.Int { return new(big.Int).SetBytes(a.word[:]) }

func (a argument) address() Address { return Address(a.word[wordSize-len(Address{}):]) }

func (a argument) String() string {
	switch {
	case a.kind == "address":
		return a.address().String()
	case a.kind == "bool":
		return strconv.FormatBool(a.word[wordSize-1] == 1)
	case a.kind == "bytes":
		return fmt.Sprintf("%d bytes with hash %#x", len(a.bytes), Keccak256(a.bytes))
	case strings.HasPrefix(a.kind, "uint"):
		return a.number().String()
	}
	size, _ := cutNumber(a.kind, "bytes")
	return fmt.Sprintf("%#x", a.word[:size])
}
