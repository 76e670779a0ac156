package apply

import "github.com/stellar/go-stellar-sdk/xdr"

func clawbackResult(o operation, code xdr.ClawbackResultCode) xdr.OperationResult {
	return o.inner(xdr.ClawbackResult{Code: code})
}

func clawbackValid(o operation) xdr.OperationResult {
	op := o.body.MustClawbackOp()
	// As in the deployed protocol, a sub-account id on the issuer's own address escapes the first of these checks: the
	// operation then finds no line.
	from, plain := op.From.GetEd25519()
	if plain && from == *o.source.Ed25519 || op.Amount < 1 || op.Asset.Type == xdr.AssetTypeAssetTypeNative || !assetValid(op.Asset) || !isIssuer(o.source, op.Asset) {
		return clawbackResult(o, xdr.ClawbackResultCodeClawbackMalformed)
	}
	return o.success()
}

func clawback(o operation) xdr.OperationResult {
	op := o.body.MustClawbackOp()
	line := o.d.trustline(op.From.ToAccountId(), op.Asset)
	switch {
	case line == nil:
		return clawbackResult(o, xdr.ClawbackResultCodeClawbackNoTrust)
	case xdr.TrustLineFlags(line.Data.TrustLine.Flags)&clawbackFlag == 0:
		return clawbackResult(o, xdr.ClawbackResultCodeClawbackNotClawbackEnabled)
	case !addCredit(line.Data.TrustLine, -int64(op.Amount)):
		return clawbackResult(o, xdr.ClawbackResultCodeClawbackUnderfunded)
	}
	o.d.put(line)
	return o.success()
}
