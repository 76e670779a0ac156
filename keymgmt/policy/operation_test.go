package policy_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/node/protocol"
	"github.com/diamante/gateway/node/txbuild"
)

// raw builds a transaction of one of the bank's accounts out of operations that txbuild does not know.
func (b *bank) raw(id string, bodies ...xdr.OperationBody) keymgmt.Request {
	b.t.Helper()
	r := b.by(id, b.pay("1"))
	return b.edit(r, func(tx *xdr.Transaction) {
		tx.Operations = nil
		for _, body := range bodies {
			tx.Operations = append(tx.Operations, xdr.Operation{Body: body})
		}
	})
}

// edit changes the transaction of a request.
func (b *bank) edit(r keymgmt.Request, change func(tx *xdr.Transaction)) keymgmt.Request {
	b.t.Helper()
	var base xdr.TransactionSignaturePayload
	if err := base.UnmarshalBinary(r.Body); err != nil {
		b.t.Fatal(err)
	}
	change(base.TaggedTransaction.Tx)
	var err error
	if r.Body, err = base.MarshalBinary(); err != nil {
		b.t.Fatal(err)
	}
	return r
}

func address(id protocol.AccountID) xdr.AccountId { return id.XDR() }

func muxed(id protocol.AccountID) xdr.MuxedAccount {
	x := id.XDR()
	return x.ToMuxedAccount()
}

func (b *bank) receive(max, get xdr.Int64, to protocol.AccountID) xdr.OperationBody {
	return xdr.OperationBody{Type: xdr.OperationTypePathPaymentStrictReceive, PathPaymentStrictReceiveOp: &xdr.PathPaymentStrictReceiveOp{
		SendAsset: b.usd.XDR(), SendMax: max, Destination: muxed(to), DestAsset: protocol.Native().XDR(), DestAmount: get}}
}

func (b *bank) send(amount, least xdr.Int64, to protocol.AccountID) xdr.OperationBody {
	return xdr.OperationBody{Type: xdr.OperationTypePathPaymentStrictSend, PathPaymentStrictSendOp: &xdr.PathPaymentStrictSendOp{
		SendAsset: b.usd.XDR(), SendAmount: amount, Destination: muxed(to), DestAsset: protocol.Native().XDR(), DestMin: least}}
}

func (b *bank) sell(amount xdr.Int64, n, d xdr.Int32) xdr.OperationBody {
	return xdr.OperationBody{Type: xdr.OperationTypeManageSellOffer, ManageSellOfferOp: &xdr.ManageSellOfferOp{Selling: b.usd.XDR(),
		Buying: protocol.Native().XDR(), Amount: amount, Price: xdr.Price{N: n, D: d}, OfferId: 7}}
}

func (b *bank) passive(amount xdr.Int64, n, d xdr.Int32) xdr.OperationBody {
	return xdr.OperationBody{Type: xdr.OperationTypeCreatePassiveSellOffer, CreatePassiveSellOfferOp: &xdr.CreatePassiveSellOfferOp{Selling: b.usd.XDR(),
		Buying: protocol.Native().XDR(), Amount: amount, Price: xdr.Price{N: n, D: d}}}
}

func (b *bank) buy(amount xdr.Int64, n, d xdr.Int32) xdr.OperationBody {
	return xdr.OperationBody{Type: xdr.OperationTypeManageBuyOffer, ManageBuyOfferOp: &xdr.ManageBuyOfferOp{Selling: b.usd.XDR(),
		Buying: protocol.Native().XDR(), BuyAmount: amount, Price: xdr.Price{N: n, D: d}}}
}

func (b *bank) setAside(amount xdr.Int64, claimants ...protocol.AccountID) xdr.OperationBody {
	op := &xdr.CreateClaimableBalanceOp{Asset: b.usd.XDR(), Amount: amount}
	for _, c := range claimants {
		op.Claimants = append(op.Claimants, xdr.Claimant{Type: xdr.ClaimantTypeClaimantTypeV0,
			V0: &xdr.ClaimantV0{Destination: address(c), Predicate: xdr.ClaimPredicate{Type: xdr.ClaimPredicateTypeClaimPredicateUnconditional}}})
	}
	return xdr.OperationBody{Type: xdr.OperationTypeCreateClaimableBalance, CreateClaimableBalanceOp: op}
}

const unit = xdr.Int64(protocol.One)

// traders lets the distribution account do all that there are rules for, with b.other and nobody else.
func traders(b *bank) {
	r := b.rule(distribution).Transaction
	r.PathPayments = []policy.PathPaymentRule{{Send: []protocol.Asset{b.usd}, Receive: []protocol.Asset{protocol.Native()}, Destinations: policy.Only(b.other)}}
	r.Offers = []policy.OfferRule{{Selling: b.usd, Buying: protocol.Native(), MinPrice: quantity(b.t, "2.5")}}
	r.SetAside = &policy.SetAsideRule{Assets: []protocol.Asset{b.usd}, Claimants: policy.Only(b.other)}
	r.ClaimBalances = true
}

// TestWorstCaseIsCounted: what may leave counts at the most that it can be.
func TestWorstCaseIsCounted(t *testing.T) {
	for name, tt := range map[string]struct {
		ops  func(b *bank) []xdr.OperationBody
		want string // of USD, in stroops
	}{
		"the most that is sent":         {func(b *bank) []xdr.OperationBody { return []xdr.OperationBody{b.receive(30*unit, unit, b.other)} }, "300000000"},
		"what is sent":                  {func(b *bank) []xdr.OperationBody { return []xdr.OperationBody{b.send(30*unit, 1, b.other)} }, "300000000"},
		"what is offered":               {func(b *bank) []xdr.OperationBody { return []xdr.OperationBody{b.sell(30*unit, 5, 2)} }, "300000000"},
		"what is offered passively":     {func(b *bank) []xdr.OperationBody { return []xdr.OperationBody{b.passive(30*unit, 5, 2)} }, "300000000"},
		"what a purchase can cost":      {func(b *bank) []xdr.OperationBody { return []xdr.OperationBody{b.buy(100*unit, 2, 5)} }, "404000001"},
		"what is set aside":             {func(b *bank) []xdr.OperationBody { return []xdr.OperationBody{b.setAside(30*unit, b.other)} }, "300000000"},
		"an offer withdrawn is nothing": {func(b *bank) []xdr.OperationBody { return []xdr.OperationBody{b.sell(0, 1, 1000)} }, "0"},
		"the sum of all that is in the way": {func(b *bank) []xdr.OperationBody {
			return []xdr.OperationBody{b.sell(unit, 3, 1), b.send(unit, 1, b.other)}
		}, "20000000"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBank(t)
			traders(b)
			a, err := b.decide(b.raw(distribution, tt.ops(b)...), facts())
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(a.Reservations()[1].Amount); got != tt.want || a.Reservations()[1].Counter.Name != b.usd.String() {
				t.Errorf("counted %v, want %s", a.Reservations(), tt.want)
			}
		})
	}
}

func TestOperationsThatAreDenied(t *testing.T) {
	native, id := protocol.Native().XDR(), xdr.ClaimableBalanceId{Type: xdr.ClaimableBalanceIdTypeClaimableBalanceIdTypeV0, V0: &xdr.Hash{1}}
	for _, tt := range []struct {
		name, rule string
		op         func(b *bank) xdr.OperationBody
	}{
		{"path payment to a stranger", "transaction.path_payment.destinations", func(b *bank) xdr.OperationBody { return b.send(unit, 1, newAccount(t)) }},
		{"path payment received by a stranger", "transaction.path_payment.destinations", func(b *bank) xdr.OperationBody { return b.receive(unit, 1, newAccount(t)) }},
		{"path payment of too much", "transaction.limit.per_transaction", func(b *bank) xdr.OperationBody { return b.receive(1000*unit+1, 1, b.other) }},
		{"path payment of another asset", "transaction.path_payment.assets", func(b *bank) xdr.OperationBody {
			op := b.send(unit, 1, b.other)
			op.PathPaymentStrictSendOp.SendAsset, op.PathPaymentStrictSendOp.DestAsset = native, b.usd.XDR()
			return op
		}},
		{"offer too cheap", "transaction.offer.min_price", func(b *bank) xdr.OperationBody { return b.sell(unit, 249, 100) }},
		{"passive offer too cheap", "transaction.offer.min_price", func(b *bank) xdr.OperationBody { return b.passive(unit, 249, 100) }},
		{"purchase too dear", "transaction.offer.min_price", func(b *bank) xdr.OperationBody { return b.buy(unit, 401, 1000) }},
		{"offer the other way round", "transaction.offer.assets", func(b *bank) xdr.OperationBody {
			op := b.sell(unit, 5, 2)
			op.ManageSellOfferOp.Selling, op.ManageSellOfferOp.Buying = native, b.usd.XDR()
			return op
		}},
		{"offer of too much", "transaction.limit.per_transaction", func(b *bank) xdr.OperationBody { return b.sell(1000*unit+1, 5, 2) }},
		{"set aside for a stranger too", "transaction.create_claimable_balance.claimants", func(b *bank) xdr.OperationBody { return b.setAside(unit, b.other, newAccount(t)) }},
		{"merge", "transaction.never.account_merge", func(b *bank) xdr.OperationBody {
			to := muxed(b.other)
			return xdr.OperationBody{Type: xdr.OperationTypeAccountMerge, Destination: &to}
		}},
		{"clawback of a balance", "transaction.never.clawback_claimable_balance", func(*bank) xdr.OperationBody {
			return xdr.OperationBody{Type: xdr.OperationTypeClawbackClaimableBalance, ClawbackClaimableBalanceOp: &xdr.ClawbackClaimableBalanceOp{BalanceId: id}}
		}},
		{"pool deposit", "transaction.never.liquidity_pool_deposit", func(*bank) xdr.OperationBody {
			return xdr.OperationBody{Type: xdr.OperationTypeLiquidityPoolDeposit, LiquidityPoolDepositOp: &xdr.LiquidityPoolDepositOp{MaxAmountA: 1, MaxAmountB: 1,
				MinPrice: xdr.Price{N: 1, D: 1}, MaxPrice: xdr.Price{N: 1, D: 1}}}
		}},
		{"pool withdrawal", "transaction.never.liquidity_pool_withdraw", func(*bank) xdr.OperationBody {
			return xdr.OperationBody{Type: xdr.OperationTypeLiquidityPoolWithdraw, LiquidityPoolWithdrawOp: &xdr.LiquidityPoolWithdrawOp{Amount: 1}}
		}},
		{"sponsorship", "transaction.never.sponsorship", func(b *bank) xdr.OperationBody {
			return xdr.OperationBody{Type: xdr.OperationTypeBeginSponsoringFutureReserves, BeginSponsoringFutureReservesOp: &xdr.BeginSponsoringFutureReservesOp{SponsoredId: address(b.other)}}
		}},
		{"end of sponsorship", "transaction.never.sponsorship", func(*bank) xdr.OperationBody {
			return xdr.OperationBody{Type: xdr.OperationTypeEndSponsoringFutureReserves}
		}},
		{"bump sequence", "transaction.never.bump_sequence", func(*bank) xdr.OperationBody {
			return xdr.OperationBody{Type: xdr.OperationTypeBumpSequence, BumpSequenceOp: &xdr.BumpSequenceOp{BumpTo: 1 << 62}}
		}},
		{"inflation", "transaction.never.inflation", func(*bank) xdr.OperationBody { return xdr.OperationBody{Type: xdr.OperationTypeInflation} }},
		{"allow trust", "transaction.never.allow_trust", func(b *bank) xdr.OperationBody {
			code := xdr.AssetCode4{'U', 'S', 'D'}
			return xdr.OperationBody{Type: xdr.OperationTypeAllowTrust, AllowTrustOp: &xdr.AllowTrustOp{Trustor: address(b.other),
				Asset: xdr.AssetCode{Type: xdr.AssetTypeAssetTypeCreditAlphanum4, AssetCode4: &code}, Authorize: 1}}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBank(t)
			traders(b)
			wantDenial(t, b, b.raw(distribution, tt.op(b)), facts(), tt.rule)
		})
	}
	b := newBank(t) // without any of the rules
	claim := xdr.OperationBody{Type: xdr.OperationTypeClaimClaimableBalance, ClaimClaimableBalanceOp: &xdr.ClaimClaimableBalanceOp{BalanceId: id}}
	for _, op := range []xdr.OperationBody{b.receive(unit, 1, b.other), b.send(unit, 1, b.other), b.sell(unit, 5, 2), b.buy(unit, 1, 5), b.passive(unit, 5, 2), b.setAside(unit, b.other), claim} {
		wantDenial(t, b, b.raw(distribution, op), facts(), "transaction.operation")
	}
	traders(b)
	if _, err := b.decide(b.raw(distribution, claim), facts()); err != nil {
		t.Errorf("claim: %v", err)
	}
	b.file.DenyDestinations = []protocol.AccountID{b.other}
	for _, op := range []xdr.OperationBody{b.receive(unit, 1, b.other), b.send(unit, 1, b.other), b.setAside(unit, b.other)} {
		wantDenial(t, b, b.raw(distribution, op), facts(), "deny_destinations")
	}
}

func TestPreconditions(t *testing.T) {
	b := newBank(t)
	plain := b.by(issuing, b.pay("1"))
	one, key := xdr.SequenceNumber(1), xdr.Uint256(b.other.Key())
	for name, set := range map[string]func(c *xdr.PreconditionsV2){
		"ledger_bounds":           func(c *xdr.PreconditionsV2) { c.LedgerBounds = &xdr.LedgerBounds{MinLedger: 1, MaxLedger: 9} },
		"min_sequence":            func(c *xdr.PreconditionsV2) { c.MinSeqNum = &one },
		"min_sequence_age":        func(c *xdr.PreconditionsV2) { c.MinSeqAge = 5 },
		"min_sequence_ledger_gap": func(c *xdr.PreconditionsV2) { c.MinSeqLedgerGap = 5 },
		"extra_signers": func(c *xdr.PreconditionsV2) {
			c.ExtraSigners = []xdr.SignerKey{{Type: xdr.SignerKeyTypeSignerKeyTypeEd25519, Ed25519: &key}}
		},
	} {
		b.rule(issuing).Transaction.Conditions = nil
		r := b.edit(plain, func(tx *xdr.Transaction) {
			c := xdr.PreconditionsV2{TimeBounds: tx.Cond.TimeBounds}
			set(&c)
			tx.Cond = xdr.Preconditions{Type: xdr.PreconditionTypePrecondV2, V2: &c}
		})
		wantDenial(t, b, r, facts(), "transaction.conditions")
		b.rule(issuing).Transaction.Conditions = []string{name}
		if a, err := b.decide(r, facts()); err != nil || len(a.Reservations()) != 2 {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, list := range [][]string{{"time_bounds"}, {""}, {"min_sequence", "min_sequence"}} {
		b.rule(issuing).Transaction.Conditions = list
		if _, err := policy.Marshal(b.file); !errors.Is(err, policy.ErrInvalid) {
			t.Errorf("%q: %v", list, err)
		}
	}
}

// TestRotation: a signer is replaced with the approval of those named for it, and only by those that are listed.
func TestRotation(t *testing.T) {
	b := newBank(t)
	all, old := withOfficers(t, b), b.other
	fresh := newAccount(t)
	zero := uint32(0)
	b.rule(issuing).Transaction.SetOptions.MasterWeights = []uint32{0}
	b.rule(issuing).Transaction.SetOptions.Rotation = &policy.RotationRule{Needs: []policy.Need{{Group: "compliance", Count: 1}},
		Signers: []policy.SignerRule{{Account: fresh, Weights: []uint32{1}}, {Account: old, Weights: []uint32{0}}}}
	signer := func(id protocol.AccountID, weight xdr.Uint32) txbuild.SetOptions {
		k := xdr.Uint256(id.Key())
		return txbuild.SetOptions{Signer: &xdr.Signer{Weight: weight, Key: xdr.SignerKey{Type: xdr.SignerKeyTypeSignerKeyTypeEd25519, Ed25519: &k}}}
	}
	for name, op := range map[string]txbuild.SetOptions{"add": signer(fresh, 1), "remove": signer(old, 0), "master": {MasterWeight: &zero}} {
		r := b.by(issuing, op)
		if _, err := b.decide(r, facts()); !errors.Is(err, keymgmt.ErrApprovalNeeded) {
			t.Errorf("%s: %v", name, err)
		}
		r.Consents = all.approve(t, r, 1, "alice")
		if _, err := b.decide(r, facts()); !errors.Is(err, keymgmt.ErrApprovalNeeded) {
			t.Errorf("%s with the wrong approval: %v", name, err)
		}
		r.Consents = all.approve(t, r, 1, "carol")
		if _, err := b.decide(r, facts()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	preimage := txbuild.SetOptions{Signer: &xdr.Signer{Weight: 1, Key: xdr.SignerKey{Type: xdr.SignerKeyTypeSignerKeyTypeHashX, HashX: &xdr.Uint256{1}}}}
	payload := txbuild.SetOptions{Signer: &xdr.Signer{Weight: 1, Key: xdr.SignerKey{Type: xdr.SignerKeyTypeSignerKeyTypeEd25519SignedPayload,
		Ed25519SignedPayload: &xdr.SignerKeyEd25519SignedPayload{Ed25519: xdr.Uint256(fresh.Key()), Payload: []byte{1}}}}}
	for name, op := range map[string]txbuild.SetOptions{"a listed key over a text": payload, "weight": signer(fresh, 2), "removed": signer(fresh, 0), "given back": signer(old, 1), "stranger": signer(newAccount(t), 1), "hash": preimage} {
		r := b.by(issuing, op)
		r.Consents = all.approve(t, r, 1, "carol")
		t.Run(name, func(t *testing.T) { wantDenial(t, b, r, facts(), "transaction.set_options.rotation") })
	}
	for name, change := range map[string]func(r *policy.RotationRule){
		"nobody approves": func(r *policy.RotationRule) { r.Needs = nil },
		"no such group":   func(r *policy.RotationRule) { r.Needs[0].Group = "board" },
		"no signers":      func(r *policy.RotationRule) { r.Signers = nil },
		"no weights":      func(r *policy.RotationRule) { r.Signers[0].Weights = nil },
		"weight":          func(r *policy.RotationRule) { r.Signers[0].Weights = []uint32{256} },
		"twice":           func(r *policy.RotationRule) { r.Signers[1].Account = fresh },
	} {
		c := newBank(t)
		withOfficers(t, c)
		c.rule(issuing).Transaction.SetOptions.Rotation = &policy.RotationRule{Needs: []policy.Need{{Group: "compliance", Count: 1}},
			Signers: []policy.SignerRule{{Account: fresh, Weights: []uint32{1}}, {Account: old, Weights: []uint32{0}}}}
		change(c.rule(issuing).Transaction.SetOptions.Rotation)
		if _, err := policy.Marshal(c.file); !errors.Is(err, policy.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRotatedKey: a key that has become a signer of an account signs for it, and for itself no more.
func TestRotatedKey(t *testing.T) {
	b := newBank(t)
	pay, account := b.by(issuing, b.pay("1")), b.setup.Publics.Issuing
	b.rule(issuing).Public, b.rule(issuing).Account = policy.Ledger(newAccount(t)), &account
	if _, err := b.decide(pay, facts()); err != nil {
		t.Error(err)
	}
	wantDenial(t, b, b.by(issuing, b.pay("1")), facts(), "transaction.source")
	b.rule(distribution).Account = &account
	if _, err := policy.Marshal(b.file); !errors.Is(err, policy.ErrInvalid) {
		t.Errorf("two keys for an account, with two sets of limits: %v", err)
	}
	other := newAccount(t)
	b.rule(distribution).Account, b.rule("audit/log").Account = nil, &other
	if _, err := policy.Marshal(b.file); !errors.Is(err, policy.ErrInvalid) {
		t.Errorf("an account for a log: %v", err)
	}
}
