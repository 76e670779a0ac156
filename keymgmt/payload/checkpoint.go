package payload

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// maxOrigin bounds the origin line, in bytes.
const maxOrigin = 255

// Checkpoint is the state of a transparency log, as in C2SP's tlog-checkpoint: three lines, no extensions.
type Checkpoint struct {
	Origin string
	Size   int64 // positive
	Root   [sha256.Size]byte
}

func (m *Meaning) readCheckpoint(body []byte) error {
	lines := strings.Split(string(body), "\n")
	if len(lines) != 4 || lines[3] != "" {
		return malformed("a checkpoint is three lines, each ended by a newline")
	}
	origin, size, root := lines[0], lines[1], lines[2]
	if !printable(origin, maxOrigin) {
		return malformed("checkpoint origin %.80q", origin)
	}
	n, err := strconv.ParseInt(size, 10, 64)
	if err != nil || n < 1 || strconv.FormatInt(n, 10) != size {
		return malformed("checkpoint size %.40q", size)
	}
	hash, err := base64.StdEncoding.Strict().DecodeString(root)
	if err != nil || len(hash) != sha256.Size || base64.StdEncoding.EncodeToString(hash) != root {
		return malformed("checkpoint root %.80q", root)
	}
	c := &Checkpoint{Origin: origin, Size: n, Root: [sha256.Size]byte(hash)}
	m.Checkpoint, m.sign = c, ed25519Only(body)
	m.words = []string{fmt.Sprintf("log %q has %d records and root %s", origin, n, hex.EncodeToString(hash))}
	return nil
}
