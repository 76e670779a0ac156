package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/diamante/gateway/keymgmt/pkcs11"
)

// doctor exercises the device and writes down how it behaves: for a device before it is put to use.
func doctor(ctx context.Context, cfg *Config, o options, stdout io.Writer) error {
	if err := cfg.PKCS11.environment(); err != nil {
		return err
	}
	if _, err := os.Lstat(o.out); o.out != "" && err == nil {
		return fmt.Errorf("%s: %w; a profile is compared with the one before it, not put in its place", o.out, fs.ErrExist)
	}
	if !o.yes {
		_, err := fmt.Fprintf(stdout, "would make keys below doctor/ in token %q and remove them, open as many sessions as it has, and measure it at full load\n%s\n",
			cfg.PKCS11.TokenLabel, dryRun)
		return err
	}
	profile, err := pkcs11.Doctor(ctx, cfg.PKCS11.keyring(false))
	if profile.Format == 0 { // it was not reached
		return err
	}
	if o.out != "" {
		err = errors.Join(err, writeProfile(o.out, profile))
	}
	if o.json {
		enc := json.NewEncoder(stdout)
		enc.SetIndent("", "  ")
		return errors.Join(err, enc.Encode(profile))
	}
	return errors.Join(err, printProfile(stdout, profile))
}

// writeProfile makes a new file.
func writeProfile(path string, p pkcs11.Profile) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	enc := json.NewEncoder(f)
	enc.SetIndent("", "  ")
	return errors.Join(enc.Encode(p), f.Sync())
}

// printProfile says the same in words. What the device says of itself is quoted, so that it cannot play tricks with a
// terminal.
func printProfile(out io.Writer, p pkcs11.Profile) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	say := func(what, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", what, fmt.Sprintf(format, args...)) }
	say("library", "%q %q, version %s, Cryptoki %s", p.Library.Manufacturer, p.Library.Description, p.Library.Version, p.Library.Cryptoki)
	say("token", "%q, serial %q, model %q of %q, hardware %s, firmware %s", p.Token.Label, p.Token.Serial, p.Token.Model, p.Token.Manufacturer,
		p.Token.Hardware, p.Token.Firmware)
	say("mechanisms", "%d", len(p.Mechanisms))
	for _, a := range p.Algorithms {
		if !a.Works {
			say(a.Algorithm, "does not work: %q", a.Fault)
			continue
		}
		say(a.Algorithm, "parameters as %s, reported as %s, point %s, messages to %d bytes, %d of %d signatures with a high s",
			strings.Join(a.Accepts, " and "), a.Reports, a.Point, a.MaxMessage, a.HighS, a.Signatures)
		for _, s := range a.Speeds {
			say("", "%d signatures a second for %d callers", s.PerSecond, s.Callers)
		}
	}
	if s := p.Sealing; !s.Works {
		say("sealing", "does not work: %q", s.Fault)
	} else {
		say("sealing", "AES-256-GCM, IV by the %s, largest text %s, a text that was tampered with: %q", s.IV, yesNo(s.Largest), s.BadText)
		if s.Repeats {
			say("", "AN IV CAME TWICE: seal nothing with this device")
		}
	}
	for _, x := range p.Wrapping {
		say("wrapping "+x.Key, "%s: out %s, back %s %s", x.Mechanism, yesNo(x.Wraps), yesNo(x.Unwraps), quoted(x.Fault))
	}
	say("sessions", "%d opened at once; the token says %s, %s of them for writing %s", p.Sessions.Opened, bound(p.Sessions.Max), bound(p.Sessions.MaxRW), quoted(p.Sessions.Fault))
	say("handles", "mean the same key after a new login: %s %s", yesNo(p.Handles.Survives), quoted(p.Handles.Fault))
	for _, label := range p.Leftovers {
		say("left over", "%q, of a run that was interrupted: remove it", label)
	}
	return w.Flush()
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func quoted(s string) string {
	if s == "" {
		return ""
	}
	return fmt.Sprintf("(%q)", s)
}

func bound(n uint) string {
	if n == 0 {
		return "no limit"
	}
	return fmt.Sprint(n)
}
