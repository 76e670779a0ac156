// Package iso20022 reads bank statements (camt.053) and writes payouts (pain.001) in the XML of ISO 20022.
//
//	statements, err := iso20022.ParseStatement(file)
//	file, err := iso20022.WritePayout(payout)
//
// What comes from a bank is outside bytes all the same: a file is bounded in every direction (see the constants), a
// document type is refused, and so is any element of another namespace outside the place that the standard keeps for
// extensions. A file that cannot be read as a whole is an error; an entry that cannot be taken at its word is a
// rails.Defect of its statement.
package iso20022

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
)

var (
	// ErrFormat: the file is not well-formed XML in UTF-8, or not built like a statement.
	ErrFormat = errors.New("iso20022: malformed file")
	// ErrVersion: the file is of a message or a version that is not read here.
	ErrVersion = errors.New("iso20022: unknown message version")
	// ErrLimit: the file is larger, deeper or longer than any honest one.
	ErrLimit = errors.New("iso20022: file exceeds a limit")
)

// The limits on a file that is read.
const (
	MaxFile       = 16 << 20 // bytes
	MaxElements   = 1 << 20
	MaxDepth      = 48
	MaxAttributes = 16 // of one element
	MaxStatements = 1000
	MaxEntries    = 50_000 // of all statements together, payments of batches counted one by one
)

// version says how a version of camt.053 writes what differs between them.
type version struct {
	codedStatus bool // <Sts><Cd>BOOK</Cd></Sts> rather than <Sts>BOOK</Sts>
}

const namespace = "urn:iso:std:iso:20022:tech:xsd:"

// versions lists what is read. 04 is what Swiss banks sent until 2024.
var versions = map[string]version{
	namespace + "camt.053.001.02": {},
	namespace + "camt.053.001.04": {},
	namespace + "camt.053.001.08": {codedStatus: true},
}

// extension is the element inside which the standard allows elements of other namespaces. It is not looked into.
const extension = "SplmtryData"

// guard passes the tokens of a file on while they keep within the limits.
type guard struct {
	in       *xml.Decoder
	space    string // the document's namespace, known from the first element on
	depth    int
	elements int
	outside  int   // depth of the extension element that we are in, 0 outside
	start    int64 // where the last token begins
}

// Token returns the next token, names resolved to namespaces.
func (g *guard) Token() (xml.Token, error) {
	g.start = g.in.InputOffset()
	tok, err := g.in.Token()
	if err != nil {
		return tok, err
	}
	switch t := tok.(type) {
	case xml.Directive:
		return nil, fmt.Errorf("%w: document types and other declarations are not allowed", ErrFormat)
	case xml.ProcInst:
		if t.Target != "xml" {
			return nil, fmt.Errorf("%w: processing instruction %.40q", ErrFormat, t.Target)
		}
	case xml.StartElement:
		if err := g.enter(t); err != nil {
			return nil, err // a token beside an error would be taken and the error forgotten
		}
	case xml.EndElement:
		if g.depth == g.outside {
			g.outside = 0
		}
		g.depth--
	}
	return tok, nil
}

func (g *guard) enter(t xml.StartElement) error {
	g.depth++
	g.elements++
	switch {
	case g.depth > MaxDepth:
		return fmt.Errorf("%w: elements nested deeper than %d", ErrLimit, MaxDepth)
	case g.elements > MaxElements:
		return fmt.Errorf("%w: more than %d elements", ErrLimit, MaxElements)
	case len(t.Attr) > MaxAttributes:
		return fmt.Errorf("%w: more than %d attributes", ErrLimit, MaxAttributes)
	}
	for i, a := range t.Attr {
		for _, b := range t.Attr[:i] {
			if a.Name == b.Name { // encoding/xml lets it pass and takes the last
				return fmt.Errorf("%w: attribute %.40q twice", ErrFormat, a.Name.Local)
			}
		}
	}
	if g.depth == 1 {
		g.space = t.Name.Space
	}
	if g.outside == 0 && t.Name.Space != g.space {
		return fmt.Errorf("%w: element %.60q of namespace %.100q", ErrFormat, t.Name.Local, t.Name.Space)
	}
	if g.outside == 0 && t.Name.Local == extension {
		g.outside = g.depth
	}
	return nil
}

// document walks a file under guard.
type document struct {
	src   []byte
	guard *guard
	dec   *xml.Decoder
}

func openDocument(file []byte) (*document, error) {
	if len(file) > MaxFile {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are read", ErrLimit, len(file), MaxFile)
	}
	src := bytes.TrimPrefix(file, []byte("\ufeff"))
	in := xml.NewDecoder(bytes.NewReader(src))
	in.CharsetReader = func(charset string, _ io.Reader) (io.Reader, error) {
		return nil, fmt.Errorf("%w: encoding %.40q, only UTF-8 is read", ErrFormat, charset)
	}
	g := &guard{in: in}
	return &document{src: src, guard: g, dec: xml.NewTokenDecoder(g)}, nil
}

// next returns the next child of the current element, or nil at its end. Text between the children must be blank.
func (d *document) next() (*xml.StartElement, error) {
	for {
		tok, err := d.dec.Token()
		if err != nil {
			return nil, malformed(err)
		}
		switch t := tok.(type) {
		case xml.StartElement:
			return &t, nil
		case xml.EndElement:
			return nil, nil
		case xml.CharData:
			if len(bytes.TrimSpace(t)) > 0 {
				return nil, fmt.Errorf("%w: text %.40q between elements", ErrFormat, t)
			}
		}
	}
}

// finish checks that nothing but blanks and comments follows.
func (d *document) finish() error {
	for {
		tok, err := d.dec.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return malformed(err)
		}
		switch t := tok.(type) {
		case xml.CharData:
			if len(bytes.TrimSpace(t)) > 0 {
				return fmt.Errorf("%w: text %.40q after the document", ErrFormat, t)
			}
		case xml.Comment:
		default:
			return fmt.Errorf("%w: something follows the document", ErrFormat)
		}
	}
}

func (d *document) read(start *xml.StartElement, into any) error {
	return malformed(d.dec.DecodeElement(into, start))
}

func (d *document) skip() error { return malformed(d.dec.Skip()) }

// malformed gives the errors of encoding/xml our name and leaves our own alone.
func malformed(err error) error {
	switch {
	case err == nil || errors.Is(err, ErrFormat) || errors.Is(err, ErrLimit) || errors.Is(err, ErrVersion):
		return err
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%w: it ends too early", ErrFormat)
	}
	return fmt.Errorf("%w: %s", ErrFormat, strings.TrimPrefix(err.Error(), "xml: "))
}
