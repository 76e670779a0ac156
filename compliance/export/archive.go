package export

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

const block = 512 // everything in a tar archive is a multiple of it

// header returns the one tar header that a file of a package has: POSIX ustar, no owner, no time. It is written here
// and not by archive/tar because packages must verify for decades, whatever that package comes to write.
func header(name string, size int64) []byte {
	h := make([]byte, block)
	copy(h[0:100], name)
	copy(h[100:], "0000444\x00")
	copy(h[108:], "0000000\x00")
	copy(h[116:], "0000000\x00")
	copy(h[124:], fmt.Sprintf("%011o\x00", size))
	copy(h[136:], "00000000000\x00")
	copy(h[148:], "        ") // the checksum counts itself as blanks
	h[156] = '0'
	copy(h[257:], "ustar\x0000")
	copy(h[329:], "0000000\x00")
	copy(h[337:], "0000000\x00")
	sum := 0
	for _, b := range h {
		sum += int(b)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	return h
}

// padding returns how many zero bytes follow a file of size bytes.
func padding(size int64) int64 { return (block - size%block) % block }

// sizeIn reads the size field of a header. The rest of the header is compared with header's, which tells the location
// of any other fault.
func sizeIn(h []byte) (size int64, ok bool) {
	for _, c := range h[124:135] {
		if c < '0' || c > '7' {
			return 0, false
		}
		size = size<<3 | int64(c-'0')
	}
	return size, true
}

// part is where a file lies within a package.
type part struct {
	offset, size int64
}

// scan finds the files of a package and makes sure that the archive is encoded as Build does it, to the last byte.
func scan(r io.ReaderAt, total int64) (map[string]part, error) {
	parts := make(map[string]part, len(files))
	at := int64(0)
	for _, f := range files {
		got := make([]byte, block)
		if err := readAt(r, got, at); err != nil {
			return nil, tooShort(err, &Fault{File: f.name, Offset: at, Record: -1, Why: "its header is missing"})
		}
		size, ok := sizeIn(got)
		if i := firstDifference(got, header(f.name, size)); !ok || i >= 0 {
			return nil, &Fault{File: f.name, Offset: at + int64(max(i, 0)), Record: -1, Why: "its header is not as it should be"}
		}
		if size > f.most {
			return nil, &Fault{File: f.name, Offset: at, Record: -1, Why: fmt.Sprintf("it has %d bytes, more than %d", size, f.most)}
		}
		parts[f.name] = part{at + block, size}
		at += block + size
		if err := zeros(r, at, padding(size)); err != nil {
			return nil, err
		}
		at += padding(size)
	}
	if err := zeros(r, at, 2*block); err != nil {
		return nil, err
	}
	if at += 2 * block; at != total {
		return nil, &Fault{Offset: at, Record: -1, Why: fmt.Sprintf("%d bytes follow its end", total-at)}
	}
	return parts, nil
}

func zeros(r io.ReaderAt, at, n int64) error {
	got := make([]byte, n)
	if err := readAt(r, got, at); err != nil {
		return tooShort(err, &Fault{Offset: at, Record: -1, Why: "it ends too early"})
	}
	if i := firstDifference(got, make([]byte, n)); i >= 0 {
		return &Fault{Offset: at + int64(i), Record: -1, Why: "a byte that should be zero is not"}
	}
	return nil
}

// tooShort returns f if err says that there is no more to read. Other errors are the reader's and no fault of the package.
func tooShort(err error, f *Fault) error {
	if errors.Is(err, io.EOF) {
		return f
	}
	return fmt.Errorf("export: %w", err)
}

// readAt fills b. io.ReaderAt may say io.EOF along with the last bytes.
func readAt(r io.ReaderAt, b []byte, at int64) error {
	if n, err := r.ReadAt(b, at); n < len(b) {
		return err
	}
	return nil
}

// firstDifference returns where a and b, which are equally long, begin to differ, or -1.
func firstDifference(a, b []byte) int {
	if bytes.Equal(a, b) {
		return -1
	}
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return -1
}
