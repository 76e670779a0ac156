package export

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/diamante/gateway/compliance/audit"
)

// maxKeyFile bounds a file with a log's public key, in bytes.
const maxKeyFile = 4096

// VerifyFile verifies the package at path with the log's public key at keyPath, and writes in words what it proves.
// When it does not verify nothing is written and the error says where.
func VerifyFile(path, keyPath string, stdout io.Writer) error {
	report, err := verifyFile(path, keyPath)
	if err != nil {
		return err
	}
	m := report.Manifest
	for _, line := range [][2]string{
		{"package", fmt.Sprintf("verified, %d bytes, SHA-256 %s", report.Bytes, report.SHA256)},
		{"log", fmt.Sprintf("%s, signed at size %d, root %s", m.Origin, report.Size, report.Root)},
		{"range", fmt.Sprintf("from %s to before %s", m.From.Format(time.RFC3339Nano), m.To.Format(time.RFC3339Nano))},
		{"records", fmt.Sprintf("%d, indexes %d to %d without a gap, %d of them in the range, %d malformed", m.Records, m.First, m.Last, m.InRange, m.Malformed)},
		{"extends", fmt.Sprintf("the checkpoint of size %d, root %s", m.Older.Size, m.Older.Root)},
		{"export", fmt.Sprintf("record %d at %s, requested by %s: %q", report.Index, report.At.Format(time.RFC3339Nano), m.Request.Requester, m.Request.Purpose)},
		{"made by", m.Software},
	} {
		if _, err := fmt.Fprintf(stdout, "%-8s %s\n", line[0], line[1]); err != nil {
			return fmt.Errorf("export: %w", err)
		}
	}
	return nil
}

// VerifyFileJSON is VerifyFile that writes JSON: {"ok":true,"report":{...}}, or {"ok":false,"error":"...","fault":{...}}
// before it returns the error. A fault is there when the package is at fault, and not for a file that cannot be read.
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
	key, err := readKey(keyPath)
	if err != nil {
		return Report{}, err
	}
	f, err := os.Open(path)
	if err != nil {
		return Report{}, fmt.Errorf("export: %w", err)
	}
	defer f.Close() // it was only read
	info, err := f.Stat()
	if err != nil {
		return Report{}, fmt.Errorf("export: %w", err)
	}
	if !info.Mode().IsRegular() {
		return Report{}, fmt.Errorf("export: %s is not a file", path)
	}
	return Verify(f, info.Size(), key)
}

func readKey(path string) (audit.LogKey, error) {
	f, err := os.Open(path)
	if err != nil {
		return audit.LogKey{}, fmt.Errorf("export: %w", err)
	}
	defer f.Close() // it was only read
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return audit.LogKey{}, fmt.Errorf("export: %w", err)
	}
	if len(text) > maxKeyFile {
		return audit.LogKey{}, fmt.Errorf("%w: %s has more than %d bytes", audit.ErrLogKey, path, maxKeyFile)
	}
	return audit.ParseLogKey(string(text))
}
