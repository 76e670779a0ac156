package payload

import (
	"fmt"
	"math/big"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// Price is a fraction, as the ledger keeps it: both parts are positive, and it need not be in lowest terms.
type Price struct{ N, D int32 }

// String returns "N/D".
func (p Price) String() string { return fmt.Sprintf("%d/%d", p.N, p.D) }

// Cmp compares two prices.
func (p Price) Cmp(q Price) int {
	return big.NewInt(int64(p.N) * int64(q.D)).Cmp(big.NewInt(int64(q.N) * int64(p.D)))
}

// ManageSellOffer makes, changes or (amount zero) withdraws an offer.
type ManageSellOffer struct {
	By
	Selling, Buying protocol.Asset
	Amount          *big.Int // of Selling, the most that is sold
	Price           Price    // of a unit of Selling in Buying, the least that is taken
	OfferID         int64    // 0 for a new offer
}

// ManageBuyOffer does so with an offer that says how much is bought.
type ManageBuyOffer struct {
	By
	Selling, Buying protocol.Asset
	Amount          *big.Int // of Buying, the most that is bought
	Price           Price    // of a unit of Buying in Selling, the most that is given
	OfferID         int64    // 0 for a new offer
}

// CreatePassiveSellOffer makes an offer that takes no other of the same price.
type CreatePassiveSellOffer struct {
	By
	Selling, Buying protocol.Asset
	Amount          *big.Int // of Selling, the most that is sold
	Price           Price    // of a unit of Selling in Buying, the least that is taken
}

func (r *reader) price(x xdr.Price) Price {
	if x.N < 1 || x.D < 1 {
		r.fail("price %d/%d", x.N, x.D)
	}
	return Price{int32(x.N), int32(x.D)}
}

// pair reads what an offer sells and buys.
func (r *reader) pair(x, y xdr.Asset) (selling, buying protocol.Asset) {
	selling, buying = r.asset(x), r.asset(y)
	if selling == buying {
		r.fail("offer of %s for itself", selling)
	}
	return selling, buying
}

func (r *reader) offerID(x xdr.Int64, amount *big.Int) int64 {
	if x < 0 || x == 0 && amount.Sign() == 0 {
		r.fail("offer %d of amount %s", x, amount)
	}
	return int64(x)
}

func (r *reader) sellOffer(x *xdr.ManageSellOfferOp) Operation {
	o := ManageSellOffer{By: r.by, Amount: r.amount(x.Amount, 0), Price: r.price(x.Price)}
	o.Selling, o.Buying = r.pair(x.Selling, x.Buying)
	o.OfferID = r.offerID(x.OfferId, o.Amount)
	return o
}

func (r *reader) buyOffer(x *xdr.ManageBuyOfferOp) Operation {
	o := ManageBuyOffer{By: r.by, Amount: r.amount(x.BuyAmount, 0), Price: r.price(x.Price)}
	o.Selling, o.Buying = r.pair(x.Selling, x.Buying)
	o.OfferID = r.offerID(x.OfferId, o.Amount)
	return o
}

func (r *reader) passiveOffer(x *xdr.CreatePassiveSellOfferOp) Operation {
	o := CreatePassiveSellOffer{By: r.by, Amount: r.amount(x.Amount, 1), Price: r.price(x.Price)}
	o.Selling, o.Buying = r.pair(x.Selling, x.Buying)
	return o
}

// Outflows returns what is offered.
func (o ManageSellOffer) Outflows() []Outflow { return outflow(o.Selling, o.Amount) }

// Outflows returns the most that the offer can cost.
func (o ManageBuyOffer) Outflows() []Outflow { return outflow(o.Selling, o.MostSold()) }

// Outflows returns what is offered.
func (o CreatePassiveSellOffer) Outflows() []Outflow { return outflow(o.Selling, o.Amount) }

// MostSold returns the most that can be given for Amount. The ledger rounds each trade in favour of the offer that stays
// in the book, but makes none whose price is off by more than a hundredth; what is left over becomes an offer to sell,
// rounded up once.
func (o ManageBuyOffer) MostSold() *big.Int {
	if o.Amount.Sign() == 0 {
		return new(big.Int)
	}
	most := new(big.Int).Mul(o.Amount, big.NewInt(int64(o.Price.N)*101))
	most.Quo(most, big.NewInt(int64(o.Price.D)*100))
	return most.Add(most, big.NewInt(1))
}

// Words returns the effect in words.
func (o ManageSellOffer) Words() string {
	if o.Amount.Sign() == 0 {
		return withdrawal(o.OfferID, o.Selling, o.Buying, o.Price)
	}
	return fmt.Sprintf("%s to sell up to %s, each for %s %s or more", offered(o.OfferID), sum(o.Amount, o.Selling), o.Price,
		assetWords(o.Buying))
}

// Words returns the effect in words.
func (o ManageBuyOffer) Words() string {
	if o.Amount.Sign() == 0 {
		return withdrawal(o.OfferID, o.Selling, o.Buying, o.Price)
	}
	return fmt.Sprintf("%s to buy up to %s, each for %s %s or less, at most %s in all", offered(o.OfferID),
		sum(o.Amount, o.Buying), o.Price, assetWords(o.Selling), Decimal(o.MostSold()))
}

// Words returns the effect in words.
func (o CreatePassiveSellOffer) Words() string {
	return fmt.Sprintf("offers passively to sell up to %s, each for %s %s or more", sum(o.Amount, o.Selling), o.Price,
		assetWords(o.Buying))
}

func offered(id int64) string {
	if id == 0 {
		return "offers"
	}
	return fmt.Sprintf("changes offer %d", id)
}

// withdrawal names the price too, although it means nothing there: what is signed and not shown could be anything.
func withdrawal(id int64, selling, buying protocol.Asset, p Price) string {
	return fmt.Sprintf("withdraws offer %d of %s for %s, and gives price %s, which means nothing here", id, assetWords(selling),
		assetWords(buying), p)
}
