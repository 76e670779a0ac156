package child

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
)

// bufferSize is that of each direction, in bytes: some hundred calls fit.
const bufferSize = 64 << 10

// writer sends frames in the order they come, as many at a time as there are. Without that every signature would cost
// two system calls on each side, which is as much as some devices take to sign.
type writer struct {
	frames  chan frame
	stopped chan struct{} // closed by its owner when nobody reads any more
}

func newWriter(room int) *writer {
	return &writer{frames: make(chan frame, room), stopped: make(chan struct{})}
}

// send reports whether the frame will be written, if the connection lives so long.
func (w *writer) send(f frame) bool {
	select {
	case <-w.stopped:
		return false
	case w.frames <- f:
		return true
	}
}

// run writes until it cannot, or is stopped.
func (w *writer) run(conn net.Conn) error {
	b := bufio.NewWriterSize(conn, bufferSize)
	for {
		select {
		case <-w.stopped:
			w.drain()
			return nil
		case f := <-w.frames:
			if err := w.write(b, conn, f); err != nil {
				return err
			}
		}
		if len(w.frames) == 0 {
			if err := b.Flush(); err != nil {
				return err
			}
		}
	}
}

// drain wipes a PIN that nobody will get.
func (w *writer) drain() {
	for {
		select {
		case f := <-w.frames:
			if f.kind == kindPIN {
				clear(f.body)
			}
		default:
			return
		}
	}
}

func (w *writer) write(b *bufio.Writer, conn io.Writer, f frame) error {
	if f.kind == kindPIN { // past the buffer, where it would stay, and wiped
		defer clear(f.body)
		if err := b.Flush(); err != nil {
			return err
		}
		whole := f.appendTo(make([]byte, 0, headerSize+len(f.body)))
		defer clear(whole)
		_, err := conn.Write(whole)
		return err
	}
	var header [headerSize]byte
	binary.BigEndian.PutUint32(header[:], uint32(headerSize-4+len(f.body)))
	header[4] = byte(f.kind)
	binary.BigEndian.PutUint64(header[5:], f.id)
	if _, err := b.Write(header[:]); err != nil {
		return err
	}
	_, err := b.Write(f.body)
	return err
}
