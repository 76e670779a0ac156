package iso20022_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/diamante/gateway/anchor/rails"
)

// show prints statements one line an entry, the way a person would check them against the bank's paper.
func show(statements []rails.Statement) string {
	var out strings.Builder
	for _, s := range statements {
		fmt.Fprintf(&out, "statement %s of %s %s", s.ID, s.Account, s.Currency)
		if !s.From.IsZero() {
			fmt.Fprintf(&out, " %s to %s", s.From.Format(time.RFC3339), s.To.Format(time.RFC3339))
		}
		fmt.Fprintf(&out, " opening %s closing %s\n", balance(s.Opening), balance(s.Closing))
		for _, e := range s.Entries {
			out.WriteString(entry(e))
		}
		for _, d := range s.Defects {
			fmt.Fprintf(&out, "%d defect: %s\n", d.Index, d.Reason)
		}
	}
	return out.String()
}

func balance(b *rails.Balance) string {
	switch {
	case b == nil:
		return "unknown"
	case b.Debit:
		return "-" + b.Amount.String()
	}
	return b.Amount.String()
}

func entry(e rails.Entry) string {
	sign := "-"
	if e.Credit {
		sign = "+"
	}
	line := fmt.Sprintf("%d %s %s %s%s", e.Index, e.Ref, e.Status, sign, e.Amount)
	add := func(when bool, format string, args ...any) {
		if when {
			line += " " + fmt.Sprintf(format, args...)
		}
	}
	add(e.Reversal, "reversal")
	add(!e.BookedAt.IsZero(), "booked %s", e.BookedAt.Format("2006-01-02T15:04"))
	add(!e.ValueAt.IsZero(), "value %s", e.ValueAt.Format("2006-01-02"))
	add(e.Details != 1, "of %d payments", e.Details)
	add(len(e.Remittance) > 0, "text %q", e.Remittance)
	add(len(e.CreditorRef) > 0, "ref %q", e.CreditorRef)
	add(e.EndToEndID != "", "e2e %s", e.EndToEndID)
	for name, p := range map[string]rails.Party{"from": e.Debtor, "to": e.Creditor} {
		add(p != rails.Party{}, "%s %s/%s/%s", name, p.Name, p.Account, p.BIC)
	}
	add(e.Return != "", "returned %s", e.Return)
	return line + "\n"
}
