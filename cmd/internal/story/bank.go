package story

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"text/template"
	"time"
)

// Bank is the anchor's bank as the story plays it: it writes statements and reads payment files, and shares no code
// with the gateway's own readers and writers.
type Bank struct {
	IBAN, BIC string

	mu      sync.Mutex // guards what follows
	serial  int        // of the last statement
	balance int64      // of the account, in cents
	said    int        // the last statement that the treasury has attested, or an earlier one
}

// CustomerIBAN is the customers' account at another bank: the example that the registry of IBANs gives for Germany.
const CustomerIBAN = "DE89370400440532013000"

// BankEntry is one line of a statement. Reference is the bank's own and unique.
type BankEntry struct {
	Reference  string
	Amount     string // such as 100.00
	Currency   string
	Debit      bool
	Remittance string
	EndToEndID string
	Party      string
	PartyIBAN  string
}

// Versions of camt.053 that the bank can write.
const (
	Camt02 = "camt.053.001.02"
	Camt08 = "camt.053.001.08"
)

var statementTemplate = template.Must(template.New("camt").Funcs(template.FuncMap{"x": escape}).Parse(
	`<?xml version="1.0" encoding="UTF-8"?>
<Document xmlns="urn:iso:std:iso:20022:tech:xsd:{{.Version}}">
  <BkToCstmrStmt>
    <GrpHdr><MsgId>{{.ID}}</MsgId><CreDtTm>{{.At}}</CreDtTm></GrpHdr>
    <Stmt>
      <Id>{{.ID}}</Id><ElctrncSeqNb>{{.Serial}}</ElctrncSeqNb><CreDtTm>{{.At}}</CreDtTm>
      <Acct><Id><IBAN>{{x .IBAN}}</IBAN></Id><Ccy>USD</Ccy></Acct>
      <Bal><Tp><CdOrPrtry><Cd>OPBD</Cd></CdOrPrtry></Tp>{{.Opening}}<Dt><Dt>{{.Day}}</Dt></Dt></Bal>
      <Bal><Tp><CdOrPrtry><Cd>CLBD</Cd></CdOrPrtry></Tp>{{.Closing}}<Dt><Dt>{{.Day}}</Dt></Dt></Bal>
{{- range .Entries}}
      <Ntry>
        <NtryRef>{{x .Reference}}</NtryRef>
        <Amt Ccy="{{x .Currency}}">{{x .Amount}}</Amt>
        <CdtDbtInd>{{if .Debit}}DBIT{{else}}CRDT{{end}}</CdtDbtInd>
        <Sts>{{if eq $.Version "camt.053.001.08"}}<Cd>BOOK</Cd>{{else}}BOOK{{end}}</Sts>
        <BookgDt><Dt>{{$.Day}}</Dt></BookgDt><ValDt><Dt>{{$.Day}}</Dt></ValDt>
        <AcctSvcrRef>{{x .Reference}}</AcctSvcrRef>
        <BkTxCd><Domn><Cd>PMNT</Cd><Fmly><Cd>{{if .Debit}}ICDT{{else}}RCDT{{end}}</Cd><SubFmlyCd>ESCT</SubFmlyCd></Fmly></Domn></BkTxCd>
        <NtryDtls><TxDtls>
          <Refs><EndToEndId>{{if .EndToEndID}}{{x .EndToEndID}}{{else}}NOTPROVIDED{{end}}</EndToEndId></Refs>
{{- if eq $.Version "camt.053.001.08"}}
          <Amt Ccy="{{x .Currency}}">{{x .Amount}}</Amt><CdtDbtInd>{{if .Debit}}DBIT{{else}}CRDT{{end}}</CdtDbtInd>
          <RltdPties><{{if .Debit}}Cdtr{{else}}Dbtr{{end}}><Pty><Nm>{{x .Party}}</Nm></Pty></{{if .Debit}}Cdtr{{else}}Dbtr{{end}}><{{if .Debit}}Cdtr{{else}}Dbtr{{end}}Acct><Id><IBAN>{{x .PartyIBAN}}</IBAN></Id></{{if .Debit}}Cdtr{{else}}Dbtr{{end}}Acct></RltdPties>
{{- else}}
          <AmtDtls><TxAmt><Amt Ccy="{{x .Currency}}">{{x .Amount}}</Amt></TxAmt></AmtDtls>
          <RltdPties><{{if .Debit}}Cdtr{{else}}Dbtr{{end}}><Nm>{{x .Party}}</Nm></{{if .Debit}}Cdtr{{else}}Dbtr{{end}}><{{if .Debit}}Cdtr{{else}}Dbtr{{end}}Acct><Id><IBAN>{{x .PartyIBAN}}</IBAN></Id></{{if .Debit}}Cdtr{{else}}Dbtr{{end}}Acct></RltdPties>
{{- end}}
          <RmtInf><Ustrd>{{x .Remittance}}</Ustrd></RmtInf>
        </TxDtls></NtryDtls>
      </Ntry>
{{- end}}
    </Stmt>
  </BkToCstmrStmt>
</Document>
`))

// Statement writes a statement with the entries, in the version of camt.053 asked for.
func (b *Bank) Statement(version string, entries ...BankEntry) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	opening := b.balance
	for _, e := range entries {
		cents, err := strconv.ParseInt(strings.Replace(e.Amount, ".", "", 1), 10, 64)
		switch {
		case e.Currency != "USD" || err != nil: // a mistake that the story makes on purpose: it is on no account
		case e.Debit:
			b.balance -= cents
		default:
			b.balance += cents
		}
	}
	b.serial++
	now, serial := time.Now().UTC(), b.serial
	var buf bytes.Buffer
	err := statementTemplate.Execute(&buf, map[string]any{
		"Version": version, "Entries": entries, "IBAN": b.IBAN, "Serial": serial,
		"Opening": balanceElements(opening), "Closing": balanceElements(b.balance),
		"ID": fmt.Sprintf("STMT-%s-%d", now.Format("20060102150405"), serial),
		"At": now.Format("2006-01-02T15:04:05"), "Day": now.Format("2006-01-02"),
	})
	if err != nil {
		return nil, fmt.Errorf("story: %w", err)
	}
	return buf.Bytes(), nil
}

// unattested returns what the account holds after the statements so far and their number, if the treasury has not told of
// the last one.
func (b *Bank) unattested() (cents int64, serial int, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.balance, b.serial, b.said < b.serial
}

// attested keeps that the treasury has told of the statements up to that number.
func (b *Bank) attested(serial int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.said = max(b.said, serial)
}

// balanceElements writes a balance as camt.053 has it: the amount, and on which side it is.
func balanceElements(cents int64) string {
	side := "CRDT"
	if cents < 0 {
		cents, side = -cents, "DBIT"
	}
	return fmt.Sprintf(`<Amt Ccy="USD">%d.%02d</Amt><CdtDbtInd>%s</CdtDbtInd>`, cents/100, cents%100, side)
}

// Order is a payment that the bank was told to make.
type Order struct {
	EndToEndID, Amount, Currency, Creditor, IBAN, Remittance string
}

// Execute reads a pain.001.001.09 file and returns the orders in it.
func (b *Bank) Execute(file []byte) ([]Order, error) {
	var doc struct {
		XMLName xml.Name
		Sets    []struct {
			Debtor       string `xml:"DbtrAcct>Id>IBAN"`
			Transactions []struct {
				EndToEndID string `xml:"PmtId>EndToEndId"`
				Amount     struct {
					Value    string `xml:",chardata"`
					Currency string `xml:"Ccy,attr"`
				} `xml:"Amt>InstdAmt"`
				Creditor   string `xml:"Cdtr>Nm"`
				IBAN       string `xml:"CdtrAcct>Id>IBAN"`
				Remittance string `xml:"RmtInf>Ustrd"`
			} `xml:"CdtTrfTxInf"`
		} `xml:"CstmrCdtTrfInitn>PmtInf"`
	}
	if err := xml.Unmarshal(file, &doc); err != nil {
		return nil, fmt.Errorf("story: payout file: %w", err)
	}
	if want := "urn:iso:std:iso:20022:tech:xsd:pain.001.001.09"; doc.XMLName.Space != want {
		return nil, fmt.Errorf("story: payout file is %q", doc.XMLName.Space)
	}
	var orders []Order
	for _, set := range doc.Sets {
		if set.Debtor != b.IBAN {
			return nil, fmt.Errorf("story: payout file debits %s, not the anchor's account", set.Debtor)
		}
		for _, t := range set.Transactions {
			orders = append(orders, Order{EndToEndID: t.EndToEndID, Amount: t.Amount.Value, Currency: t.Amount.Currency,
				Creditor: t.Creditor, IBAN: t.IBAN, Remittance: t.Remittance})
		}
	}
	if len(orders) == 0 {
		return nil, errors.New("story: payout file holds no order")
	}
	return orders, nil
}

func escape(s string) (string, error) {
	var b strings.Builder
	err := xml.EscapeText(&b, []byte(s))
	return b.String(), err
}
