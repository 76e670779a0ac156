package payload

import "github.com/stellar/go-stellar-sdk/xdr"

// Names of flags, as policies and words spell them, in the order of their bits.
var (
	accountFlags = []struct {
		flag xdr.AccountFlags
		name string
	}{
		{xdr.AccountFlagsAuthRequiredFlag, "auth_required"},
		{xdr.AccountFlagsAuthRevocableFlag, "auth_revocable"},
		{xdr.AccountFlagsAuthImmutableFlag, "auth_immutable"},
		{xdr.AccountFlagsAuthClawbackEnabledFlag, "auth_clawback_enabled"},
	}
	lineFlags = []struct {
		flag xdr.TrustLineFlags
		name string
	}{
		{xdr.TrustLineFlagsAuthorizedFlag, "authorized"},
		{xdr.TrustLineFlagsAuthorizedToMaintainLiabilitiesFlag, "authorized_to_maintain_liabilities"},
		{xdr.TrustLineFlagsTrustlineClawbackEnabledFlag, "clawback_enabled"},
	}
)

// AccountFlagNames returns the names of the flags in f.
func AccountFlagNames(f xdr.AccountFlags) (names []string) {
	for _, n := range accountFlags {
		if f&n.flag != 0 {
			names = append(names, n.name)
		}
	}
	return names
}

// AccountFlag returns the flag of that name, 0 when there is none.
func AccountFlag(name string) xdr.AccountFlags {
	for _, n := range accountFlags {
		if n.name == name {
			return n.flag
		}
	}
	return 0
}

// LineFlagNames returns the names of the flags in f.
func LineFlagNames(f xdr.TrustLineFlags) (names []string) {
	for _, n := range lineFlags {
		if f&n.flag != 0 {
			names = append(names, n.name)
		}
	}
	return names
}

// LineFlag returns the flag of that name, 0 when there is none.
func LineFlag(name string) xdr.TrustLineFlags {
	for _, n := range lineFlags {
		if n.name == name {
			return n.flag
		}
	}
	return 0
}
