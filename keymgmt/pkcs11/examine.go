package pkcs11

import (
	"bytes"
	"context"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"math/big"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	p11 "github.com/miekg/pkcs11"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/pkcs11/internal/relay"
)

// paramNames are the forms of CKA_EC_PARAMS, in the order of curve.params.
var paramNames = []string{"oid", "name"}

// messageSizes are tried for Ed25519, longest first; some devices take no more than 16000 bytes.
var messageSizes = []int{keymgmt.MaxBody, 32 << 10, 16000, 8 << 10, 1 << 10, digestSize}

func (d *patient) algorithms(ctx context.Context) error {
	for _, a := range []keymgmt.Algorithm{keymgmt.Ed25519, keymgmt.Secp256k1, keymgmt.P256} {
		p := AlgorithmProfile{Algorithm: a.String(), Accepts: []string{}, Speeds: []Speed{}}
		var id keymgmt.KeyID
		for i, params := range curves[a].params {
			form := d.will(a.String() + "-" + paramNames[i])
			t := pairTemplate(form, a, false)
			t.params = [][]byte{params}
			err := d.ring.make(ctx, form, func(_ *epoch, s session) error { return d.ring.lib.generate(s, t) })
			if err != nil {
				p.Fault = fault(err)
				if err := d.recover(ctx); err != nil {
					return err
				}
				continue
			}
			if id.IsZero() {
				id = form
			}
			p.Accepts = append(p.Accepts, paramNames[i])
		}
		if !id.IsZero() {
			p.Fault = fault(d.algorithm(ctx, id, &p))
			p.Works = p.Fault == ""
		}
		d.profile.Algorithms = append(d.profile.Algorithms, p)
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// algorithm examines a key that was made.
func (d *patient) algorithm(ctx context.Context, id keymgmt.KeyID, p *AlgorithmProfile) error {
	public, err := d.ring.Public(ctx, id)
	if err != nil {
		return err
	}
	if err := d.encodings(ctx, id, public, p); err != nil {
		return err
	}
	for n := range doctorSignatures {
		digest := sha256.Sum256([]byte{byte(n)})
		raw, err := d.ring.SignSpent(ctx, id, relay.New([][]byte{digest[:]}))
		if err != nil {
			return err
		}
		if _, err := relay.Finish(public, digest[:], raw[0]); err != nil {
			return err
		}
		p.Signatures++
		if isHigh(public.Algorithm(), raw[0]) {
			p.HighS++
		}
	}
	p.MaxMessage = digestSize
	if public.Algorithm() == keymgmt.Ed25519 {
		p.MaxMessage = d.longest(ctx, id)
	}
	for _, callers := range slices.Compact([]int{1, d.cfg.MaxSessions}) {
		p.Speeds = append(p.Speeds, d.speed(ctx, id, callers))
	}
	return nil
}

// encodings looks at the public object as the device gives it.
func (d *patient) encodings(ctx context.Context, id keymgmt.KeyID, public keymgmt.PublicKey, p *AlgorithmProfile) error {
	_, err := with(ctx, d.ring, func(_ *epoch, s session) (struct{}, error) {
		found, err := d.ring.lib.search(s, labelled(p11.CKO_PUBLIC_KEY, id.String()), 1)
		if err != nil || len(found) == 0 {
			return struct{}{}, errors.Join(err, errIncomplete)
		}
		values, err := d.ring.lib.attributes(s, found[0], p11.CKA_EC_PARAMS, p11.CKA_EC_POINT)
		if err != nil {
			return struct{}{}, err
		}
		c := curves[public.Algorithm()]
		if at := slices.IndexFunc(c.params, func(b []byte) bool { return bytes.Equal(b, values[0]) }); at >= 0 {
			p.Reports = paramNames[at]
		}
		p.Point = "der"
		if len(values[1]) == c.point {
			p.Point = "raw"
		}
		return struct{}{}, nil
	})
	return err
}

func isHigh(a keymgmt.Algorithm, raw []byte) bool {
	var order *big.Int
	switch a {
	case keymgmt.Secp256k1:
		order = secp256k1.Params().N
	case keymgmt.P256:
		order = elliptic.P256().Params().N
	default:
		return false
	}
	return new(big.Int).SetBytes(raw[len(raw)/2:]).Cmp(new(big.Int).Rsh(order, 1)) > 0
}

// longest finds the longest message that is signed.
func (d *patient) longest(ctx context.Context, id keymgmt.KeyID) int {
	for _, size := range messageSizes {
		if _, err := d.ring.SignSpent(ctx, id, relay.New([][]byte{make([]byte, size)})); err == nil {
			return size
		}
		if d.recover(ctx) != nil {
			break
		}
	}
	return 0
}

// recover waits for a device that an examination took down: some answer what they cannot do as if they had died, and
// then the keyring stays away from them for a while.
func (d *patient) recover(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*maxPause)
	defer cancel()
	for {
		err := d.ring.Ping(ctx)
		if err == nil || !errors.Is(err, keymgmt.ErrUnavailable) {
			return err
		}
		if err := pause(ctx, minPause); err != nil {
			return err
		}
	}
}

// speed counts signatures of the device alone, not verified.
func (d *patient) speed(ctx context.Context, id keymgmt.KeyID, callers int) Speed {
	message := relay.New([][]byte{make([]byte, digestSize)})
	var made atomic.Int64
	var wg sync.WaitGroup
	began := time.Now()
	for range callers {
		wg.Go(func() {
			for time.Since(began) < doctorSpell && ctx.Err() == nil {
				if _, err := d.ring.SignSpent(ctx, id, message); err != nil {
					return
				}
				made.Add(1)
			}
		})
	}
	wg.Wait()
	return Speed{Callers: callers, PerSecond: made.Load() * int64(time.Second) / int64(max(time.Since(began), 1))}
}

func (d *patient) sealing(ctx context.Context) error {
	id := d.will("seal")
	p := SealingProfile{}
	err := d.ring.GenerateSecret(ctx, id, Sealing)
	seen := map[string]bool{}
	var last []byte
	for range doctorTexts {
		if err != nil {
			break
		}
		if last, err = d.ring.Seal(ctx, id, []byte(doctorFolder), nil); err == nil {
			iv := string(last[1 : 1+ivSize])
			p.Repeats = p.Repeats || seen[iv]
			seen[iv] = true
		}
	}
	if err == nil {
		p.IV, err = d.chooser(ctx, id)
	}
	p.Works, p.Fault = err == nil, fault(err)
	if p.Works {
		_, err := d.ring.Seal(ctx, id, make([]byte, MaxPlaintext), make([]byte, MaxAAD))
		p.Largest = err == nil
		last[len(last)-1] ^= 1
		_, err = d.ring.Open(ctx, id, last, nil)
		p.BadText = fault(err)
	}
	d.profile.Sealing = p
	return nil
}

// chooser says whose IV was used.
func (d *patient) chooser(ctx context.Context, id keymgmt.KeyID) (string, error) {
	if d.ring.deviceIV.Load() {
		return "device", nil
	}
	return with(ctx, d.ring, func(e *epoch, s session) (string, error) {
		found, err := d.ring.findFor(e, s, wanted{id, Sealing})
		if err != nil {
			return "", err
		}
		iv := make([]byte, ivSize)
		_, _ = rand.Read(iv) // never fails
		used, _, err := d.ring.lib.encrypt(s, found.private, gcm{iv, nil}, []byte(doctorFolder))
		if err != nil {
			return "", err
		}
		if !bytes.Equal(used, iv) {
			return "device", nil
		}
		return "caller", nil
	})
}

// aes256 is the kind of a sealing key.
const aes256 = "aes256"

// wrapKinds are the kinds of keys that could be wrapped.
func wrapKinds() []string {
	return []string{keymgmt.Ed25519.String(), keymgmt.Secp256k1.String(), keymgmt.P256.String(), aes256}
}

func (d *patient) wrapping(ctx context.Context) error {
	d.profile.Wrapping = []WrapProfile{}
	kek := d.will("kek")
	kekFault := d.ring.GenerateSecret(ctx, kek, Wrapping)
	for _, kind := range wrapKinds() {
		id := d.will("out-" + kind)
		public, err := d.wrappable(ctx, id, kind)
		for _, m := range wrapMechanisms {
			p := WrapProfile{Key: kind, Mechanism: m.name, Fault: fault(errors.Join(kekFault, err))}
			if p.Fault == "" {
				d.wrapOne(ctx, &p, Wrapped{Key: id, Wrapping: kek, Mechanism: m.name, Public: public})
			}
			if err := d.recover(ctx); err != nil {
				return err
			}
			d.profile.Wrapping = append(d.profile.Wrapping, p)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// wrappable makes a key of the kind.
func (d *patient) wrappable(ctx context.Context, id keymgmt.KeyID, kind string) (keymgmt.PublicKey, error) {
	for a := range curves {
		if a.String() == kind {
			return d.ring.GenerateWrappable(ctx, id, a)
		}
	}
	return keymgmt.PublicKey{}, d.ring.GenerateSecret(ctx, id, Sealing)
}

// wrapOne takes a key out by one mechanism, and brings it back.
func (d *patient) wrapOne(ctx context.Context, p *WrapProfile, w Wrapped) {
	at := slices.IndexFunc(wrapMechanisms, func(m wrapMechanism) bool { return m.name == w.Mechanism })
	use := Signing
	if p.Key == aes256 {
		use = Sealing
	}
	_, err := with(ctx, d.ring, func(e *epoch, s session) (_ struct{}, err error) {
		kek, err := d.ring.findFor(e, s, wanted{w.Wrapping, Wrapping})
		if err != nil {
			return struct{}{}, err
		}
		found, err := d.ring.findFor(e, s, wanted{w.Key, use})
		if err != nil {
			return struct{}{}, err
		}
		if use == Sealing {
			if w.Proof, err = d.ring.seal(s, found, proven, nil); err != nil {
				return struct{}{}, err
			}
		}
		w.Bytes, err = d.ring.lib.wrapBy(s, wrapMechanisms[at].code, kek.private, found.private)
		return struct{}{}, err
	})
	p.Wraps = err == nil
	if err == nil {
		back := d.will(strings.Replace(w.Key.String(), d.folder+"/out-", "back-", 1))
		_, err = d.ring.Unwrap(ctx, w, back)
		p.Unwraps = err == nil
		if err == nil {
			err = d.ring.Destroy(ctx, back) // the next mechanism wants the name
		}
	}
	p.Fault = fault(err)
}

// sessions opens as many as it may, and closes them again.
func (d *patient) sessions(ctx context.Context) error {
	_, err := with(ctx, d.ring, func(e *epoch, _ session) (struct{}, error) {
		var open []session
		for len(open) < doctorSessions && ctx.Err() == nil {
			s, err := d.ring.lib.openSession(e.slot, 0)
			if err != nil {
				d.profile.Sessions.Fault = fault(err)
				break
			}
			open = append(open, s)
		}
		d.profile.Sessions.Opened = len(open)
		for _, s := range open {
			d.ring.lib.closeSession(s)
		}
		return struct{}{}, nil
	})
	return err
}

// handles uses a handle beyond the login it is from, as no keyring should.
func (d *patient) handles(ctx context.Context) error {
	id := d.will("handle")
	var public keymgmt.PublicKey
	err := errIncomplete
	for a := range curves { // any that works
		if public, err = d.ring.Generate(ctx, id, a); err == nil {
			break
		}
	}
	if err != nil {
		d.profile.Handles.Fault = fault(err)
		return nil
	}
	type held struct {
		epoch *epoch
		key   key
	}
	stale, err := with(ctx, d.ring, func(e *epoch, s session) (held, error) {
		found, err := d.ring.find(e, s, id)
		return held{e, found}, err
	})
	if err != nil {
		return err
	}
	if err := d.ring.renew(stale.epoch); err != nil {
		return answer(err)
	}
	d.profile.Handles, err = with(ctx, d.ring, func(e *epoch, _ session) (HandleProfile, error) {
		return d.stale(e, stale.key, public)
	})
	return err
}

// stale signs with a session of its own, and an answer to it is none to the keyring.
func (d *patient) stale(e *epoch, k key, public keymgmt.PublicKey) (p HandleProfile, err error) {
	digest := make([]byte, digestSize)
	s, err := d.ring.lib.openSession(e.slot, 0)
	if err != nil {
		return p, err
	}
	defer d.ring.lib.closeSession(s)
	raw, failed := d.ring.lib.sign(s, k, digest)
	if failed == nil {
		_, failed = relay.Finish(public, digest, raw)
	}
	return HandleProfile{Survives: failed == nil, Fault: fault(failed)}, nil
}
