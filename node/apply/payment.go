package apply

import "github.com/stellar/go-stellar-sdk/xdr"

func paymentResult(o operation, code xdr.PaymentResultCode) xdr.OperationResult {
	return o.inner(xdr.PaymentResult{Code: code})
}

func paymentValid(o operation) xdr.OperationResult {
	op := o.body.MustPaymentOp()
	if op.Amount <= 0 || !assetValid(op.Asset) {
		return paymentResult(o, xdr.PaymentResultCodePaymentMalformed)
	}
	return o.success()
}

// payment receives before it sends, as the deployed protocol does: the order decides which code is given when both fail.
func payment(o operation) xdr.OperationResult {
	op := o.body.MustPaymentOp()
	to := op.Destination.ToAccountId()
	if op.Asset.Type == xdr.AssetTypeAssetTypeNative && to.Equals(o.source) {
		return o.success()
	}
	if !isIssuer(to, op.Asset) && o.d.account(to) == nil {
		return paymentResult(o, xdr.PaymentResultCodePaymentNoDestination)
	}
	if code := receive(o, to, op.Asset, int64(op.Amount)); code != xdr.PaymentResultCodePaymentSuccess {
		return paymentResult(o, code)
	}
	if code := send(o, op.Asset, int64(op.Amount)); code != xdr.PaymentResultCodePaymentSuccess {
		return paymentResult(o, code)
	}
	return o.success()
}

func receive(o operation, to xdr.AccountId, asset xdr.Asset, amount int64) xdr.PaymentResultCode {
	if asset.Type == xdr.AssetTypeAssetTypeNative {
		e := o.d.account(to)
		if !addNative(e.account(), amount, o.c) {
			return xdr.PaymentResultCodePaymentLineFull
		}
		o.d.put(e)
		return xdr.PaymentResultCodePaymentSuccess
	}
	if isIssuer(to, asset) {
		return xdr.PaymentResultCodePaymentSuccess // credit that returns to its issuer ceases
	}
	e := o.d.trustline(to, asset)
	switch {
	case e == nil:
		return xdr.PaymentResultCodePaymentNoTrust
	case !authorised(e.Data.TrustLine):
		return xdr.PaymentResultCodePaymentNotAuthorized
	case !addCredit(e.Data.TrustLine, amount):
		return xdr.PaymentResultCodePaymentLineFull
	}
	o.d.put(e)
	return xdr.PaymentResultCodePaymentSuccess
}

func send(o operation, asset xdr.Asset, amount int64) xdr.PaymentResultCode {
	if asset.Type == xdr.AssetTypeAssetTypeNative {
		e := o.d.account(o.source)
		if !addNative(e.account(), -amount, o.c) {
			return xdr.PaymentResultCodePaymentUnderfunded
		}
		o.d.put(e)
		return xdr.PaymentResultCodePaymentSuccess
	}
	if isIssuer(o.source, asset) {
		return xdr.PaymentResultCodePaymentSuccess // credit that its issuer sends begins
	}
	e := o.d.trustline(o.source, asset)
	switch {
	case e == nil:
		return xdr.PaymentResultCodePaymentSrcNoTrust
	case !authorised(e.Data.TrustLine):
		return xdr.PaymentResultCodePaymentSrcNotAuthorized
	case !addCredit(e.Data.TrustLine, -amount):
		return xdr.PaymentResultCodePaymentUnderfunded
	}
	o.d.put(e)
	return xdr.PaymentResultCodePaymentSuccess
}

func authorised(t *xdr.TrustLineEntry) bool {
	return xdr.TrustLineFlags(t.Flags)&xdr.TrustLineFlagsAuthorizedFlag != 0
}
