package iso20022

import (
	"encoding/xml"
	"fmt"
	"math/big"
	"time"

	"github.com/diamante/gateway/anchor/rails"
	"github.com/diamante/gateway/custody/money"
)

// MaxItems bounds the payments of one payout.
const MaxItems = 10_000

// maxUnits is the first amount with more than the 18 digits that the standard allows.
var maxUnits = new(big.Int).Exp(big.NewInt(10), big.NewInt(18), nil)

type xmlPayout struct {
	XMLName    xml.Name      `xml:"urn:iso:std:iso:20022:tech:xsd:pain.001.001.09 Document"`
	MessageID  string        `xml:"CstmrCdtTrfInitn>GrpHdr>MsgId"`
	CreatedAt  string        `xml:"CstmrCdtTrfInitn>GrpHdr>CreDtTm"`
	Count      int           `xml:"CstmrCdtTrfInitn>GrpHdr>NbOfTxs"`
	Sum        string        `xml:"CstmrCdtTrfInitn>GrpHdr>CtrlSum"`
	Initiator  string        `xml:"CstmrCdtTrfInitn>GrpHdr>InitgPty>Nm"`
	Instructed xmlInstructed `xml:"CstmrCdtTrfInitn>PmtInf"`
}

type xmlInstructed struct {
	ID           string        `xml:"PmtInfId"`
	Method       string        `xml:"PmtMtd"`
	BatchBooking bool          `xml:"BtchBookg"`
	Count        int           `xml:"NbOfTxs"`
	Sum          string        `xml:"CtrlSum"`
	Day          string        `xml:"ReqdExctnDt>Dt"`
	Debtor       string        `xml:"Dbtr>Nm"`
	DebtorAcct   xmlNumber     `xml:"DbtrAcct>Id"`
	DebtorBank   xmlInstitute  `xml:"DbtrAgt>FinInstnId"`
	Charges      string        `xml:"ChrgBr"`
	Transfers    []xmlTransfer `xml:"CdtTrfTxInf"`
}

type xmlTransfer struct {
	EndToEndID   string         `xml:"PmtId>EndToEndId"`
	Amount       xmlAmount      `xml:"Amt>InstdAmt"`
	CreditorBank *xmlInstitute  `xml:"CdtrAgt>FinInstnId"`
	Creditor     string         `xml:"Cdtr>Nm"`
	CreditorAcct xmlNumber      `xml:"CdtrAcct>Id"`
	Remittance   *xmlRemittance `xml:"RmtInf"`
}

type xmlNumber struct {
	IBAN  string    `xml:"IBAN,omitempty"`
	Other *xmlOther `xml:"Othr"`
}

type xmlInstitute struct {
	BICFI string    `xml:"BICFI,omitempty"`
	Other *xmlOther `xml:"Othr"`
}

type xmlOther struct {
	ID string `xml:"Id"`
}

type xmlRemittance struct {
	Text string `xml:"Ustrd"`
}

// WritePayout writes a pain.001.001.09 file. It refuses, with rails.ErrInvalid, whatever a bank would: account numbers
// and BICs that cannot be, ids that would not come back as they were sent, amounts of nothing, mixed currencies.
//
// Banks pass on the Latin set of SWIFT only. Names and remittance texts are brought into it: letters lose their
// accents, other characters become a point. Ids are refused instead, because they must come back unchanged. A payee's
// name that has no letter or digit left is refused too.
func WritePayout(p rails.Payout) ([]byte, error) {
	currency, err := checkPayout(p)
	if err != nil {
		return nil, fmt.Errorf("iso20022: payout %.40q: %w", p.MessageID, err)
	}
	transfers := make([]xmlTransfer, 0, len(p.Items))
	sum := money.Zero(currency)
	for i, item := range p.Items {
		x, err := transfer(item, currency)
		if err == nil {
			sum, err = sum.Add(item.Amount)
		}
		if err != nil {
			return nil, fmt.Errorf("iso20022: payout %s: item %d: %w", p.MessageID, i, err)
		}
		transfers = append(transfers, x)
	}
	debtor, err := name(p.Debtor.Name)
	if err != nil {
		return nil, fmt.Errorf("iso20022: payout %s: debtor: %w", p.MessageID, err)
	}
	charges := "SHAR"
	if currency.Code() == "EUR" {
		charges = "SLEV" // the SEPA scheme knows no other
	}
	doc := xmlPayout{
		MessageID: p.MessageID, CreatedAt: p.CreatedAt.UTC().Format(time.RFC3339), Count: len(p.Items), Sum: sum.Decimal(), Initiator: debtor,
		Instructed: xmlInstructed{
			ID: p.MessageID, Method: "TRF", // BatchBooking stays false: one entry per payment, with its EndToEndId
			Count: len(p.Items), Sum: sum.Decimal(), Day: p.ExecuteOn.Format(time.DateOnly),
			Debtor: debtor, DebtorAcct: number(p.Debtor.Account), DebtorBank: institute(p.Debtor.BIC),
			Charges: charges, Transfers: transfers,
		},
	}
	body, err := xml.MarshalIndent(doc, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("iso20022: payout %s: %w", p.MessageID, err)
	}
	return append([]byte(xml.Header), append(body, '\n')...), nil
}

// checkPayout checks all but the single items and returns the payout's currency.
func checkPayout(p rails.Payout) (money.Currency, error) {
	if err := identifier(p.MessageID); err != nil {
		return money.Currency{}, err
	}
	if p.CreatedAt.IsZero() || p.ExecuteOn.IsZero() {
		return money.Currency{}, fmt.Errorf("%w: no time of creation or no day of execution", rails.ErrInvalid)
	}
	if err := party(p.Debtor); err != nil {
		return money.Currency{}, fmt.Errorf("debtor: %w", err)
	}
	if len(p.Items) == 0 || len(p.Items) > MaxItems {
		return money.Currency{}, fmt.Errorf("%w: %d items, need 1 to %d", rails.ErrInvalid, len(p.Items), MaxItems)
	}
	seen := make(map[string]bool, len(p.Items))
	for _, item := range p.Items {
		if seen[item.EndToEndID] {
			return money.Currency{}, fmt.Errorf("%w: end-to-end id %.40q twice", rails.ErrInvalid, item.EndToEndID)
		}
		seen[item.EndToEndID] = true
	}
	own := p.Items[0].Amount.Currency()
	bank, err := rails.BankCurrency(own.Code())
	if err == nil && bank != own {
		err = fmt.Errorf("%w: banks count %s, not %s", rails.ErrInvalid, bank, own)
	}
	return bank, err
}

func transfer(item rails.PayoutItem, currency money.Currency) (xmlTransfer, error) {
	if err := identifier(item.EndToEndID); err != nil {
		return xmlTransfer{}, err
	}
	if err := party(item.Creditor); err != nil {
		return xmlTransfer{}, fmt.Errorf("creditor: %w", err)
	}
	if item.Creditor.Account.IBAN == "" && item.Creditor.BIC == "" {
		return xmlTransfer{}, fmt.Errorf("%w: creditor: an account without an IBAN needs a BIC", rails.ErrInvalid)
	}
	a := item.Amount
	if a.Currency() != currency || a.IsZero() || a.Units().Cmp(maxUnits) >= 0 {
		return xmlTransfer{}, fmt.Errorf("%w: amount %s", rails.ErrInvalid, a)
	}
	creditor, err := name(item.Creditor.Name)
	if err != nil {
		return xmlTransfer{}, fmt.Errorf("creditor: %w", err)
	}
	x := xmlTransfer{EndToEndID: item.EndToEndID, Amount: xmlAmount{Value: a.Decimal(), Currency: currency.Code()},
		Creditor: creditor, CreditorAcct: number(item.Creditor.Account)}
	if item.Creditor.BIC != "" {
		bank := institute(item.Creditor.BIC)
		x.CreditorBank = &bank
	}
	text, err := remittance(item.Remittance)
	if err != nil {
		return xmlTransfer{}, err
	}
	if text != "" {
		x.Remittance = &xmlRemittance{Text: text}
	}
	return x, nil
}

func party(p rails.Party) error {
	if err := p.Account.Validate(); err != nil {
		return err
	}
	if p.BIC == "" {
		return nil
	}
	return rails.CheckBIC(p.BIC)
}

func number(a rails.Account) xmlNumber {
	if a.IBAN != "" {
		return xmlNumber{IBAN: string(a.IBAN)}
	}
	return xmlNumber{Other: &xmlOther{ID: a.Other}}
}

// institute names a bank; the debtor's must be there, and without a BIC it is the one that gets the file.
func institute(bic string) xmlInstitute {
	if bic == "" {
		return xmlInstitute{Other: &xmlOther{ID: notProvided}}
	}
	return xmlInstitute{BICFI: bic}
}
