package child

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/keytest"
	"github.com/diamante/gateway/keymgmt/pkcs11"
)

func encode(k kind, id uint64, body string) []byte {
	return frame{kind: k, id: id, body: []byte(body)}.appendTo(nil)
}

func TestFrames(t *testing.T) {
	var wire []byte
	want := []frame{{kindHello, 0, []byte("{}")}, {kindCall, 1 << 60, nil}, {kindPIN, 3, []byte("secret")}, {kindAnswer, 7, make([]byte, 70000)}}
	for _, f := range want {
		wire = f.appendTo(wire)
	}
	r := bufio.NewReaderSize(bytes.NewReader(wire), bufferSize)
	for _, w := range want {
		f, err := readFrame(r)
		if err != nil || f.kind != w.kind || f.id != w.id || !bytes.Equal(f.body, w.body) {
			t.Fatalf("kind %d id %d of %d bytes, %v", f.kind, f.id, len(f.body), err)
		}
	}
	if _, err := readFrame(r); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{
		"no kind":      encode(0, 1, "x"),
		"another kind": encode(lastKind+1, 1, "x"),
		"too short":    append([]byte{0, 0, 0, 8}, make([]byte, 40)...),
		"too long":     binary.BigEndian.AppendUint32(nil, maxFrame+1),
		"a long PIN":   encode(kindPIN, 1, strings.Repeat("x", maxSecret+1)),
	} {
		if _, err := readFrame(bufio.NewReader(bytes.NewReader(append(bad, make([]byte, 64)...)))); !errors.Is(err, errWire) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for size := range encode(kindCall, 1, "body") {
		_, err := readFrame(bufio.NewReader(bytes.NewReader(encode(kindCall, 1, "body")[:size])))
		if err == nil || size > headerSize && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

// A PIN is nowhere in the buffers on its way.
func TestPINLeavesNoTrace(t *testing.T) {
	secret := "the very secret PIN"
	one, other := net.Pipe()
	w := newWriter(4)
	done := make(chan error, 1)
	go func() { done <- w.run(one) }()
	body := []byte(secret)
	w.send(frame{kind: kindCall, id: 1, body: []byte("x")})
	w.send(frame{kind: kindPIN, id: 2, body: body})
	w.send(frame{kind: kindCall, id: 3, body: []byte("y")})
	r := bufio.NewReaderSize(other, bufferSize)
	for id := uint64(1); id <= 3; id++ {
		f, err := readFrame(r)
		if err != nil || f.id != id || id == 2 && string(f.body) != secret {
			t.Fatalf("%+v, %v", f, err)
		}
	}
	if !bytes.Equal(body, make([]byte, len(body))) {
		t.Error("the sender keeps it")
	}
	// What the buffer holds behind its read position is out of reach here; a second PIN through one that is full shows it.
	b := bufio.NewReaderSize(bytes.NewReader(encode(kindPIN, 1, secret)), bufferSize)
	peeked, _ := b.Peek(headerSize + len(secret))
	if _, err := readFrame(b); err != nil || bytes.Contains(peeked, []byte(secret)) {
		t.Errorf("the buffer keeps it: %q, %v", peeked, err)
	}
	close(w.stopped)
	must(t, <-done)
}

func TestSignCall(t *testing.T) {
	key := keytest.Key(t, "a/b")
	for _, c := range []signCall{{key, [][]byte{{1}, {}, {2, 3}}}, {key, nil}, {keymgmt.KeyID{}, [][]byte{{1}}}} {
		got, err := parseSignCall(c.append(nil))
		if err != nil || got.key != c.key || len(got.messages) != len(c.messages) {
			t.Fatalf("%+v, %v", got, err)
		}
		for i := range c.messages {
			if !bytes.Equal(got.messages[i], c.messages[i]) {
				t.Fatalf("%+v", got)
			}
		}
	}
	good := signCall{key, [][]byte{{1}, {2, 3}}}.append(nil)
	bad := map[string][]byte{"rest": append(bytes.Clone(good), 0), "a key that is none": appendList(appendBytes(nil, []byte("A B")), nil),
		"many messages":  binary.BigEndian.AppendUint32(appendBytes(nil, []byte("a")), maxMessages+1),
		"a long message": appendList(appendBytes(nil, []byte("a")), [][]byte{make([]byte, keymgmt.MaxBody+1)}),
		"a lying number": binary.BigEndian.AppendUint32(appendBytes(nil, []byte("a")), 3)}
	for size := range good {
		bad[fmt.Sprint(size, " bytes")] = good[:size]
	}
	for name, b := range bad {
		if _, err := parseSignCall(b); !errors.Is(err, errWire) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestStatus(t *testing.T) {
	for _, want := range identities {
		p := parser{rest: appendStatus(nil, fmt.Errorf("doing it: %w", want))}
		err, fault := p.status()
		if fault != nil || p.end() != nil {
			t.Fatal(fault)
		}
		for _, other := range identities {
			if errors.Is(err, other) != (other == want) {
				t.Errorf("%v: is %v: %t", want, other, errors.Is(err, other))
			}
		}
		if !strings.Contains(err.Error(), want.Error()) {
			t.Errorf("%v", err)
		}
	}
	both := parser{rest: appendStatus(nil, fmt.Errorf("%w: %w", keymgmt.ErrUnavailable, pkcs11.ErrPIN))}
	if err, _ := both.status(); !errors.Is(err, keymgmt.ErrUnavailable) || !errors.Is(err, pkcs11.ErrPIN) {
		t.Error(err)
	}
	strange := parser{rest: appendStatus(nil, errors.New("strange \x1b[31m "+strings.Repeat("x", 2*maxErrorText)))}
	if err, _ := strange.status(); !errors.Is(err, keymgmt.ErrUnavailable) || strings.Contains(err.Error(), "\x1b") {
		t.Error(err)
	}
	none := parser{rest: appendStatus(nil, nil)}
	if err, fault := none.status(); err != nil || fault != nil || none.end() != nil {
		t.Error(err, fault)
	}
	for name, b := range map[string][]byte{"empty": nil, "short": {1}, "no mark": {0, 1, 0, 0, 0, 0}, "unknown bit": {0xC0, 0, 0, 0, 0, 0}, "no text": {0x80, 1}} {
		p := parser{rest: b}
		if err, fault := p.status(); !errors.Is(fault, errWire) || err != nil {
			t.Errorf("%s: %v, %v", name, err, fault)
		}
	}
}

func TestStrictJSON(t *testing.T) {
	for _, bad := range []string{``, `{`, `{"key":"A B"}`, `{"key":"a","other":1}`, `{"key":"a"} {}`, `{"key":"a"}]`, `[]`, `"a"`} {
		var c keyCall
		if err := strictJSON([]byte(bad), &c); !errors.Is(err, errWire) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	var c keyCall
	if err := strictJSON([]byte(`{"key":"a"}`), &c); err != nil || c.Key != keytest.Key(t, "a") {
		t.Error(err)
	}
}

// A parent that is none is left.
func TestServeRefuses(t *testing.T) {
	for name, bytes := range map[string][]byte{
		"no hello":       encode(kindCall, 1, "{}"),
		"other protocol": encode(kindHello, 0, `{"protocol":2,"calls":1}`),
		"no calls":       encode(kindHello, 0, `{"protocol":1}`),
		"many calls":     encode(kindHello, 0, fmt.Sprintf(`{"protocol":1,"calls":%d}`, maxCalls+1)),
		"more fields":    encode(kindHello, 0, `{"protocol":1,"calls":1,"pin":"1234"}`),
		"noise":          []byte("GET / HTTP/1.1\r\n\r\n"),
	} {
		one, other := net.Pipe()
		done := make(chan error, 1)
		go func() { done <- serve(one) }()
		go func() { _, _ = other.Write(bytes) }()
		if err := <-done; !errors.Is(err, errWire) {
			t.Errorf("%s: %v", name, err)
		}
		must(t, other.Close())
	}
}

func TestConfigValidate(t *testing.T) {
	good := Config{Program: []string{"x"}, CallTimeout: MinCallTimeout,
		Keyring: pkcs11.Config{Module: "/x", TokenLabel: "t", MaxSessions: 1, PIN: func() ([]byte, error) { return nil, nil }}}
	must(t, good.Validate())
	for name, change := range map[string]func(*Config){
		"no program":   func(c *Config) { c.Program = nil },
		"empty":        func(c *Config) { c.Program = []string{""} },
		"no timeout":   func(c *Config) { c.CallTimeout = 0 },
		"long timeout": func(c *Config) { c.CallTimeout = MaxCallTimeout + 1 },
		"keyring":      func(c *Config) { c.Keyring.MaxSessions = 0 },
	} {
		c := good
		change(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// What is too large for the protocol is refused before it is sent, by whoever asked for it.
func TestSignBounds(t *testing.T) {
	ring, err := New(Config{Program: []string{"x"}, CallTimeout: MinCallTimeout,
		Keyring: pkcs11.Config{Module: "/x", TokenLabel: "t", MaxSessions: 1, PIN: func() ([]byte, error) { return nil, nil }}})
	must(t, err)
	key, large := keytest.Key(t, "one"), make([]byte, keymgmt.MaxBody)
	for name, messages := range map[string][][]byte{"many": make([][]byte, maxMessages+1), "long": {append(large, 0)},
		"long together": slices.Repeat([][]byte{large}, maxOversize+1)} {
		if _, err := ring.sign(t.Context(), key, messages); !errors.Is(err, keymgmt.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := len(appendList(nil, slices.Repeat([][]byte{large}, maxOversize))) + headerSize + keymgmt.MaxKeyID; n > maxFrame {
		t.Errorf("what is allowed does not fit into a frame: %d", n)
	}
}

// An id means what it meant first, whatever a later child says of it.
func TestRecognise(t *testing.T) {
	ring := &Ring{known: map[keymgmt.KeyID]keymgmt.PublicKey{}}
	key := keytest.Key(t, "one")
	first, err := keymgmt.NewPublicKey(keymgmt.Ed25519, make([]byte, 32))
	must(t, err)
	second, err := keymgmt.NewPublicKey(keymgmt.Ed25519, append(make([]byte, 31), 1))
	must(t, err)
	must(t, ring.recognise(key, first))
	must(t, ring.recognise(key, first))
	for _, other := range []keymgmt.PublicKey{second, {}} {
		if err := ring.recognise(key, other); !errors.Is(err, pkcs11.ErrKeyRefused) || !errors.Is(err, keymgmt.ErrUnknownKey) {
			t.Errorf("%s: %v", other, err)
		}
	}
}

// FuzzFrame: whatever comes, reading ends, and what is read is written the same way.
func FuzzFrame(f *testing.F) {
	f.Add(encode(kindHello, 0, `{"protocol":1}`))
	f.Add(encode(kindPIN, 1, "secret"))
	f.Add(append(encode(kindAnswer, 2, "\x00\x00"), 0, 0, 0))
	f.Fuzz(func(t *testing.T, wire []byte) {
		r := bufio.NewReaderSize(bytes.NewReader(bytes.Clone(wire)), bufferSize)
		var again []byte
		for {
			got, err := readFrame(r)
			if err != nil {
				break
			}
			again = got.appendTo(again)
		}
		if !bytes.HasPrefix(wire, again) {
			t.Fatalf("%x became %x", wire, again)
		}
	})
}

// FuzzBodies: no body hurts, and each has one form.
func FuzzBodies(f *testing.F) {
	f.Add(appendList(appendBytes(nil, []byte("a/b")), [][]byte{{1}, {2}}))
	f.Add(appendStatus(nil, keymgmt.ErrUnavailable))
	f.Add(appendList(nil, [][]byte{make([]byte, 64)}))
	f.Add([]byte("\x01{\"key\":\"a\"}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := parseSignCall(b); err == nil && !bytes.Equal(c.append(nil), b) {
			t.Fatalf("%x: %+v", b, c)
		}
		if list, err := parseSignatures(b); err == nil && !bytes.Equal(appendList(nil, list), b) {
			t.Fatalf("%x: %x", b, list)
		}
		p := parser{rest: b}
		if err, fault := p.status(); fault == nil && err != nil && err.Error() == "" {
			t.Fatal("an error without words")
		}
		if len(b) > 0 && method(b[0]) != methodSign {
			if _, ok := methods[method(b[0])]; !ok {
				s := new(server)
				refusal := parser{rest: s.answer(context.Background(), b)}
				if err, fault := refusal.status(); err == nil || fault != nil {
					t.Fatalf("method %d: %v, %v", b[0], err, fault)
				}
			}
		}
		var h hello
		_ = strictJSON(b, &h)
	})
}
