package child

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/diamante/gateway/keymgmt"
)

// Bounds of the protocol, in bytes unless said otherwise.
const (
	maxFrame     = 4 << 20 // a list of pkcs11.MaxKeys keys fits
	maxMessages  = 4096    // messages in one call
	maxRaw       = 256     // one signature as a device makes it
	maxSecret    = 4 << 10 // a PIN
	maxErrorText = 1 << 10
	headerSize   = 4 + 1 + 8 // length of the rest, kind, id
)

// kind says what a frame is. Zero is invalid.
type kind uint8

const (
	kindHello  kind = iota + 1 // parent: what to open
	kindReady                  // child: it is open; body is a status
	kindCall                   // parent: method and arguments
	kindAnswer                 // child: status, and the result when that is good
	kindAskPIN                 // child: it is about to log in
	kindPIN                    // parent: the PIN, or nothing when it cannot be read
	kindLogin                  // child: how the try of the PIN ended; body is a status
	lastKind   = kindLogin
)

// method is what is called. Zero is invalid.
type method uint8

const (
	methodPublic method = iota + 1
	methodSign
	methodPing
	methodGenerate
	methodList
	methodSeal
	methodOpen
	methodStats
	methodMark
	methodRaiseMark
)

// frame is one message of the protocol: four bytes of length, one of kind, eight of id, and the body.
type frame struct {
	kind kind
	id   uint64 // of a call and its answer, or of a question for the PIN and its
	body []byte
}

// errWire: the other side does not speak the protocol.
var errWire = errors.New("child: malformed frame")

// appendTo appends the frame's encoding.
func (f frame) appendTo(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(headerSize-4+len(f.body)))
	b = append(b, byte(f.kind))
	b = binary.BigEndian.AppendUint64(b, f.id)
	return append(b, f.body...)
}

// readFrame reads one frame. No more is allocated than the peer has a right to, nor before it has sent the header.
func readFrame(r *bufio.Reader) (frame, error) {
	var header [headerSize]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return frame{}, err
	}
	size := binary.BigEndian.Uint32(header[:4])
	f := frame{kind: kind(header[4]), id: binary.BigEndian.Uint64(header[5:])}
	if size < headerSize-4 || size > maxFrame || f.kind == 0 || f.kind > lastKind {
		return frame{}, fmt.Errorf("%w: kind %d of %d bytes", errWire, f.kind, size)
	}
	f.body = make([]byte, size-(headerSize-4))
	if f.kind == kindPIN {
		return f, readSecret(r, f.body)
	}
	if _, err := io.ReadFull(r, f.body); err != nil {
		return frame{}, unexpected(err)
	}
	return f, nil
}

// readSecret reads past the buffer's memory, where a secret would stay, by wiping it there.
func readSecret(r *bufio.Reader, secret []byte) error {
	if len(secret) > maxSecret {
		return fmt.Errorf("%w: PIN of %d bytes", errWire, len(secret))
	}
	buffered, err := r.Peek(len(secret))
	if err != nil {
		clear(buffered)
		return unexpected(err)
	}
	copy(secret, buffered)
	clear(buffered)
	_, err = r.Discard(len(secret))
	return err
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// parser reads a body from its beginning. After the first fault everything it gives is empty.
type parser struct {
	rest []byte
	bad  bool
}

func (p *parser) take(n int) []byte {
	if p.bad || n > len(p.rest) {
		p.bad = true
		return nil
	}
	taken := p.rest[:n:n]
	p.rest = p.rest[n:]
	return taken
}

func (p *parser) uint32() uint32 {
	if b := p.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// bytes reads a length and as many bytes.
func (p *parser) bytes(limit int) []byte {
	n := p.uint32()
	if n > uint32(limit) {
		p.bad = true
		return nil
	}
	return p.take(int(n))
}

// list reads a number and as many byte strings.
func (p *parser) list(limit int) [][]byte {
	n := p.uint32()
	if n > maxMessages || int(n) > len(p.rest)/4 {
		p.bad = true
		return nil
	}
	list := make([][]byte, n)
	for i := range list {
		list[i] = p.bytes(limit)
	}
	return list
}

func (p *parser) key() keymgmt.KeyID {
	text := p.bytes(keymgmt.MaxKeyID)
	if p.bad || len(text) == 0 {
		return keymgmt.KeyID{} // what no key has; the keyring knows what to say to it
	}
	id, err := keymgmt.ParseKeyID(string(text))
	p.bad = p.bad || err != nil
	return id
}

// end reports a fault, one of which is that something is left.
func (p *parser) end() error {
	if p.bad || len(p.rest) > 0 {
		return fmt.Errorf("%w: body", errWire)
	}
	return nil
}

func appendBytes(b, value []byte) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(value))), value...)
}

func appendList(b []byte, list [][]byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(list)))
	for _, value := range list {
		b = appendBytes(b, value)
	}
	return b
}

// signCall is the body of the call that matters: the rest is JSON, which takes longer than signing does.
type signCall struct {
	key      keymgmt.KeyID
	messages [][]byte
}

func (c signCall) append(b []byte) []byte {
	return appendList(appendBytes(b, []byte(c.key.String())), c.messages)
}

func parseSignCall(b []byte) (c signCall, err error) {
	p := parser{rest: b}
	c.key = p.key()
	c.messages = p.list(keymgmt.MaxBody)
	return c, p.end()
}

func parseSignatures(b []byte) ([][]byte, error) {
	p := parser{rest: b}
	list := p.list(maxRaw)
	return list, p.end()
}

// strictJSON reads exactly one value without unknown fields.
func strictJSON(b []byte, value any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(value); err != nil {
		return fmt.Errorf("%w: %v", errWire, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: more than one value", errWire)
	}
	return nil
}
