package apply

import "github.com/stellar/go-stellar-sdk/xdr"

const (
	authorizedFlag = xdr.TrustLineFlagsAuthorizedFlag
	maintainFlag   = xdr.TrustLineFlagsAuthorizedToMaintainLiabilitiesFlag
	clawbackFlag   = xdr.TrustLineFlagsTrustlineClawbackEnabledFlag
)

func bothAuths(f xdr.TrustLineFlags) bool { return f&authorizedFlag != 0 && f&maintainFlag != 0 }

func revocable(issuer *xdr.AccountEntry) bool {
	return xdr.AccountFlags(issuer.Flags)&xdr.AccountFlagsAuthRevocableFlag != 0
}

func allowTrustResult(o operation, code xdr.AllowTrustResultCode) xdr.OperationResult {
	return o.inner(xdr.AllowTrustResult{Code: code})
}

func allowTrustAsset(o operation) xdr.Asset {
	return o.body.MustAllowTrustOp().Asset.ToAsset(o.source)
}

func allowTrustValid(o operation) xdr.OperationResult {
	op := o.body.MustAllowTrustOp()
	if op.Asset.Type != xdr.AssetTypeAssetTypeCreditAlphanum4 && op.Asset.Type != xdr.AssetTypeAssetTypeCreditAlphanum12 {
		return allowTrustResult(o, xdr.AllowTrustResultCodeAllowTrustMalformed)
	}
	authorize := xdr.TrustLineFlags(op.Authorize)
	if authorize&^(authorizedFlag|maintainFlag) != 0 || bothAuths(authorize) || op.Trustor.Equals(o.source) || !assetValid(allowTrustAsset(o)) {
		return allowTrustResult(o, xdr.AllowTrustResultCodeAllowTrustMalformed)
	}
	return o.success()
}

func allowTrust(o operation) xdr.OperationResult {
	op := o.body.MustAllowTrustOp()
	canRevoke := revocable(o.d.account(o.source).account())
	if op.Authorize == 0 && !canRevoke {
		return allowTrustResult(o, xdr.AllowTrustResultCodeAllowTrustCantRevoke)
	}
	line := o.d.trustline(op.Trustor, allowTrustAsset(o))
	if line == nil {
		return allowTrustResult(o, xdr.AllowTrustResultCodeAllowTrustNoTrustLine)
	}
	before := xdr.TrustLineFlags(line.Data.TrustLine.Flags)
	after := before&^(authorizedFlag|maintainFlag) | xdr.TrustLineFlags(op.Authorize)
	if !canRevoke && before&authorizedFlag != 0 && after&maintainFlag != 0 {
		return allowTrustResult(o, xdr.AllowTrustResultCodeAllowTrustCantRevoke)
	}
	line.Data.TrustLine.Flags = xdr.Uint32(after)
	o.d.put(line)
	return o.success()
}

func trustFlagsResult(o operation, code xdr.SetTrustLineFlagsResultCode) xdr.OperationResult {
	return o.inner(xdr.SetTrustLineFlagsResult{Code: code})
}

func setTrustLineFlagsValid(o operation) xdr.OperationResult {
	op := o.body.MustSetTrustLineFlagsOp()
	set, clear := xdr.TrustLineFlags(op.SetFlags), xdr.TrustLineFlags(op.ClearFlags)
	switch {
	case op.Asset.Type == xdr.AssetTypeAssetTypeNative, !assetValid(op.Asset), !isIssuer(o.source, op.Asset), op.Trustor.Equals(o.source),
		set&clear != 0, set&^(authorizedFlag|maintainFlag) != 0, bothAuths(set), clear&^(authorizedFlag|maintainFlag|clawbackFlag) != 0:
		return trustFlagsResult(o, xdr.SetTrustLineFlagsResultCodeSetTrustLineFlagsMalformed)
	}
	return o.success()
}

func setTrustLineFlags(o operation) xdr.OperationResult {
	op := o.body.MustSetTrustLineFlagsOp()
	// Without the issuer's flag the question is what the operation takes away, not what the line had of it.
	clears := xdr.TrustLineFlags(op.ClearFlags)&(authorizedFlag|maintainFlag) != 0
	authorizes := xdr.TrustLineFlags(op.SetFlags)&authorizedFlag != 0
	if clears && !authorizes && !revocable(o.d.account(o.source).account()) {
		return trustFlagsResult(o, xdr.SetTrustLineFlagsResultCodeSetTrustLineFlagsCantRevoke)
	}
	line := o.d.trustline(op.Trustor, op.Asset)
	if line == nil {
		return trustFlagsResult(o, xdr.SetTrustLineFlagsResultCodeSetTrustLineFlagsNoTrustLine)
	}
	before := xdr.TrustLineFlags(line.Data.TrustLine.Flags)
	after := before&^xdr.TrustLineFlags(op.ClearFlags) | xdr.TrustLineFlags(op.SetFlags)
	if bothAuths(after) {
		return trustFlagsResult(o, xdr.SetTrustLineFlagsResultCodeSetTrustLineFlagsInvalidState)
	}
	line.Data.TrustLine.Flags = xdr.Uint32(after)
	o.d.put(line)
	return o.success()
}
