package scp

import (
	"bytes"

	"github.com/stellar/go-stellar-sdk/strkey"
	"github.com/stellar/go-stellar-sdk/xdr"
)

// NodeID names a validator: its Ed25519 public key. It is comparable; the zero value names nobody.
type NodeID [32]byte

// NodeIDFromXDR reads the wire form. It is false for one that names nobody.
func NodeIDFromXDR(x xdr.NodeId) (NodeID, bool) {
	if x.Type != xdr.PublicKeyTypePublicKeyTypeEd25519 || x.Ed25519 == nil {
		return NodeID{}, false
	}
	id := NodeID(*x.Ed25519)
	return id, id != NodeID{}
}

// XDR returns the wire form.
func (n NodeID) XDR() xdr.NodeId {
	k := xdr.Uint256(n)
	return xdr.NodeId{Type: xdr.PublicKeyTypePublicKeyTypeEd25519, Ed25519: &k}
}

// String returns the G... strkey.
func (n NodeID) String() string { return strkey.MustEncode(strkey.VersionByteAccountID, n[:]) }

// Compare orders nodes by their keys.
func (n NodeID) Compare(m NodeID) int { return bytes.Compare(n[:], m[:]) }
