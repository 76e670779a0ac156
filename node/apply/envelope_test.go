package apply

import (
	"crypto/ed25519"
	"crypto/sha256"
	"slices"
	"strings"

	"github.com/stellar/go-stellar-sdk/xdr"
)

// envelope makes the case's transaction, signed by its sources unless sign= says by whom.
func (w *world) envelope() xdr.TransactionEnvelope {
	w.t.Helper()
	if len(w.tx.args) == 0 {
		w.t.Fatal("the case has no transaction")
	}
	source := w.tx.arg(0)
	tx := xdr.Transaction{SourceAccount: w.muxed(source), Fee: xdr.Uint32(100 * max(1, len(w.ops))), SeqNum: 6}
	signers := []string{strings.Split(source, "+")[0]}
	for k, v := range w.tx.named {
		switch k {
		case "fee":
			tx.Fee = xdr.Uint32(w.number(v))
		case "seq":
			tx.SeqNum = xdr.SequenceNumber(w.number(v))
		case "soroban":
			tx.Ext = xdr.TransactionExt{V: 1, SorobanData: &xdr.SorobanTransactionData{}}
		}
	}
	tx.Cond = w.preconditions()
	for _, op := range w.ops {
		if by, ok := op.named["by"]; ok && !slices.Contains(signers, by) {
			signers = append(signers, by)
		}
		tx.Operations = append(tx.Operations, w.operation(op))
	}
	env := xdr.TransactionEnvelope{Type: xdr.EnvelopeTypeEnvelopeTypeTx, V1: &xdr.TransactionV1Envelope{Tx: tx}}
	if sign, ok := w.tx.named["sign"]; ok {
		signers = strings.FieldsFunc(sign, func(r rune) bool { return r == ',' })
	}
	env.V1.Signatures = w.sign(env, signers)
	if payer, ok := w.tx.named["bump"]; ok {
		return w.bump(env, payer)
	}
	return env
}

// bump wraps env. payer is name/fee or name/fee/signer,signer.
func (w *world) bump(env xdr.TransactionEnvelope, payer string) xdr.TransactionEnvelope {
	parts := strings.Split(payer, "/")
	outer := xdr.TransactionEnvelope{Type: xdr.EnvelopeTypeEnvelopeTypeTxFeeBump, FeeBump: &xdr.FeeBumpTransactionEnvelope{
		Tx: xdr.FeeBumpTransaction{FeeSource: w.muxed(parts[0]), Fee: xdr.Int64(w.number(parts[1])),
			InnerTx: xdr.FeeBumpTransactionInnerTx{Type: xdr.EnvelopeTypeEnvelopeTypeTx, V1: env.V1}}}}
	signers := []string{parts[0]}
	if len(parts) > 2 {
		signers = strings.FieldsFunc(parts[2], func(r rune) bool { return r == ',' })
	}
	outer.FeeBump.Signatures = w.sign(outer, signers)
	return outer
}

// sign signs as names, x:word (which shows the word), payload:name:word or bad:name (a signature that does not verify).
func (w *world) sign(env xdr.TransactionEnvelope, signers []string) []xdr.DecoratedSignature {
	hash, err := testNet.TxHash(env)
	if err != nil {
		w.t.Fatal(err)
	}
	var sigs []xdr.DecoratedSignature
	for _, s := range signers {
		kind, rest, _ := strings.Cut(s, ":")
		switch kind {
		case "x":
			h := sha256.Sum256([]byte(rest))
			sigs = append(sigs, xdr.DecoratedSignature{Hint: hint(h[:]), Signature: []byte(rest)})
		case "payload":
			name, word, _ := strings.Cut(rest, ":")
			id, tail := w.id(name), [4]byte{}
			copy(tail[:], word[max(0, len(word)-4):])
			h := hint(id.Ed25519[:])
			for i := range h {
				h[i] ^= tail[i]
			}
			sigs = append(sigs, xdr.DecoratedSignature{Hint: h, Signature: ed25519.Sign(w.key(name), []byte(word))})
		case "bad":
			id := w.id(rest)
			sigs = append(sigs, xdr.DecoratedSignature{Hint: hint(id.Ed25519[:]), Signature: make([]byte, ed25519.SignatureSize)})
		default:
			id := w.id(s)
			sigs = append(sigs, xdr.DecoratedSignature{Hint: hint(id.Ed25519[:]), Signature: ed25519.Sign(w.key(s), hash[:])})
		}
	}
	return sigs
}

func (w *world) preconditions() xdr.Preconditions {
	n := w.tx.named
	v2, used := xdr.PreconditionsV2{}, false
	var times *xdr.TimeBounds
	if n["min"]+n["max"] != "" {
		times = &xdr.TimeBounds{MinTime: xdr.TimePoint(w.orZero(n["min"])), MaxTime: xdr.TimePoint(w.orZero(n["max"]))}
	}
	if from, to, ok := strings.Cut(n["ledgers"], ".."); ok {
		v2.LedgerBounds, used = &xdr.LedgerBounds{MinLedger: xdr.Uint32(w.number(from)), MaxLedger: xdr.Uint32(w.number(to))}, true
	}
	if v, ok := n["minseq"]; ok {
		seq := xdr.SequenceNumber(w.number(v))
		v2.MinSeqNum, used = &seq, true
	}
	if v, ok := n["age"]; ok {
		v2.MinSeqAge, used = xdr.Duration(w.number(v)), true
	}
	if v, ok := n["gap"]; ok {
		v2.MinSeqLedgerGap, used = xdr.Uint32(w.number(v)), true
	}
	if v, ok := n["extra"]; ok {
		used = true
		for _, s := range strings.Split(v, ",") {
			v2.ExtraSigners = append(v2.ExtraSigners, w.signer(s))
		}
	}
	switch {
	case used:
		v2.TimeBounds = times
		return xdr.Preconditions{Type: xdr.PreconditionTypePrecondV2, V2: &v2}
	case times != nil:
		return xdr.Preconditions{Type: xdr.PreconditionTypePrecondTime, TimeBounds: times}
	}
	return xdr.Preconditions{}
}

// operation reads one line below tx.
func (w *world) operation(l words) xdr.Operation {
	w.t.Helper()
	var body xdr.OperationBody
	var err error
	switch l.args[0] {
	case "create":
		body, err = xdr.NewOperationBody(xdr.OperationTypeCreateAccount, xdr.CreateAccountOp{Destination: w.id(l.arg(0)), StartingBalance: w.amount(l.arg(1))})
	case "pay":
		body, err = xdr.NewOperationBody(xdr.OperationTypePayment, xdr.PaymentOp{Destination: w.muxed(l.arg(0)), Amount: w.amount(l.arg(1)), Asset: w.asset(l.arg(2))})
	case "trust":
		body, err = xdr.NewOperationBody(xdr.OperationTypeChangeTrust, xdr.ChangeTrustOp{Line: w.asset(l.arg(0)).ToChangeTrustAsset(), Limit: w.amount(l.arg(1))})
	case "trustpool":
		body, err = xdr.NewOperationBody(xdr.OperationTypeChangeTrust, xdr.ChangeTrustOp{Limit: 1, Line: xdr.ChangeTrustAsset{
			Type: xdr.AssetTypeAssetTypePoolShare, LiquidityPool: &xdr.LiquidityPoolParameters{Type: xdr.LiquidityPoolTypeLiquidityPoolConstantProduct,
				ConstantProduct: &xdr.LiquidityPoolConstantProductParameters{AssetB: w.asset("USD:issuer"), Fee: 30}}}})
	case "allow":
		code := w.asset(l.arg(1) + ":nobody")
		body, err = xdr.NewOperationBody(xdr.OperationTypeAllowTrust, xdr.AllowTrustOp{Trustor: w.id(l.arg(0)), Authorize: xdr.Uint32(w.number(l.arg(2))),
			Asset: xdr.AssetCode{Type: code.Type, AssetCode4: codeOf4(code), AssetCode12: codeOf12(code)}})
	case "flags":
		body, err = xdr.NewOperationBody(xdr.OperationTypeSetTrustLineFlags, xdr.SetTrustLineFlagsOp{Trustor: w.id(l.arg(0)), Asset: w.asset(l.arg(1)),
			SetFlags: xdr.Uint32(w.orZero(l.named["set"])), ClearFlags: xdr.Uint32(w.orZero(l.named["clear"]))})
	case "options":
		body, err = xdr.NewOperationBody(xdr.OperationTypeSetOptions, w.options(l.named))
	case "data":
		op := xdr.ManageDataOp{DataName: xdr.String64(strings.NewReplacer("<none>", "", "<tab>", "\t").Replace(l.arg(0)))}
		if v := l.arg(1); v != "" {
			value := xdr.DataValue(v)
			op.DataValue = &value
		}
		body, err = xdr.NewOperationBody(xdr.OperationTypeManageData, op)
	case "clawback":
		body, err = xdr.NewOperationBody(xdr.OperationTypeClawback, xdr.ClawbackOp{From: w.muxed(l.arg(0)), Amount: w.amount(l.arg(1)), Asset: w.asset(l.arg(2))})
	case "merge":
		body, err = xdr.NewOperationBody(xdr.OperationTypeAccountMerge, w.muxed(l.arg(0)))
	case "restore":
		body, err = xdr.NewOperationBody(xdr.OperationTypeRestoreFootprint, xdr.RestoreFootprintOp{})
	default:
		w.t.Fatalf("operation %q", l.args)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	op := xdr.Operation{Body: body}
	if by, ok := l.named["by"]; ok {
		source := w.muxed(by)
		op.SourceAccount = &source
	}
	return op
}

func codeOf4(a xdr.Asset) *xdr.AssetCode4 {
	if a.AlphaNum4 == nil {
		return nil
	}
	return &a.AlphaNum4.AssetCode
}

func codeOf12(a xdr.Asset) *xdr.AssetCode12 {
	if a.AlphaNum12 == nil {
		return nil
	}
	return &a.AlphaNum12.AssetCode
}

func (w *world) options(named map[string]string) xdr.SetOptionsOp {
	op := xdr.SetOptionsOp{}
	number := func(v string) *xdr.Uint32 { u := xdr.Uint32(w.number(v)); return &u }
	for k, v := range named {
		switch k {
		case "set":
			op.SetFlags = number(v)
		case "clear":
			op.ClearFlags = number(v)
		case "master":
			op.MasterWeight = number(v)
		case "low":
			op.LowThreshold = number(v)
		case "med":
			op.MedThreshold = number(v)
		case "high":
			op.HighThreshold = number(v)
		case "domain":
			d := xdr.String32(strings.ReplaceAll(v, "<tab>", "\t"))
			op.HomeDomain = &d
		case "inflation":
			id := w.id(v)
			op.InflationDest = &id
		case "signer":
			key, weight, _ := strings.Cut(v, "/")
			op.Signer = &xdr.Signer{Key: w.signer(key), Weight: *number(weight)}
		}
	}
	return op
}
