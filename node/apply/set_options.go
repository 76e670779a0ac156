package apply

import (
	"bytes"
	"slices"

	"github.com/stellar/go-stellar-sdk/xdr"
)

// maxSigners bounds the signers of an account beside its master key.
const maxSigners = 20

const (
	authFlags = xdr.AccountFlagsAuthRequiredFlag | xdr.AccountFlagsAuthRevocableFlag | xdr.AccountFlagsAuthImmutableFlag |
		xdr.AccountFlagsAuthClawbackEnabledFlag
)

func setOptionsResult(o operation, code xdr.SetOptionsResultCode) xdr.OperationResult {
	return o.inner(xdr.SetOptionsResult{Code: code})
}

func setOptionsThreshold(o operation) byte {
	op := o.body.MustSetOptionsOp()
	if op.MasterWeight != nil || op.LowThreshold != nil || op.MedThreshold != nil || op.HighThreshold != nil || op.Signer != nil {
		return high
	}
	return medium
}

func setOptionsValid(o operation) xdr.OperationResult {
	op := o.body.MustSetOptionsOp()
	set, clear := flagsOf(op.SetFlags), flagsOf(op.ClearFlags)
	switch {
	case (set|clear)&^authFlags != 0:
		return setOptionsResult(o, xdr.SetOptionsResultCodeSetOptionsUnknownFlag)
	case set&clear != 0:
		return setOptionsResult(o, xdr.SetOptionsResultCodeSetOptionsBadFlags)
	}
	for _, t := range []*xdr.Uint32{op.MasterWeight, op.LowThreshold, op.MedThreshold, op.HighThreshold} {
		if t != nil && *t > maxWeight {
			return setOptionsResult(o, xdr.SetOptionsResultCodeSetOptionsThresholdOutOfRange)
		}
	}
	if s := op.Signer; s != nil {
		master := masterSigner(o.source, 1)
		if s.Key.Equals(master.Key) || s.Weight > maxWeight || emptyPayload(s.Key) {
			return setOptionsResult(o, xdr.SetOptionsResultCodeSetOptionsBadSigner)
		}
	}
	if op.HomeDomain != nil && !textValid(string(*op.HomeDomain)) {
		return setOptionsResult(o, xdr.SetOptionsResultCodeSetOptionsInvalidHomeDomain)
	}
	return o.success()
}

func flagsOf(f *xdr.Uint32) xdr.AccountFlags {
	if f == nil {
		return 0
	}
	return xdr.AccountFlags(*f)
}

func setOptions(o operation) xdr.OperationResult {
	op := o.body.MustSetOptionsOp()
	e := o.d.account(o.source)
	a := e.account()
	if op.InflationDest != nil {
		if o.d.account(*op.InflationDest) == nil {
			return setOptionsResult(o, xdr.SetOptionsResultCodeSetOptionsInvalidInflation)
		}
		a.InflationDest = op.InflationDest
	}
	if code := changeFlags(a, flagsOf(op.SetFlags), flagsOf(op.ClearFlags)); code != xdr.SetOptionsResultCodeSetOptionsSuccess {
		return setOptionsResult(o, code)
	}
	if op.HomeDomain != nil {
		a.HomeDomain = *op.HomeDomain
	}
	for i, t := range []*xdr.Uint32{op.MasterWeight, op.LowThreshold, op.MedThreshold, op.HighThreshold} {
		if t != nil {
			a.Thresholds[i] = byte(*t)
		}
	}
	if op.Signer != nil {
		if r := changeSigner(o, a, *op.Signer); !succeeded(r) {
			return r
		}
	}
	o.d.put(e)
	return o.success()
}

func changeFlags(a *xdr.AccountEntry, set, clear xdr.AccountFlags) xdr.SetOptionsResultCode {
	flags := xdr.AccountFlags(a.Flags)
	if set|clear == 0 {
		return xdr.SetOptionsResultCodeSetOptionsSuccess
	}
	if flags&xdr.AccountFlagsAuthImmutableFlag != 0 {
		return xdr.SetOptionsResultCodeSetOptionsCantChange
	}
	flags = flags&^clear | set
	if flags&xdr.AccountFlagsAuthClawbackEnabledFlag != 0 && flags&xdr.AccountFlagsAuthRevocableFlag == 0 {
		return xdr.SetOptionsResultCodeSetOptionsAuthRevocableRequired
	}
	a.Flags = xdr.Uint32(flags)
	return xdr.SetOptionsResultCodeSetOptionsSuccess
}

// changeSigner adds, changes or (weight 0) removes a signer. Signers are kept in the order of their keys.
func changeSigner(o operation, a *xdr.AccountEntry, s xdr.Signer) xdr.OperationResult {
	i, found := slices.BinarySearchFunc(a.Signers, s.Key, func(have xdr.Signer, want xdr.SignerKey) int { return CompareSigners(have.Key, want) })
	switch {
	case s.Weight == 0:
		if found {
			removeSigner(a, i)
		}
		return o.success()
	case found:
		a.Signers[i].Weight = s.Weight
		return o.success()
	case len(a.Signers) >= maxSigners:
		return setOptionsResult(o, xdr.SetOptionsResultCodeSetOptionsTooManySigners)
	}
	switch addSubentry(a, o.c) {
	case tooMany:
		return tooManySubentries()
	case tooPoor:
		return setOptionsResult(o, xdr.SetOptionsResultCodeSetOptionsLowReserve)
	}
	a.Signers = slices.Insert(a.Signers, i, s)
	if v1 := a.Ext.V1; v1 != nil && v1.Ext.V2 != nil {
		v1.Ext.V2.SignerSponsoringIDs = slices.Insert(v1.Ext.V2.SignerSponsoringIDs, i, xdr.SponsorshipDescriptor(nil))
	}
	return o.success()
}

func removeSigner(a *xdr.AccountEntry, i int) {
	a.Signers = slices.Delete(a.Signers, i, i+1)
	if v1 := a.Ext.V1; v1 != nil && v1.Ext.V2 != nil {
		v1.Ext.V2.SignerSponsoringIDs = slices.Delete(v1.Ext.V2.SignerSponsoringIDs, i, i+1)
	}
	a.NumSubEntries--
}

// CompareSigners orders the signers of an account as the wire does: by kind, then by the bytes of the key.
func CompareSigners(a, b xdr.SignerKey) int {
	if a.Type != b.Type {
		return int(a.Type) - int(b.Type)
	}
	x, errX := a.MarshalBinary()
	y, errY := b.MarshalBinary()
	if errX != nil || errY != nil {
		panic("apply: a signer's key does not encode")
	}
	return bytes.Compare(x, y)
}
