package keymgmt_test

import (
	"errors"
	"testing"

	"github.com/diamante/gateway/keymgmt"
)

func TestHomeText(t *testing.T) {
	for h := keymgmt.Hardware; h <= keymgmt.SoftwareSealed; h++ {
		b, err := h.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var again keymgmt.Home
		if err := again.UnmarshalText(b); err != nil || again != h || h.String() != string(b) {
			t.Errorf("%s reads as %s, %v", b, again, err)
		}
	}
	if _, err := keymgmt.Home(0).MarshalText(); !errors.Is(err, keymgmt.ErrMalformed) {
		t.Errorf("no home: %v", err)
	}
	for _, text := range []string{"", "Hardware", "hsm"} {
		if err := new(keymgmt.Home).UnmarshalText([]byte(text)); !errors.Is(err, keymgmt.ErrMalformed) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
