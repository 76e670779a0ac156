package export_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/compliance/export"
)

func write(t *testing.T, dir, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestVerifyFile(t *testing.T) {
	w := newWorld(t)
	w.events(t, 2)
	good, _ := w.build(t, w.start, now())
	bad := bytes.Clone(good)
	bad[len(bad)/2] ^= 1
	dir := t.TempDir()
	goodFile, badFile := write(t, dir, "good.tar", good), write(t, dir, "bad.tar", bad)
	key := write(t, dir, "log.pub", []byte(w.key.String()+"\n"))

	var out strings.Builder
	if err := export.VerifyFile(goodFile, key, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"verified", "example.test/log", "without a gap", `"a test"`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
	out.Reset()
	if err := export.VerifyFile(badFile, key, &out); !errors.Is(err, export.ErrInvalid) || out.Len() > 0 {
		t.Errorf("%v, %q", err, out.String())
	}
	for name, paths := range map[string][2]string{
		"no package": {filepath.Join(dir, "none"), key},
		"no key":     {goodFile, filepath.Join(dir, "none")},
	} {
		if err := export.VerifyFile(paths[0], paths[1], &out); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := export.VerifyFile(dir, key, &out); err == nil {
		t.Error("a folder verifies")
	}
	if err := export.VerifyFile(goodFile, goodFile, &out); !errors.Is(err, audit.ErrLogKey) {
		t.Errorf("a package is a key: %v", err)
	}
}

func TestVerifyFileJSON(t *testing.T) {
	w := newWorld(t)
	good, _ := w.build(t, w.start, now().Add(time.Second))
	dir := t.TempDir()
	key := write(t, dir, "log.pub", []byte(w.key.String()))
	type answer struct {
		OK     bool
		Report *export.Report
		Error  string
		Fault  *export.Fault
	}
	ask := func(path string) (a answer, err error) {
		var out bytes.Buffer
		err = export.VerifyFileJSON(path, key, &out)
		if jerr := json.Unmarshal(out.Bytes(), &a); jerr != nil {
			t.Fatalf("%v: %s", jerr, out.Bytes())
		}
		return a, err
	}
	if a, err := ask(write(t, dir, "good", good)); err != nil || !a.OK || a.Report == nil || a.Report.Bytes != int64(len(good)) || a.Fault != nil {
		t.Errorf("%+v, %v", a, err)
	}
	if a, err := ask(write(t, dir, "bad", good[:700])); err == nil || a.OK || a.Report != nil || a.Fault == nil || a.Error == "" {
		t.Errorf("%+v, %v", a, err)
	}
	if a, err := ask(filepath.Join(dir, "none")); err == nil || a.OK || a.Fault != nil || a.Error == "" {
		t.Errorf("%+v, %v", a, err)
	}
}
