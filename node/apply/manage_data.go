package apply

import "github.com/stellar/go-stellar-sdk/xdr"

func manageDataResult(o operation, code xdr.ManageDataResultCode) xdr.OperationResult {
	return o.inner(xdr.ManageDataResult{Code: code})
}

func manageDataValid(o operation) xdr.OperationResult {
	op := o.body.MustManageDataOp()
	if len(op.DataName) == 0 || !textValid(string(op.DataName)) {
		return manageDataResult(o, xdr.ManageDataResultCodeManageDataInvalidName)
	}
	return o.success()
}

func manageData(o operation) xdr.OperationResult {
	op := o.body.MustManageDataOp()
	key := DataKey(o.source, op.DataName)
	e := o.d.load(key)
	switch {
	case op.DataValue == nil && e == nil:
		return manageDataResult(o, xdr.ManageDataResultCodeManageDataNameNotFound)
	case op.DataValue == nil:
		source := o.d.account(o.source)
		source.account().NumSubEntries--
		o.d.put(source)
		o.d.remove(key)
		return o.success()
	case e != nil:
		e.Data.Data.DataValue = *op.DataValue
		o.d.put(e)
		return o.success()
	}
	source := o.d.account(o.source)
	switch addSubentry(source.account(), o.c) {
	case tooMany:
		return tooManySubentries()
	case tooPoor:
		return manageDataResult(o, xdr.ManageDataResultCodeManageDataLowReserve)
	}
	o.d.put(source)
	o.d.put(&entry{key: key, LedgerEntry: xdr.LedgerEntry{Data: xdr.LedgerEntryData{Type: xdr.LedgerEntryTypeData,
		Data: &xdr.DataEntry{AccountId: o.source, DataName: op.DataName, DataValue: *op.DataValue}}}})
	return o.success()
}
