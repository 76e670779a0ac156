package apply

import "github.com/stellar/go-stellar-sdk/xdr"

func changeTrustResult(o operation, code xdr.ChangeTrustResultCode) xdr.OperationResult {
	return o.inner(xdr.ChangeTrustResult{Code: code})
}

func changeTrustValid(o operation) xdr.OperationResult {
	op := o.body.MustChangeTrustOp()
	if op.Line.Type == xdr.AssetTypeAssetTypePoolShare {
		return xdr.OperationResult{Code: xdr.OperationResultCodeOpNotSupported} // liquidity pools are not in this version
	}
	asset := op.Line.ToAsset()
	if op.Limit < 0 || asset.Type == xdr.AssetTypeAssetTypeNative || !assetValid(asset) || isIssuer(o.source, asset) {
		return changeTrustResult(o, xdr.ChangeTrustResultCodeChangeTrustMalformed)
	}
	return o.success()
}

func changeTrust(o operation) xdr.OperationResult {
	op := o.body.MustChangeTrustOp()
	asset := op.Line.ToAsset()
	if line := o.d.trustline(o.source, asset); line != nil {
		return changeLine(o, line, asset)
	}
	if op.Limit == 0 {
		return changeTrustResult(o, xdr.ChangeTrustResultCodeChangeTrustInvalidLimit)
	}
	issuer := o.d.account(issuerOf(asset))
	if issuer == nil {
		return changeTrustResult(o, xdr.ChangeTrustResultCodeChangeTrustNoIssuer)
	}
	source := o.d.account(o.source)
	switch addSubentry(source.account(), o.c) {
	case tooMany:
		return tooManySubentries()
	case tooPoor:
		return changeTrustResult(o, xdr.ChangeTrustResultCodeChangeTrustLowReserve)
	}
	o.d.put(source)
	flags := xdr.TrustLineFlags(0)
	if issuerFlags := xdr.AccountFlags(issuer.account().Flags); issuerFlags&xdr.AccountFlagsAuthRequiredFlag == 0 {
		flags |= xdr.TrustLineFlagsAuthorizedFlag
	}
	if xdr.AccountFlags(issuer.account().Flags)&xdr.AccountFlagsAuthClawbackEnabledFlag != 0 {
		flags |= xdr.TrustLineFlagsTrustlineClawbackEnabledFlag
	}
	o.d.put(&entry{key: TrustlineKey(o.source, asset), LedgerEntry: xdr.LedgerEntry{Data: xdr.LedgerEntryData{
		Type: xdr.LedgerEntryTypeTrustline, TrustLine: &xdr.TrustLineEntry{AccountId: o.source, Asset: asset.ToTrustLineAsset(),
			Limit: op.Limit, Flags: xdr.Uint32(flags)}}}})
	return o.success()
}

// changeLine changes the limit of a line that is there, or removes the line.
func changeLine(o operation, line *entry, asset xdr.Asset) xdr.OperationResult {
	op, t := o.body.MustChangeTrustOp(), line.Data.TrustLine
	if int64(op.Limit) < int64(t.Balance)+int64(t.Liabilities().Buying) {
		return changeTrustResult(o, xdr.ChangeTrustResultCodeChangeTrustInvalidLimit)
	}
	if op.Limit == 0 {
		source := o.d.account(o.source)
		source.account().NumSubEntries--
		o.d.put(source)
		o.d.remove(line.key)
		return o.success()
	}
	if o.d.account(issuerOf(asset)) == nil {
		return changeTrustResult(o, xdr.ChangeTrustResultCodeChangeTrustNoIssuer)
	}
	t.Limit = op.Limit
	o.d.put(line)
	return o.success()
}
