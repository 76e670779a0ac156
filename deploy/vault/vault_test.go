package main

import (
	"bytes"
	"strings"
	"testing"
)

// What is missing is said before anything is opened.
func TestFlags(t *testing.T) {
	dir := t.TempDir()
	for name, args := range map[string][]string{
		"data":      {"-cert", "c", "-key", "k", "-client-ca", "a"},
		"cert":      {"-data", dir, "-key", "k", "-client-ca", "a"},
		"key":       {"-data", dir, "-cert", "c", "-client-ca", "a"},
		"client-ca": {"-data", dir, "-cert", "c", "-key", "k"},
		"no such":   {"-data", dir + "/none", "-cert", "c", "-key", "k", "-client-ca", "a"},
		"argument":  {"-data", dir, "-cert", "c", "-key", "k", "-client-ca", "a", "more"},
	} {
		var out bytes.Buffer
		if err := run(t.Context(), args, &out); err == nil || !strings.Contains(err.Error(), name) || out.Len() > 0 {
			t.Errorf("%s: error %v, output %q", name, err, &out)
		}
	}
}
