package evidence

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/diamante/gateway/compliance/audit"
)

// maxKeyFile bounds a file with a log's public key, in bytes.
const maxKeyFile = 4096

// IsBundle reports whether the file at path begins as a bundle does, and not as a package of compliance/export.
func IsBundle(path string) (bool, error) {
	head, err := readFile(path, 0)
	return string(head) == "{", err
}

// VerifyFile verifies the bundle at path with the log's public key at keyPath, and writes in words what it proves. When it
// does not verify nothing is written and the error says where.
func VerifyFile(path, keyPath string, stdout io.Writer) error {
	report, err := verifyFile(path, keyPath)
	if err != nil {
		return err
	}
	for _, line := range report.Lines() {
		if _, err := fmt.Fprintln(stdout, line); err != nil {
			return fmt.Errorf("evidence: %w", err)
		}
	}
	return nil
}

// VerifyFileJSON is VerifyFile that writes JSON: {"ok":true,"report":{...}}, or {"ok":false,"error":"...","fault":{...}}
// before it returns the error. A fault is there when the bundle is at fault, and not for a file that cannot be read.
func VerifyFileJSON(path, keyPath string, stdout io.Writer) error {
	report, err := verifyFile(path, keyPath)
	out := struct {
		OK     bool    `json:"ok"`
		Report *Report `json:"report,omitempty"`
		Error  string  `json:"error,omitempty"`
		Fault  *Fault  `json:"fault,omitempty"`
	}{OK: err == nil}
	if err == nil {
		out.Report = &report
	} else {
		out.Error = err.Error()
		errors.As(err, &out.Fault)
	}
	enc := json.NewEncoder(stdout)
	enc.SetIndent("", "  ")
	return errors.Join(err, enc.Encode(out))
}

func verifyFile(path, keyPath string) (Report, error) {
	text, err := readFile(keyPath, maxKeyFile)
	if err != nil {
		return Report{}, err
	}
	key, err := audit.ParseLogKey(string(text))
	if err != nil {
		return Report{}, err
	}
	file, err := readFile(path, MaxBundle)
	if err != nil {
		return Report{}, err
	}
	return Verify(file, key)
}

// readFile reads a file of at most so many bytes, and one more of a longer one, which whoever asked then refuses.
func readFile(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	defer f.Close() // it was only read
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	return text, nil
}
