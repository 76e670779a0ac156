package anchor

import (
	"fmt"
	"math/big"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/custody/money"
	"github.com/diamante/gateway/node/protocol"
)

// facts are what a closed ledger says that could concern us. They are read from its meta alone.
type facts struct {
	seq      uint32
	closed   time.Time
	results  map[protocol.Hash]xdr.TransactionResult
	payments []payment
	lines    []line
	own      []own               // what was done with the keys of our accounts
	supply   map[string]*big.Int // asset's text form -> change of what holders have
	defects  []defect
}

// own is a transaction with an operation of one of our issuing or distribution accounts, or whose sequence number or fee
// such an account gave. Its hashes are its own and, in a fee bump, that of what is inside.
type own struct {
	hashes     []protocol.Hash
	successful bool
	detail     string
}

// payment is credit that came to a distribution account.
type payment struct {
	hash   protocol.Hash
	op     int
	from   protocol.AccountID
	asset  AssetConfig    // whose distribution account it came to
	paid   protocol.Asset // what was paid
	amount protocol.Amount
	memo   protocol.Memo
	burnt  bool // it was paid to the issuer instead, by somebody else than us: the credit is gone
}

// units returns the amount in the book's units, whatever asset it is of.
func (p payment) units() (money.Amount, error) { return money.FromLedger(p.asset.Code, p.amount) }

// line is an account's line to one of our assets, as the ledger left it.
type line struct {
	holder     protocol.AccountID
	asset      AssetConfig
	authorised bool
	opened     bool // by this ledger: it was not there before
}

// defect is something in a ledger that could not be understood.
type defect struct {
	hash   protocol.Hash
	detail string
}

// read takes a ledger's meta apart. What cannot be understood becomes a defect; the rest goes on.
func (s *Service) read(meta xdr.LedgerCloseMeta) (facts, error) {
	v1 := meta.V1
	if v1 == nil {
		return facts{}, fmt.Errorf("anchor: meta of version %d", meta.V)
	}
	f := facts{seq: uint32(v1.LedgerHeader.Header.LedgerSeq), closed: time.Unix(int64(v1.LedgerHeader.Header.ScpValue.CloseTime), 0).UTC(),
		results: map[protocol.Hash]xdr.TransactionResult{}, supply: map[string]*big.Int{}}
	envelopes := map[protocol.Hash]xdr.TransactionEnvelope{}
	for _, env := range meta.TransactionEnvelopes() {
		hash, err := s.cfg.Passphrase.TxHash(env)
		if err != nil {
			f.defects = append(f.defects, defect{detail: "an envelope has no hash: " + err.Error()})
			continue
		}
		envelopes[hash] = env
	}
	for _, p := range v1.TxProcessing {
		hash := protocol.Hash(p.Result.TransactionHash)
		f.note(hash, p.Result.Result)
		if inner, ok := p.Result.Result.Result.GetInnerResultPair(); ok {
			// Whoever sees a signed transaction of ours can wrap it in a fee bump of his own. It is ours all the same.
			f.note(protocol.Hash(inner.TransactionHash), p.Result.Result)
		}
		env, ok := envelopes[hash]
		if !ok {
			f.defects = append(f.defects, defect{hash, "a result has no transaction"})
			continue
		}
		if err := s.readChanges(&f, p); err != nil {
			f.defects = append(f.defects, defect{hash, err.Error()})
		}
		if o, ok := s.readOwn(env); ok {
			o.successful = p.Result.Result.Successful()
			if o.hashes = []protocol.Hash{hash}; env.IsFeeBump() {
				inner, _ := p.Result.Result.Result.GetInnerResultPair()
				o.hashes = append(o.hashes, protocol.Hash(inner.TransactionHash))
			}
			f.own = append(f.own, o)
		}
		if p.Result.Result.Successful() {
			s.readPayments(&f, hash, env)
		}
	}
	return f, nil
}

// readOwn reports whether a transaction does something in the name of one of our accounts.
func (s *Service) readOwn(env xdr.TransactionEnvelope) (own, bool) {
	sources := []xdr.MuxedAccount{env.SourceAccount()}
	if env.IsFeeBump() {
		sources = append(sources, env.FeeBumpAccount())
	}
	for _, op := range env.Operations() {
		if op.SourceAccount != nil {
			sources = append(sources, *op.SourceAccount)
		}
	}
	for _, source := range sources {
		id, err := protocol.AccountIDFromXDR(source.ToAccountId())
		if err != nil {
			continue // not one of ours
		}
		for _, a := range s.cfg.Assets {
			if id == a.Issuing || id == a.Distribution {
				return own{detail: fmt.Sprintf("%d operations of %s", len(env.Operations()), id)}, true
			}
		}
	}
	return own{}, false
}

// note keeps what became of a transaction. Alone and inside fee bumps it can be in one ledger several times, and succeeds
// at most once: that is what counts.
func (f *facts) note(hash protocol.Hash, r xdr.TransactionResult) {
	if before, ok := f.results[hash]; !ok || !before.Successful() {
		f.results[hash] = r
	}
}

// failedForGood reports whether a transaction with this result can never be applied any more: its operations were tried,
// so its sequence number is used up. After any other failure it may still be in a later ledger, until its time has passed.
func failedForGood(r xdr.TransactionResult) bool {
	code := r.Result.Code
	if inner, ok := r.Result.GetInnerResultPair(); ok {
		code = inner.Result.Result.Code
	}
	return code == xdr.TransactionResultCodeTxFailed
}

// readPayments finds payments to our distribution accounts in a successful transaction.
func (s *Service) readPayments(f *facts, hash protocol.Hash, env xdr.TransactionEnvelope) {
	memo, err := protocol.MemoFromXDR(env.Memo())
	if err != nil {
		f.defects = append(f.defects, defect{hash, err.Error()})
		return
	}
	for i, op := range env.Operations() {
		if op.Body.Type != xdr.OperationTypePayment {
			continue
		}
		body := op.Body.MustPaymentOp()
		to, err := protocol.AccountIDFromXDR(body.Destination.ToAccountId())
		if err != nil {
			f.defects = append(f.defects, defect{hash, err.Error()})
			continue
		}
		a, ours := s.distributionOf(to)
		issuer, burnt := s.issuerOf(to, body.Asset)
		if !ours && !burnt {
			continue
		}
		if burnt {
			a = issuer
		}
		source := env.SourceAccount()
		if op.SourceAccount != nil {
			source = *op.SourceAccount
		}
		p := payment{hash: hash, op: i, asset: a, memo: memo, burnt: burnt}
		var err1, err2, err3 error
		p.from, err1 = protocol.AccountIDFromXDR(source.ToAccountId())
		p.paid, err2 = protocol.AssetFromXDR(body.Asset)
		p.amount, err3 = protocol.AmountFromStroops(int64(body.Amount))
		for _, err := range []error{err1, err2, err3} {
			if err != nil {
				f.defects = append(f.defects, defect{hash, err.Error()})
			}
		}
		if err1 == nil && err2 == nil && err3 == nil && p.from != a.Issuing && p.from != a.Distribution && p.from != s.cfg.Funding.Root {
			f.payments = append(f.payments, p)
		}
	}
}

func (s *Service) distributionOf(id protocol.AccountID) (AssetConfig, bool) {
	for _, a := range s.cfg.Assets {
		if a.Distribution == id {
			return a, true
		}
	}
	return AssetConfig{}, false
}

// issuerOf reports whether a payment of credit to this account destroys it.
func (s *Service) issuerOf(id protocol.AccountID, paid xdr.Asset) (AssetConfig, bool) {
	asset, err := protocol.AssetFromXDR(paid)
	if err != nil {
		return AssetConfig{}, false
	}
	a, ours := s.assetOf(asset)
	return a, ours && a.Issuing == id
}

func (s *Service) assetOf(asset protocol.Asset) (AssetConfig, bool) {
	for _, a := range s.cfg.Assets {
		if a.asset() == asset {
			return a, true
		}
	}
	return AssetConfig{}, false
}

// readChanges adds up what a transaction changed in the lines to our assets.
func (s *Service) readChanges(f *facts, p xdr.TransactionResultMeta) error {
	v3 := p.TxApplyProcessing.V3
	if v3 == nil {
		return fmt.Errorf("transaction meta of version %d", p.TxApplyProcessing.V)
	}
	all := []xdr.LedgerEntryChanges{p.FeeProcessing, v3.TxChangesBefore}
	for _, op := range v3.Operations {
		all = append(all, op.Changes)
	}
	for _, changes := range append(all, v3.TxChangesAfter) {
		for _, c := range changes {
			if err := s.readChange(f, c); err != nil {
				return err
			}
		}
	}
	return nil
}

// readChange adds one change: a STATE before an UPDATED or REMOVED takes the old balance away.
func (s *Service) readChange(f *facts, c xdr.LedgerEntryChange) error {
	var e *xdr.LedgerEntry
	sign := int64(1)
	switch c.Type {
	case xdr.LedgerEntryChangeTypeLedgerEntryState:
		e, sign = c.State, -1
	case xdr.LedgerEntryChangeTypeLedgerEntryCreated:
		e = c.Created
	case xdr.LedgerEntryChangeTypeLedgerEntryUpdated:
		e = c.Updated
	}
	if e == nil || e.Data.Type != xdr.LedgerEntryTypeTrustline {
		return nil
	}
	t := e.Data.TrustLine
	if t.Asset.Type == xdr.AssetTypeAssetTypePoolShare {
		return nil
	}
	asset, err := protocol.AssetFromXDR(t.Asset.ToAsset())
	if err != nil {
		return err
	}
	a, ours := s.assetOf(asset)
	if !ours {
		return nil
	}
	key := asset.String()
	if f.supply[key] == nil {
		f.supply[key] = new(big.Int)
	}
	f.supply[key].Add(f.supply[key], big.NewInt(sign*int64(t.Balance)))
	if sign > 0 {
		holder, err := protocol.AccountIDFromXDR(t.AccountId)
		if err != nil {
			return err
		}
		f.lines = append(f.lines, line{holder, a, xdr.TrustLineFlags(t.Flags).IsAuthorized(), c.Type == xdr.LedgerEntryChangeTypeLedgerEntryCreated})
	}
	return nil
}

// concern reports whether the ledger has anything for us but the ends of our own transactions. A payment among customers
// has not: it changes lines, and nothing else.
func (f facts) concern() bool {
	for _, l := range f.lines {
		if l.opened && !l.authorised {
			return true
		}
	}
	for _, by := range f.supply {
		if by.Sign() != 0 {
			return true
		}
	}
	return len(f.payments) > 0 || len(f.defects) > 0 || len(f.own) > 0
}
