package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// ErrForbidden: the node does not serve the name in this client's certificate.
var ErrForbidden = errors.New("client: the node does not serve this client")

// failures is the one table between errors and what goes over the wire. What is not in it is answered with 500 and no
// detail, and arrives as an error without identity.
var failures = []struct {
	err    error
	code   string
	status int
}{
	{protocol.ErrInvalid, "invalid", http.StatusBadRequest},
	{protocol.ErrNotFound, "not_found", http.StatusNotFound},
	{protocol.ErrUnavailable, "unavailable", http.StatusServiceUnavailable},
	{ErrForbidden, "forbidden", http.StatusForbidden},
	// What the server itself cut short; the caller's own cancellation never comes back to him over the wire.
	{context.Canceled, "unavailable", http.StatusServiceUnavailable},
	{context.DeadlineExceeded, "unavailable", http.StatusServiceUnavailable},
}

// failure is the body of every answer that is not a success, and the last frame of a stream that failed.
type failure struct {
	Code   string `json:"code"`
	Detail string `json:"detail,omitempty"`
}

// toFailure says err for the wire.
func toFailure(err error) (failure, int) {
	for _, f := range failures {
		if errors.Is(err, f.err) {
			return failure{Code: f.code, Detail: err.Error()}, f.status
		}
	}
	return failure{Code: "internal"}, http.StatusInternalServerError
}

// fromFailure gives the error its identity back.
func fromFailure(f failure) error {
	for _, known := range failures {
		if f.Code == known.code {
			return fmt.Errorf("%w: node says: %.300s", known.err, f.Detail)
		}
	}
	return fmt.Errorf("client: node failed: code %.40q %.300s", f.Code, f.Detail)
}

type submissionJSON struct {
	Hash   protocol.Hash `json:"hash"`
	Status string        `json:"status"`
	Result []byte        `json:"result_xdr,omitempty"`
}

var statuses = []protocol.SubmissionStatus{protocol.SubmissionPending, protocol.SubmissionDuplicate,
	protocol.SubmissionError, protocol.SubmissionTryAgainLater}

func toSubmission(s protocol.Submission) (submissionJSON, error) {
	j := submissionJSON{Hash: s.Hash, Status: s.Status.String()}
	if s.Result == nil {
		return j, nil
	}
	var err error
	j.Result, err = s.Result.MarshalBinary()
	return j, err
}

func (j submissionJSON) value() (protocol.Submission, error) {
	s := protocol.Submission{Hash: j.Hash}
	for _, status := range statuses {
		if status.String() == j.Status {
			s.Status = status
		}
	}
	if s.Status == 0 {
		return protocol.Submission{}, fmt.Errorf("client: unknown submission status %.40q", j.Status)
	}
	if len(j.Result) > 0 {
		s.Result = new(xdr.TransactionResult)
		if err := xdr.SafeUnmarshal(j.Result, s.Result); err != nil {
			return protocol.Submission{}, fmt.Errorf("client: transaction result: %w", err)
		}
	}
	return s, nil
}

type statusJSON struct {
	Passphrase string        `json:"network_passphrase"`
	Ledger     uint32        `json:"ledger"`
	Hash       protocol.Hash `json:"hash"`
	ClosedAt   time.Time     `json:"closed_at"`
	BaseFee    uint32        `json:"base_fee"`
	Reserve    uint32        `json:"base_reserve"`
	Protocol   uint32        `json:"protocol_version"`
	Queued     int           `json:"queued"`
}

func toStatus(s protocol.Status) statusJSON {
	return statusJSON{Passphrase: string(s.Passphrase), Ledger: s.Ledger, Hash: s.Hash, ClosedAt: s.ClosedAt,
		BaseFee: s.BaseFee, Reserve: s.Reserve, Protocol: s.Protocol, Queued: s.Queued}
}

func (j statusJSON) value() (protocol.Status, error) {
	s := protocol.Status{Passphrase: protocol.Passphrase(j.Passphrase), Ledger: j.Ledger, Hash: j.Hash,
		ClosedAt: j.ClosedAt.UTC(), BaseFee: j.BaseFee, Reserve: j.Reserve, Protocol: j.Protocol, Queued: j.Queued}
	return s, s.Passphrase.Validate()
}

type accountJSON struct {
	ID         protocol.AccountID `json:"id"`
	Ledger     uint32             `json:"ledger"`
	Balance    protocol.Amount    `json:"balance"`
	Sequence   int64              `json:"sequence,string"`
	Flags      uint32             `json:"flags"`
	HomeDomain string             `json:"home_domain,omitempty"`
	Thresholds [4]uint8           `json:"thresholds"`
	Signers    []signerJSON       `json:"signers,omitempty"`
	SubEntries uint32             `json:"subentries"`
	Trustlines []trustlineJSON    `json:"trustlines,omitempty"`
	Data       []dataJSON         `json:"data,omitempty"`
}

type signerJSON struct {
	Key    string `json:"key"`
	Weight uint32 `json:"weight"`
}

type trustlineJSON struct {
	Asset   protocol.Asset  `json:"asset"`
	Balance protocol.Amount `json:"balance"`
	Limit   protocol.Amount `json:"limit"`
	Flags   uint32          `json:"flags"`
}

// dataJSON carries the name as bytes: JSON text would replace what is not UTF-8.
type dataJSON struct {
	Name  []byte `json:"name"`
	Value []byte `json:"value"`
}

func toAccount(a protocol.Account) (accountJSON, error) {
	j := accountJSON{ID: a.ID, Ledger: a.Ledger, Balance: a.Balance, Sequence: a.Sequence, Flags: uint32(a.Flags),
		HomeDomain: a.HomeDomain, Thresholds: a.Thresholds, SubEntries: a.SubEntries}
	for _, s := range a.Signers {
		key, err := s.Key.GetAddress()
		if err != nil {
			return accountJSON{}, fmt.Errorf("client: signer of %s: %w", a.ID, err)
		}
		j.Signers = append(j.Signers, signerJSON{Key: key, Weight: uint32(s.Weight)})
	}
	for _, t := range a.Trustlines {
		j.Trustlines = append(j.Trustlines, trustlineJSON{Asset: t.Asset, Balance: t.Balance, Limit: t.Limit, Flags: uint32(t.Flags)})
	}
	for _, d := range a.Data {
		j.Data = append(j.Data, dataJSON{Name: []byte(d.Name), Value: d.Value})
	}
	return j, nil
}

func (j accountJSON) value() (protocol.Account, error) {
	a := protocol.Account{ID: j.ID, Ledger: j.Ledger, Balance: j.Balance, Sequence: j.Sequence,
		Flags: xdr.AccountFlags(j.Flags), HomeDomain: j.HomeDomain, Thresholds: j.Thresholds, SubEntries: j.SubEntries}
	if j.ID.IsZero() {
		return protocol.Account{}, errors.New("client: the answer names no account")
	}
	for _, s := range j.Signers {
		var key xdr.SignerKey
		if err := key.SetAddress(s.Key); err != nil {
			return protocol.Account{}, fmt.Errorf("client: signer of %s: %w", j.ID, err)
		}
		a.Signers = append(a.Signers, xdr.Signer{Key: key, Weight: xdr.Uint32(s.Weight)})
	}
	for _, t := range j.Trustlines {
		a.Trustlines = append(a.Trustlines, protocol.Trustline{Asset: t.Asset, Balance: t.Balance, Limit: t.Limit, Flags: xdr.TrustLineFlags(t.Flags)})
	}
	for _, d := range j.Data {
		a.Data = append(a.Data, protocol.DataEntry{Name: string(d.Name), Value: d.Value})
	}
	return a, nil
}
