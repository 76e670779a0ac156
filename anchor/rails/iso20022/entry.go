package iso20022

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/diamante/gateway/anchor/rails"
	"github.com/diamante/gateway/custody/money"
)

// maxRef bounds the bank's references, in bytes. The standard allows 35 characters.
const maxRef = 140

// Elements that decide about money are read as lists, to see when there is more than one.
type xmlEntry struct {
	Amt      []xmlAmount  `xml:"Amt"`
	Side     []string     `xml:"CdtDbtInd"`
	Reversal []string     `xml:"RvslInd"`
	Status   []xmlStatus  `xml:"Sts"`
	Booked   xmlDate      `xml:"BookgDt"`
	Value    xmlDate      `xml:"ValDt"`
	BankRef  []string     `xml:"AcctSvcrRef"`
	Details  []xmlDetails `xml:"NtryDtls"`
	Info     string       `xml:"AddtlNtryInf"`
}

type xmlAmount struct {
	Value    string `xml:",chardata"`
	Currency string `xml:"Ccy,attr"`
}

type xmlStatus struct {
	Text string `xml:",chardata"`
	Code string `xml:"Cd"`
}

type xmlDate struct {
	Day  string `xml:"Dt"`
	Time string `xml:"DtTm"`
}

type xmlDetails struct {
	Count   []string     `xml:"Btch>NbOfTxs"`
	Payment []xmlPayment `xml:"TxDtls"`
}

type xmlPayment struct {
	EndToEndID  string      `xml:"Refs>EndToEndId"`
	BankRef     string      `xml:"Refs>AcctSvcrRef"`
	UETR        string      `xml:"Refs>UETR"`
	TxID        string      `xml:"Refs>TxId"`
	Amt         []xmlAmount `xml:"Amt"`
	TxAmt       []xmlAmount `xml:"AmtDtls>TxAmt>Amt"`
	Side        []string    `xml:"CdtDbtInd"`
	Debtor      xmlParty    `xml:"RltdPties>Dbtr"`
	DebtorAcct  xmlAccount  `xml:"RltdPties>DbtrAcct"`
	DebtorBank  xmlBank     `xml:"RltdAgts>DbtrAgt>FinInstnId"`
	Creditor    xmlParty    `xml:"RltdPties>Cdtr"`
	CredAcct    xmlAccount  `xml:"RltdPties>CdtrAcct"`
	CredBank    xmlBank     `xml:"RltdAgts>CdtrAgt>FinInstnId"`
	Remittance  []string    `xml:"RmtInf>Ustrd"`
	CreditorRef []string    `xml:"RmtInf>Strd>CdtrRefInf>Ref"`
	ReturnCode  string      `xml:"RtrInf>Rsn>Cd"`
	ReturnOwn   string      `xml:"RtrInf>Rsn>Prtry"`
	Info        string      `xml:"AddtlTxInf"`
}

type xmlParty struct {
	Name    string `xml:"Nm"`     // 001.02 and 001.04
	PtyName string `xml:"Pty>Nm"` // 001.08
}

type xmlBank struct {
	BIC   string `xml:"BIC"`   // 001.02
	BICFI string `xml:"BICFI"` // later
}

// entry reads one Ntry element into the statement: as entries, or as a defect.
func (p *parser) entry(s *rails.Statement, start *xml.StartElement, index int) error {
	from := p.doc.guard.start
	var x xmlEntry
	if err := p.doc.read(start, &x); err != nil {
		return err
	}
	entries, err := p.version.entries(x, index)
	if err == nil {
		p.tellApart(entries)
	} else {
		s.Defects = append(s.Defects, rails.Defect{Index: index, Raw: p.excerpt(from), Reason: err.Error()})
		entries = nil
	}
	if p.entries += max(1, len(entries)); p.entries > MaxEntries {
		return fmt.Errorf("%w: more than %d entries", ErrLimit, MaxEntries)
	}
	s.Entries = append(s.Entries, entries...)
	return nil
}

// tellApart numbers entries of one statement that say the same and have no reference of the bank.
func (p *parser) tellApart(entries []rails.Entry) {
	base := entries[0].Base
	if !strings.HasPrefix(base, nameless) {
		return
	}
	if p.same[base]++; p.same[base] > 1 {
		for i := range entries {
			suffix := strings.TrimPrefix(entries[i].Ref, base)
			entries[i].Base = base + "#" + strconv.Itoa(p.same[base])
			entries[i].Ref = entries[i].Base + suffix
		}
	}
}

// nameless begins the reference of an entry to which the bank gave none.
const nameless = "~"

// reference finds the bank's reference of an entry, or makes one of what the entry says.
func reference(e rails.Entry, x xmlEntry, payments []xmlPayment) (string, error) {
	if len(x.BankRef) > 1 {
		return "", errors.New("AcctSvcrRef is there twice")
	}
	found := first(append(x.BankRef, "")...)
	if len(payments) == 1 { // of a batch, these would name one payment and not the entry
		found = first(found, payments[0].BankRef, payments[0].UETR, payments[0].TxID)
	}
	if len(found) > maxRef {
		return "", errors.New("AcctSvcrRef or another reference of the bank is too long")
	}
	if found = strings.TrimLeft(found, "/"+nameless); found != "" {
		return found, nil
	}
	content, err := json.Marshal([]any{e.Amount.Decimal(), e.Amount.Currency().String(), e.Credit, e.Reversal, x.Booked, x.Value, x.Info, payments})
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(content)
	return nameless + hex.EncodeToString(sum[:16]), nil
}

// entries turns one element into the payments that it stands for.
func (v version) entries(x xmlEntry, index int) ([]rails.Entry, error) {
	e, err := v.common(x, index)
	if err != nil {
		return nil, err
	}
	var payments []xmlPayment
	counted := 0
	for _, d := range x.Details {
		payments = append(payments, d.Payment...)
		for _, c := range d.Count {
			n, err := strconv.Atoi(strings.TrimSpace(c))
			if err != nil || n < 0 || n > MaxEntries {
				return nil, fmt.Errorf("NbOfTxs is %.20q", c)
			}
			counted = min(counted+n, MaxEntries)
		}
	}
	if e.Ref, err = reference(e, x, payments); err != nil {
		return nil, err
	}
	e.Base, e.Parts = e.Ref, 1
	switch {
	case len(payments) == 0:
		e.Details = max(1, counted)
		return []rails.Entry{e}, nil
	case len(payments) == 1 && counted <= 1:
		if err := agree(payments[0], e); err != nil {
			return nil, err
		}
		tell(&e, payments[0])
		return []rails.Entry{e}, nil
	}
	return split(e, payments, counted)
}

// common reads what an entry says about itself, without its details.
func (v version) common(x xmlEntry, index int) (rails.Entry, error) {
	e := rails.Entry{Index: index, Details: 1, Info: strings.TrimSpace(x.Info)}
	amount, err := one(x.Amt, "Amt")
	if err != nil {
		return e, err
	}
	if e.Amount, err = amount.parse(); err != nil {
		return e, err
	}
	if e.Amount.IsZero() {
		return e, errors.New("amount is zero")
	}
	if e.Credit, err = side(x.Side); err != nil {
		return e, err
	}
	if e.Status, err = v.status(x.Status); err != nil {
		return e, err
	}
	if e.Reversal, err = indicator(x.Reversal, "RvslInd"); err != nil {
		return e, err
	}
	if e.BookedAt, err = x.Booked.parse(); err != nil {
		return e, fmt.Errorf("BookgDt: %w", err)
	}
	if e.ValueAt, err = x.Value.parse(); err != nil {
		return e, fmt.Errorf("ValDt: %w", err)
	}
	return e, nil
}

// split makes one entry per payment of a batch. The amounts must add up to the entry's; without any, the batch stays
// one entry.
func split(e rails.Entry, payments []xmlPayment, counted int) ([]rails.Entry, error) {
	entries := make([]rails.Entry, 0, len(payments))
	without := 0
	in, out := money.Zero(e.Amount.Currency()), money.Zero(e.Amount.Currency())
	for i, x := range payments {
		one := e
		one.Ref, one.Parts = e.Ref+"/"+strconv.Itoa(i+1), len(payments)
		found, err := x.amount(&one)
		if err != nil {
			return nil, err
		}
		if !found {
			without++
			continue
		}
		total := &out
		if one.Credit {
			total = &in
		}
		if *total, err = total.Add(one.Amount); err != nil {
			return nil, fmt.Errorf("TxDtls %d: the amount's currency is not the entry's", i+1)
		}
		tell(&one, x)
		entries = append(entries, one)
	}
	switch {
	case without == len(payments):
		e.Details = max(len(payments), counted)
		return []rails.Entry{e}, nil
	case without > 0:
		return nil, fmt.Errorf("%d of %d TxDtls have no amount", without, len(payments))
	}
	if !sums(e, in, out) {
		return nil, fmt.Errorf("TxDtls give %s in and %s out, the entry says %s", in.Decimal(), out.Decimal(), e.Amount.Decimal())
	}
	// A batch that is announced as several payments and tells of one only says nothing about that one's share.
	if len(payments) == 1 {
		e.Details = counted
		return []rails.Entry{e}, nil
	}
	return entries, nil
}

// sums reports whether what went in less what went out, or the other way round for a debit, is the entry's amount.
func sums(e rails.Entry, in, out money.Amount) bool {
	if !e.Credit {
		in, out = out, in
	}
	net, err := in.Sub(out)
	return err == nil && net == e.Amount
}

// amount sets the payment's own amount and side, and reports whether it has an amount.
func (x xmlPayment) amount(e *rails.Entry) (found bool, err error) {
	list := x.Amt
	if len(list) == 0 {
		list = x.TxAmt
	}
	if len(list) == 0 {
		return false, nil
	}
	a, err := one(list, "Amt of TxDtls")
	if err != nil {
		return false, err
	}
	if e.Amount, err = a.parse(); err != nil {
		return false, err
	}
	if e.Amount.IsZero() {
		return false, errors.New("amount of TxDtls is zero")
	}
	if len(x.Side) > 0 {
		e.Credit, err = side(x.Side)
	}
	return true, err
}

// agree checks the only payment of an entry against it. A payment made in another currency is worth what the bank
// booked for it.
func agree(x xmlPayment, e rails.Entry) error {
	own := e
	found, err := x.amount(&own)
	switch {
	case err != nil:
		return err
	case !found:
		return nil
	case own.Credit != e.Credit:
		return errors.New("CdtDbtInd of TxDtls is not the entry's")
	case own.Amount.Currency() == e.Amount.Currency() && own.Amount != e.Amount:
		return fmt.Errorf("TxDtls say %s, the entry says %s", own.Amount.Decimal(), e.Amount.Decimal())
	}
	return nil
}

// tell adds what a payment says about itself.
func tell(e *rails.Entry, x xmlPayment) {
	e.Remittance, e.CreditorRef = trimmed(x.Remittance), trimmed(x.CreditorRef)
	if e.EndToEndID = strings.TrimSpace(x.EndToEndID); e.EndToEndID == notProvided {
		e.EndToEndID = ""
	}
	e.Debtor = rails.Party{Name: first(x.Debtor.Name, x.Debtor.PtyName), BIC: first(x.DebtorBank.BIC, x.DebtorBank.BICFI),
		Account: accountOf(x.DebtorAcct.IBAN, x.DebtorAcct.Other)}
	e.Creditor = rails.Party{Name: first(x.Creditor.Name, x.Creditor.PtyName), BIC: first(x.CredBank.BIC, x.CredBank.BICFI),
		Account: accountOf(x.CredAcct.IBAN, x.CredAcct.Other)}
	e.Return = first(x.ReturnCode, x.ReturnOwn)
	e.Info = first(x.Info, e.Info)
}

// notProvided is what ISO 20022 users write where an element must be there and they have nothing to say.
const notProvided = "NOTPROVIDED"

func (v version) status(list []xmlStatus) (rails.EntryStatus, error) {
	s, err := one(list, "Sts")
	if err != nil {
		return 0, err
	}
	code := strings.TrimSpace(s.Text)
	if v.codedStatus {
		code = strings.TrimSpace(s.Code)
	}
	switch code {
	case "BOOK":
		return rails.Booked, nil
	case "PDNG", "FUTR":
		return rails.Pending, nil
	case "INFO":
		return rails.Information, nil
	}
	return 0, fmt.Errorf("status Sts is %.20q", code)
}

// parse reads an amount: at most 18 digits, 5 of them decimals, and none that the currency does not have.
func (a xmlAmount) parse() (money.Amount, error) {
	currency, err := rails.BankCurrency(strings.TrimSpace(a.Currency))
	if err != nil {
		return money.Amount{}, err
	}
	text := strings.TrimSpace(a.Value)
	whole, decimals, point := strings.Cut(text, ".")
	if len(whole)+len(decimals) > 18 || len(decimals) > 5 {
		return money.Amount{}, fmt.Errorf("amount %.40q has too many digits", text)
	}
	if decimals = strings.TrimRight(decimals, "0"); point && decimals != "" {
		whole += "." + decimals
	}
	if len(decimals) > currency.Scale() {
		return money.Amount{}, fmt.Errorf("amount %.40q has more decimals than %s", text, currency.Code())
	}
	amount, err := money.Parse(currency, whole)
	if err != nil {
		return money.Amount{}, fmt.Errorf("amount %.40q cannot be read", text)
	}
	return amount, nil
}

// parse prefers the time to the day. The zero time stands for neither.
func (d xmlDate) parse() (time.Time, error) {
	if t := strings.TrimSpace(d.Time); t != "" {
		return parseTime(t)
	}
	return parseTime(d.Day)
}

// parseTime reads a date or a time of XML Schema; one without a zone is taken as UTC.
func parseTime(s string) (time.Time, error) {
	if s = strings.TrimSpace(s); s == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{"2006-01-02", "2006-01-02T15:04:05", time.RFC3339, "2006-01-02Z07:00"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("date %.40q cannot be read", s)
}

func side(list []string) (credit bool, err error) {
	s, err := one(list, "CdtDbtInd")
	if err != nil {
		return false, err
	}
	switch strings.TrimSpace(s) {
	case "CRDT":
		return true, nil
	case "DBIT":
		return false, nil
	}
	return false, fmt.Errorf("CdtDbtInd is %.20q", s)
}

func indicator(list []string, name string) (bool, error) {
	if len(list) == 0 {
		return false, nil
	}
	s, err := one(list, name)
	if err != nil {
		return false, err
	}
	switch strings.TrimSpace(s) {
	case "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	}
	return false, fmt.Errorf("%s is %.20q", name, s)
}

func one[T any](list []T, name string) (T, error) {
	if len(list) != 1 {
		var none T
		return none, fmt.Errorf("%s is there %d times, not once", name, len(list))
	}
	return list[0], nil
}

// accountOf keeps a number that claims to be an IBAN and is none as another number: it will match no account of ours,
// and a person can still read it.
func accountOf(iban, other string) rails.Account {
	if iban = strings.TrimSpace(iban); iban != "" {
		if good, err := rails.ParseIBAN(iban); err == nil {
			return rails.Account{IBAN: good}
		}
		other = iban
	}
	return rails.Account{Other: strings.TrimSpace(other)}
}

func trimmed(list []string) []string {
	var out []string
	for _, s := range list {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

func first(list ...string) string {
	for _, s := range list {
		if s = strings.TrimSpace(s); s != "" {
			return s
		}
	}
	return ""
}
