// Package ledger is the state of the network and its closing, one ledger after the other.
//
// Open loads a store, or makes one from a Genesis. Close applies a transaction set that consensus decided on: fees
// first, then the transactions in an order that the set's hash determines. Everything a ledger changes, its header, its
// results and its meta go to disk in one synced batch before anybody can see any of it. The invariants are checked
// before that; a violation stops the ledger for good and leaves the disk as it was.
//
// All live entries are in memory, and Pebble keeps them on disk. The header's bucketListHash is, in this version, a hash
// chain over the changed entries of each ledger and a digest of all entries (see commitment).
package ledger

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/apply"
	"github.com/diamante/gateway/node/protocol"
)

var (
	// ErrGenesis: the store was made with another genesis.
	ErrGenesis = errors.New("ledger: the store belongs to another genesis")
	// ErrCorrupt: what is on disk does not hash together.
	ErrCorrupt = errors.New("ledger: the store is corrupt")
	// ErrSet: a transaction set cannot follow the last ledger.
	ErrSet = errors.New("ledger: transaction set does not fit")
	// ErrInvariant: closing would have broken an invariant; nothing was changed and no further ledger closes.
	ErrInvariant = errors.New("ledger: invariant violated")
)

// Genesis is what a network begins with: the content of its first ledger.
type Genesis struct {
	Passphrase   protocol.Passphrase
	Root         protocol.AccountID // holds the whole supply at ledger 1; its key is in an HSM
	Supply       protocol.Amount    // of DIAM
	BaseFee      uint32             // stroops for each operation
	BaseReserve  uint32             // stroops for each entry
	Protocol     uint32             // 22
	MaxTxSetSize uint32             // operations in one ledger
	CloseTime    time.Time          // of ledger 1, in whole seconds
}

// Protocol is the version whose rules this package applies.
const Protocol = 22

// Validate checks that a network could begin like this.
func (g Genesis) Validate() error {
	switch {
	case g.Passphrase.Validate() != nil:
		return g.Passphrase.Validate()
	case g.Root.IsZero():
		return errors.New("ledger: genesis has no root account")
	case g.Supply.IsZero():
		return errors.New("ledger: genesis has no supply")
	case g.BaseFee == 0 || g.BaseReserve == 0 || g.MaxTxSetSize == 0:
		return errors.New("ledger: genesis needs a base fee, a base reserve and a size of transaction sets")
	case g.Protocol != Protocol:
		return fmt.Errorf("ledger: genesis has protocol %d, not %d", g.Protocol, Protocol)
	case g.CloseTime.Unix() <= 0 || g.CloseTime.Nanosecond() != 0:
		return errors.New("ledger: genesis needs a close time in whole seconds")
	}
	return nil
}

// memTable is how much the store gathers in memory before it writes a table. The batch of a full ledger is a few
// megabytes; a table for each of them would be rewritten again and again.
const memTable = 64 << 20

// The store is a folder in the ledger's own; while it is made it has another name.
const (
	storeName  = "store"
	unfinished = ".new"
)

// Ledger is the state. Its methods may be called from any goroutine, Close and Shutdown from one only.
type Ledger struct {
	genesis  Genesis
	db       *pebble.DB
	verifier *verifier
	broken   error // owned by Close

	mu     sync.RWMutex // guards what follows
	state  *state
	digest digest // of the state
	header xdr.LedgerHeader
	hash   protocol.Hash
}

// Open opens the store in dir, or makes it with the genesis as ledger 1.
func Open(dir string, g Genesis) (*Ledger, error) { return OpenFS(vfs.Default, dir, g) }

// OpenFS is Open on a given file system: tests crash it.
func OpenFS(fs vfs.FS, dir string, g Genesis) (*Ledger, error) {
	if err := g.Validate(); err != nil {
		return nil, err
	}
	g.CloseTime = g.CloseTime.UTC() // the same instant is the same genesis
	path := fs.PathJoin(dir, storeName)
	_, err := fs.Stat(path)
	if errors.Is(err, iofs.ErrNotExist) {
		err = create(fs, dir, g)
	}
	if err != nil {
		return nil, fmt.Errorf("ledger: open %s: %w", dir, err)
	}
	l, err := openStore(fs, path, g)
	if err != nil {
		return nil, err
	}
	if err = l.checkGenesis(); err == nil {
		err = l.load()
	}
	if err != nil {
		return nil, errors.Join(err, l.db.Close())
	}
	return l, nil
}

// create makes the store with ledger 1. It is made under another name and gets its own when it is whole, so that a crash
// leaves no half of one.
func create(fs vfs.FS, dir string, g Genesis) error {
	path := fs.PathJoin(dir, storeName)
	if err := fs.RemoveAll(path + unfinished); err != nil {
		return err
	}
	l, err := openStore(fs, path+unfinished, g)
	if err != nil {
		return err
	}
	if err := errors.Join(l.begin(), l.db.Close()); err != nil {
		return err
	}
	if err := fs.Rename(path+unfinished, path); err != nil {
		return err
	}
	folder, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

func openStore(fs vfs.FS, path string, g Genesis) (*Ledger, error) {
	db, err := pebble.Open(path, &pebble.Options{FS: fs, Logger: quiet{}, MemTableSize: memTable})
	if err != nil {
		return nil, fmt.Errorf("ledger: open %s: %w", path, err)
	}
	return &Ledger{genesis: g, db: db, verifier: newVerifier(), state: newState()}, nil
}

// Shutdown closes the store. Nothing may be called afterwards.
func (l *Ledger) Shutdown() error {
	if err := l.db.Close(); err != nil {
		return fmt.Errorf("ledger: close store: %w", err)
	}
	return nil
}

// Genesis returns what the network began with.
func (l *Ledger) Genesis() Genesis { return l.genesis }

// Header returns the last closed ledger's header and its hash.
func (l *Ledger) Header() (xdr.LedgerHeader, protocol.Hash) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.header, l.hash
}

// begin writes ledger 1.
func (l *Ledger) begin() error {
	g := l.genesis
	root := apply.NewAccount(g.Root.XDR(), xdr.Int64(g.Supply.Stroops()), 1)
	root.Data.Account.SeqNum = 0
	delta := apply.NewDelta(l.state, 1)
	delta.Replace(apply.EntryKey(root), &root)
	header := xdr.LedgerHeader{
		LedgerVersion: xdr.Uint32(g.Protocol), LedgerSeq: 1, TotalCoins: xdr.Int64(g.Supply.Stroops()),
		BaseFee: xdr.Uint32(g.BaseFee), BaseReserve: xdr.Uint32(g.BaseReserve), MaxTxSetSize: xdr.Uint32(g.MaxTxSetSize),
		ScpValue: xdr.StellarValue{CloseTime: xdr.TimePoint(g.CloseTime.Unix())},
	}
	changed, err := encodeChanges(l.state, delta)
	if err != nil {
		return err
	}
	d := l.digest.after(changed)
	header.BucketListHash = xdr.Hash(commitment(protocol.Hash{}, changed, d))
	return l.persist(closing{header: header, delta: delta, changed: changed, digest: d})
}

// context returns what transactions of ledger seq, closing at the given time, are told.
func (l *Ledger) context(header xdr.LedgerHeader, seq uint32, closeTime uint64) apply.Context {
	return apply.Context{Seq: seq, CloseTime: closeTime, BaseFee: uint32(header.BaseFee),
		BaseReserve: uint32(header.BaseReserve), Verify: l.verifier.verify}
}

// CheckValid says whether a transaction could be in the next ledger.
func (l *Ledger) CheckValid(env xdr.TransactionEnvelope) xdr.TransactionResult {
	tx, err := apply.NewTx(l.genesis.Passphrase, env)
	if err != nil {
		return xdr.TransactionResult{Result: xdr.TransactionResultResult{Code: xdr.TransactionResultCodeTxNotSupported}}
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	return apply.Check(l.state, tx, l.context(l.header, uint32(l.header.LedgerSeq)+1, uint64(l.header.ScpValue.CloseTime)))
}

// Account returns an account as of the last closed ledger, or protocol.ErrNotFound.
func (l *Ledger) Account(id protocol.AccountID) (protocol.Account, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.state.view(id, uint32(l.header.LedgerSeq))
}
