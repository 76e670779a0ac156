package client

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// emptyLedger is a ledger of the given number after the one with hash previous.
func emptyLedger(seq uint32, previous xdr.Hash) xdr.LedgerCloseMeta {
	return xdr.LedgerCloseMeta{V: 1, V1: &xdr.LedgerCloseMetaV1{
		LedgerHeader: xdr.LedgerHeaderHistoryEntry{Hash: xdr.Hash{byte(seq), 1}, Header: xdr.LedgerHeader{
			LedgerSeq: xdr.Uint32(seq), PreviousLedgerHash: previous}},
		TxSet: xdr.GeneralizedTransactionSet{V: 1, V1TxSet: &xdr.TransactionSetV1{}},
	}}
}

func metaFrame(t testing.TB, meta xdr.LedgerCloseMeta) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := writeMeta(&b, meta); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestFrames(t *testing.T) {
	var b bytes.Buffer
	first, second := emptyLedger(2, xdr.Hash{}), emptyLedger(3, xdr.Hash{2, 1})
	for _, write := range []func() error{
		func() error { return writeMeta(&b, first) },
		func() error { return writeHeartbeat(&b) },
		func() error { return writeMeta(&b, second) },
		func() error {
			return writeFailure(&b, failure{Code: "unavailable", Detail: strings.Repeat("\x01", 100_000)})
		},
	} {
		if err := write(); err != nil {
			t.Fatal(err)
		}
	}
	// The reader of the network's own tools reads our ledgers.
	theirs := bytes.NewReader(b.Bytes())
	if n, err := xdr.ReadFrameLength(theirs); err != nil || int(n) != len(metaFrame(t, first))-4 {
		t.Errorf("xdr.ReadFrameLength: %d, %v", n, err)
	}
	for _, want := range []uint32{2, 0, 3} {
		meta, err := readFrame(&b)
		if err != nil {
			t.Fatal(err)
		}
		if want == 0 && meta != nil || want != 0 && (meta == nil || meta.LedgerSequence() != want) {
			t.Fatalf("got %v, want ledger %d", meta, want)
		}
	}
	if _, err := readFrame(&b); !errors.Is(err, protocol.ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
	if _, err := readFrame(&b); err != io.EOF {
		t.Errorf("at the end: %v, want io.EOF", err)
	}
}

func TestFramesRefused(t *testing.T) {
	header := func(h uint32, body ...byte) []byte { return append(binary.BigEndian.AppendUint32(nil, h), body...) }
	good := metaFrame(t, emptyLedger(2, xdr.Hash{}))
	for _, c := range []struct {
		name string
		in   []byte
		want error
	}{
		{"cut in the header", good[:3], io.ErrUnexpectedEOF},
		{"cut in the body", good[:len(good)-1], io.ErrUnexpectedEOF},
		{"cut after the header", good[:4], io.ErrUnexpectedEOF},
		{"too large", header(lastFragment | (MaxFrame + 1)), errFrame},
		{"as large as can be said", header(1<<32 - 1), errFrame},
		{"claims much, holds little", header(lastFragment|MaxFrame, 1, 2, 3), io.ErrUnexpectedEOF},
		{"empty ledger", header(lastFragment), errFrame},
		{"no ledger", header(lastFragment|4, 0xff, 0xff, 0xff, 0xff), errFrame},
		{"more after the ledger", append(header(lastFragment|uint32(len(good))), append(good[4:len(good):len(good)], 0, 0, 0, 0)...), errFrame},
		{"failure too large", header(maxFailure + 1), errFrame},
		{"failure cut", header(10, '{'), io.ErrUnexpectedEOF},
		{"failure that is no JSON", header(3, 'a', 'b', 'c'), errFrame},
	} {
		t.Run(c.name, func(t *testing.T) {
			meta, err := readFrame(bytes.NewReader(c.in))
			if !errors.Is(err, c.want) || meta != nil {
				t.Errorf("got %v, %v; want %v", meta, err, c.want)
			}
		})
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add(metaFrame(f, emptyLedger(2, xdr.Hash{1})))
	f.Add([]byte{0, 0, 0, 0})
	f.Add([]byte("\x00\x00\x00\x19{\"code\":\"not_found\"}      "))
	f.Add([]byte{0x88, 0, 0, 0, 0, 0, 0, 1})
	f.Add(append([]byte{0x80, 0, 0, 8, 0, 0, 0, 1}, 0xff, 0xff, 0xff, 0xff))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bytes.NewReader(in)
		meta, err := readFrame(r)
		if err != nil || meta == nil {
			return
		}
		_ = meta.LedgerSequence()
		if again := metaFrame(t, *meta); !bytes.Equal(again, in[:len(in)-r.Len()]) {
			// The encoding has one form only, so what was read must be written as it was.
			t.Errorf("read and written again: %x, was %x", again, in[:len(in)-r.Len()])
		}
	})
}
