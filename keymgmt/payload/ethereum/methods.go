package ethereum

import "strings"

// method is a contract's function that is known here. The roles name those arguments that have a place in Call, in
// order; a dash has none.
type method struct {
	kind      Kind
	signature string
	roles     string
	arguments []string // types
	opaque    bool     // has arguments that are not read: lists, structures
}

// movesTokens reports whether the method moves tokens or lets others do so.
func (m method) movesTokens() bool {
	return m.kind == TokenTransfer || m.kind == TokenTransferFrom || m.kind == Approve || m.kind == UnlimitedApproval
}

// methods is keyed by selector: the first four bytes of the signature's hash.
var methods = index([]method{
	{kind: TokenTransfer, signature: "transfer(address,uint256)", roles: "to amount"},
	{kind: TokenTransferFrom, signature: "transferFrom(address,address,uint256)", roles: "from to amount"},

	// ERC-20, its older and newer additions, EIP-2612 permits, those of DAI, and those that take packed signatures.
	{kind: Approve, signature: "approve(address,uint256)", roles: "spender amount"},
	{kind: Approve, signature: "increaseAllowance(address,uint256)", roles: "spender amount"},
	{kind: Approve, signature: "increaseApproval(address,uint256)", roles: "spender amount"},
	{kind: Approve, signature: "permit(address,address,uint256,uint256,uint8,bytes32,bytes32)", roles: "from spender amount"},
	{kind: Approve, signature: "permit(address,address,uint256,uint256,bytes)", roles: "from spender amount"},
	{kind: Approve, signature: "permit(address,address,uint256,uint256,bool,uint8,bytes32,bytes32)", roles: "from spender - - all"},
	// Credit delegation: debt in our name.
	{kind: Approve, signature: "approveDelegation(address,uint256)", roles: "spender amount"},
	// Collections (ERC-721, ERC-1155) and ERC-6909.
	{kind: Approve, signature: "setApprovalForAll(address,bool)", roles: "spender all"},
	{kind: Approve, signature: "setOperator(address,bool)", roles: "spender all"},
	{kind: Approve, signature: "approve(address,uint256,uint256)", roles: "spender - amount"},
	// Permit2, where the token is an argument.
	{kind: Approve, signature: "approve(address,address,uint160,uint48)", roles: "token spender amount"},
	{kind: UnlimitedApproval, signature: "permit(address,((address,uint160,uint48,uint48),address,uint256),bytes)"},
	{kind: UnlimitedApproval, signature: "permit(address,((address,uint160,uint48,uint48)[],address,uint256),bytes)"},
	// The spender acts at once on data that is not read here (ERC-1363); ERC-777 operators take all there is.
	{kind: UnlimitedApproval, signature: "approveAndCall(address,uint256)", roles: "spender amount"},
	{kind: UnlimitedApproval, signature: "approveAndCall(address,uint256,bytes)", roles: "spender amount"},
	{kind: UnlimitedApproval, signature: "authorizeOperator(address)", roles: "spender"},

	// Proxies: ERC-1967 and its admins, beacons, older ones, diamonds (ERC-2535), Compound's.
	{kind: Upgrade, signature: "upgradeTo(address)"},
	{kind: Upgrade, signature: "upgradeToAndCall(address,bytes)"},
	{kind: Upgrade, signature: "upgradeBeaconToAndCall(address,bytes,bool)"},
	{kind: Upgrade, signature: "upgrade(address,address)"},
	{kind: Upgrade, signature: "upgradeAndCall(address,address,bytes)"},
	{kind: Upgrade, signature: "changeAdmin(address)"},
	{kind: Upgrade, signature: "changeProxyAdmin(address,address)"},
	{kind: Upgrade, signature: "setImplementation(address)"},
	{kind: Upgrade, signature: "changeMasterCopy(address)"},
	{kind: Upgrade, signature: "diamondCut((address,uint8,bytes4[])[],address,bytes)"},
	{kind: Upgrade, signature: "_setImplementation(address)"},
	{kind: Upgrade, signature: "_setImplementation(address,bool,bytes)"},
	{kind: Upgrade, signature: "_setPendingImplementation(address)"},
	{kind: Upgrade, signature: "_acceptImplementation()"},
	// Foreign code in a contract's own name: wallets' set-up and simulations, multicalls, DSProxy, ERC-725, ERC-7579.
	{kind: Upgrade, signature: "setup(address[],uint256,address,bytes,address,address,uint256,address)"},
	{kind: Upgrade, signature: "simulateAndRevert(address,bytes)"},
	{kind: Upgrade, signature: "delegatecall(address,bytes)"},
	{kind: Upgrade, signature: "delegateCall(address,bytes)"},
	{kind: Upgrade, signature: "functionDelegateCall(address,bytes)"},
	{kind: Upgrade, signature: "multiSend(bytes)"},
	{kind: Upgrade, signature: "multicall(bytes[])"},
	{kind: Upgrade, signature: "multicall(uint256,bytes[])"},
	{kind: Upgrade, signature: "multicall(bytes32,bytes[])"},
	{kind: Upgrade, signature: "execute(address,bytes)"},
	{kind: Upgrade, signature: "execute(bytes,bytes)"},
	{kind: Upgrade, signature: "execute(uint256,address,uint256,bytes)"},
	{kind: Upgrade, signature: "execute(bytes32,bytes)"},
	{kind: Upgrade, signature: "executeFromExecutor(bytes32,bytes)"},

	// Owners and roles.
	{kind: Control, signature: "transferOwnership(address)"},
	{kind: Control, signature: "acceptOwnership()"},
	{kind: Control, signature: "renounceOwnership()"},
	{kind: Control, signature: "setOwner(address)"},
	{kind: Control, signature: "changeOwner(address)"},
	{kind: Control, signature: "setAdmin(address)"},
	{kind: Control, signature: "setAuthority(address)"},
	{kind: Control, signature: "grantRole(bytes32,address)"},
	{kind: Control, signature: "revokeRole(bytes32,address)"},
	{kind: Control, signature: "renounceRole(bytes32,address)"},
	{kind: Control, signature: "beginDefaultAdminTransfer(address)"},
	{kind: Control, signature: "acceptDefaultAdminTransfer()"},
	// Wallets of several owners, and modular accounts.
	{kind: Control, signature: "addOwnerWithThreshold(address,uint256)"},
	{kind: Control, signature: "removeOwner(address,address,uint256)"},
	{kind: Control, signature: "swapOwner(address,address,address)"},
	{kind: Control, signature: "changeThreshold(uint256)"},
	{kind: Control, signature: "addOwner(address)"},
	{kind: Control, signature: "removeOwner(address)"},
	{kind: Control, signature: "replaceOwner(address,address)"},
	{kind: Control, signature: "changeRequirement(uint256)"},
	{kind: Control, signature: "enableModule(address)"},
	{kind: Control, signature: "disableModule(address,address)"},
	{kind: Control, signature: "setGuard(address)"},
	{kind: Control, signature: "setModuleGuard(address)"},
	{kind: Control, signature: "setFallbackHandler(address)"},
	{kind: Control, signature: "installModule(uint256,address,bytes)"},
	{kind: Control, signature: "uninstallModule(uint256,address,bytes)"},

	// Calls within the call. Safe's say whether they are delegated.
	{kind: Forward, signature: "execTransaction(address,uint256,bytes,uint8,uint256,uint256,uint256,address,address,bytes)", roles: "- - - operation"},
	{kind: Forward, signature: "execTransactionFromModule(address,uint256,bytes,uint8)", roles: "- - - operation"},
	{kind: Forward, signature: "execTransactionFromModuleReturnData(address,uint256,bytes,uint8)", roles: "- - - operation"},
	{kind: Forward, signature: "approveHash(bytes32)"},
	{kind: Forward, signature: "submitTransaction(address,uint256,bytes)"},
	{kind: Forward, signature: "confirmTransaction(uint256)"},
	{kind: Forward, signature: "executeTransaction(uint256)"},
	{kind: Forward, signature: "execute(address,uint256,bytes)"},
	{kind: Forward, signature: "execute(address,uint256,bytes,bytes32,bytes32)"},
	{kind: Forward, signature: "schedule(address,uint256,bytes,bytes32,bytes32,uint256)"},
	{kind: Forward, signature: "executeBatch(address[],bytes[])"},
	{kind: Forward, signature: "executeBatch(address[],uint256[],bytes[])"},
	{kind: Forward, signature: "executeBatch((address,uint256,bytes)[])"},
	{kind: Forward, signature: "aggregate((address,bytes)[])"},
	{kind: Forward, signature: "tryAggregate(bool,(address,bytes)[])"},
	{kind: Forward, signature: "aggregate3((address,bool,bytes)[])"},
	{kind: Forward, signature: "aggregate3Value((address,bool,uint256,bytes)[])"},
})

func index(list []method) map[[4]byte]method {
	out := map[[4]byte]method{}
	for _, m := range list {
		_, inner, _ := strings.Cut(strings.TrimSuffix(m.signature, ")"), "(")
		if m.opaque = strings.ContainsAny(inner, "(["); !m.opaque && inner != "" {
			m.arguments = strings.Split(inner, ",")
		}
		for _, kind := range m.arguments {
			if !readable(kind) {
				panic("ethereum: arguments of " + m.signature + " cannot be read")
			}
		}
		sum := Keccak256([]byte(m.signature))
		if other, taken := out[[4]byte(sum[:])]; taken {
			panic("ethereum: " + m.signature + " has the selector of " + other.signature)
		}
		out[[4]byte(sum[:])] = m
	}
	return out
}
