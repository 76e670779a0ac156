package payload

import (
	"fmt"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// BeginSponsoring has its source put up the reserves of what Sponsored is given from here on in the transaction.
type BeginSponsoring struct {
	By
	Sponsored protocol.AccountID
}

// EndSponsoring ends, for its source, what BeginSponsoring began.
type EndSponsoring struct{ By }

// EntryKind says what a sponsorship is of. Zero is invalid.
type EntryKind uint8

// The kinds of entries whose reserve another account can put up.
const (
	AccountEntry EntryKind = 1 + iota
	TrustLineEntry
	PoolShareEntry
	OfferEntry
	DataEntry
	BalanceEntry
	SignerEntry
)

// RevokeSponsorship gives up the sponsorship of one entry, or passes it on.
type RevokeSponsorship struct {
	By
	Kind    EntryKind
	Account protocol.AccountID // whose entry it is; zero for a claimable balance
	Asset   protocol.Asset     // of a trustline
	ID      protocol.Hash      // of a claimable balance, or of the pool of a trustline to pool shares
	Offer   int64              // of an offer
	Name    string             // of a data entry
	Signer  SignerKey          // of a signer
}

func (r *reader) beginSponsoring(x *xdr.BeginSponsoringFutureReservesOp) Operation {
	return BeginSponsoring{r.by, r.another(x.SponsoredId)}
}

func (r *reader) revokeSponsorship(x *xdr.RevokeSponsorshipOp) Operation {
	switch x.Type {
	case xdr.RevokeSponsorshipTypeRevokeSponsorshipSigner:
		return RevokeSponsorship{By: r.by, Kind: SignerEntry, Account: r.accountID(x.Signer.AccountId), Signer: r.signerKey(x.Signer.SignerKey)}
	case xdr.RevokeSponsorshipTypeRevokeSponsorshipLedgerEntry:
		return r.sponsoredEntry(x.LedgerKey)
	}
	r.fail("sponsorship of type %d", x.Type)
	return nil
}

func (r *reader) sponsoredEntry(x *xdr.LedgerKey) Operation {
	o := RevokeSponsorship{By: r.by}
	switch x.Type {
	case xdr.LedgerEntryTypeAccount:
		o.Kind, o.Account = AccountEntry, r.accountID(x.Account.AccountId)
	case xdr.LedgerEntryTypeTrustline:
		o.Kind, o.Account = TrustLineEntry, r.accountID(x.TrustLine.AccountId)
		if line := x.TrustLine.Asset; line.Type == xdr.AssetTypeAssetTypePoolShare {
			o.Kind, o.ID = PoolShareEntry, protocol.Hash(*line.LiquidityPoolId)
		} else {
			o.Asset = r.credit(line.ToAsset())
		}
	case xdr.LedgerEntryTypeOffer:
		o.Kind, o.Account, o.Offer = OfferEntry, r.accountID(x.Offer.SellerId), int64(x.Offer.OfferId)
		if o.Offer < 1 {
			r.fail("offer %d", o.Offer)
		}
	case xdr.LedgerEntryTypeData:
		o.Kind, o.Account, o.Name = DataEntry, r.accountID(x.Data.AccountId), r.dataName(x.Data.DataName)
	case xdr.LedgerEntryTypeClaimableBalance:
		o.Kind, o.ID = BalanceEntry, r.balance(x.ClaimableBalance.BalanceId)
	default:
		r.fail("sponsorship of a ledger entry of type %s", x.Type)
	}
	return o
}

// Words returns the effect in words.
func (o BeginSponsoring) Words() string {
	return fmt.Sprintf("puts up the reserves of what %s is given from here on", o.Sponsored)
}

// Words returns the effect in words.
func (o EndSponsoring) Words() string { return "has its own reserves put up by another no longer" }

// Words returns the effect in words.
func (o RevokeSponsorship) Words() string {
	entry := fmt.Sprintf("an entry of kind %d", o.Kind)
	switch o.Kind {
	case AccountEntry:
		entry = "account " + o.Account.String()
	case TrustLineEntry:
		entry = fmt.Sprintf("the trustline of %s to %s", o.Account, assetWords(o.Asset))
	case PoolShareEntry:
		entry = fmt.Sprintf("the trustline of %s to shares of liquidity pool %s", o.Account, o.ID)
	case OfferEntry:
		entry = fmt.Sprintf("offer %d of %s", o.Offer, o.Account)
	case DataEntry:
		entry = fmt.Sprintf("data %q of %s", o.Name, o.Account)
	case BalanceEntry:
		entry = balanceWords(o.ID)
	case SignerEntry:
		entry = fmt.Sprintf("signer %s of %s", o.Signer, o.Account)
	}
	return "gives up or passes on the reserve of " + entry
}
