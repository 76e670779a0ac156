package pkcs11

import (
	"context"
	"fmt"
	"slices"

	p11 "github.com/miekg/pkcs11"
)

// mechanismNames are those that a keyring uses, and the neighbours that an operator would ask for.
var mechanismNames = map[uint]string{
	ckmECEdwardsKeyPairGen: "EC_EDWARDS_KEY_PAIR_GEN", ckmEdDSA: "EDDSA",
	p11.CKM_EC_KEY_PAIR_GEN: "EC_KEY_PAIR_GEN", p11.CKM_ECDSA: "ECDSA", p11.CKM_ECDSA_SHA256: "ECDSA_SHA256",
	p11.CKM_ECDH1_DERIVE: "ECDH1_DERIVE",
	p11.CKM_AES_KEY_GEN:  "AES_KEY_GEN", p11.CKM_AES_GCM: "AES_GCM", p11.CKM_AES_CBC: "AES_CBC", p11.CKM_AES_CBC_PAD: "AES_CBC_PAD",
	p11.CKM_AES_CTR: "AES_CTR", p11.CKM_AES_ECB: "AES_ECB", p11.CKM_AES_CMAC: "AES_CMAC", p11.CKM_AES_CCM: "AES_CCM",
	p11.CKM_AES_KEY_WRAP: "AES_KEY_WRAP", p11.CKM_AES_KEY_WRAP_PAD: "AES_KEY_WRAP_PAD", ckmAESKeyWrapKWP: "AES_KEY_WRAP_KWP",
	p11.CKM_GENERIC_SECRET_KEY_GEN: "GENERIC_SECRET_KEY_GEN", p11.CKM_SHA256: "SHA256", p11.CKM_SHA256_HMAC: "SHA256_HMAC",
	p11.CKM_RSA_PKCS_KEY_PAIR_GEN: "RSA_PKCS_KEY_PAIR_GEN", p11.CKM_RSA_PKCS_OAEP: "RSA_PKCS_OAEP", p11.CKM_RSA_PKCS_PSS: "RSA_PKCS_PSS",
}

// mechanismFlags are the uses of a mechanism.
var mechanismFlags = []struct {
	flag uint
	name string
}{
	{p11.CKF_HW, "hardware"}, {p11.CKF_ENCRYPT, "encrypt"}, {p11.CKF_DECRYPT, "decrypt"}, {p11.CKF_SIGN, "sign"}, {p11.CKF_VERIFY, "verify"},
	{p11.CKF_GENERATE, "generate"}, {p11.CKF_GENERATE_KEY_PAIR, "generate pair"}, {p11.CKF_WRAP, "wrap"}, {p11.CKF_UNWRAP, "unwrap"},
	{p11.CKF_DERIVE, "derive"},
}

// maxMechanisms bounds what is read of a token that names very many.
const maxMechanisms = 1024

// mechanisms lists what the token can do, in its own words.
func (d *patient) mechanisms(ctx context.Context) error {
	d.profile.Mechanisms = []MechanismProfile{}
	_, err := with(ctx, d.ring, func(e *epoch, _ session) (struct{}, error) {
		lib := d.ring.lib
		var list []*p11.Mechanism
		err := lib.call("C_GetMechanismList", func() (err error) { list, err = lib.ctx.GetMechanismList(e.slot); return err })
		if err != nil {
			return struct{}{}, err
		}
		slices.SortFunc(list, func(a, b *p11.Mechanism) int { return int(a.Mechanism) - int(b.Mechanism) })
		found := make([]MechanismProfile, 0, len(list))
		for _, m := range list[:min(len(list), maxMechanisms)] {
			var info p11.MechanismInfo
			err := lib.call("C_GetMechanismInfo", func() (err error) {
				info, err = lib.ctx.GetMechanismInfo(e.slot, []*p11.Mechanism{m})
				return err
			})
			described := describeMechanism(m.Mechanism, info)
			described.Fault = fault(err)
			found = append(found, described)
		}
		d.profile.Mechanisms = found
		return struct{}{}, nil
	})
	return err
}

func describeMechanism(code uint, info p11.MechanismInfo) MechanismProfile {
	m := MechanismProfile{Name: mechanismNames[code], Min: told(info.MinKeySize), Max: told(info.MaxKeySize), Flags: []string{}}
	if m.Name == "" {
		m.Name = fmt.Sprintf("%#x", code)
	}
	for _, f := range mechanismFlags {
		if info.Flags&f.flag != 0 {
			m.Flags = append(m.Flags, f.name)
		}
	}
	return m
}
