package overlay

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// On the wire a message is one fragment of RFC 5531 record marking, as in every stream of this family: four bytes, of
// which the high bit is set and 31 bits are the length, then the XDR of a StellarMessage, whose first four bytes are
// its type.
const (
	lastFragment = 1 << 31
	headerBytes  = 4
	typeBytes    = 4
	// atOnce is up to how many bytes a buffer is made before they have come.
	atOnce = 64 << 10
)

// frame is an encoded message, with its header. Its bytes are shared between queues and never written to.
type frame struct {
	kind  kind
	bytes []byte
	scp   *statement // for SCP messages: what supersedes what
}

// statement says whose word an SCP message is, and about what.
type statement struct {
	slot     uint64
	node     xdr.Uint256
	nominate bool
}

// body is the XDR.
func (f frame) body() []byte { return f.bytes[headerBytes:] }

// hash identifies a flooded message: for a transaction SHA-256 of its envelope, as adverts and demands have it, and for
// an SCP message that of the whole.
func (f frame) hash() protocol.Hash {
	if f.kind == kind(xdr.MessageTypeTransaction) {
		return sha256.Sum256(f.body()[typeBytes:])
	}
	return sha256.Sum256(f.body())
}

// cost is what the message takes of the credit in bytes.
func (f frame) cost() int { return len(f.bytes) - headerBytes }

// encode makes the frame of a message of our own. One that was put together wrongly is an error.
func encode(m xdr.StellarMessage) (f frame, err error) {
	defer func() {
		// The generated encoder dereferences the arms of unions without looking.
		if r := recover(); r != nil {
			f, err = frame{}, fmt.Errorf("%w: it does not encode: %v", errMalformed, r)
		}
	}()
	body, err := m.MarshalBinary()
	if err != nil {
		return frame{}, fmt.Errorf("%w: it does not encode: %v", errMalformed, err)
	}
	t, ok := kinds[kind(m.Type)]
	if !ok {
		return frame{}, fmt.Errorf("%w: type %d is not spoken", errUnexpected, m.Type)
	}
	if len(body) > int(t.limit) {
		return frame{}, fmt.Errorf("%w: %s of %d bytes, more than %d", errOversize, t.name, len(body), t.limit)
	}
	b := make([]byte, 0, headerBytes+len(body))
	b = binary.BigEndian.AppendUint32(b, lastFragment|uint32(len(body)))
	return newFrame(m, append(b, body...)), nil
}

func newFrame(m xdr.StellarMessage, b []byte) frame {
	f := frame{kind: kind(m.Type), bytes: b}
	if m.Type == xdr.MessageTypeScpMessage {
		s := m.Envelope.Statement
		f.scp = &statement{slot: uint64(s.SlotIndex), nominate: s.Pledges.Type == xdr.ScpStatementTypeScpStNominate}
		if s.NodeId.Ed25519 != nil {
			f.scp.node = *s.NodeId.Ed25519
		}
	}
	return f
}

// readFrame reads one message as bytes. permit is asked whether one of this kind may come now, before any more of it
// is read. An end between messages is io.EOF.
func readFrame(r io.Reader, permit func(kind) error) (frame, error) {
	var head [headerBytes + typeBytes]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return frame{}, err
	}
	header := binary.BigEndian.Uint32(head[:])
	length := header &^ lastFragment
	if header&lastFragment == 0 || length < typeBytes {
		return frame{}, fmt.Errorf("%w: header %08x", errMalformed, header)
	}
	k := kind(binary.BigEndian.Uint32(head[headerBytes:]))
	t, ok := kinds[k]
	if !ok {
		return frame{}, fmt.Errorf("%w: type %d is not spoken", errUnexpected, k)
	}
	if length > t.limit {
		return frame{}, fmt.Errorf("%w: %s of %d bytes, more than %d", errOversize, t.name, length, t.limit)
	}
	if err := permit(k); err != nil {
		return frame{}, err
	}
	// The buffer of a large message grows with what arrives: a lying header costs its sender the bytes, not us the memory.
	b := bytes.NewBuffer(make([]byte, 0, headerBytes+min(length, atOnce)))
	b.Write(head[:])
	if _, err := io.CopyN(b, r, int64(length-typeBytes)); err != nil {
		return frame{}, err
	}
	return frame{kind: k, bytes: b.Bytes()}, nil
}

// decode reads the message in f strictly: bounded in depth and memory, nothing after it, and only in the canonical
// encoding, so that one message cannot be flooded in many disguises.
func decode(f frame) (frame, xdr.StellarMessage, error) {
	var m xdr.StellarMessage
	body := f.body()
	_, err := xdr.UnmarshalWithOptions(bytes.NewReader(body), &m, xdr.DecodeOptions{MaxDepth: maxDepth,
		MaxInputLen: len(body), MaxMemoryBytes: int64(len(body))*decodeFactor + decodeSpare})
	if err != nil {
		return frame{}, xdr.StellarMessage{}, fmt.Errorf("%w: %s: %v", errMalformed, f.kind.name(), err)
	}
	if again, err := m.MarshalBinary(); err != nil || !bytes.Equal(again, body) {
		return frame{}, xdr.StellarMessage{}, fmt.Errorf("%w: %s is not in its canonical encoding, or not alone", errMalformed, f.kind.name())
	}
	return newFrame(m, f.bytes), m, nil
}
