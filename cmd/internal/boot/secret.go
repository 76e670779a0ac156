package boot

import (
	"bytes"
	"fmt"
	"io"
	"os"
)

// Secret reads a secret from a file that only its owner can read, without surrounding blanks.
func Secret(path string) (string, error) {
	raw, err := SecretBytes(path)
	return string(raw), err
}

// SecretBytes is Secret for a caller who wipes the secret after use.
func SecretBytes(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("secret: %w", err)
	}
	defer f.Close()
	info, err := f.Stat() // of the open file: the path may name another one by now
	if err != nil {
		return nil, fmt.Errorf("secret: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("secret: %s is not a file", path)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("secret: %s has mode %04o; only its owner may read it", path, info.Mode().Perm())
	}
	raw := make([]byte, MaxSecret+1) // one buffer, so that there is one to wipe
	n, err := io.ReadFull(f, raw)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		clear(raw)
		return nil, fmt.Errorf("secret: %w", err)
	}
	if n > MaxSecret {
		clear(raw)
		return nil, fmt.Errorf("secret: %s is larger than %d bytes", path, MaxSecret)
	}
	secret := bytes.TrimSpace(raw[:n])
	if len(secret) == 0 {
		return nil, fmt.Errorf("secret: %s is empty", path)
	}
	return secret, nil
}

// ReadFile reads a file of at most limit bytes.
func ReadFile(path string, limit int64) ([]byte, error) { return readBounded(path, limit) }

func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(raw)) > limit {
		err = fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return raw, err
}
