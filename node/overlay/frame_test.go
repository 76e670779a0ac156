package overlay

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"testing"

	"github.com/stellar/go-stellar-sdk/xdr"
)

func anyKind(kind) error { return nil }

// What is encoded is read back, and every limit of the table holds for what is said as for what is heard.
func TestFrameRoundTrip(t *testing.T) {
	for _, m := range []xdr.StellarMessage{scpMessage(3, 4), transaction(5), grantFrameMessage(1, 2)} {
		f, err := encode(m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := readFrame(bytes.NewReader(f.bytes), anyKind)
		if err != nil {
			t.Fatal(err)
		}
		if got, _, err = decode(got); err != nil || !bytes.Equal(got.bytes, f.bytes) || got.hash() != f.hash() {
			t.Errorf("%s came back different: %v", f.kind.name(), err)
		}
	}
}

// A message that is too large, or put together wrongly, is not sent.
func TestEncodeRefuses(t *testing.T) {
	large := scpMessage(1, 1)
	large.Envelope.Statement.Pledges.Nominate.Votes = []xdr.Value{make([]byte, maxScp)}
	for name, m := range map[string]xdr.StellarMessage{
		"too large": large, "no arm": {Type: xdr.MessageTypeScpMessage}, "not spoken": {Type: xdr.MessageTypeTxSet, TxSet: &xdr.TransactionSet{}},
	} {
		if _, err := encode(m); err == nil {
			t.Errorf("%s: encoded", name)
		}
	}
}

// A header that lies about the length costs no memory beyond what came.
func TestLyingHeader(t *testing.T) {
	say := rawFrame(lastFragment|maxTxSet, typed(xdr.MessageTypeGeneralizedTxSet)...)
	const times = 100
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range times {
		if _, err := readFrame(bytes.NewReader(say), anyKind); !ended(err) {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if got := (after.TotalAlloc - before.TotalAlloc) / times; got > 4*atOnce {
		t.Errorf("%d bytes for a header", got)
	}
}

// FuzzReadFrame: no bytes make the reader of frames fail otherwise than by an error, nor take more than the limit.
func FuzzReadFrame(f *testing.F) {
	f.Add(own(scpMessage(1, 2)).bytes)
	f.Add(own(transaction(3)).bytes)
	f.Add(rawFrame(lastFragment|3, 1, 2, 3))
	f.Add(rawFrame(0xffffffff, typed(xdr.MessageTypeScpMessage)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		for {
			got, err := readFrame(r, anyKind)
			if err != nil {
				return
			}
			if limit := kinds[got.kind].limit; len(got.body()) > int(limit) || limit == 0 {
				t.Fatalf("%s of %d bytes", got.kind.name(), len(got.body()))
			}
			if length := binary.BigEndian.Uint32(got.bytes) &^ lastFragment; int(length) != len(got.body()) {
				t.Fatalf("header says %d, body has %d", length, len(got.body()))
			}
		}
	})
}

// FuzzDecode: what is decoded at all encodes to the same bytes, and to no other hash.
func FuzzDecode(f *testing.F) {
	for _, m := range []xdr.StellarMessage{scpMessage(1, 2), transaction(3), grantFrameMessage(4, 5),
		{Type: xdr.MessageTypeGeneralizedTxSet, GeneralizedTxSet: &xdr.GeneralizedTransactionSet{V: 1, V1TxSet: &xdr.TransactionSetV1{}}},
		{Type: xdr.MessageTypeScpQuorumset, QSet: &xdr.ScpQuorumSet{Threshold: 1, InnerSets: []xdr.ScpQuorumSet{{Threshold: 1}}}},
		{Type: xdr.MessageTypeFloodAdvert, FloodAdvert: &xdr.FloodAdvert{TxHashes: []xdr.Hash{{1}, {2}}}},
	} {
		f.Add(own(m).body())
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) < typeBytes {
			return
		}
		b := append(binary.BigEndian.AppendUint32(nil, lastFragment|uint32(len(body))), body...)
		read, err := readFrame(bytes.NewReader(b), anyKind)
		if err != nil {
			return
		}
		got, m, err := decode(read)
		if err != nil {
			return
		}
		again, err := encode(m)
		if err != nil || !bytes.Equal(again.bytes, b) || again.hash() != got.hash() {
			t.Fatalf("decodes to another message: %v", err)
		}
	})
}
