package boot

import (
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strings"
)

// secretWords are parts of attribute names whose values never reach a log.
var secretWords = []string{"pin", "secret", "password", "token", "seed", "private", "authorization", "cookie"}

// secretShapes are what secrets look like wherever they turn up, as in the text of an error: the private keys of the
// ledger and of TLS, signed tokens, and passwords in connection strings.
var secretShapes = []*regexp.Regexp{
	regexp.MustCompile(`\bS[A-Z2-7]{55}\b`),
	regexp.MustCompile(`(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*`),
	regexp.MustCompile(`\beyJ[\w-]{4,}\.[\w-]{4,}\.[\w-]{4,}`),
	regexp.MustCompile(`://[^\s/:@]*:[^\s/@]+@`),
	regexp.MustCompile(`(?i)\bpassword\s*=\s*('[^']*'|\S+)`),
	regexp.MustCompile(`(?i)\bbearer [\w.~+/=-]{8,}`),
}

const redacted = "redacted"

// Logger writes JSON lines to w, with the program's name. Attributes whose names say that they hold a secret are
// blanked, and so is text that looks like one: the last guard, not the first.
func Logger(w io.Writer, program string) *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{ReplaceAttr: redact})).With("program", program)
}

func redact(_ []string, a slog.Attr) slog.Attr {
	name := strings.ToLower(a.Key)
	for _, word := range secretWords {
		if name == word || strings.HasSuffix(name, "_"+word) || strings.HasSuffix(name, "-"+word) {
			return slog.String(a.Key, redacted)
		}
	}
	switch a.Value.Kind() {
	case slog.KindString:
		return slog.String(a.Key, scrub(a.Value.String()))
	case slog.KindAny:
		switch v := a.Value.Any().(type) {
		case *slog.Source, nil:
			return a
		case error:
			return slog.String(a.Key, scrub(v.Error()))
		case fmt.Stringer:
			return slog.String(a.Key, scrub(v.String()))
		case []byte: // would be base64, in which no shape is seen
			return slog.String(a.Key, fmt.Sprintf("%d bytes", len(v)))
		case []string:
			clean := make([]string, len(v))
			for i, s := range v {
				clean[i] = scrub(s)
			}
			return slog.Any(a.Key, clean)
		}
	}
	return a
}

func scrub(s string) string {
	for _, shape := range secretShapes {
		s = shape.ReplaceAllString(s, redacted)
	}
	return s
}
