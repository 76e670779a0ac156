package payload

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/big"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// Pool is a liquidity pool of constant product.
type Pool struct {
	ID   protocol.Hash // which follows from the rest
	A, B protocol.Asset
	Fee  int32 // hundredths of a percent
}

// PoolDeposit puts two assets into a pool and gets shares for them. The body does not name the assets: they are those of
// the pool, and so are what leaves.
type PoolDeposit struct {
	By
	Pool               protocol.Hash
	MaxA, MaxB         *big.Int // the most that is put in
	MinPrice, MaxPrice Price    // of what is put in, A per B
}

// PoolWithdraw gives up shares of a pool for the assets in it.
type PoolWithdraw struct {
	By
	Pool       protocol.Hash
	Shares     *big.Int
	MinA, MinB *big.Int // the least that is taken out
}

// pool reads the parameters of the one kind of pool there is, whose assets are in the ledger's order.
func (r *reader) pool(x *xdr.LiquidityPoolParameters) Pool {
	if x.Type != xdr.LiquidityPoolTypeLiquidityPoolConstantProduct || x.ConstantProduct == nil {
		r.fail("liquidity pool of type %d", x.Type)
		return Pool{}
	}
	params := x.ConstantProduct
	p := Pool{A: r.asset(params.AssetA), B: r.asset(params.AssetB), Fee: int32(params.Fee)}
	a, err1 := params.AssetA.MarshalBinary()
	b, err2 := params.AssetB.MarshalBinary()
	if err1 != nil || err2 != nil || bytes.Compare(a, b) >= 0 || params.Fee != xdr.LiquidityPoolFeeV18 {
		r.fail("liquidity pool of %s and %s with fee %d", p.A, p.B, p.Fee)
	}
	raw, err := x.MarshalBinary()
	if err != nil {
		r.fail("liquidity pool: %v", err)
	}
	p.ID = sha256.Sum256(raw)
	return p
}

func (p Pool) words() string {
	return fmt.Sprintf("liquidity pool %s of %s and %s with fee %d", p.ID, assetWords(p.A), assetWords(p.B), p.Fee)
}

func (r *reader) poolDeposit(x *xdr.LiquidityPoolDepositOp) Operation {
	o := PoolDeposit{r.by, protocol.Hash(x.LiquidityPoolId), r.amount(x.MaxAmountA, 1), r.amount(x.MaxAmountB, 1),
		r.price(x.MinPrice), r.price(x.MaxPrice)}
	if o.MinPrice.Cmp(o.MaxPrice) > 0 {
		r.fail("price at least %s and at most %s", o.MinPrice, o.MaxPrice)
	}
	return o
}

func (r *reader) poolWithdraw(x *xdr.LiquidityPoolWithdrawOp) Operation {
	return PoolWithdraw{r.by, protocol.Hash(x.LiquidityPoolId), r.amount(x.Amount, 1), r.amount(x.MinAmountA, 0),
		r.amount(x.MinAmountB, 0)}
}

// Outflows returns what may be put in, of assets that are not known here.
func (o PoolDeposit) Outflows() []Outflow {
	return append(outflow(protocol.Asset{}, o.MaxA), outflow(protocol.Asset{}, o.MaxB)...)
}

// Outflows returns the shares, which are no asset of their own.
func (o PoolWithdraw) Outflows() []Outflow { return outflow(protocol.Asset{}, o.Shares) }

// Words returns the effect in words.
func (o PoolDeposit) Words() string {
	return fmt.Sprintf("puts up to %s of the first and up to %s of the second asset of liquidity pool %s into it, "+
		"%s to %s of the first for each of the second", Decimal(o.MaxA), Decimal(o.MaxB), o.Pool, o.MinPrice, o.MaxPrice)
}

// Words returns the effect in words.
func (o PoolWithdraw) Words() string {
	return fmt.Sprintf("gives up %s shares of liquidity pool %s for at least %s of its first and %s of its second asset",
		Decimal(o.Shares), o.Pool, Decimal(o.MinA), Decimal(o.MinB))
}
