// Package genesis reads and writes the file that says what a network's first ledger is.
//
// Every node of a network starts from the same file; two files that differ in anything make two networks that cannot
// follow each other. It holds no secret. Load reads it strictly: unknown keys, missing keys and values out of range are
// errors. Write makes it, once.
package genesis

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/pelletier/go-toml/v2"

	"github.com/diamante/gateway/node/ledger"
	"github.com/diamante/gateway/node/protocol"
)

// ErrInvalid is wrapped by every error about what a genesis file says.
var ErrInvalid = errors.New("genesis: invalid file")

const (
	// maxFile bounds the file.
	maxFile = 64 << 10
	// fileMode lets everybody read: nothing in it is secret.
	fileMode = 0o644
)

// file is the form on disk. Pointers tell what is missing from what is zero.
type file struct {
	Passphrase *protocol.Passphrase `toml:"network_passphrase" comment:"Names the network; every signature is bound to it."`
	Root       *protocol.AccountID  `toml:"root" comment:"The account that holds everything at ledger 1. Its key is not derived from the passphrase."`
	Supply     *protocol.Amount     `toml:"supply" comment:"How many DIAM there are, for good."`
	BaseFee    *uint32              `toml:"base_fee" comment:"Stroops (1e-7 DIAM) for one operation."`
	Reserve    *uint32              `toml:"base_reserve" comment:"Stroops that an account keeps for each of its entries."`
	Protocol   *uint32              `toml:"protocol_version"`
	MaxTxSet   *uint32              `toml:"max_tx_set_size" comment:"Operations in one ledger."`
	CloseTime  *string              `toml:"close_time" comment:"When ledger 1 closed: RFC 3339, whole seconds."`
}

// Load reads the genesis file at path.
func Load(path string) (ledger.Genesis, error) {
	f, err := os.Open(path)
	if err != nil {
		return ledger.Genesis{}, fmt.Errorf("genesis: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return ledger.Genesis{}, fmt.Errorf("genesis: %w", err)
	}
	g, err := Parse(text)
	if err != nil {
		return ledger.Genesis{}, fmt.Errorf("%s: %w", path, err)
	}
	return g, nil
}

// Parse reads the text of a genesis file.
func Parse(text []byte) (ledger.Genesis, error) {
	var none ledger.Genesis
	if len(text) > maxFile {
		return none, fmt.Errorf("%w: larger than %d bytes", ErrInvalid, maxFile)
	}
	f, err := decode(text)
	if err != nil {
		return none, err
	}
	for _, field := range []struct {
		name    string
		missing bool
	}{
		{"network_passphrase", f.Passphrase == nil}, {"root", f.Root == nil}, {"supply", f.Supply == nil},
		{"base_fee", f.BaseFee == nil}, {"base_reserve", f.Reserve == nil}, {"protocol_version", f.Protocol == nil},
		{"max_tx_set_size", f.MaxTxSet == nil}, {"close_time", f.CloseTime == nil},
	} {
		if field.missing {
			return none, fmt.Errorf("%w: %s is missing", ErrInvalid, field.name)
		}
	}
	at, err := time.Parse(time.RFC3339, *f.CloseTime)
	if err != nil {
		return none, fmt.Errorf("%w: close_time: %v", ErrInvalid, err)
	}
	g := ledger.Genesis{Passphrase: *f.Passphrase, Root: *f.Root, Supply: *f.Supply, BaseFee: *f.BaseFee, BaseReserve: *f.Reserve,
		Protocol: *f.Protocol, MaxTxSetSize: *f.MaxTxSet, CloseTime: at.UTC()}
	if err := g.Validate(); err != nil {
		return none, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return g, nil
}

// decode reads the form. The decoder panics on a few values that do not fit their field, such as a date for a text.
func decode(text []byte) (f file, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", ErrInvalid, r)
		}
	}()
	if err := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(&f); err != nil {
		return f, fmt.Errorf("%w: %s", ErrInvalid, reason(err))
	}
	return f, nil
}

// reason names the keys that are unknown; the decoder's own error does not.
func reason(err error) string {
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) && len(strict.Errors) > 0 {
		return fmt.Sprintf("unknown key %q", strict.Errors[0].Key())
	}
	return err.Error()
}

// Encode returns the text of a genesis file, as Parse reads it.
func Encode(g ledger.Genesis) ([]byte, error) {
	if err := g.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	at := g.CloseTime.UTC().Format(time.RFC3339)
	text, err := toml.Marshal(file{Passphrase: &g.Passphrase, Root: &g.Root, Supply: &g.Supply, BaseFee: &g.BaseFee, Reserve: &g.BaseReserve,
		Protocol: &g.Protocol, MaxTxSet: &g.MaxTxSetSize, CloseTime: &at})
	if err != nil {
		return nil, fmt.Errorf("genesis: %w", err)
	}
	return text, nil
}

// Write writes a genesis file at path. It does not replace one: a network has one genesis.
func Write(path string, g ledger.Genesis) error {
	text, err := Encode(g)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return fmt.Errorf("genesis: %w", err)
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(fmt.Errorf("genesis: write %s: %w", filepath.Base(path), err), os.Remove(path))
	}
	return nil
}
