package payload_test

import (
	"encoding/hex"
	"errors"
	"math/big"
	"strings"
	"testing"

	"github.com/stellar/go-stellar-sdk/strkey"
	"github.com/stellar/go-stellar-sdk/txnbuild"
	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/payload"
)

var (
	usd    = txnbuild.CreditAsset{Code: "USD", Issuer: source}
	eur    = txnbuild.CreditAsset{Code: "EURO5", Issuer: other}
	native = txnbuild.NativeAsset{}

	usdWords = "USD issued by " + source
	eurWords = "EURO5 issued by " + other

	fixedHash = [32]byte{0xab, 31: 0xcd}
	hashWords = hex.EncodeToString(fixedHash[:])
	balance   = "00000000" + hashWords

	pool      = txnbuild.LiquidityPoolParameters{AssetA: native, AssetB: usd, Fee: 30}
	poolID    = must(txnbuild.NewLiquidityPoolId(native, usd))
	poolWords = hex.EncodeToString(poolID[:])
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// signer writes one as other software does.
func signer(version strkey.VersionByte) string { return must(strkey.Encode(version, fixedHash[:])) }

var (
	preAuthorized = signer(strkey.VersionByteHashTx)
	preimage      = signer(strkey.VersionByteHashX)
	overPayload   = must(must(strkey.NewSignedPayload(other, []byte{1, 2, 3})).Encode())
)

// byHand is an operation that the other implementation can't build: it makes one on the native asset of it.
type byHand struct {
	txnbuild.Operation
	body xdr.OperationBody
}

func (o byHand) BuildXDR() (xdr.Operation, error) { return xdr.Operation{Body: o.body}, nil }
func (byHand) Validate() error                    { return nil }

type example struct {
	op    txnbuild.Operation
	words string
	out   string // what can leave the account
}

// The operations that are understood, built by another implementation, with what a person is told about each.
var understood = []example{
	{&txnbuild.CreateAccount{Destination: other, Amount: "10"}, "creates account " + other + " with 10.0000000 DIAM", "10.0000000 native"},
	{&txnbuild.Payment{Destination: other, Amount: "0.0000001", Asset: native}, "pays 0.0000001 DIAM to " + other, "0.0000001 native"},
	{&txnbuild.Payment{Destination: other, Amount: "922337203685.4775807", Asset: usd},
		"pays 922337203685.4775807 " + usdWords + " to " + other, "922337203685.4775807 USD:" + source},
	{&txnbuild.Payment{Destination: other, Amount: "1", Asset: txnbuild.CreditAsset{Code: "LONGERCODE", Issuer: source}},
		"pays 1.0000000 LONGERCODE issued by " + source + " to " + other, "1.0000000 LONGERCODE:" + source},
	{&txnbuild.PathPaymentStrictReceive{SendAsset: usd, SendMax: "5", Destination: other, DestAsset: eur, DestAmount: "4", Path: []txnbuild.Asset{native, usd}},
		"pays at most 5.0000000 " + usdWords + ", so that " + other + " gets 4.0000000 " + eurWords + ", by way of DIAM then " + usdWords, "5.0000000 USD:" + source},
	{&txnbuild.PathPaymentStrictSend{SendAsset: native, SendAmount: "5", Destination: other, DestAsset: eur, DestMin: "4"},
		"pays 5.0000000 DIAM, so that " + other + " gets at least 4.0000000 " + eurWords, "5.0000000 native"},
	{&txnbuild.ManageSellOffer{Selling: usd, Buying: native, Amount: "6", Price: xdr.Price{N: 3, D: 2}},
		"offers to sell up to 6.0000000 " + usdWords + ", each for 3/2 DIAM or more", "6.0000000 USD:" + source},
	{&txnbuild.ManageSellOffer{Selling: usd, Buying: native, Amount: "6", Price: xdr.Price{N: 3, D: 2}, OfferID: 71},
		"changes offer 71 to sell up to 6.0000000 " + usdWords + ", each for 3/2 DIAM or more", "6.0000000 USD:" + source},
	{&txnbuild.ManageSellOffer{Selling: usd, Buying: native, Amount: "0", Price: xdr.Price{N: 1, D: 1}, OfferID: 71},
		"withdraws offer 71 of " + usdWords + " for DIAM, and gives price 1/1, which means nothing here", "0.0000000 USD:" + source},
	{&txnbuild.ManageBuyOffer{Selling: native, Buying: usd, Amount: "6", Price: xdr.Price{N: 1, D: 3}},
		"offers to buy up to 6.0000000 " + usdWords + ", each for 1/3 DIAM or less, at most 2.0200001 in all", "2.0200001 native"},
	{&txnbuild.ManageBuyOffer{Selling: native, Buying: usd, Amount: "0", Price: xdr.Price{N: 1, D: 3}, OfferID: 9},
		"withdraws offer 9 of DIAM for " + usdWords + ", and gives price 1/3, which means nothing here", "0.0000000 native"},
	{&txnbuild.CreatePassiveSellOffer{Selling: usd, Buying: eur, Amount: "2", Price: xdr.Price{N: 1, D: 1}},
		"offers passively to sell up to 2.0000000 " + usdWords + ", each for 1/1 " + eurWords + " or more", "2.0000000 USD:" + source},
	{&txnbuild.ChangeTrust{Line: eur.MustToChangeTrustAsset(), Limit: "5"}, "trusts " + eurWords + " up to 5.0000000", ""},
	{&txnbuild.ChangeTrust{Line: eur.MustToChangeTrustAsset(), Limit: "0"}, "removes the trustline to " + eurWords, ""},
	{&txnbuild.ChangeTrust{Line: txnbuild.LiquidityPoolShareChangeTrustAsset{LiquidityPoolParameters: pool}, Limit: "5"},
		"trusts shares of liquidity pool " + poolWords + " of DIAM and " + usdWords + " with fee 30 up to 5.0000000", ""},
	{&txnbuild.ChangeTrust{Line: txnbuild.LiquidityPoolShareChangeTrustAsset{LiquidityPoolParameters: pool}, Limit: "0"},
		"removes the trustline to shares of liquidity pool " + poolWords + " of DIAM and " + usdWords + " with fee 30", ""},
	{&txnbuild.SetOptions{SetFlags: []txnbuild.AccountFlag{txnbuild.AuthRequired, txnbuild.AuthClawbackEnabled}, ClearFlags: []txnbuild.AccountFlag{txnbuild.AuthImmutable},
		MasterWeight: txnbuild.NewThreshold(1), LowThreshold: txnbuild.NewThreshold(2), MediumThreshold: txnbuild.NewThreshold(3), HighThreshold: txnbuild.NewThreshold(255),
		HomeDomain: ptr("a\nb"), Signer: &txnbuild.Signer{Address: other, Weight: 9}},
		"sets flags auth_required and auth_clawback_enabled, clears flags auth_immutable, sets master weight to 1, sets low threshold to 2, " +
			"sets medium threshold to 3, sets high threshold to 255, sets home domain to \"a\\nb\", gives signer " + other + " weight 9", ""},
	{&txnbuild.SetOptions{Signer: &txnbuild.Signer{Address: preAuthorized, Weight: 1}}, "gives signer anyone who submits transaction " + hashWords + " weight 1", ""},
	{&txnbuild.SetOptions{Signer: &txnbuild.Signer{Address: preimage, Weight: 255}}, "gives signer anyone who shows what has SHA-256 " + hashWords + " weight 255", ""},
	{&txnbuild.SetOptions{Signer: &txnbuild.Signer{Address: overPayload, Weight: 2}}, "gives signer " + other + ", once it has signed payload 010203, weight 2", ""},
	{&txnbuild.SetOptions{Signer: &txnbuild.Signer{Address: other}}, "removes signer " + other, ""},
	{&txnbuild.SetOptions{InflationDestination: ptr(other)}, "names " + other + " to get inflation, changes no option", ""},
	{&txnbuild.SetOptions{}, "changes no option", ""},
	{&txnbuild.AllowTrust{Trustor: other, Type: usd, Authorize: true}, //lint:ignore SA1019 the operation is deprecated and must still be read
		"makes the trustline of " + other + " to " + usdWords + " authorized and no more than that", ""},
	{&txnbuild.AllowTrust{Trustor: other, Type: txnbuild.CreditAsset{Code: "EURO5", Issuer: source}, AuthorizeToMaintainLiabilities: true}, //lint:ignore SA1019 as above
		"makes the trustline of " + other + " to EURO5 issued by " + source + " authorized_to_maintain_liabilities and no more than that", ""},
	{&txnbuild.AllowTrust{Trustor: other, Type: usd}, "takes all authorization from the trustline of " + other + " to " + usdWords, ""}, //lint:ignore SA1019 as above
	{&txnbuild.SetTrustLineFlags{Trustor: other, Asset: usd, SetFlags: []txnbuild.TrustLineFlag{txnbuild.TrustLineAuthorized},
		ClearFlags: []txnbuild.TrustLineFlag{txnbuild.TrustLineClawbackEnabled}},
		"on the trustline of " + other + " to " + usdWords + " sets authorized clears clawback_enabled", ""},
	{&txnbuild.AccountMerge{Destination: other}, "gives ALL ITS DIAM to " + other + " and ceases to exist", "all native"},
	{&txnbuild.Inflation{}, "asks for the payout of inflation", ""},
	{&txnbuild.ManageData{Name: "config", Value: []byte("v\x00")}, `sets data "config" to "v\x00"`, ""},
	{&txnbuild.ManageData{Name: "config"}, `removes data "config"`, ""},
	{&txnbuild.BumpSequence{BumpTo: 1 << 62}, "raises its sequence number to 4611686018427387904", ""},
	{&txnbuild.CreateClaimableBalance{Asset: usd, Amount: "8", Destinations: []txnbuild.Claimant{txnbuild.NewClaimant(other, nil),
		txnbuild.NewClaimant(source, ptr(txnbuild.AndPredicate(txnbuild.NotPredicate(txnbuild.BeforeRelativeTimePredicate(60)),
			txnbuild.OrPredicate(txnbuild.BeforeAbsoluteTimePredicate(start.Unix()), txnbuild.UnconditionalPredicate))))}},
		"sets aside 8.0000000 " + usdWords + ", to be claimed by " + other + " at any time, or by " + source +
			" (not within 60 seconds and (before 2026-03-01T12:00:00Z or at any time))", "8.0000000 USD:" + source},
	{&txnbuild.ClaimClaimableBalance{BalanceID: balance}, "claims claimable balance " + balance, ""},
	{&txnbuild.ClawbackClaimableBalance{BalanceID: balance}, "claws back ALL of claimable balance " + balance, "all of something"},
	{&txnbuild.BeginSponsoringFutureReserves{SponsoredID: other}, "puts up the reserves of what " + other + " is given from here on", ""},
	{&txnbuild.EndSponsoringFutureReserves{}, "has its own reserves put up by another no longer", ""},
	{&txnbuild.RevokeSponsorship{SponsorshipType: txnbuild.RevokeSponsorshipTypeAccount, Account: &other}, "gives up or passes on the reserve of account " + other, ""},
	{&txnbuild.RevokeSponsorship{SponsorshipType: txnbuild.RevokeSponsorshipTypeTrustLine, TrustLine: &txnbuild.TrustLineID{Account: other, Asset: usd.MustToTrustLineAsset()}},
		"gives up or passes on the reserve of the trustline of " + other + " to " + usdWords, ""},
	{byHand{body: xdr.OperationBody{Type: xdr.OperationTypeRevokeSponsorship, RevokeSponsorshipOp: &xdr.RevokeSponsorshipOp{
		LedgerKey: &xdr.LedgerKey{Type: xdr.LedgerEntryTypeTrustline, TrustLine: &xdr.LedgerKeyTrustLine{AccountId: xdr.MustAddress(other),
			Asset: xdr.TrustLineAsset{Type: xdr.AssetTypeAssetTypePoolShare, LiquidityPoolId: (*xdr.PoolId)(&poolID)}}}}}},
		"gives up or passes on the reserve of the trustline of " + other + " to shares of liquidity pool " + poolWords, ""},
	{&txnbuild.RevokeSponsorship{SponsorshipType: txnbuild.RevokeSponsorshipTypeOffer, Offer: &txnbuild.OfferID{SellerAccountAddress: other, OfferID: 5}},
		"gives up or passes on the reserve of offer 5 of " + other, ""},
	{&txnbuild.RevokeSponsorship{SponsorshipType: txnbuild.RevokeSponsorshipTypeData, Data: &txnbuild.DataID{Account: other, DataName: "x"}},
		`gives up or passes on the reserve of data "x" of ` + other, ""},
	{&txnbuild.RevokeSponsorship{SponsorshipType: txnbuild.RevokeSponsorshipTypeClaimableBalance, ClaimableBalance: &balance},
		"gives up or passes on the reserve of claimable balance " + balance, ""},
	{&txnbuild.RevokeSponsorship{SponsorshipType: txnbuild.RevokeSponsorshipTypeSigner, Signer: &txnbuild.SignerID{AccountID: other, SignerAddress: preimage}},
		"gives up or passes on the reserve of signer anyone who shows what has SHA-256 " + hashWords + " of " + other, ""},
	{&txnbuild.Clawback{From: other, Amount: "2", Asset: usd}, "claws back 2.0000000 " + usdWords + " from " + other, "2.0000000 USD:" + source},
	{&txnbuild.LiquidityPoolDeposit{LiquidityPoolID: poolID, MaxAmountA: "3", MaxAmountB: "4", MinPrice: xdr.Price{N: 1, D: 2}, MaxPrice: xdr.Price{N: 2, D: 3}},
		"puts up to 3.0000000 of the first and up to 4.0000000 of the second asset of liquidity pool " + poolWords +
			" into it, 1/2 to 2/3 of the first for each of the second", "3.0000000 of something and 4.0000000 of something"},
	{&txnbuild.LiquidityPoolWithdraw{LiquidityPoolID: poolID, Amount: "3", MinAmountA: "1", MinAmountB: "0"},
		"gives up 3.0000000 shares of liquidity pool " + poolWords + " for at least 1.0000000 of its first and 0.0000000 of its second asset", "3.0000000 of something"},
}

// Every classic operation is in the table: one that the ledger knows and nobody here does would be found by an attacker.
func TestEveryClassicOperationIsUnderstood(t *testing.T) {
	seen := map[xdr.OperationType]bool{}
	for _, test := range understood {
		seen[must(test.op.BuildXDR()).Body.Type] = true
	}
	for typ := xdr.OperationTypeCreateAccount; typ < xdr.OperationTypeInvokeHostFunction; typ++ {
		if !seen[typ] {
			t.Errorf("%s is not in the table", typ)
		}
	}
}

func outflows(op payload.Operation) string {
	var w []string
	for _, out := range op.Outflows() {
		text := "all "
		if out.Amount != nil {
			text = payload.Decimal(out.Amount) + " "
		}
		if out.Asset.IsZero() {
			text += "of something"
		} else {
			text += out.Asset.String()
		}
		w = append(w, text)
	}
	return strings.Join(w, " and ")
}

func TestOutflows(t *testing.T) {
	for _, test := range understood {
		body, _ := base(t, 7, test.op)
		m, err := payload.Decode(keymgmt.KindTransaction, body)
		if err != nil {
			t.Errorf("%s: %v", test.words, err)
			continue
		}
		op := m.Transaction.Operations[0]
		if got := outflows(op); got != test.out {
			t.Errorf("%s lets leave %q, want %q", test.words, got, test.out)
		}
		for _, out := range op.Outflows() { // the caller's own
			if out.Amount != nil {
				out.Amount.SetInt64(-1)
			}
		}
		if got := outflows(op); got != test.out {
			t.Errorf("%s: a caller can change it to %s", test.words, got)
		}
	}
}

// What an offer to buy can cost is never under what the ledger can take: each trade rounded up, by a hundredth at most.
func TestMostSold(t *testing.T) {
	for _, test := range []struct {
		amount, n, d, most int64
	}{{0, 1, 1, 0}, {1, 1, 1, 2}, {1, 1, 1000, 1}, {100, 1, 1, 102}, {100, 2, 1, 203}, {1000, 1, 3, 337}, {1 << 62, 1<<31 - 1, 1, 0}} {
		o := payload.ManageBuyOffer{Amount: big.NewInt(test.amount), Price: payload.Price{N: int32(test.n), D: int32(test.d)}}
		most := o.MostSold()
		exact := big.NewInt(test.n)
		exact.Mul(exact, o.Amount).Quo(exact, big.NewInt(test.d))
		if most.Cmp(exact) < 0 || test.most != 0 && most.Int64() != test.most {
			t.Errorf("%d at %s costs at most %s, want %d", test.amount, o.Price, most, test.most)
		}
	}
}

// operation returns a transaction of that one operation.
func operation(t testing.TB, b xdr.OperationBody) []byte {
	t.Helper()
	return change(t, func(tx *xdr.Transaction) { tx.Operations[0].Body = b })
}

func TestOperationsThatAreNotUnderstood(t *testing.T) {
	self := xdr.MustAddress(source)
	bodies := map[string]xdr.OperationBody{}
	// edit changes what the other implementation makes of a good operation.
	edit := func(name string, op txnbuild.Operation, f func(b *xdr.OperationBody)) {
		body := must(op.BuildXDR()).Body
		f(&body)
		bodies[name] = body
	}
	path := &txnbuild.PathPaymentStrictSend{SendAsset: usd, SendAmount: "1", Destination: other, DestAsset: eur, DestMin: "1", Path: []txnbuild.Asset{native}}
	edit("path payment of nothing", path, func(b *xdr.OperationBody) { b.PathPaymentStrictSendOp.SendAmount = 0 })
	edit("path payment for nothing", path, func(b *xdr.OperationBody) { b.PathPaymentStrictSendOp.DestMin = 0 })
	edit("path payment to a sub-account", path, func(b *xdr.OperationBody) { b.PathPaymentStrictSendOp.Destination = muxed })
	edit("path through a garbled asset", path, func(b *xdr.OperationBody) {
		b.PathPaymentStrictSendOp.Path[0] = xdr.Asset{Type: xdr.AssetTypeAssetTypeCreditAlphanum4, AlphaNum4: &xdr.AlphaNum4{AssetCode: [4]byte{' '}, Issuer: self}}
	})
	receive := &txnbuild.PathPaymentStrictReceive{SendAsset: usd, SendMax: "1", Destination: other, DestAsset: eur, DestAmount: "1"}
	edit("path payment with no limit", receive, func(b *xdr.OperationBody) { b.PathPaymentStrictReceiveOp.SendMax = -1 })
	edit("path payment that gets nothing", receive, func(b *xdr.OperationBody) { b.PathPaymentStrictReceiveOp.DestAmount = 0 })

	sell := &txnbuild.ManageSellOffer{Selling: usd, Buying: native, Amount: "1", Price: xdr.Price{N: 1, D: 1}}
	edit("offer of price 0", sell, func(b *xdr.OperationBody) { b.ManageSellOfferOp.Price.N = 0 })
	edit("offer of price 1/0", sell, func(b *xdr.OperationBody) { b.ManageSellOfferOp.Price.D = 0 })
	edit("offer of negative price", sell, func(b *xdr.OperationBody) { b.ManageSellOfferOp.Price = xdr.Price{N: -1, D: -1} })
	edit("offer of a negative amount", sell, func(b *xdr.OperationBody) { b.ManageSellOfferOp.Amount = -1 })
	edit("offer of nothing", sell, func(b *xdr.OperationBody) { b.ManageSellOfferOp.Amount = 0 })
	edit("offer of negative number", sell, func(b *xdr.OperationBody) { b.ManageSellOfferOp.OfferId = -1 })
	edit("offer for itself", sell, func(b *xdr.OperationBody) { b.ManageSellOfferOp.Buying = b.ManageSellOfferOp.Selling })
	edit("purchase of nothing", &txnbuild.ManageBuyOffer{Selling: usd, Buying: native, Amount: "1", Price: xdr.Price{N: 1, D: 1}},
		func(b *xdr.OperationBody) { b.ManageBuyOfferOp.BuyAmount = 0 })
	edit("passive offer of nothing", &txnbuild.CreatePassiveSellOffer{Selling: usd, Buying: native, Amount: "1", Price: xdr.Price{N: 1, D: 1}},
		func(b *xdr.OperationBody) { b.CreatePassiveSellOfferOp.Amount = 0 })

	share := &txnbuild.ChangeTrust{Line: txnbuild.LiquidityPoolShareChangeTrustAsset{LiquidityPoolParameters: pool}, Limit: "5"}
	edit("pool with another fee", share, func(b *xdr.OperationBody) { b.ChangeTrustOp.Line.LiquidityPool.ConstantProduct.Fee = 29 })
	edit("pool of assets in disorder", share, func(b *xdr.OperationBody) {
		p := b.ChangeTrustOp.Line.LiquidityPool.ConstantProduct
		p.AssetA, p.AssetB = p.AssetB, p.AssetA
	})
	edit("pool of one asset", share, func(b *xdr.OperationBody) {
		p := b.ChangeTrustOp.Line.LiquidityPool.ConstantProduct
		p.AssetA = p.AssetB
	})
	edit("trust in the native asset", share, func(b *xdr.OperationBody) { b.ChangeTrustOp.Line = xdr.ChangeTrustAsset{} })
	edit("negative trust", share, func(b *xdr.OperationBody) { b.ChangeTrustOp.Limit = -1 })
	allow := &txnbuild.AllowTrust{Trustor: other, Type: usd, Authorize: true} //lint:ignore SA1019 the operation is deprecated and must still be read
	edit("authorization of two kinds", allow, func(b *xdr.OperationBody) { b.AllowTrustOp.Authorize = 3 })
	edit("authorization of oneself", allow, func(b *xdr.OperationBody) { b.AllowTrustOp.Trustor = self })
	edit("authorization for a garbled asset", allow, func(b *xdr.OperationBody) { *b.AllowTrustOp.Asset.AssetCode4 = [4]byte{'U', 0, 'D'} })

	merge := &txnbuild.AccountMerge{Destination: other}
	edit("merge into itself", merge, func(b *xdr.OperationBody) { b.Destination = ptr(self.ToMuxedAccount()) })
	edit("merge into a sub-account", merge, func(b *xdr.OperationBody) { b.Destination = &muxed })
	edit("negative sequence", &txnbuild.BumpSequence{}, func(b *xdr.OperationBody) { b.BumpSequenceOp.BumpTo = -1 })
	edit("sponsoring oneself", &txnbuild.BeginSponsoringFutureReserves{SponsoredID: other}, func(b *xdr.OperationBody) {
		b.BeginSponsoringFutureReservesOp.SponsoredId = self
	})
	edit("reserve of no offer", &txnbuild.RevokeSponsorship{SponsorshipType: txnbuild.RevokeSponsorshipTypeOffer,
		Offer: &txnbuild.OfferID{SellerAccountAddress: other, OfferID: 5}}, func(b *xdr.OperationBody) { b.RevokeSponsorshipOp.LedgerKey.Offer.OfferId = 0 })
	bodies["reserve of a pool"] = xdr.OperationBody{Type: xdr.OperationTypeRevokeSponsorship, RevokeSponsorshipOp: &xdr.RevokeSponsorshipOp{
		LedgerKey: &xdr.LedgerKey{Type: xdr.LedgerEntryTypeLiquidityPool, LiquidityPool: &xdr.LedgerKeyLiquidityPool{}}}}
	bodies["reserve of a contract"] = xdr.OperationBody{Type: xdr.OperationTypeRevokeSponsorship, RevokeSponsorshipOp: &xdr.RevokeSponsorshipOp{
		LedgerKey: &xdr.LedgerKey{Type: xdr.LedgerEntryTypeContractCode, ContractCode: &xdr.LedgerKeyContractCode{}}}}
	deposit := &txnbuild.LiquidityPoolDeposit{LiquidityPoolID: poolID, MaxAmountA: "3", MaxAmountB: "4", MinPrice: xdr.Price{N: 1, D: 2}, MaxPrice: xdr.Price{N: 1, D: 2}}
	edit("deposit of nothing", deposit, func(b *xdr.OperationBody) { b.LiquidityPoolDepositOp.MaxAmountB = 0 })
	edit("deposit at no price", deposit, func(b *xdr.OperationBody) { b.LiquidityPoolDepositOp.MaxPrice.N = 0 })
	edit("deposit between no prices", deposit, func(b *xdr.OperationBody) { b.LiquidityPoolDepositOp.MinPrice.N = 2 })
	edit("withdrawal of nothing", &txnbuild.LiquidityPoolWithdraw{LiquidityPoolID: poolID, Amount: "3", MinAmountA: "1", MinAmountB: "0"},
		func(b *xdr.OperationBody) { b.LiquidityPoolWithdrawOp.Amount = 0 })
	edit("clawback of the native asset", &txnbuild.Clawback{From: other, Amount: "2", Asset: usd}, func(b *xdr.OperationBody) { b.ClawbackOp.Asset = xdr.Asset{} })
	edit("clawback from a sub-account", &txnbuild.Clawback{From: other, Amount: "2", Asset: usd}, func(b *xdr.OperationBody) { b.ClawbackOp.From = muxed })
	edit("signer of an empty payload", &txnbuild.SetOptions{Signer: &txnbuild.Signer{Address: overPayload, Weight: 1}}, func(b *xdr.OperationBody) {
		b.SetOptionsOp.Signer.Key.Ed25519SignedPayload.Payload = nil
	})
	edit("signer of weight 256", &txnbuild.SetOptions{Signer: &txnbuild.Signer{Address: other, Weight: 1}}, func(b *xdr.OperationBody) { b.SetOptionsOp.Signer.Weight = 256 })
	edit("itself as a signer", &txnbuild.SetOptions{Signer: &txnbuild.Signer{Address: source, Weight: 1}}, func(*xdr.OperationBody) {})
	bodies["threshold of 256"] = options(xdr.SetOptionsOp{HighThreshold: ptr(xdr.Uint32(256))})
	bodies["flags that are none"] = options(xdr.SetOptionsOp{SetFlags: ptr(xdr.Uint32(0))})
	for name, body := range bodies {
		if m, err := payload.Decode(keymgmt.KindTransaction, operation(t, body)); !errors.Is(err, keymgmt.ErrMalformed) || m.Kind() != 0 || message(m) != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPredicatesThatAreNotUnderstood(t *testing.T) {
	always := txnbuild.UnconditionalPredicate
	deep := always
	for range 3 {
		deep = txnbuild.NotPredicate(deep)
	}
	set := func(p xdr.ClaimPredicate, more ...xdr.Claimant) []byte {
		claimants := append([]xdr.Claimant{{V0: &xdr.ClaimantV0{Destination: xdr.MustAddress(other), Predicate: p}}}, more...)
		return operation(t, xdr.OperationBody{Type: xdr.OperationTypeCreateClaimableBalance,
			CreateClaimableBalanceOp: &xdr.CreateClaimableBalanceOp{Amount: 1, Claimants: claimants}})
	}
	if _, err := payload.Decode(keymgmt.KindTransaction, set(deep)); err != nil {
		t.Errorf("four levels: %v", err)
	}
	veryDeep := always
	for range 150 {
		veryDeep = txnbuild.NotPredicate(veryDeep)
	}
	var none *xdr.ClaimPredicate
	for name, body := range map[string][]byte{
		"five levels":         set(txnbuild.NotPredicate(deep)),
		"hundreds of levels":  set(veryDeep),
		"and of one":          set(xdr.ClaimPredicate{Type: xdr.ClaimPredicateTypeClaimPredicateAnd, AndPredicates: &[]xdr.ClaimPredicate{always}}),
		"or of none":          set(xdr.ClaimPredicate{Type: xdr.ClaimPredicateTypeClaimPredicateOr, OrPredicates: &[]xdr.ClaimPredicate{}}),
		"not of nothing":      set(xdr.ClaimPredicate{Type: xdr.ClaimPredicateTypeClaimPredicateNot, NotPredicate: &none}),
		"before all time":     set(txnbuild.BeforeAbsoluteTimePredicate(-1)),
		"after all time":      set(txnbuild.BeforeAbsoluteTimePredicate(1 << 60)),
		"within less than 0":  set(txnbuild.BeforeRelativeTimePredicate(-1)),
		"the same once more":  set(always, xdr.Claimant{V0: &xdr.ClaimantV0{Destination: xdr.MustAddress(other), Predicate: always}}),
		"nobody, for nothing": operation(t, xdr.OperationBody{Type: xdr.OperationTypeCreateClaimableBalance, CreateClaimableBalanceOp: &xdr.CreateClaimableBalanceOp{Amount: 1}}),
	} {
		if _, err := payload.Decode(keymgmt.KindTransaction, body); !errors.Is(err, keymgmt.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Operations of smart contracts are refused whatever they say.
func TestContractsAreRefused(t *testing.T) {
	for _, b := range []xdr.OperationBody{
		{Type: xdr.OperationTypeExtendFootprintTtl, ExtendFootprintTtlOp: &xdr.ExtendFootprintTtlOp{}},
		{Type: xdr.OperationTypeRestoreFootprint, RestoreFootprintOp: &xdr.RestoreFootprintOp{}},
		{Type: xdr.OperationTypeInvokeHostFunction, InvokeHostFunctionOp: &xdr.InvokeHostFunctionOp{
			HostFunction: xdr.HostFunction{Type: xdr.HostFunctionTypeHostFunctionTypeUploadContractWasm, Wasm: &[]byte{1}}}},
	} {
		if _, err := payload.Decode(keymgmt.KindTransaction, operation(t, b)); !errors.Is(err, keymgmt.ErrMalformed) || !strings.Contains(err.Error(), "not understood") {
			t.Errorf("%s: %v", b.Type, err)
		}
	}
}
