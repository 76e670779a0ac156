package overlay

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// raw frames a body with a header of its own.
func rawFrame(header uint32, body ...byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, header), body...)
}

func typed(k xdr.MessageType, body ...byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(k)), body...)
}

// Whatever an authenticated peer does wrong costs it the connection, is named, and costs the node nothing.
func TestAbuse(t *testing.T) {
	advert := own(xdr.StellarMessage{Type: xdr.MessageTypeFloodAdvert, FloodAdvert: &xdr.FloodAdvert{TxHashes: []xdr.Hash{{1}}}})
	hello := own(xdr.StellarMessage{Type: xdr.MessageTypeHello, Hello: &xdr.Hello{PeerId: xdr.NodeId(newIdentity(t).id.XDR())}})
	auth := own(xdr.StellarMessage{Type: xdr.MessageTypeAuth, Auth: &xdr.Auth{Flags: xdr.AuthMsgFlagFlowControlBytesRequested}})
	set := own(xdr.StellarMessage{Type: xdr.MessageTypeGeneralizedTxSet,
		GeneralizedTxSet: &xdr.GeneralizedTransactionSet{V: 1, V1TxSet: &xdr.TransactionSetV1{}}})
	padded := append([]byte(nil), own(scpMessage(1, 1)).bytes...)
	trailing := rawFrame(lastFragment|12, append(typed(xdr.MessageTypeGetScpState, 0, 0, 0, 1), 0, 0, 0, 0)...)
	binary.BigEndian.PutUint32(padded, lastFragment|uint32(len(padded)))
	tests := []struct {
		name string
		want *fault
		say  []byte
	}{
		{"a header without the mark", errMalformed, rawFrame(8, typed(xdr.MessageTypeGetScpState, 0, 0, 0, 1)...)},
		{"no room for a type", errMalformed, rawFrame(lastFragment|3, 0, 0, 0, 0)},
		{"nothing", errMalformed, rawFrame(lastFragment, 0, 0, 0, 0)},
		{"a type that nobody knows", errUnexpected, rawFrame(lastFragment|8, typed(99, 0, 0, 0, 0)...)},
		{"a type that is not spoken", errUnexpected, rawFrame(lastFragment|8, typed(xdr.MessageTypeTxSet, 0, 0, 0, 0)...)},
		{"a survey", errUnexpected, rawFrame(lastFragment|8, typed(xdr.MessageTypeTimeSlicedSurveyRequest, 0, 0, 0, 0)...)},
		{"a set larger than any", errOversize, rawFrame(lastFragment|maxTxSet+4, typed(xdr.MessageTypeGeneralizedTxSet)...)},
		{"two gigabytes", errOversize, rawFrame(0xffffffff, typed(xdr.MessageTypeScpMessage)...)},
		{"an SCP message that is none", errMalformed, rawFrame(lastFragment|8, typed(xdr.MessageTypeScpMessage, 1, 2, 3, 4)...)},
		{"bytes after the message", errOversize, trailing},
		{"bytes after an SCP message", errMalformed, append(padded, 0, 0, 0, 0)},
		{"more adverts than there may be", errMalformed, rawFrame(lastFragment|8, typed(xdr.MessageTypeFloodAdvert, 0, 0, 4, 0)...)},
		{"a second HELLO", errUnexpected, hello.bytes},
		{"a second AUTH", errUnexpected, auth.bytes},
		{"a set that nobody asked for", errUnexpected, set.bytes},
		{"a kind of set that nobody can ask for", errUnexpected, own(xdr.StellarMessage{Type: xdr.MessageTypeDontHave,
			DontHave: &xdr.DontHave{Type: xdr.MessageTypeScpMessage}}).bytes},
		{"endless credit", errCredit, own(grantFrameMessage(1<<31, 0)).bytes},
		{"more than its credit", errCredit, bytes.Repeat(advert.bytes, creditMessages)},
		{"it lives, it lives", errUnexpected, bytes.Repeat(own(grantFrameMessage(0, 0)).bytes, 100*requestBurst)},
	}
	bystander := newIdentity(t)
	n := start(t, newIdentity(t), func(c *Config) {
		c.Strangers, c.PerAddress = 4, 64
		c.Preferred = []Peer{{ID: bystander.id}}
	})
	good := join(t, n, bystander)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			before := n.heard.count("left")
			i := join(t, n, newIdentity(t))
			hold := make(chan struct{})
			if test.want == errCredit {
				n.heard.hold(hold)
			}
			go func() {
				if test.want == errCredit {
					// One message stays with the Handler, so that credit is not given back as fast as it is used.
					i.tell(scpMessage(77, before))
				}
				_, _ = i.conn.Write(test.say) // until the other end has had enough
			}()
			if got := i.reason(); got != test.want.reason {
				t.Errorf("dropped for %q, want %q", got, test.want.reason)
			}
			close(hold)
			n.heard.await(t, "it left", func() bool { return n.heard.count("left") == before+1 })
		})
	}
	seen := n.heard.count("get_scp_state")
	ledger := xdr.Uint32(1)
	good.tell(xdr.StellarMessage{Type: xdr.MessageTypeGetScpState, GetScpLedgerSeq: &ledger})
	n.heard.await(t, "the bystander is heard", func() bool { return n.heard.count("get_scp_state") == seen+1 })
}

// hold makes the Handler wait with SCP messages until c is closed.
func (r *recorder) hold(c chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.verdict = func(_ protocol.AccountID, m xdr.StellarMessage) Verdict {
		if m.Type == xdr.MessageTypeScpMessage {
			<-c
		}
		return Flood
	}
}
