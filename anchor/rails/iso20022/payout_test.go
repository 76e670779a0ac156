package iso20022_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math/big"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/diamante/gateway/anchor/rails"
	"github.com/diamante/gateway/anchor/rails/iso20022"
	"github.com/diamante/gateway/custody/money"
)

func cents(t testing.TB, code, s string) money.Amount {
	t.Helper()
	c, err := rails.BankCurrency(code)
	if err != nil {
		t.Fatal(err)
	}
	a, err := money.Parse(c, s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func payout(t testing.TB) rails.Payout {
	return rails.Payout{
		MessageID: "PAY-2026-0001", CreatedAt: time.Date(2026, 3, 3, 9, 0, 0, 5, time.FixedZone("", 3600)), ExecuteOn: time.Date(2026, 3, 4, 0, 0, 0, 0, time.UTC),
		Debtor: rails.Party{Name: "Diamond Standard Bank", Account: rails.Account{IBAN: "DE89370400440532013000"}, BIC: "COBADEFFXXX"},
		Items: []rails.PayoutItem{
			{EndToEndID: "W-42", Amount: cents(t, "USD", "1500.00"), Remittance: "Withdrawal 42",
				Creditor: rails.Party{Name: "Bo Beispiel", Account: rails.Account{Other: "000123456789"}, BIC: "BOFAUS3N"}},
			{EndToEndID: "W-43", Amount: cents(t, "USD", "0.01"),
				Creditor: rails.Party{Name: "Žofie & Søn <Ltd>", Account: rails.Account{IBAN: "GB29NWBK60161331926819"}}},
		},
	}
}

// The whole file, as a bank gets it.
const wantPayout = `<?xml version="1.0" encoding="UTF-8"?>
<Document xmlns="urn:iso:std:iso:20022:tech:xsd:pain.001.001.09">
  <CstmrCdtTrfInitn>
    <GrpHdr>
      <MsgId>PAY-2026-0001</MsgId>
      <CreDtTm>2026-03-03T08:00:00Z</CreDtTm>
      <NbOfTxs>2</NbOfTxs>
      <CtrlSum>1500.01</CtrlSum>
      <InitgPty>
        <Nm>Diamond Standard Bank</Nm>
      </InitgPty>
    </GrpHdr>
    <PmtInf>
      <PmtInfId>PAY-2026-0001</PmtInfId>
      <PmtMtd>TRF</PmtMtd>
      <BtchBookg>false</BtchBookg>
      <NbOfTxs>2</NbOfTxs>
      <CtrlSum>1500.01</CtrlSum>
      <ReqdExctnDt>
        <Dt>2026-03-04</Dt>
      </ReqdExctnDt>
      <Dbtr>
        <Nm>Diamond Standard Bank</Nm>
      </Dbtr>
      <DbtrAcct>
        <Id>
          <IBAN>DE89370400440532013000</IBAN>
        </Id>
      </DbtrAcct>
      <DbtrAgt>
        <FinInstnId>
          <BICFI>COBADEFFXXX</BICFI>
        </FinInstnId>
      </DbtrAgt>
      <ChrgBr>SHAR</ChrgBr>
      <CdtTrfTxInf>
        <PmtId>
          <EndToEndId>W-42</EndToEndId>
        </PmtId>
        <Amt>
          <InstdAmt Ccy="USD">1500.00</InstdAmt>
        </Amt>
        <CdtrAgt>
          <FinInstnId>
            <BICFI>BOFAUS3N</BICFI>
          </FinInstnId>
        </CdtrAgt>
        <Cdtr>
          <Nm>Bo Beispiel</Nm>
        </Cdtr>
        <CdtrAcct>
          <Id>
            <Othr>
              <Id>000123456789</Id>
            </Othr>
          </Id>
        </CdtrAcct>
        <RmtInf>
          <Ustrd>Withdrawal 42</Ustrd>
        </RmtInf>
      </CdtTrfTxInf>
      <CdtTrfTxInf>
        <PmtId>
          <EndToEndId>W-43</EndToEndId>
        </PmtId>
        <Amt>
          <InstdAmt Ccy="USD">0.01</InstdAmt>
        </Amt>
        <Cdtr>
          <Nm>Zofie + Son .Ltd.</Nm>
        </Cdtr>
        <CdtrAcct>
          <Id>
            <IBAN>GB29NWBK60161331926819</IBAN>
          </Id>
        </CdtrAcct>
      </CdtTrfTxInf>
    </PmtInf>
  </CstmrCdtTrfInitn>
</Document>
`

func TestWritePayout(t *testing.T) {
	got, err := iso20022.WritePayout(payout(t))
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != wantPayout {
		t.Errorf("wrote\n%s", got)
	}
}

func TestEuroPayoutSharesChargesAsSEPAWants(t *testing.T) {
	p := payout(t)
	p.Items = p.Items[1:]
	p.Items[0].Amount = cents(t, "EUR", "7.10")
	p.Debtor.BIC = ""
	got, err := iso20022.WritePayout(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"<ChrgBr>SLEV</ChrgBr>", `Ccy="EUR">7.10<`, "<Id>NOTPROVIDED</Id>", "<CtrlSum>7.10</CtrlSum>"} {
		if !bytes.Contains(got, []byte(want)) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
}

func TestWritePayoutRefuses(t *testing.T) {
	many := make([]rails.PayoutItem, iso20022.MaxItems+1)
	for name, spoil := range map[string]func(p *rails.Payout){
		"no message id":              func(p *rails.Payout) { p.MessageID = "" },
		"message id too long":        func(p *rails.Payout) { p.MessageID = strings.Repeat("1", 36) },
		"message id with accents":    func(p *rails.Payout) { p.MessageID = "PÄY" },
		"message id with a line":     func(p *rails.Payout) { p.MessageID = "PAY\n1" },
		"no time":                    func(p *rails.Payout) { p.CreatedAt = time.Time{} },
		"no day":                     func(p *rails.Payout) { p.ExecuteOn = time.Time{} },
		"no items":                   func(p *rails.Payout) { p.Items = nil },
		"too many items":             func(p *rails.Payout) { p.Items = many },
		"no debtor":                  func(p *rails.Payout) { p.Debtor = rails.Party{} },
		"debtor without a name":      func(p *rails.Payout) { p.Debtor.Name = "" },
		"debtor's IBAN":              func(p *rails.Payout) { p.Debtor.Account.IBAN = "DE89370400440532013001" },
		"debtor's BIC":               func(p *rails.Payout) { p.Debtor.BIC = "COBA" },
		"creditor's IBAN":            func(p *rails.Payout) { p.Items[1].Creditor.Account.IBAN = "GB29NWBK60161331926818" },
		"creditor's BIC":             func(p *rails.Payout) { p.Items[0].Creditor.BIC = "B0FA US3N" },
		"creditor's BIC is missing":  func(p *rails.Payout) { p.Items[0].Creditor.BIC = "" },
		"creditor without a name":    func(p *rails.Payout) { p.Items[0].Creditor.Name = " " },
		"creditor in Chinese only":   func(p *rails.Payout) { p.Items[0].Creditor.Name = "王小明" },
		"creditor's name too long":   func(p *rails.Payout) { p.Items[0].Creditor.Name = strings.Repeat("Bo", 71) },
		"creditor with two numbers":  func(p *rails.Payout) { p.Items[1].Creditor.Account.Other = "1" },
		"no creditor account":        func(p *rails.Payout) { p.Items[1].Creditor.Account = rails.Account{} },
		"no end-to-end id":           func(p *rails.Payout) { p.Items[0].EndToEndID = "" },
		"end-to-end id twice":        func(p *rails.Payout) { p.Items[1].EndToEndID = p.Items[0].EndToEndID },
		"end-to-end id with slashes": func(p *rails.Payout) { p.Items[0].EndToEndID = "W//42" },
		"slash first":                func(p *rails.Payout) { p.Items[0].EndToEndID = "/W" },
		"slash last":                 func(p *rails.Payout) { p.Items[0].EndToEndID = "W/" },
		"blank last":                 func(p *rails.Payout) { p.Items[0].EndToEndID = "W " },
		"id that says there is none": func(p *rails.Payout) { p.Items[0].EndToEndID = "NOTPROVIDED" },
		"remittance too long":        func(p *rails.Payout) { p.Items[0].Remittance = strings.Repeat("x", 141) },
		"nothing to pay":             func(p *rails.Payout) { p.Items[0].Amount = cents(t, "USD", "0") },
		"no amount":                  func(p *rails.Payout) { p.Items[0].Amount = money.Amount{} },
		"mixed currencies":           func(p *rails.Payout) { p.Items[0].Amount = cents(t, "EUR", "1") },
		"ledger scale": func(p *rails.Payout) {
			c, _ := money.NewCurrency("USD", 7)
			p.Items[0].Amount, _ = money.Parse(c, "1")
			p.Items[1].Amount = p.Items[0].Amount
		},
		"19 digits": func(p *rails.Payout) { p.Items[0].Amount = cents(t, "USD", "10000000000000000.00") },
	} {
		t.Run(name, func(t *testing.T) {
			p := payout(t)
			spoil(&p)
			if got, err := iso20022.WritePayout(p); !errors.Is(err, rails.ErrInvalid) || got != nil {
				t.Errorf("gave %v and %s", err, got)
			}
		})
	}
}

// node is any element: the strict second reading shares nothing with the writer.
type node struct {
	XMLName  xml.Name
	Text     string `xml:",chardata"`
	Currency string `xml:"Ccy,attr"`
	Children []node `xml:",any"`
}

// at returns the only element at a path, none as nil.
func (n *node) at(t *rapid.T, path string) *node {
	for name := range strings.SplitSeq(path, ">") {
		var found *node
		for i := range n.Children {
			if n.Children[i].XMLName.Local == name {
				if found != nil {
					t.Fatalf("%s is there twice", path)
				}
				found = &n.Children[i]
			}
		}
		if found == nil {
			return nil
		}
		n = found
	}
	return n
}

func (n *node) text(t *rapid.T, path string) string {
	if n = n.at(t, path); n == nil {
		return ""
	}
	return n.Text
}

// Whatever is written reads back as it was meant, in the Latin set, with counts and sums that agree.
func TestPayoutRoundTrip(t *testing.T) {
	usd, err := rails.BankCurrency("USD")
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		p := rails.Payout{
			MessageID: rapid.StringMatching(`[A-Z0-9][A-Za-z0-9+?:.,'()-]{0,33}[A-Z0-9]`).Draw(t, "id"),
			CreatedAt: time.Unix(rapid.Int64Range(1, 4e9).Draw(t, "created"), 0), ExecuteOn: time.Unix(rapid.Int64Range(1, 4e9).Draw(t, "day"), 0).UTC(),
			Debtor: rails.Party{Name: "Bank", Account: rails.Account{Other: "1234"}, BIC: "COBADEFF"},
		}
		total := new(big.Int)
		for i := range rapid.IntRange(1, 20).Draw(t, "items") {
			units := rapid.Int64Range(1, 999_999_999_999_999_999).Draw(t, "units")
			a, err := money.FromInt(usd, units)
			if err != nil {
				t.Fatal(err)
			}
			total.Add(total, big.NewInt(units))
			p.Items = append(p.Items, rails.PayoutItem{EndToEndID: "E" + string(rune('A'+i)), Amount: a,
				Creditor:   rails.Party{Name: "N" + rapid.StringN(0, 30, 40).Draw(t, "name"), Account: rails.Account{IBAN: "GB29NWBK60161331926819"}},
				Remittance: rapid.StringN(0, 40, 60).Draw(t, "text")})
		}
		file, err := iso20022.WritePayout(p)
		if err != nil {
			t.Fatal(err)
		}
		var doc node
		dec := xml.NewDecoder(bytes.NewReader(file))
		if err := dec.Decode(&doc); err != nil {
			t.Fatal(err)
		}
		if _, err := dec.Token(); !errors.Is(err, io.EOF) && err != nil {
			t.Fatal(err)
		}
		checkPayout(t, p, &doc, total)
	})
}

func checkPayout(t *rapid.T, p rails.Payout, doc *node, total *big.Int) {
	sum, err := money.FromUnits(p.Items[0].Amount.Currency(), total)
	if err != nil {
		t.Fatal(err)
	}
	root := doc.at(t, "CstmrCdtTrfInitn")
	order := root.at(t, "PmtInf")
	for _, n := range []*node{root.at(t, "GrpHdr"), order} {
		if n.text(t, "NbOfTxs") != big.NewInt(int64(len(p.Items))).String() || n.text(t, "CtrlSum") != sum.Decimal() {
			t.Fatalf("counts %s, sums %s; want %d, %s", n.text(t, "NbOfTxs"), n.text(t, "CtrlSum"), len(p.Items), sum.Decimal())
		}
	}
	if root.text(t, "GrpHdr>MsgId") != p.MessageID || order.text(t, "ReqdExctnDt>Dt") != p.ExecuteOn.Format(time.DateOnly) {
		t.Fatalf("%s is to be paid on %s", root.text(t, "GrpHdr>MsgId"), order.text(t, "ReqdExctnDt>Dt"))
	}
	var transfers []*node
	for i := range order.Children {
		if order.Children[i].XMLName.Local == "CdtTrfTxInf" {
			transfers = append(transfers, &order.Children[i])
		}
	}
	for i, item := range p.Items {
		x := transfers[i]
		amount := x.at(t, "Amt>InstdAmt")
		if x.text(t, "PmtId>EndToEndId") != item.EndToEndID || amount.Text != item.Amount.Decimal() || amount.Currency != "USD" ||
			x.text(t, "CdtrAcct>Id>IBAN") != string(item.Creditor.Account.IBAN) {
			t.Fatalf("item %d became %+v", i, x)
		}
		for _, text := range []string{x.text(t, "Cdtr>Nm"), x.text(t, "RmtInf>Ustrd")} {
			if strings.Trim(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/-?:().,'+ ") != "" {
				t.Fatalf("%q is not in the Latin set", text)
			}
		}
	}
}
