package payload

import (
	"fmt"
	"math/big"
	"strings"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// ChangeTrust opens, changes or (limit zero) removes a trustline to Asset.
type ChangeTrust struct {
	By
	Asset protocol.Asset
	Limit *big.Int
}

// ChangeTrustPool does so with a trustline to the shares of a liquidity pool.
type ChangeTrustPool struct {
	By
	Pool  Pool
	Limit *big.Int
}

// SetTrustLineFlags authorises, or not, Trustor's line to Asset.
type SetTrustLineFlags struct {
	By
	Trustor    protocol.AccountID
	Asset      protocol.Asset
	Set, Clear xdr.TrustLineFlags
}

// AllowTrust is the old form of SetTrustLineFlags, for an asset of its source.
type AllowTrust struct {
	By
	Trustor   protocol.AccountID
	Asset     protocol.Asset
	Authorize xdr.TrustLineFlags // none, authorized, or authorized to maintain liabilities
}

// knownLineFlags are the bits that have a name on the ledger.
const knownLineFlags = xdr.TrustLineFlagsAuthorizedFlag | xdr.TrustLineFlagsAuthorizedToMaintainLiabilitiesFlag |
	xdr.TrustLineFlagsTrustlineClawbackEnabledFlag

func (r *reader) changeTrust(x *xdr.ChangeTrustOp) Operation {
	limit := r.amount(x.Limit, 0)
	if x.Line.Type == xdr.AssetTypeAssetTypePoolShare {
		return ChangeTrustPool{r.by, r.pool(x.Line.LiquidityPool), limit}
	}
	return ChangeTrust{r.by, r.credit(x.Line.ToAsset()), limit}
}

func (r *reader) setTrustLineFlags(x *xdr.SetTrustLineFlagsOp) Operation {
	set, clear := xdr.TrustLineFlags(x.SetFlags), xdr.TrustLineFlags(x.ClearFlags)
	if (set|clear)&^knownLineFlags != 0 || set&clear != 0 {
		r.fail("trustline flags %#x set, %#x cleared", uint32(set), uint32(clear))
	}
	return SetTrustLineFlags{r.by, r.accountID(x.Trustor), r.credit(x.Asset), set, clear}
}

func (r *reader) allowTrust(x *xdr.AllowTrustOp) Operation {
	issuer := r.by.Source.XDR()
	asset := xdr.Asset{Type: x.Asset.Type}
	switch x.Asset.Type {
	case xdr.AssetTypeAssetTypeCreditAlphanum4:
		asset.AlphaNum4 = &xdr.AlphaNum4{AssetCode: *x.Asset.AssetCode4, Issuer: issuer}
	case xdr.AssetTypeAssetTypeCreditAlphanum12:
		asset.AlphaNum12 = &xdr.AlphaNum12{AssetCode: *x.Asset.AssetCode12, Issuer: issuer}
	}
	switch authorize := xdr.TrustLineFlags(x.Authorize); authorize {
	case 0, xdr.TrustLineFlagsAuthorizedFlag, xdr.TrustLineFlagsAuthorizedToMaintainLiabilitiesFlag:
		return AllowTrust{r.by, r.another(x.Trustor), r.credit(asset), authorize}
	}
	r.fail("authorization %d", x.Authorize)
	return nil
}

// Words returns the effect in words.
func (o ChangeTrust) Words() string {
	if o.Limit.Sign() == 0 {
		return "removes the trustline to " + assetWords(o.Asset)
	}
	return fmt.Sprintf("trusts %s up to %s", assetWords(o.Asset), Decimal(o.Limit))
}

// Words returns the effect in words.
func (o ChangeTrustPool) Words() string {
	if o.Limit.Sign() == 0 {
		return "removes the trustline to shares of " + o.Pool.words()
	}
	return fmt.Sprintf("trusts shares of %s up to %s", o.Pool.words(), Decimal(o.Limit))
}

// Words returns the effect in words.
func (o SetTrustLineFlags) Words() string {
	w := "on the trustline of " + o.Trustor.String() + " to " + assetWords(o.Asset)
	if o.Set != 0 {
		w += " sets " + strings.Join(LineFlagNames(o.Set), " and ")
	}
	if o.Clear != 0 {
		w += " clears " + strings.Join(LineFlagNames(o.Clear), " and ")
	}
	return w
}

// Words returns the effect in words.
func (o AllowTrust) Words() string {
	line := "the trustline of " + o.Trustor.String() + " to " + assetWords(o.Asset)
	if o.Authorize == 0 {
		return "takes all authorization from " + line
	}
	return "makes " + line + " " + strings.Join(LineFlagNames(o.Authorize), " and ") + " and no more than that"
}
