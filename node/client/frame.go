package client

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/stellar/go-stellar-sdk/xdr"
)

// A stream is a row of frames: a header of four bytes, then a body. The header is that of RFC 5531 record marking, as
// in every stream of closed ledgers of this family: the high bit set, then 31 bits of length, then one LedgerCloseMeta.
// Two things are added, both with the high bit clear: a header of zero is a heartbeat, and any other is the length of a
// failure in JSON, after which the stream ends.
const (
	lastFragment = 1 << 31
	// MaxFrame bounds one closed ledger on the wire.
	MaxFrame = 128 << 20
	// maxFailure bounds the failure at the end of a stream, and the body of a failed call.
	maxFailure = 4 << 10
	// decodeFactor is how much larger than its XDR a ledger may become in memory.
	decodeFactor = 32
	// maxMetaDepth bounds the nesting of a ledger; classic ones need less than 30.
	maxMetaDepth = 200
)

// errFrame is wrapped by the reasons not to go on reading a stream.
var errFrame = errors.New("client: bad frame")

// writeMeta writes one closed ledger.
func writeMeta(w io.Writer, meta xdr.LedgerCloseMeta) error {
	body, err := meta.MarshalBinary()
	if err != nil {
		return fmt.Errorf("client: encode ledger: %w", err)
	}
	if len(body) > MaxFrame {
		return fmt.Errorf("%w: ledger of %d bytes, more than %d", errFrame, len(body), MaxFrame)
	}
	if err := writeHeader(w, lastFragment|uint32(len(body))); err != nil {
		return err
	}
	_, err = w.Write(body)
	return err
}

// writeHeartbeat writes a frame that says only that the connection lives.
func writeHeartbeat(w io.Writer) error { return writeHeader(w, 0) }

// writeFailure writes the last frame of a stream that cannot go on.
func writeFailure(w io.Writer, f failure) error {
	f.Detail = shorten(f.Detail)
	body, err := json.Marshal(f)
	if err != nil {
		return err
	}
	if err := writeHeader(w, uint32(len(body))); err != nil {
		return err
	}
	_, err = w.Write(body)
	return err
}

// shorten keeps a failure below maxFailure however JSON has to escape it.
func shorten(detail string) string {
	const most = maxFailure / 8
	if len(detail) > most {
		return detail[:most]
	}
	return detail
}

func writeHeader(w io.Writer, h uint32) error {
	_, err := w.Write(binary.BigEndian.AppendUint32(nil, h))
	return err
}

// readFrame reads one frame: a ledger, or nil for a heartbeat. A failure sent by the node is returned as the error it
// was there. io.EOF between frames is returned as it is.
func readFrame(r io.Reader) (*xdr.LedgerCloseMeta, error) {
	var header [4]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return nil, err
	}
	h := binary.BigEndian.Uint32(header[:])
	switch {
	case h == 0:
		return nil, nil
	case h&lastFragment == 0:
		return nil, readFailure(r, h)
	}
	length := h &^ lastFragment
	if length > MaxFrame {
		return nil, fmt.Errorf("%w: ledger of %d bytes, more than %d", errFrame, length, MaxFrame)
	}
	// The buffer grows with what arrives: a lying header costs its sender the bytes, not us the memory.
	var body bytes.Buffer
	if _, err := io.CopyN(&body, r, int64(length)); err != nil {
		return nil, unexpected(err)
	}
	return decodeMeta(body.Bytes())
}

func decodeMeta(body []byte) (*xdr.LedgerCloseMeta, error) {
	meta := new(xdr.LedgerCloseMeta)
	n, err := xdr.UnmarshalWithOptions(bytes.NewReader(body), meta, xdr.DecodeOptions{MaxDepth: maxMetaDepth,
		MaxInputLen: len(body), MaxMemoryBytes: int64(len(body))*decodeFactor + 1<<20})
	if err != nil {
		return nil, fmt.Errorf("%w: %v", errFrame, err)
	}
	if n != len(body) {
		return nil, fmt.Errorf("%w: %d bytes after the ledger", errFrame, len(body)-n)
	}
	return meta, nil
}

func readFailure(r io.Reader, length uint32) error {
	if length > maxFailure {
		return fmt.Errorf("%w: failure of %d bytes", errFrame, length)
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(r, body); err != nil {
		return unexpected(err)
	}
	var f failure
	if err := json.Unmarshal(body, &f); err != nil {
		return fmt.Errorf("%w: failure: %v", errFrame, err)
	}
	return fromFailure(f)
}

// unexpected keeps an end within a frame from being taken for an end between frames.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
