package iso20022_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/diamante/gateway/anchor/rails"
	"github.com/diamante/gateway/anchor/rails/iso20022"
)

// Our own samples, with one of everything that matters.
func TestParseOwnSamples(t *testing.T) {
	for file, want := range map[string]string{
		"camt.053.001.02.xml": `
statement 2026-061 of DE89370400440532013000 USD 2026-03-01T23:00:00Z to 2026-03-02T22:59:59Z opening 1000.00 USD/2 closing 1375.50 USD/2
0 BR-1001 booked +250.00 USD/2 booked 2026-03-02T00:00 value 2026-03-03 text ["DEP 7Q4K-2M9X" "thank you"] from Ada Example/GB29NWBK60161331926819/NWBKGB2L
1 BR-1002/1 booked +100.50 USD/2 booked 2026-03-02T10:30 ref ["RF18539007547034"]
1 BR-1002/2 booked +50.00 USD/2 booked 2026-03-02T10:30 text ["DEP AAAA-BBBB"]
3 ~c0449ab670b14949902a2d73026af79b booked -25.00 USD/2 reversal booked 2026-03-02T00:00
4 BR-1005 pending +9.99 EUR/2
2 defect: amount "12.345" has more decimals than USD
`,
		"camt.053.001.08.xml": `
statement 2026-062 of DE89370400440532013000 USD 2026-03-03T00:00:00Z to 2026-03-03T23:59:59Z opening 1375.50 USD/2 closing -24.50 USD/2
0 BR-2001 booked -1500.00 USD/2 booked 2026-03-03T09:15 e2e W-42 to Bo Beispiel/000123456789/BOFAUS3N
1 BR-2002 booked +100.00 USD/2 e2e W-41 returned AC04
2 BR-2003 booked +0.50 USD/2 of 3 payments
3 defect: status Sts is ""
statement 2026-062-EUR of 4711  opening unknown closing unknown
`} {
		b, err := os.ReadFile(filepath.Join("testdata", file))
		if err != nil {
			t.Fatal(err)
		}
		statements, err := iso20022.ParseStatement(b)
		if err != nil {
			t.Errorf("%s: %v", file, err)
		}
		if got := show(statements); got != strings.TrimPrefix(want, "\n") {
			t.Errorf("%s gave\n%s", file, got)
		}
	}
}

// sample reads a file that a bank's federation published.
func sample(t testing.TB, name string) []byte {
	t.Helper()
	dir := os.Getenv("DIAMANTE_SHARED_DATA")
	if dir == "" {
		dir = "../../../../shared/data"
	}
	b, err := os.ReadFile(filepath.Join(dir, "rails", "iso20022", name))
	if err != nil {
		t.Skipf("outside sample %s is absent; set DIAMANTE_SHARED_DATA to its folder", name)
	}
	return b
}

// The Finnish sample is a 001.02 file: batches without amounts, with amounts for all, payments in another currency,
// charges, and bookings of a batch that share one reference.
func TestParseFinnishSample(t *testing.T) {
	statements, err := iso20022.ParseStatement(sample(t, "camt.053-fi-sample.xml"))
	if err != nil {
		t.Fatal(err)
	}
	want := `
statement BANKSTMTID0972009 of FI7433010001222090 EUR 2009-10-29T00:00:00Z to 2009-10-29T19:00:00Z opening 10000.00 EUR/2 closing 23644.83 EUR/2
0 091029ACCTSTMTARCH01 booked -1000.12 EUR/2 booked 2009-10-29T00:00 value 2009-10-29 of 4 payments
1 091029ACCTSTMTARCH02 booked -4000.00 EUR/2 booked 2009-10-29T00:00 value 2009-10-29 of 3 payments
2 091029ACCTSTMTARCH03/1 booked -2000.02 EUR/2 booked 2009-10-29T00:00 value 2009-10-29 ref ["3900"] to Creditor Company/29501800020582/
2 091029ACCTSTMTARCH03/2 booked -1000.01 EUR/2 booked 2009-10-29T00:00 value 2009-10-29 text ["Invoices 123 and 321"] to Creditor Company/29501800020582/
2 091029ACCTSTMTARCH03/3 booked -1230.02 EUR/2 booked 2009-10-29T00:00 value 2009-10-29 to Creditor Company/29501800020574/
3 091029ACCTSTMTARCH04 booked +2000.00 EUR/2 booked 2009-10-29T00:00 value 2009-10-29 of 2 payments
4 091029ACCTSTMTARCH21 booked +500.00 EUR/2 booked 2009-10-29T00:00 value 2009-10-29 of 2 payments
5 091029ACCTSTMTARCH05 booked +3000.00 EUR/2 booked 2009-10-29T00:00 value 2009-10-29 of 2 payments
6 091029ACCTSTMTARCH06 booked +2120.00 EUR/2 booked 2009-10-29T00:00 value 2009-10-30 text ["INVOICE US20291092"] from DEBTOR NAME//BOFAUS6H
7 091029ACCTSTMTARCH07 booked +5455.00 EUR/2 booked 2009-10-29T00:00 value 2009-10-29 ref ["RF98123456789012"] from PAYERS NAME2//BOFSGB22
8 091029ACCTSTMTARCH08 booked +10000.00 EUR/2 booked 2009-10-29T00:00 value 2009-10-29 ref ["RF98123456789012"] e2e EndToEndIdSCT01 from DEBTOR//NDEAFIHH
9 091029ACCTSTMTARCH09/1 booked -100.00 EUR/2 booked 2009-10-29T00:00 value 2009-10-29 from SEB Merchant Banking Finland//
9 091029ACCTSTMTARCH09/2 booked -100.00 EUR/2 booked 2009-10-29T00:00 value 2009-10-29 from SEB Merchant Banking Finland//
`
	if got := show(statements); got != strings.TrimPrefix(want, "\n") {
		t.Errorf("gave\n%s", got)
	}
	// The sample's own arithmetic: the entries lead from the opening to the closing balance.
	s := statements[0]
	sum := s.Opening.Amount
	for _, e := range s.Entries {
		if e.Credit {
			sum, err = sum.Add(e.Amount)
		} else {
			sum, err = sum.Sub(e.Amount)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if sum != s.Closing.Amount {
		t.Errorf("opening and entries give %s, closing is %s", sum, s.Closing.Amount)
	}
}

// The Swiss sample is a 001.04 file, and contradicts itself in one entry: the entry is a debit, its only payment a credit.
func TestParseSwissSample(t *testing.T) {
	file := sample(t, "camt.053-ch-sample.xml")
	statements, err := iso20022.ParseStatement(file)
	if err != nil {
		t.Fatal(err)
	}
	want := `
statement 20201124375204229003973 of CH2909000000250094239  2020-06-24T00:00:00Z to 2020-06-24T23:59:59Z opening 211993.19 CHF/2 closing 215112.21 CHF/2
0 0758103031480900 booked +4.50 CHF/2 booked 2020-11-24T00:00 value 2020-11-24
2 07582000303F0C7U booked +1500.00 CHF/2 booked 2020-11-24T00:00 value 2020-11-24
3 07582000303KBMSU booked +1537.00 CHF/2 booked 2020-11-24T00:00 value 2020-11-25
4 07582000303KBMSU booked +1692.22 CHF/2 booked 2020-11-24T00:00 value 2020-11-24
1 defect: CdtDbtInd of TxDtls is not the entry's
`
	if got := show(statements); got != strings.TrimPrefix(want, "\n") {
		t.Errorf("gave\n%s", got)
	}
	if raw := statements[0].Defects[0].Raw; !strings.HasPrefix(raw, "<Ntry>") || !strings.HasSuffix(raw, "</Ntry>") || !strings.Contains(raw, "77.70") {
		t.Errorf("the defect shows %q", raw)
	}
}

func TestOtherMessagesAreRefused(t *testing.T) {
	for _, name := range []string{"camt.054-credit-sample.xml", "camt.054-returns-sample.xml", "pain.001-sample.xml", "pain.002-sample.xml"} {
		t.Run(name, func(t *testing.T) {
			if _, err := iso20022.ParseStatement(sample(t, name)); !errors.Is(err, iso20022.ErrVersion) {
				t.Errorf("gave %v", err)
			}
		})
	}
	t.Run("fednow", func(t *testing.T) {
		if _, err := iso20022.ParseStatement(sample(t, "fednow-pacs.002-sample.xml")); err == nil {
			t.Error("was read as a statement")
		}
	})
}

const (
	head   = `<?xml version="1.0" encoding="UTF-8"?><Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.02"><BkToCstmrStmt>`
	tail   = `</BkToCstmrStmt></Document>`
	before = `<Stmt><Id>S1</Id><Acct><Id><Othr><Id>1</Id></Othr></Id></Acct>`
	good   = `<Ntry><Amt Ccy="USD">1.00</Amt><CdtDbtInd>CRDT</CdtDbtInd><Sts>BOOK</Sts><AcctSvcrRef>G</AcctSvcrRef></Ntry>`
	after  = `</Stmt>`
)

// What makes a whole file unreadable.
func TestMalformedFiles(t *testing.T) {
	whole := head + before + good + after + tail
	if _, err := iso20022.ParseStatement([]byte(whole)); err != nil {
		t.Fatalf("the good file: %v", err)
	}
	deep := strings.Repeat("<A>", iso20022.MaxDepth) + strings.Repeat("</A>", iso20022.MaxDepth)
	for name, c := range map[string]struct {
		file string
		want error
	}{
		"empty":                     {"", iso20022.ErrFormat},
		"not XML":                   {"Date;Amount\n2026-03-02;1.00\n", iso20022.ErrFormat},
		"cut off":                   {whole[:len(whole)-40], iso20022.ErrFormat},
		"cut off in an entry":       {head + before + good[:40], iso20022.ErrFormat},
		"crossed tags":              {head + "<Stmt><Id>S1</Stmt></Id>" + tail, iso20022.ErrFormat},
		"two documents":             {whole + whole[38:], iso20022.ErrFormat},
		"text after":                {whole + "x", iso20022.ErrFormat},
		"text between":              {head + "x" + before + after + tail, iso20022.ErrFormat},
		"two messages":              {strings.Replace(whole, "</Document>", "<BkToCstmrStmt></BkToCstmrStmt></Document>", 1), iso20022.ErrFormat},
		"no statement":              {head + tail, iso20022.ErrFormat},
		"no message":                {strings.ReplaceAll(whole, "BkToCstmrStmt", "BkToCstmrAcctRpt"), iso20022.ErrFormat},
		"no id":                     {strings.Replace(whole, "<Id>S1</Id>", "", 1), iso20022.ErrFormat},
		"id too long":               {strings.Replace(whole, "S1", strings.Repeat("S", 200), 1), iso20022.ErrFormat},
		"two ids":                   {strings.Replace(whole, "<Id>S1</Id>", "<Id>S1</Id><Id>S2</Id>", 1), iso20022.ErrFormat},
		"two accounts":              {strings.Replace(whole, "<Acct>", "<Acct><Id><IBAN>DE89370400440532013000</IBAN></Id></Acct><Acct>", 1), iso20022.ErrFormat},
		"two account numbers":       {strings.Replace(whole, "<Othr>", "<IBAN>DE89370400440532013000</IBAN><Othr>", 1), iso20022.ErrFormat},
		"no account":                {head + "<Stmt><Id>S1</Id>" + good + after + tail, iso20022.ErrFormat},
		"document type":             {strings.Replace(whole, "<Document", `<!DOCTYPE Document SYSTEM "file:///etc/passwd"><Document`, 1), iso20022.ErrFormat},
		"entity":                    {strings.Replace(whole, "S1", "&boom;", 1), iso20022.ErrFormat},
		"entity bomb":               {strings.Replace(whole, "<Document", `<!DOCTYPE d [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><Document`, 1), iso20022.ErrFormat},
		"style sheet":               {strings.Replace(whole, "<Document", `<?xml-stylesheet href="x"?><Document`, 1), iso20022.ErrFormat},
		"Latin-1":                   {strings.Replace(whole, "UTF-8", "ISO-8859-1", 1), iso20022.ErrFormat},
		"UTF-16":                    {"\xff\xfe<\x00D\x00", iso20022.ErrFormat},
		"invalid UTF-8":             {strings.Replace(whole, "S1", "S\xff", 1), iso20022.ErrFormat},
		"control character":         {strings.Replace(whole, "S1", "S\x01", 1), iso20022.ErrFormat},
		"foreign element":           {strings.Replace(whole, "<Amt ", `<x:Amt xmlns:x="urn:x" Ccy="USD">9.00</x:Amt><Amt `, 1), iso20022.ErrFormat},
		"unbound prefix":            {strings.Replace(whole, "<Amt ", `<x:Amt Ccy="USD">9.00</x:Amt><Amt `, 1), iso20022.ErrFormat},
		"attribute twice":           {strings.Replace(whole, `Ccy="USD"`, `Ccy="USD" Ccy="EUR"`, 1), iso20022.ErrFormat},
		"other version":             {strings.Replace(whole, "001.02", "001.06", 1), iso20022.ErrVersion},
		"other message":             {strings.Replace(whole, "camt.053", "camt.052", 1), iso20022.ErrVersion},
		"no namespace":              {strings.Replace(whole, ` xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.02"`, "", 1), iso20022.ErrVersion},
		"too deep":                  {head + deep + tail, iso20022.ErrLimit},
		"too deep inside an entry":  {head + before + "<Ntry>" + deep + "</Ntry>" + after + tail, iso20022.ErrLimit},
		"too many attributes":       {strings.Replace(whole, "<Ntry>", "<Ntry"+manyAttributes()+">", 1), iso20022.ErrLimit},
		"too many elements":         {head + strings.Repeat("<A/>", iso20022.MaxElements) + tail, iso20022.ErrLimit},
		"too many statements":       {head + strings.Repeat(before+after, iso20022.MaxStatements+1) + tail, iso20022.ErrLimit},
		"too many entries":          {head + before + strings.Repeat("<Ntry/>", iso20022.MaxEntries+1) + after + tail, iso20022.ErrLimit},
		"too large":                 {whole + strings.Repeat(" ", iso20022.MaxFile), iso20022.ErrLimit},
		"one text of all the bytes": {head + strings.Repeat("x", iso20022.MaxFile), iso20022.ErrLimit},
	} {
		t.Run(name, func(t *testing.T) {
			statements, err := iso20022.ParseStatement([]byte(c.file))
			if !errors.Is(err, c.want) || statements != nil {
				t.Errorf("gave %d statements and %v, want %v", len(statements), err, c.want)
			}
			if err != nil && len(err.Error()) > 400 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}

func manyAttributes() string {
	var out strings.Builder
	for i := range iso20022.MaxAttributes + 1 {
		out.WriteString(" a" + string(rune('a'+i)) + `="1"`)
	}
	return out.String()
}

func TestByteOrderMarkIsAllowed(t *testing.T) {
	if _, err := iso20022.ParseStatement([]byte("\ufeff" + head + before + after + tail)); err != nil {
		t.Error(err)
	}
}

// What makes one entry a defect. Its neighbours are read all the same.
func TestDefects(t *testing.T) {
	entry := func(old, with string) string { return strings.Replace(good, old, with, 1) }
	details := func(inner string) string { return entry("</Ntry>", "<NtryDtls>"+inner+"</NtryDtls></Ntry>") }
	pay := func(amount string) string {
		return "<TxDtls><AmtDtls><TxAmt><Amt Ccy=\"USD\">" + amount + "</Amt></TxAmt></AmtDtls></TxDtls>"
	}
	for _, c := range []struct{ name, entry, reason string }{
		{"empty", "<Ntry/>", "Amt is there 0 times"},
		{"two amounts", entry("<CdtDbtInd>", `<Amt Ccy="USD">1000000.00</Amt><CdtDbtInd>`), "Amt is there 2 times"},
		{"zero", entry("1.00", "0.00"), "amount is zero"},
		{"negative", entry("1.00", "-1.00"), "cannot be read"},
		{"signed", entry("1.00", "+1.00"), "cannot be read"},
		{"comma", entry("1.00", "1,00"), "cannot be read"},
		{"thousands", entry("1.00", "1'000.00"), "cannot be read"},
		{"exponent", entry("1.00", "1e3"), "cannot be read"},
		{"not a number", entry("1.00", "NaN"), "cannot be read"},
		{"nothing", entry("1.00", ""), "cannot be read"},
		{"only decimals", entry("1.00", ".50"), "cannot be read"},
		{"half a cent", entry("1.00", "1.005"), "more decimals than USD"},
		{"six decimals", entry("1.00", "1.000000"), "too many digits"},
		{"19 digits", entry("1.00", "12345678901234567.89"), "too many digits"},
		{"no currency", entry(` Ccy="USD"`, ""), "currency"},
		{"no such currency", entry("USD", "usd"), "currency"},
		{"yen have no sen", entry(`"USD">1.00`, `"JPY">1.50`), "more decimals than JPY"},
		{"no side", entry("<CdtDbtInd>CRDT</CdtDbtInd>", ""), "CdtDbtInd is there 0 times"},
		{"two sides", entry("<Sts>", "<CdtDbtInd>DBIT</CdtDbtInd><Sts>"), "CdtDbtInd is there 2 times"},
		{"unknown side", entry("CRDT", "CREDIT"), "CdtDbtInd"},
		{"no status", entry("<Sts>BOOK</Sts>", ""), "Sts is there 0 times"},
		{"status of 001.08", entry("BOOK", "<Cd>BOOK</Cd>"), "Sts is"},
		{"unknown status", entry("BOOK", "DONE"), "Sts is"},
		{"unclear reversal", entry("<Sts>", "<RvslInd>maybe</RvslInd><Sts>"), "RvslInd"},
		{"no such day", entry("</Ntry>", "<BookgDt><Dt>2026-02-30</Dt></BookgDt></Ntry>"), "BookgDt"},
		{"American date", entry("</Ntry>", "<ValDt><Dt>02/03/2026</Dt></ValDt></Ntry>"), "ValDt"},
		{"two references", entry("</Ntry>", "<AcctSvcrRef>H</AcctSvcrRef></Ntry>"), "AcctSvcrRef"},
		{"endless reference", entry(">G<", ">"+strings.Repeat("G", 5000)+"<"), "AcctSvcrRef"},
		{"the only payment is another amount", details(pay("2.00")), "TxDtls say 2.00"},
		{"payments add up to less", details(pay("0.50") + pay("0.49")), "TxDtls give 0.99 in"},
		{"payments add up to more", details(pay("0.50") + pay("0.51")), "TxDtls give 1.01 in"},
		{"a payment without an amount", details(pay("1.00") + "<TxDtls/>"), "1 of 2 TxDtls have no amount"},
		{"a payment in another currency", details(pay("0.50") + strings.Replace(pay("0.50"), "USD", "EUR", 1)), "currency is not the entry's"},
		{"a payment of nothing", details(pay("1.00") + pay("0.00")), "zero"},
		{"a payment of no number", details(pay("1.00") + pay("x")), "cannot be read"},
		{"payments in both directions that do not add up", details(pay("1.00") + strings.Replace(pay("0.50"), "<AmtDtls>", "<CdtDbtInd>DBIT</CdtDbtInd><AmtDtls>", 1)), "0.50 out"},
		{"many payments, it says", details("<Btch><NbOfTxs>-1</NbOfTxs></Btch>"), "NbOfTxs"},
	} {
		t.Run(c.name, func(t *testing.T) {
			statements, err := iso20022.ParseStatement([]byte(head + before + good + c.entry + good + after + tail))
			if err != nil {
				t.Fatal(err)
			}
			s := statements[0]
			if len(s.Entries) != 2 || s.Entries[0].Index != 0 || s.Entries[1].Index != 2 {
				t.Errorf("the neighbours are %+v", s.Entries)
			}
			if len(s.Defects) != 1 {
				t.Fatalf("%d defects", len(s.Defects))
			}
			d := s.Defects[0]
			if d.Index != 1 || !strings.Contains(d.Reason, c.reason) || len(d.Reason) > 200 {
				t.Errorf("defect %d: %s, want %q", d.Index, d.Reason, c.reason)
			}
			if !strings.HasPrefix(d.Raw, "<Ntry") || len(d.Raw) > rails.MaxRaw {
				t.Errorf("raw %.200q of %d bytes", d.Raw, len(d.Raw))
			}
		})
	}
}

func TestDefectiveHead(t *testing.T) {
	for _, h := range []string{
		"<FrToDt><FrDtTm>yesterday</FrDtTm><ToDtTm>2026-03-02T00:00:00</ToDtTm></FrToDt>",
		`<Bal><Tp><CdOrPrtry><Cd>CLBD</Cd></CdOrPrtry></Tp><Amt Ccy="USD">much</Amt><CdtDbtInd>CRDT</CdtDbtInd></Bal>`,
	} {
		statements, err := iso20022.ParseStatement([]byte(head + before + h + good + after + tail))
		if err != nil {
			t.Fatal(err)
		}
		s := statements[0]
		if len(s.Entries) != 1 || len(s.Defects) != 1 || s.Defects[0].Index != -1 || s.Closing != nil {
			t.Errorf("%s gave %+v", h, s)
		}
	}
}

// A refund inside a batch lowers the sum.
func TestBatchWithBothDirections(t *testing.T) {
	file := head + before + `<Ntry><Amt Ccy="USD">7.00</Amt><CdtDbtInd>CRDT</CdtDbtInd><Sts>BOOK</Sts><AcctSvcrRef>B</AcctSvcrRef><NtryDtls>
		<TxDtls><Amt Ccy="USD">10.00</Amt><CdtDbtInd>CRDT</CdtDbtInd></TxDtls>
		<TxDtls><Amt Ccy="USD">3.00</Amt><CdtDbtInd>DBIT</CdtDbtInd></TxDtls></NtryDtls></Ntry>` + after + tail
	statements, err := iso20022.ParseStatement([]byte(file))
	if err != nil {
		t.Fatal(err)
	}
	want := "statement S1 of 1  opening unknown closing unknown\n0 B/1 booked +10.00 USD/2\n0 B/2 booked -3.00 USD/2\n"
	if got := show(statements); got != want {
		t.Errorf("gave\n%s", got)
	}
}

func FuzzParseStatement(f *testing.F) {
	for _, name := range []string{"camt.053.001.02.xml", "camt.053.001.08.xml"} {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(head + before + good + "<Ntry/>" + after + tail))
	f.Add([]byte(head + "<Stmt><![CDATA[x]]><Id>&#65;</Id></Stmt>" + tail))
	f.Fuzz(func(t *testing.T, file []byte) {
		statements, err := iso20022.ParseStatement(file)
		if err != nil {
			if !errors.Is(err, iso20022.ErrFormat) && !errors.Is(err, iso20022.ErrVersion) && !errors.Is(err, iso20022.ErrLimit) {
				t.Errorf("an error of no kind: %v", err)
			}
			return
		}
		again, err := iso20022.ParseStatement(file)
		if err != nil || show(again) != show(statements) {
			t.Errorf("the second reading differs: %v", err)
		}
		for _, s := range statements {
			checkInvariants(t, s)
		}
	})
}

func checkInvariants(t *testing.T, s rails.Statement) {
	t.Helper()
	if s.ID == "" || s.Account.IsZero() {
		t.Errorf("statement %q of %q", s.ID, s.Account)
	}
	for _, e := range s.Entries {
		if e.Amount.IsZero() || e.Ref == "" || e.Status.String() == "" || e.Details < 1 || e.Details > 1 && len(e.Remittance) > 0 {
			t.Errorf("entry %+v", e)
		}
	}
	for _, d := range s.Defects {
		if d.Reason == "" || d.Raw == "" || len(d.Raw) > rails.MaxRaw {
			t.Errorf("defect %+v", d)
		}
	}
}
