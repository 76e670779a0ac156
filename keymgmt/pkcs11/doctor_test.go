package pkcs11

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	p11 "github.com/miekg/pkcs11"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/keytest"
)

// What is known of SoftHSM 2.6.1 is found out.
func TestDoctor(t *testing.T) {
	mine := keytest.Key(t, "doctor/mine")
	ring, _ := newRing(t, mine)
	cfg := ring.cfg
	must(t, ring.Close())
	profile, err := Doctor(t.Context(), cfg)
	must(t, err)
	text, err := json.MarshalIndent(profile, "", "  ")
	must(t, err)
	t.Logf("%s", text)
	var again Profile
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	must(t, d.Decode(&again))

	if profile.Format != ProfileFormat || profile.Token.Label != label || profile.Token.Serial == "" || profile.Library.Manufacturer != "SoftHSM" {
		t.Errorf("papers: %+v %+v", profile.Library, profile.Token)
	}
	checkMechanisms(t, profile.Mechanisms)
	checkAlgorithms(t, profile.Algorithms, cfg.MaxSessions)
	if s := profile.Sealing; !s.Works || s.IV != "caller" || s.Repeats || !s.Largest || s.BadText == "" {
		t.Errorf("sealing: %+v", s)
	}
	for _, w := range profile.Wrapping {
		works := w.Mechanism == "AES_KEY_WRAP_PAD" && w.Key != "ed25519"
		if w.Wraps != works || w.Unwraps != works || (w.Fault == "") != works {
			t.Errorf("wrapping: %+v", w)
		}
	}
	if len(profile.Wrapping) != len(wrapKinds())*len(wrapMechanisms) {
		t.Errorf("%d wraps", len(profile.Wrapping))
	}
	if s := profile.Sessions; s.Opened != doctorSessions || s.Fault != "" {
		t.Errorf("sessions: %+v", s)
	}
	if h := profile.Handles; h.Survives || !strings.Contains(h.Fault, "HANDLE_INVALID") {
		t.Errorf("handles: %+v", h)
	}
	if len(profile.Leftovers) != 1 || profile.Leftovers[0] != mine.String() {
		t.Errorf("leftovers: %v", profile.Leftovers)
	}
	onlyKey(t, cfg, mine)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// onlyKey makes sure that nothing is left in the token but the one key.
func onlyKey(t *testing.T, cfg Config, id keymgmt.KeyID) {
	t.Helper()
	ring := open(t, cfg)
	list, err := ring.List(t.Context())
	must(t, err)
	secrets, err := ring.ListSecrets(t.Context())
	must(t, err)
	if len(list) != 1 || list[0].Key != id || len(secrets) != 0 {
		t.Errorf("left in the token: %+v %+v", list, secrets)
	}
	mustSign(t, ring, id)
}

func checkMechanisms(t *testing.T, list []MechanismProfile) {
	t.Helper()
	found := map[string]MechanismProfile{}
	for _, m := range list {
		found[m.Name] = m
	}
	for name, flag := range map[string]string{"EDDSA": "sign", "ECDSA": "sign", "AES_GCM": "encrypt", "AES_KEY_WRAP_PAD": "wrap",
		"EC_EDWARDS_KEY_PAIR_GEN": "generate pair", "AES_KEY_GEN": "generate"} {
		if !strings.Contains(strings.Join(found[name].Flags, ","), flag) {
			t.Errorf("%s: %+v", name, found[name])
		}
	}
	if _, ok := found["AES_KEY_WRAP_KWP"]; ok {
		t.Error("SoftHSM has learnt KWP")
	}
}

func checkAlgorithms(t *testing.T, list []AlgorithmProfile, sessions int) {
	t.Helper()
	if len(list) != len(algorithms) {
		t.Fatalf("%d algorithms", len(list))
	}
	for i, a := range list {
		ecdsa := algorithms[i] != keymgmt.Ed25519
		if a.Algorithm != algorithms[i].String() || !a.Works || a.Fault != "" || a.Reports != "oid" || a.Point != "der" || a.Accepts[0] != "oid" {
			t.Errorf("%+v", a)
		}
		if a.Signatures != doctorSignatures || (a.HighS > 0) != ecdsa || a.HighS == doctorSignatures {
			t.Errorf("%s: %d of %d high", a.Algorithm, a.HighS, a.Signatures)
		}
		if want := map[bool]int{true: digestSize, false: keymgmt.MaxBody}[ecdsa]; a.MaxMessage != want {
			t.Errorf("%s: longest message %d", a.Algorithm, a.MaxMessage)
		}
		if len(a.Speeds) != 2 || a.Speeds[0].Callers != 1 || a.Speeds[1].Callers != sessions || a.Speeds[0].PerSecond == 0 || a.Speeds[1].PerSecond == 0 {
			t.Errorf("%s: speeds %+v", a.Algorithm, a.Speeds)
		}
	}
}

// A doctor who is called off takes his keys along.
func TestDoctorStopped(t *testing.T) {
	mine := keytest.Key(t, "mine")
	ring, _ := newRing(t, mine)
	cfg := ring.cfg
	must(t, ring.Close())
	ctx, cancel := context.WithCancel(t.Context())
	d := newPatient(cfg)
	var err error
	d.ring, err = Open(d.cfg)
	must(t, err)
	faults(d.ring, func(call string) error {
		if call == "C_SignInit" {
			cancel()
		}
		return nil
	})
	if err := d.algorithms(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	must(t, d.cleanUp(ctx))
	must(t, d.ring.Close())
	onlyKey(t, cfg, mine)
}

// What cannot be removed is named.
func TestDoctorLeavesWord(t *testing.T) {
	cfg, _ := newToken(t)
	d := newPatient(cfg)
	d.ring = open(t, d.cfg)
	must(t, d.sealing(t.Context()))
	failing(d.ring, "C_DestroyObject", 9, p11.CKR_ACTION_PROHIBITED)
	if err := d.cleanUp(t.Context()); err == nil || !strings.Contains(err.Error(), d.key("seal").String()) {
		t.Fatalf("%v", err)
	}
	must(t, d.ring.Ping(t.Context()))
}

// What a device cannot do is in the profile, and the rest goes on.
func TestDoctorOfPoorDevice(t *testing.T) {
	cfg, _ := newToken(t)
	d := newPatient(cfg)
	d.ring = open(t, d.cfg)
	must(t, d.ring.Ping(t.Context()))
	failing(d.ring, "C_GenerateKey", 99, p11.CKR_MECHANISM_INVALID)
	must(t, d.sealing(t.Context()))
	must(t, d.wrapping(t.Context()))
	if s := d.profile.Sealing; s.Works || !strings.Contains(s.Fault, "MECHANISM_INVALID") {
		t.Errorf("%+v", s)
	}
	for _, w := range d.profile.Wrapping {
		if w.Wraps || w.Fault == "" {
			t.Errorf("%+v", w)
		}
	}
	failing(d.ring, "C_GenerateKeyPair", 99, p11.CKR_DOMAIN_PARAMS_INVALID)
	must(t, d.algorithms(t.Context()))
	must(t, d.handles(t.Context()))
	for _, a := range d.profile.Algorithms {
		if a.Works || len(a.Accepts) != 0 || !strings.Contains(a.Fault, "DOMAIN_PARAMS_INVALID") {
			t.Errorf("%+v", a)
		}
	}
	faults(d.ring, func(string) error { return nil })
	must(t, d.cleanUp(t.Context()))
	if _, err := Doctor(t.Context(), Config{}); err == nil {
		t.Error("a doctor without a patient")
	}
}
