package ledger

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// The store's keys: one byte that says what it is, then the name of the thing.
var (
	keyGenesis = []byte("g")
	keyLast    = []byte("l") // sequence number of the last closed ledger, and the hash of its header
)

const (
	prefixEntry  = 'e' // + ledger key: the entry
	prefixHeader = 'h' // + sequence number: the header
	prefixMeta   = 'm' // + sequence number: the LedgerCloseMeta
)

// recheck is how many of the last headers are hashed again when a store is opened.
const recheck = 64

// quiet keeps the store's chatter out of the log: what goes wrong comes back as an error.
type quiet struct{}

// Infof says nothing.
func (quiet) Infof(string, ...any) {}

// Errorf says nothing.
func (quiet) Errorf(string, ...any) {}

// fatal is what the store panics with when it cannot go on.
type fatal string

// Fatalf must not return. In commit it becomes an error; in a goroutine of the store's own it ends the process, since
// nobody could say what is on disk.
func (quiet) Fatalf(format string, args ...any) {
	panic(fatal("ledger: store: " + fmt.Sprintf(format, args...)))
}

// commit writes a batch and syncs it.
func commit(batch *pebble.Batch) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case fatal:
			err = errors.New(string(r))
		default:
			panic(r)
		}
	}()
	return batch.Commit(pebble.Sync)
}

func seqKey(prefix byte, seq uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{prefix}, seq)
}

func entryKey(key []byte) []byte { return append([]byte{prefixEntry}, key...) }

// checkGenesis compares the stored genesis with ours.
func (l *Ledger) checkGenesis() error {
	ours, err := json.Marshal(l.genesis)
	if err != nil {
		return fmt.Errorf("ledger: genesis: %w", err)
	}
	stored, err := l.get(keyGenesis)
	if errors.Is(err, pebble.ErrNotFound) {
		return fmt.Errorf("%w: no genesis", ErrCorrupt)
	}
	if err != nil {
		return err
	}
	if !bytes.Equal(stored, ours) {
		return fmt.Errorf("%w: it began with %s, this one is %s", ErrGenesis, stored, ours)
	}
	return nil
}

func (l *Ledger) get(key []byte) ([]byte, error) {
	value, closer, err := l.db.Get(key)
	if err != nil {
		return nil, fmt.Errorf("ledger: read: %w", err)
	}
	defer closer.Close()
	return bytes.Clone(value), nil
}

// persist writes everything about a closed ledger in one synced batch, and only then makes it visible.
func (l *Ledger) persist(c closing) error {
	batch := l.db.NewBatch()
	defer batch.Close()
	entry, err := headerEntry(c.header)
	if err != nil {
		return err
	}
	rawHeader, err := c.header.MarshalBinary()
	if err != nil {
		return fmt.Errorf("ledger: header: %w", err)
	}
	seq := uint32(c.header.LedgerSeq)
	put := func(key, value []byte) {
		if err == nil {
			err = batch.Set(key, value, nil)
		}
	}
	for _, ch := range c.changed {
		if ch.after != nil {
			put(entryKey(ch.key), ch.after)
		} else if err == nil {
			err = batch.Delete(entryKey(ch.key), nil)
		}
	}
	put(seqKey(prefixHeader, seq), rawHeader)
	if c.meta != nil {
		raw, metaErr := c.meta.MarshalBinary()
		if metaErr != nil {
			return fmt.Errorf("ledger: meta: %w", metaErr)
		}
		put(seqKey(prefixMeta, seq), raw)
	} else {
		genesis, genesisErr := json.Marshal(l.genesis)
		if genesisErr != nil {
			return fmt.Errorf("ledger: genesis: %w", genesisErr)
		}
		put(keyGenesis, genesis)
	}
	put(keyLast, append(binary.BigEndian.AppendUint32(nil, seq), entry.Hash[:]...))
	if err == nil {
		err = commit(batch)
	}
	if err != nil {
		return fmt.Errorf("ledger: store ledger %d: %w", seq, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, key := range c.delta.Keys() {
		l.state.set(key, c.delta.Get(key))
	}
	l.header, l.hash, l.digest = c.header, protocol.Hash(entry.Hash), c.digest
	return nil
}

// Meta returns what a past ledger changed; protocol.ErrNotFound for one that has not closed, and for ledger 1.
func (l *Ledger) Meta(seq uint32) (xdr.LedgerCloseMeta, error) {
	raw, err := l.MetaBytes(seq)
	if err != nil {
		return xdr.LedgerCloseMeta{}, err
	}
	var meta xdr.LedgerCloseMeta
	if err := meta.UnmarshalBinary(raw); err != nil {
		return xdr.LedgerCloseMeta{}, fmt.Errorf("%w: meta of ledger %d: %v", ErrCorrupt, seq, err)
	}
	return meta, nil
}

// MetaBytes returns the XDR of Meta.
func (l *Ledger) MetaBytes(seq uint32) ([]byte, error) {
	raw, err := l.get(seqKey(prefixMeta, seq))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, fmt.Errorf("%w: ledger %d", protocol.ErrNotFound, seq)
	}
	return raw, err
}
