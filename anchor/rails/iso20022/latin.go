package iso20022

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/diamante/gateway/anchor/rails"
)

// Lengths that the standard allows, in characters.
const (
	maxID         = 35
	maxName       = 140
	maxRemittance = 140
)

// plain is the Latin set of SWIFT beside letters and digits.
const plain = "/-?:().,'+ "

// replacements says how the letters of European languages are written without their accents, and what the customary
// stand-ins of a few signs are.
var replacements = accents(map[rune]string{
	'ß': "ss", 'ẞ': "SS", 'Æ': "AE", 'æ': "ae", 'Œ': "OE", 'œ': "oe", 'Þ': "TH", 'þ': "th", 'Ĳ': "IJ", 'ĳ': "ij",
	'&': "+", '_': "-", '–': "-", '—': "-", '’': "'", '‘': "'", '`': "'", '´': "'", '\t': " ", '\n': " ", '\r': " ", '\u00a0': " ",
})

// accents adds the letters that lose an accent: each group is the plain letter and what becomes it.
func accents(to map[rune]string) map[rune]string {
	for _, group := range []string{
		"AÀÁÂÃÄÅĀĂĄ", "aàáâãäåāăą", "CÇĆĈĊČ", "cçćĉċč", "DÐĎĐ", "dðďđ", "EÈÉÊËĒĔĖĘĚ", "eèéêëēĕėęě", "GĜĞĠĢ", "gĝğġģ", "HĤĦ", "hĥħ",
		"IÌÍÎÏĨĪĬĮİ", "iìíîïĩīĭįı", "JĴ", "jĵ", "KĶ", "kķĸ", "LĹĻĽĿŁ", "lĺļľŀł", "NÑŃŅŇŊ", "nñńņňŋ", "OÒÓÔÕÖØŌŎŐ", "oòóôõöøōŏő",
		"RŔŖŘ", "rŕŗř", "SŚŜŞŠȘ", "sśŝşšș", "TŢŤŦȚ", "tţťŧț", "UÙÚÛÜŨŪŬŮŰŲ", "uùúûüũūŭůűų", "WŴ", "wŵ", "YÝŶŸ", "yýÿŷ", "ZŹŻŽ", "zźżž",
	} {
		for _, r := range group[1:] {
			to[r] = group[:1]
		}
	}
	return to
}

func letterOrDigit(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
}

// latin brings a text into the Latin set: accents are dropped, what has no stand-in becomes a point, blanks are single.
func latin(s string) string {
	var out strings.Builder
	for _, r := range s {
		with, known := replacements[r]
		switch {
		case letterOrDigit(r) || strings.ContainsRune(plain, r):
			out.WriteRune(r)
		case known:
			out.WriteString(with)
		default:
			out.WriteByte('.')
		}
	}
	return strings.Join(strings.Fields(out.String()), " ")
}

// identifier checks an id that must come back from the bank as it is: the Latin set, no slash at an end, no two in a row.
func identifier(s string) error {
	ok := s != "" && len(s) <= maxID && s == latin(s) && !strings.HasPrefix(s, "/") && !strings.HasSuffix(s, "/") &&
		!strings.Contains(s, "//") && s != notProvided
	if !ok {
		return fmt.Errorf("%w: id %.60q: need 1 to %d characters of SWIFT's Latin set, no slash first, last or twice", rails.ErrInvalid, s, maxID)
	}
	return nil
}

func name(s string) (string, error) {
	out := latin(s)
	if strings.IndexFunc(out, letterOrDigit) < 0 || utf8.RuneCountInString(out) > maxName {
		return "", fmt.Errorf("%w: name %.200q: need 1 to %d characters, some of them Latin letters", rails.ErrInvalid, s, maxName)
	}
	return out, nil
}

func remittance(s string) (string, error) {
	out := latin(s)
	if len(out) > maxRemittance {
		return "", fmt.Errorf("%w: remittance text of %d characters, at most %d", rails.ErrInvalid, len(out), maxRemittance)
	}
	return out, nil
}
