package iso20022

import (
	"encoding/xml"
	"fmt"
	"strings"

	"github.com/diamante/gateway/anchor/rails"
)

// ParseStatement reads a camt.053 file of version 001.02, 001.04 or 001.08 and returns its statements in order. It
// fails as a whole with ErrFormat, ErrVersion or ErrLimit; what is wrong with a single entry is among the statement's
// Defects.
func ParseStatement(file []byte) ([]rails.Statement, error) {
	doc, err := openDocument(file)
	if err != nil {
		return nil, err
	}
	v, err := root(doc)
	if err != nil {
		return nil, err
	}
	p := parser{doc: doc, version: v}
	for {
		child, err := doc.next()
		if err != nil {
			return nil, err
		}
		if child == nil {
			break
		}
		if child.Name.Local != "Stmt" {
			err = doc.skip()
		} else {
			err = p.statement()
		}
		if err != nil {
			return nil, err
		}
	}
	if end, err := doc.next(); err != nil || end != nil {
		return nil, fmt.Errorf("%w: more than one message in the document", ErrFormat)
	}
	if err := doc.finish(); err != nil {
		return nil, err
	}
	if len(p.statements) == 0 {
		return nil, fmt.Errorf("%w: no statement in it", ErrFormat)
	}
	return p.statements, nil
}

// root enters Document and BkToCstmrStmt and returns the version of the message.
func root(doc *document) (version, error) {
	first, err := doc.next()
	if err != nil {
		return version{}, err
	}
	if first == nil || first.Name.Local != "Document" {
		return version{}, fmt.Errorf("%w: the first element is not Document", ErrFormat)
	}
	v, known := versions[first.Name.Space]
	if !known {
		return version{}, fmt.Errorf("%w: %.100q; camt.053.001.02, .04 and .08 are read", ErrVersion, strings.TrimPrefix(first.Name.Space, namespace))
	}
	message, err := doc.next()
	if err != nil {
		return version{}, err
	}
	if message == nil || message.Name.Local != "BkToCstmrStmt" {
		return version{}, fmt.Errorf("%w: the document holds no BkToCstmrStmt", ErrFormat)
	}
	return v, nil
}

type parser struct {
	doc        *document
	version    version
	statements []rails.Statement
	entries    int            // of all statements
	same       map[string]int // how often an entry without a reference was there in this statement
}

type xmlAccount struct {
	IBAN  string `xml:"Id>IBAN"`
	Other string `xml:"Id>Othr>Id"`
}

// xmlOwnAccount is the account of the statement: what decides about money is read as a list, to see when there is more
// than one.
type xmlOwnAccount struct {
	IBAN  []string `xml:"Id>IBAN"`
	Other []string `xml:"Id>Othr>Id"`
	Ccy   string   `xml:"Ccy"`
}

type xmlPeriod struct {
	From string `xml:"FrDtTm"`
	To   string `xml:"ToDtTm"`
}

type xmlBalance struct {
	Type string      `xml:"Tp>CdOrPrtry>Cd"`
	Amt  []xmlAmount `xml:"Amt"`
	Side []string    `xml:"CdtDbtInd"`
}

// statement reads one Stmt element.
func (p *parser) statement() error {
	if len(p.statements) == MaxStatements {
		return fmt.Errorf("%w: more than %d statements", ErrLimit, MaxStatements)
	}
	s := &rails.Statement{}
	p.same = map[string]int{}
	index := 0
	for {
		child, err := p.doc.next()
		if err != nil {
			return err
		}
		if child == nil {
			break
		}
		if child.Name.Local == "Ntry" {
			err = p.entry(s, child, index)
			index++
		} else {
			err = p.head(s, child)
		}
		if err != nil {
			return err
		}
	}
	if s.ID == "" || s.Account.IsZero() {
		return fmt.Errorf("%w: statement %d has no id or no account", ErrFormat, len(p.statements))
	}
	p.statements = append(p.statements, *s)
	return nil
}

// head reads a child of Stmt that is not an entry.
func (p *parser) head(s *rails.Statement, child *xml.StartElement) error {
	start := p.doc.guard.start
	var wrong error
	switch child.Name.Local {
	case "Id":
		var id string
		if err := p.doc.read(child, &id); err != nil {
			return err
		}
		if s.ID != "" || len(id) > maxRef {
			return fmt.Errorf("%w: a statement with two ids or one of %d bytes", ErrFormat, len(id))
		}
		s.ID = strings.TrimSpace(id)
	case "Acct":
		var a xmlOwnAccount
		if err := p.doc.read(child, &a); err != nil {
			return err
		}
		if !s.Account.IsZero() || len(a.IBAN)+len(a.Other) != 1 {
			return fmt.Errorf("%w: a statement of no account or of more than one", ErrFormat)
		}
		s.Account, s.Currency = accountOf(first(a.IBAN...), first(a.Other...)), strings.TrimSpace(a.Ccy)
	case "FrToDt":
		var f xmlPeriod
		if err := p.doc.read(child, &f); err != nil {
			return err
		}
		if s.From, wrong = parseTime(f.From); wrong == nil {
			s.To, wrong = parseTime(f.To)
		}
	case "Bal":
		var b xmlBalance
		if err := p.doc.read(child, &b); err != nil {
			return err
		}
		wrong = balance(s, b)
	default:
		return p.doc.skip()
	}
	if wrong != nil {
		s.Defects = append(s.Defects, rails.Defect{Index: -1, Raw: p.excerpt(start), Reason: wrong.Error()})
	}
	return nil
}

// balance keeps the booked balances. PRCD is the closing balance of the day before, which some banks send for OPBD.
func balance(s *rails.Statement, b xmlBalance) error {
	into := &s.Opening
	switch strings.TrimSpace(b.Type) {
	case "OPBD":
	case "PRCD":
		if s.Opening != nil {
			return nil
		}
	case "CLBD":
		into = &s.Closing
	default:
		return nil
	}
	amount, err := one(b.Amt, "Amt")
	if err != nil {
		return err
	}
	value, err := amount.parse()
	if err != nil {
		return err
	}
	credit, err := side(b.Side)
	if err != nil {
		return err
	}
	*into = &rails.Balance{Amount: value, Debit: !credit}
	return nil
}

// excerpt returns the file's text from offset start to where we are, as much of it as a defect may keep.
func (p *parser) excerpt(start int64) string {
	raw := p.doc.src[start:p.doc.guard.in.InputOffset()]
	return strings.ToValidUTF8(string(raw[:min(len(raw), rails.MaxRaw)]), "")
}
