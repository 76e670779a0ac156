package ethereum

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
)

// First bytes of the items of RLP: text up to 55 bytes, longer text, and the same for lists.
const (
	textBase     = 0x80
	longTextBase = 0xb7
	listBase     = 0xc0
	longListBase = 0xf7
	shortMax     = 55
)

// maxLengthBytes bounds the length of a length: more would not fit in MaxBody.
const maxLengthBytes = 3

// split takes the first item off b. Each item has one encoding: the shortest.
func split(b []byte) (list bool, payload, rest []byte, err error) {
	if len(b) == 0 {
		return false, nil, nil, errors.New("is missing")
	}
	first := int(b[0])
	header, size := 1, 0
	switch {
	case first < textBase:
		return false, b[:1], b[1:], nil
	case first <= longTextBase:
		size = first - textBase
	case first < listBase:
		header, size, err = longSize(b, first-longTextBase)
	case first <= longListBase:
		size = first - listBase
	default:
		header, size, err = longSize(b, first-longListBase)
	}
	if err != nil {
		return false, nil, nil, err
	}
	if size > len(b)-header {
		return false, nil, nil, fmt.Errorf("should have %d bytes, of which %d are there", size, len(b)-header)
	}
	payload, rest = b[header:header+size], b[header+size:]
	if first == textBase+1 && payload[0] < textBase {
		return false, nil, nil, fmt.Errorf("is one byte %#02x written as two", payload[0])
	}
	return first >= listBase, payload, rest, nil
}

// longSize reads a length of n bytes, which is there only for what is too long for a short header.
func longSize(b []byte, n int) (header, size int, err error) {
	if n > maxLengthBytes || n > len(b)-1 {
		return 0, 0, fmt.Errorf("has a length of %d bytes", n)
	}
	for _, c := range b[1 : 1+n] {
		size = size<<8 | int(c)
	}
	if b[1] == 0 || size <= shortMax {
		return 0, 0, fmt.Errorf("has a length %d that is written longer than needed", size)
	}
	return 1 + n, size, nil
}

// reader takes fields off the front of a list. After the first error it returns zero values.
type reader struct {
	rest []byte
	err  error
}

// failed returns the first error of inner, which was read out of r, or else that of r.
func (r *reader) failed(inner *reader) error {
	if inner.err != nil {
		return inner.err
	}
	return r.err
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = malformed(format, args...)
	}
}

func (r *reader) item(name string, wantList bool) []byte {
	if r.err != nil {
		return nil
	}
	list, payload, rest, err := split(r.rest)
	switch {
	case err != nil:
		r.fail("%s %v", name, err)
		return nil
	case list && !wantList:
		r.fail("%s is a list", name)
		return nil
	case !list && wantList:
		r.fail("%s is no list", name)
		return nil
	}
	r.rest = rest
	return payload
}

func (r *reader) text(name string) []byte { return bytes.Clone(r.item(name, false)) }

// list returns a reader of the fields within, which carries the error if there is one.
func (r *reader) list(name string) *reader {
	payload := r.item(name, true)
	return &reader{rest: payload, err: r.err}
}

// integer reads a number of up to 256 bits. It is never nil.
func (r *reader) integer(name string) *big.Int {
	b := r.item(name, false)
	if len(b) > 32 {
		r.fail("%s has %d bytes, more than 32", name, len(b))
		return new(big.Int)
	}
	if len(b) > 0 && b[0] == 0 {
		r.fail("%s begins with a zero", name)
	}
	return new(big.Int).SetBytes(b)
}

func (r *reader) uint64(name string) uint64 {
	n := r.integer(name)
	if !n.IsUint64() {
		r.fail("%s is over 64 bits", name)
		return 0
	}
	return n.Uint64()
}

// recipient reads an address, or nothing for a contract creation.
func (r *reader) recipient() *Address {
	b := r.item("recipient", false)
	if r.err != nil || len(b) == 0 {
		return nil
	}
	a := new(Address)
	if copy(a[:], b); len(b) != len(a) {
		r.fail("recipient of %d bytes, need none or %d", len(b), len(a))
	}
	return a
}

// accessList reads [[address, [key, ...]], ...]. Nothing in it comes twice: a repetition would be paid for and have no
// effect.
func (r *reader) accessList() (out []Access) {
	entries, keys := r.list("access list"), 0
	seen := map[Address]bool{}
	for entries.err == nil && len(entries.rest) > 0 {
		entry := entries.list("access list entry")
		a := Access{}
		fixed(entry, "access list address", a.Address[:])
		list := entry.list("storage keys")
		within := map[[32]byte]bool{}
		for list.err == nil && len(list.rest) > 0 {
			var key [32]byte
			fixed(list, "storage key", key[:])
			if keys++; keys > MaxStorageKeys || within[key] {
				list.fail("storage key %x comes twice, or is the %dth of at most %d", key, keys, MaxStorageKeys)
			}
			within[key] = true
			a.Keys = append(a.Keys, key)
		}
		entry.err = entry.failed(list)
		entry.end("an access list entry")
		entries.err = entries.failed(entry)
		if seen[a.Address] || len(out) == MaxAccess {
			entries.fail("access list address %s comes twice, or after %d others", a.Address, MaxAccess)
		}
		seen[a.Address] = true
		out = append(out, a)
	}
	if r.err = r.failed(entries); r.err != nil {
		return nil
	}
	return out
}

func fixed(r *reader, name string, into []byte) {
	b := r.item(name, false)
	if r.err == nil && len(b) != len(into) {
		r.fail("%s of %d bytes, need %d", name, len(b), len(into))
	}
	copy(into, b)
}

// end refuses what comes after the last field.
func (r *reader) end(last string) {
	if r.err == nil && len(r.rest) > 0 {
		r.fail("%d bytes follow %s", len(r.rest), last)
	}
}

func appendHeader(out []byte, short, long byte, size int) []byte {
	if size <= shortMax {
		return append(out, short+byte(size))
	}
	length := bytes.TrimLeft(binary.BigEndian.AppendUint64(nil, uint64(size)), "\x00")
	return append(append(out, long+byte(len(length))), length...)
}

func appendText(out, b []byte) []byte {
	if len(b) == 1 && b[0] < textBase {
		return append(out, b[0])
	}
	return append(appendHeader(out, textBase, longTextBase, len(b)), b...)
}

func appendList(out, payload []byte) []byte {
	return append(appendHeader(out, listBase, longListBase, len(payload)), payload...)
}

func appendInteger(out []byte, n *big.Int) []byte { return appendText(out, n.Bytes()) }

func appendUint64(out []byte, n uint64) []byte { return appendInteger(out, new(big.Int).SetUint64(n)) }
