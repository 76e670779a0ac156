package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/cobra"

	"github.com/diamante/gateway/cmd/internal/paper"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/policy"
	"github.com/diamante/gateway/keymgmt/signature"
)

const scalarSize = 32

var base64url = base64.RawURLEncoding.Strict()

// signOnPage shows a paper on a page of this machine and takes what the officer's passkey makes of it.
func (p *pen) signOnPage(c *cobra.Command, f *policy.File, w paper.Paper) (sig []byte, k *keymgmt.Passkey, err error) {
	at := slices.IndexFunc(f.Officers, func(o policy.Officer) bool { return o.Name == p.officer })
	if at < 0 || f.Officers[at].Passkey == nil {
		return nil, nil, fmt.Errorf("%q has no passkey in policy %d", p.officer, f.Version)
	}
	o := f.Officers[at]
	message, err := w.Message()
	if err != nil {
		return nil, nil, err
	}
	listeners, port, err := listenLocal(p.port)
	if err != nil {
		return nil, nil, err
	}
	first := ask{Title: "Sign this?", Text: string(message), Action: "get", RP: o.Passkey.RP, Challenge: challenge(message), Credential: o.Passkey.Credential}
	shown := newPage(port, first, func(t told) (*ask, error) {
		sig, k, err = t.assertion(o.Public.PublicKey)
		return nil, err
	})
	if !slices.Contains(f.PasskeyOrigins, shown.origin) {
		err := fmt.Errorf("passkey_origins of policy %d has no %s", f.Version, shown.origin)
		for _, l := range listeners {
			err = errors.Join(err, l.Close())
		}
		return nil, nil, err
	}
	err = shown.serve(c.Context(), listeners, func(url string) error {
		_, err := fmt.Fprintf(c.ErrOrStderr(), "open %s in your browser\n", url)
		return err
	})
	return sig, k, err
}

func challenge(message []byte) string {
	sum := sha256.Sum256(message)
	return base64url.EncodeToString(sum[:])
}

// assertion turns what an authenticator made into the form that the signer takes, and verifies it. An ECDSA signature can be
// turned into a second valid one by anybody: only that with the low s is handed on.
func (t told) assertion(public keymgmt.PublicKey) ([]byte, *keymgmt.Passkey, error) {
	authenticator, err1 := base64url.DecodeString(t.Authenticator)
	client, err2 := base64url.DecodeString(t.Client)
	der, err3 := base64url.DecodeString(t.Signature)
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, nil, fmt.Errorf("passkey: %w", err)
	}
	rs, err := fromDER(der)
	if err != nil {
		return nil, nil, err
	}
	hash := sha256.Sum256(client)
	digest := sha256.Sum256(slices.Concat(authenticator, hash[:]))
	verified, err := signature.FromECDSA(public, digest[:], rs)
	if err != nil {
		return nil, nil, fmt.Errorf("passkey: it is not the key that the policy has: %w", err)
	}
	return verified.Bytes(), &keymgmt.Passkey{Authenticator: authenticator, Client: client}, nil
}

// fromDER reads an ECDSA signature in its one DER encoding: two positive numbers of at most 32 bytes, and nothing else.
func fromDER(der []byte) ([]byte, error) {
	bad := errors.New("passkey: the signature is not in DER")
	var v struct{ R, S *big.Int }
	if rest, err := asn1.Unmarshal(der, &v); err != nil || len(rest) > 0 {
		return nil, bad
	}
	again, err := asn1.Marshal(v)
	n := elliptic.P256().Params().N
	if err != nil || !bytes.Equal(again, der) || v.R.Sign() <= 0 || v.S.Sign() <= 0 || v.R.Cmp(n) >= 0 || v.S.Cmp(n) >= 0 {
		return nil, bad
	}
	return slices.Concat(v.R.FillBytes(make([]byte, scalarSize)), v.S.FillBytes(make([]byte, scalarSize))), nil
}

// enrolment is an officer's way into the roster.
type enrolment struct {
	officer policy.Officer
	rp      string
	port    uint16
}

func officerEnrolCommand() *cobra.Command {
	var e enrolment
	var passkey bool
	c := &cobra.Command{
		Use: "enrol --passkey --officer NAME --group GROUP...", Args: cobra.NoArgs,
		Short: "Make a passkey on a page of this machine, try it, and print the officer's entry for the policy",
		RunE: func(c *cobra.Command, _ []string) error {
			if !passkey || e.officer.Name == "" || len(e.officer.Groups) == 0 {
				return errors.New("--passkey, --officer and --group are required; a key file is made with keygen")
			}
			return e.run(c)
		},
	}
	f := c.Flags()
	f.BoolVar(&passkey, "passkey", false, "a passkey; the only kind there is so far")
	f.StringVar(&e.officer.Name, "officer", "", "the officer's name in the policy")
	f.StringArrayVar(&e.officer.Groups, "group", nil, "a group that he approves for")
	f.StringVar(&e.rp, "rp", "localhost", "the relying party: the domain of the page")
	f.Uint16Var(&e.port, "port", passkeyPort, "of the page; the policy must name its origin")
	return c
}

// run has a passkey made and then used once, as the signer will check it.
func (e *enrolment) run(c *cobra.Command) error {
	listeners, port, err := listenLocal(e.port)
	if err != nil {
		return err
	}
	proof := keymgmt.Consent{Officer: e.officer.Name, Nonce: keymgmt.NewNonce()}
	first := ask{Title: "Make a passkey?", Text: "A passkey for officer " + e.officer.Name + "\n", Action: "create", RP: e.rp, Challenge: challenge([]byte(proof.Nonce)), User: e.officer.Name}
	var shown *page
	made := false
	shown = newPage(port, first, func(t told) (*ask, error) {
		if made {
			if proof.Signature, proof.Passkey, err = t.assertion(e.officer.Public.PublicKey); err != nil {
				return nil, err
			}
			return nil, policy.CheckEnrolment(e.officer, proof, shown.origin)
		}
		made = true
		if e.officer.Public, err = t.public(); err != nil {
			return nil, err
		}
		e.officer.Passkey = &policy.Passkey{RP: e.rp, Credential: t.Credential}
		text := policy.EnrolmentText(e.officer, proof)
		return &ask{Title: "Try the passkey", Text: string(text), Action: "get", RP: e.rp, Challenge: challenge(text), Credential: t.Credential}, nil
	})
	err = shown.serve(c.Context(), listeners, func(url string) error {
		_, err := fmt.Fprintf(c.ErrOrStderr(), "open %s in your browser\n", url)
		return err
	})
	if err != nil {
		return err
	}
	entry, err := toml.Marshal(struct {
		Origins  []string         `toml:"passkey_origins"`
		Officers []policy.Officer `toml:"officer"`
	}{[]string{shown.origin}, []policy.Officer{e.officer}})
	if err != nil {
		return err
	}
	_, err = c.OutOrStdout().Write(entry)
	return err
}

// public reads the public key of a new passkey.
func (t told) public() (policy.PublicKey, error) {
	der, err := base64url.DecodeString(t.Public)
	if err != nil {
		return policy.PublicKey{}, fmt.Errorf("passkey: %w", err)
	}
	parsed, err := x509.ParsePKIXPublicKey(der)
	key, ok := parsed.(*ecdsa.PublicKey)
	if err != nil || !ok || key.Curve != elliptic.P256() {
		return policy.PublicKey{}, errors.New("passkey: it is no P-256 key")
	}
	point, err := key.Bytes()
	if err != nil {
		return policy.PublicKey{}, fmt.Errorf("passkey: %w", err)
	}
	compressed := append([]byte{2 + point[2*scalarSize]&1}, point[1:1+scalarSize]...)
	public, err := keymgmt.NewPublicKey(keymgmt.P256, compressed)
	return policy.PublicKey{PublicKey: public}, err
}

// unmarshalStrict reads one JSON value without unknown fields.
func unmarshalStrict(raw []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if dec.More() {
		return errors.New("something follows the JSON value")
	}
	return nil
}
