package payload

import (
	"bytes"
	"fmt"
	"math/big"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// Operation is one of the operation structs of this package: a closed set, so that a policy which does not name one
// denies it.
type Operation interface {
	// Origin returns the account that the operation acts for.
	Origin() protocol.AccountID
	// Outflows returns what can leave that account because of it, nil when nothing can: no fees and no reserves, and
	// not what others may do later with rights that it gives them.
	Outflows() []Outflow
	// Words returns the effect in words.
	Words() string
	sealed()
}

// Outflow is the most of one asset that can leave an account. What an issuer pays of its own asset is issued, and what
// it claws back is destroyed; both count here as leaving it.
type Outflow struct {
	Asset  protocol.Asset // zero when the body does not say which: a policy that counts assets cannot count this
	Amount *big.Int       // nil for as much as there is
}

// By is the account that an operation acts for: its own source or else the transaction's.
type By struct{ Source protocol.AccountID }

// Origin returns the account.
func (b By) Origin() protocol.AccountID { return b.Source }

// Outflows returns nothing; operations that let something leave have their own.
func (By) Outflows() []Outflow { return nil }

func (By) sealed() {}

func outflow(asset protocol.Asset, most *big.Int) []Outflow {
	return []Outflow{{asset, new(big.Int).Set(most)}}
}

// readOperation understands one operation of a transaction of source.
func readOperation(source protocol.AccountID, x xdr.Operation) (Operation, error) {
	r := &reader{by: By{source}}
	if x.SourceAccount != nil {
		r.by.Source = r.account(*x.SourceAccount)
	}
	op := r.operation(x.Body)
	if r.err != nil {
		return nil, r.err
	}
	return op, nil
}

// operation has a case for each classic operation. Those of smart contracts are not read, and so not signed.
func (r *reader) operation(b xdr.OperationBody) Operation {
	switch b.Type {
	case xdr.OperationTypeCreateAccount:
		return r.createAccount(b.CreateAccountOp)
	case xdr.OperationTypePayment:
		return r.payment(b.PaymentOp)
	case xdr.OperationTypePathPaymentStrictReceive:
		return r.strictReceive(b.PathPaymentStrictReceiveOp)
	case xdr.OperationTypePathPaymentStrictSend:
		return r.strictSend(b.PathPaymentStrictSendOp)
	case xdr.OperationTypeManageSellOffer:
		return r.sellOffer(b.ManageSellOfferOp)
	case xdr.OperationTypeManageBuyOffer:
		return r.buyOffer(b.ManageBuyOfferOp)
	case xdr.OperationTypeCreatePassiveSellOffer:
		return r.passiveOffer(b.CreatePassiveSellOfferOp)
	case xdr.OperationTypeSetOptions:
		return r.setOptions(b.SetOptionsOp)
	case xdr.OperationTypeChangeTrust:
		return r.changeTrust(b.ChangeTrustOp)
	case xdr.OperationTypeAllowTrust:
		return r.allowTrust(b.AllowTrustOp)
	case xdr.OperationTypeSetTrustLineFlags:
		return r.setTrustLineFlags(b.SetTrustLineFlagsOp)
	case xdr.OperationTypeAccountMerge:
		return r.accountMerge(b.Destination)
	case xdr.OperationTypeInflation:
		return Inflation{r.by}
	case xdr.OperationTypeManageData:
		return r.manageData(b.ManageDataOp)
	case xdr.OperationTypeBumpSequence:
		return r.bumpSequence(b.BumpSequenceOp)
	case xdr.OperationTypeCreateClaimableBalance:
		return r.createBalance(b.CreateClaimableBalanceOp)
	case xdr.OperationTypeClaimClaimableBalance:
		return ClaimBalance{r.by, r.balance(b.ClaimClaimableBalanceOp.BalanceId)}
	case xdr.OperationTypeClawbackClaimableBalance:
		return ClawbackBalance{r.by, r.balance(b.ClawbackClaimableBalanceOp.BalanceId)}
	case xdr.OperationTypeBeginSponsoringFutureReserves:
		return r.beginSponsoring(b.BeginSponsoringFutureReservesOp)
	case xdr.OperationTypeEndSponsoringFutureReserves:
		return EndSponsoring{r.by}
	case xdr.OperationTypeRevokeSponsorship:
		return r.revokeSponsorship(b.RevokeSponsorshipOp)
	case xdr.OperationTypeClawback:
		return r.clawback(b.ClawbackOp)
	case xdr.OperationTypeLiquidityPoolDeposit:
		return r.poolDeposit(b.LiquidityPoolDepositOp)
	case xdr.OperationTypeLiquidityPoolWithdraw:
		return r.poolWithdraw(b.LiquidityPoolWithdrawOp)
	}
	r.fail("operation %s is not understood here", b.Type)
	return nil
}

// reader reads the parts of one operation of by, and remembers the first thing that it did not understand. What it
// returns after that means nothing.
type reader struct {
	by  By
	err error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = malformed(format, args...)
	}
}

// account reads an account that has no sub-account id: what an id in a muxed address means is not known here, so such
// an address is not understood.
func (r *reader) account(x xdr.MuxedAccount) protocol.AccountID {
	if x.Type != xdr.CryptoKeyTypeKeyTypeEd25519 || x.Ed25519 == nil {
		r.fail("account of type %s", x.Type)
		return protocol.AccountID{}
	}
	return r.key(x.Ed25519[:])
}

// accountID reads an account where the ledger knows no sub-accounts.
func (r *reader) accountID(x xdr.AccountId) protocol.AccountID {
	id, err := protocol.AccountIDFromXDR(x)
	if err != nil {
		r.fail("%v", err)
	}
	return id
}

func (r *reader) key(b []byte) protocol.AccountID {
	id, err := protocol.AccountIDFromKey(b)
	if err != nil {
		r.fail("%v", err)
	}
	return id
}

// another reads an account that must not be the operation's own.
func (r *reader) another(x xdr.AccountId) protocol.AccountID {
	id := r.accountID(x)
	if id == r.by.Source {
		r.fail("%s would act on itself", id)
	}
	return id
}

// asset reads an asset in its one form: a five-letter code in a four-letter type, or padding in the middle of one, must
// not read as another asset.
func (r *reader) asset(x xdr.Asset) protocol.Asset {
	asset, err := protocol.AssetFromXDR(x)
	if err != nil {
		r.fail("%v", err)
		return protocol.Asset{}
	}
	again, err1 := asset.XDR().MarshalBinary()
	before, err2 := x.MarshalBinary()
	if err1 != nil || err2 != nil || !bytes.Equal(again, before) {
		r.fail("asset %s is not in canonical form", asset)
	}
	return asset
}

// credit reads an asset that has an issuer.
func (r *reader) credit(x xdr.Asset) protocol.Asset {
	asset := r.asset(x)
	if asset.IsNative() {
		r.fail("the native asset has no issuer")
	}
	return asset
}

// amount reads a number of stroops that must be at least least.
func (r *reader) amount(x xdr.Int64, least int64) *big.Int {
	if int64(x) < least {
		r.fail("amount %d is under %d", x, least)
	}
	return big.NewInt(int64(x))
}

func assetWords(a protocol.Asset) string {
	if a.IsNative() {
		return protocol.NativeCode
	}
	return a.Code() + " issued by " + a.Issuer().String()
}

// sum shows an amount of an asset.
func sum(stroops *big.Int, a protocol.Asset) string {
	return fmt.Sprintf("%s %s", Decimal(stroops), assetWords(a))
}
