package ledger

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/apply"
	"github.com/diamante/gateway/node/protocol"
)

// The store's keys: one byte that says what it is, then the name of the thing.
var (
	keyGenesis = []byte("g")
	keyLast    = []byte("l") // sequence number of the last closed ledger
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

// Fatalf ends the process: the store cannot go on and must not be written to.
func (quiet) Fatalf(format string, args ...any) {
	panic("ledger: store: " + fmt.Sprintf(format, args...))
}

func seqKey(prefix byte, seq uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{prefix}, seq)
}

func entryKey(key []byte) []byte { return append([]byte{prefixEntry}, key...) }

// checkGenesis compares the stored genesis with ours and reports whether the store is new.
func (l *Ledger) checkGenesis() (fresh bool, err error) {
	ours, err := json.Marshal(l.genesis)
	if err != nil {
		return false, fmt.Errorf("ledger: genesis: %w", err)
	}
	stored, err := l.get(keyGenesis)
	if errors.Is(err, pebble.ErrNotFound) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	if !bytes.Equal(stored, ours) {
		return false, ErrGenesis
	}
	return false, nil
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
func (l *Ledger) persist(delta *apply.Delta, c closing) error {
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
		if ch.value != nil {
			put(entryKey(ch.key), ch.value)
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
	put(keyLast, binary.BigEndian.AppendUint32(nil, seq))
	if err == nil {
		err = batch.Commit(pebble.Sync)
	}
	if err != nil {
		return fmt.Errorf("ledger: store ledger %d: %w", seq, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, key := range delta.Keys() {
		l.state.set(key, delta.Get(key))
	}
	l.header, l.hash = c.header, protocol.Hash(entry.Hash)
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

// load reads the last ledger and all live entries, and checks that they hash together: the last headers with each
// other, the last header's commitment with what its ledger changed, and those changes with the entries.
func (l *Ledger) load() error {
	raw, err := l.get(keyLast)
	if err != nil {
		return fmt.Errorf("%w: no last ledger: %w", ErrCorrupt, err)
	}
	if len(raw) != 4 {
		return fmt.Errorf("%w: last ledger of %d bytes", ErrCorrupt, len(raw))
	}
	last := binary.BigEndian.Uint32(raw)
	headers, err := l.headers(last)
	if err != nil {
		return err
	}
	l.header = headers[len(headers)-1]
	entry, err := headerEntry(l.header)
	if err != nil {
		return err
	}
	l.hash = protocol.Hash(entry.Hash)
	if err := l.loadEntries(last); err != nil {
		return err
	}
	if last == 1 {
		return nil
	}
	return l.checkLast(headers)
}

// headers reads the last headers, oldest first, and checks that each names the hash of the one before.
func (l *Ledger) headers(last uint32) ([]xdr.LedgerHeader, error) {
	var headers []xdr.LedgerHeader
	for seq := max(1, int64(last)-recheck); seq <= int64(last); seq++ {
		raw, err := l.get(seqKey(prefixHeader, uint32(seq)))
		if err != nil {
			return nil, fmt.Errorf("%w: header %d: %w", ErrCorrupt, seq, err)
		}
		var h xdr.LedgerHeader
		if err := h.UnmarshalBinary(raw); err != nil {
			return nil, fmt.Errorf("%w: header %d: %v", ErrCorrupt, seq, err)
		}
		if int64(h.LedgerSeq) != seq {
			return nil, fmt.Errorf("%w: header %d is of ledger %d", ErrCorrupt, seq, h.LedgerSeq)
		}
		if n := len(headers); n > 0 {
			before, err := headerEntry(headers[n-1])
			if err != nil {
				return nil, err
			}
			if h.PreviousLedgerHash != before.Hash {
				return nil, fmt.Errorf("%w: header %d does not follow %d", ErrCorrupt, seq, seq-1)
			}
		}
		headers = append(headers, h)
	}
	return headers, nil
}

func (l *Ledger) loadEntries(last uint32) error {
	iter, err := l.db.NewIter(&pebble.IterOptions{LowerBound: []byte{prefixEntry}, UpperBound: []byte{prefixEntry + 1}})
	if err != nil {
		return fmt.Errorf("ledger: read entries: %w", err)
	}
	defer iter.Close()
	total := int64(0)
	for iter.First(); iter.Valid(); iter.Next() {
		var e xdr.LedgerEntry
		if err := e.UnmarshalBinary(iter.Value()); err != nil {
			return fmt.Errorf("%w: entry: %v", ErrCorrupt, err)
		}
		key := string(iter.Key()[1:])
		if apply.EntryKey(e) != key || uint32(e.LastModifiedLedgerSeq) > last {
			return fmt.Errorf("%w: an entry lies under another's key or is from the future", ErrCorrupt)
		}
		if e.Data.Type == xdr.LedgerEntryTypeAccount {
			total += int64(e.Data.Account.Balance)
		}
		l.state.set(key, &e)
	}
	if err := iter.Error(); err != nil {
		return fmt.Errorf("ledger: read entries: %w", err)
	}
	if total+int64(l.header.FeePool) != int64(l.header.TotalCoins) {
		return fmt.Errorf("%w: accounts hold %d and the fee pool %d, but there are %d", ErrCorrupt, total, l.header.FeePool, l.header.TotalCoins)
	}
	return nil
}

// checkLast checks the last ledger's commitment and that its changes are what the store holds.
func (l *Ledger) checkLast(headers []xdr.LedgerHeader) error {
	meta, err := l.Meta(uint32(l.header.LedgerSeq))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if meta.V1 == nil {
		return fmt.Errorf("%w: meta of version %d", ErrCorrupt, meta.V)
	}
	changed, err := changesOf(*meta.V1)
	if err != nil {
		return err
	}
	before := headers[len(headers)-2]
	if xdr.Hash(commitment(protocol.Hash(before.BucketListHash), changed)) != l.header.BucketListHash {
		return fmt.Errorf("%w: ledger %d does not commit to what it changed", ErrCorrupt, l.header.LedgerSeq)
	}
	for _, c := range changed {
		stored, err := l.get(entryKey(c.key))
		if errors.Is(err, pebble.ErrNotFound) {
			stored, err = nil, nil
		}
		if err != nil {
			return err
		}
		if !bytes.Equal(stored, c.value) {
			return fmt.Errorf("%w: an entry is not as ledger %d left it", ErrCorrupt, l.header.LedgerSeq)
		}
	}
	return nil
}
