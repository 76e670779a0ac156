package ledger

import (
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/apply"
	"github.com/diamante/gateway/node/protocol"
)

// load reads the last ledger and all live entries, and checks that they hash together: the last headers with each other
// and the last of them with the stored hash, and its commitment with what its ledger changed and with all entries.
func (l *Ledger) load() error {
	raw, err := l.get(keyLast)
	if err != nil {
		return fmt.Errorf("%w: no last ledger: %w", ErrCorrupt, err)
	}
	var hash protocol.Hash
	if len(raw) != 4+len(hash) {
		return fmt.Errorf("%w: last ledger of %d bytes", ErrCorrupt, len(raw))
	}
	last := binary.BigEndian.Uint32(raw)
	copy(hash[:], raw[4:])
	headers, err := l.headers(last)
	if err != nil {
		return err
	}
	l.header = headers[len(headers)-1]
	entry, err := headerEntry(l.header)
	if err != nil {
		return err
	}
	if l.hash = protocol.Hash(entry.Hash); l.hash != hash {
		return fmt.Errorf("%w: header %d hashes to %s, stored is %s", ErrCorrupt, last, l.hash, hash)
	}
	if err := l.loadEntries(last); err != nil {
		return err
	}
	return l.checkCommitment(headers)
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
	if len(headers) == 0 {
		return nil, fmt.Errorf("%w: last ledger is %d", ErrCorrupt, last)
	}
	return headers, nil
}

func (l *Ledger) loadEntries(last uint32) error {
	iter, err := l.db.NewIter(&pebble.IterOptions{LowerBound: []byte{prefixEntry}, UpperBound: []byte{prefixEntry + 1}})
	if err != nil {
		return fmt.Errorf("ledger: read entries: %w", err)
	}
	defer iter.Close()
	for iter.First(); iter.Valid(); iter.Next() {
		var e xdr.LedgerEntry
		if err := e.UnmarshalBinary(iter.Value()); err != nil {
			return fmt.Errorf("%w: entry: %v", ErrCorrupt, err)
		}
		key := string(iter.Key()[1:])
		if apply.EntryKey(e) != key || uint32(e.LastModifiedLedgerSeq) > last {
			return fmt.Errorf("%w: an entry lies under another's key or is from the future", ErrCorrupt)
		}
		l.state.set(key, &e)
		l.digest = l.digest.with([]byte(key), iter.Value())
	}
	if err := iter.Error(); err != nil {
		return fmt.Errorf("ledger: read entries: %w", err)
	}
	if l.state.native+int64(l.header.FeePool) != int64(l.header.TotalCoins) {
		return fmt.Errorf("%w: accounts hold %d and the fee pool %d, but there are %d", ErrCorrupt, l.state.native, l.header.FeePool, l.header.TotalCoins)
	}
	return nil
}

// checkCommitment makes the last header's commitment again: of the one before, of what its ledger says that it changed,
// and of the entries that are there.
func (l *Ledger) checkCommitment(headers []xdr.LedgerHeader) error {
	seq := uint32(l.header.LedgerSeq)
	var previous protocol.Hash
	var changed []change
	if seq == 1 {
		root := l.state.Get(apply.AccountKey(l.genesis.Root.XDR()))
		raw, err := encodeEntry(root)
		if err != nil {
			return err
		}
		changed = []change{{key: []byte(apply.AccountKey(l.genesis.Root.XDR())), after: raw}}
	} else {
		previous = protocol.Hash(headers[len(headers)-2].BucketListHash)
		meta, err := l.Meta(seq)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		if meta.V1 == nil {
			return fmt.Errorf("%w: meta of version %d", ErrCorrupt, meta.V)
		}
		if changed, err = changesOf(*meta.V1); err != nil {
			return err
		}
	}
	if xdr.Hash(commitment(previous, changed, l.digest)) != l.header.BucketListHash {
		return fmt.Errorf("%w: header %d does not commit to the entries that are stored", ErrCorrupt, seq)
	}
	return nil
}
