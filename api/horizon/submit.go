package horizon

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/api/web"
	"github.com/diamante/gateway/node/protocol"
)

// submission is a transaction that was handed in.
type submission struct {
	raw  string // as it came
	env  xdr.TransactionEnvelope
	hash protocol.Hash
}

func (s *Server) readSubmission(r *http.Request) (submission, error) {
	form, err := web.ReadForm(r)
	if err != nil {
		return submission{}, err
	}
	raw, err := form.One("tx")
	if err != nil {
		return submission{}, err
	}
	if raw == "" {
		return submission{}, web.Malformed("tx", "missing")
	}
	env, hash, err := s.decode(raw)
	if err != nil {
		return submission{}, &problem{fmt.Errorf("%w: %v", ErrTransactionMalformed, err), map[string]any{"envelope_xdr": raw}}
	}
	return submission{raw, env, hash}, nil
}

// decode reads strict base64 of one envelope, with nothing after it.
func (s *Server) decode(raw string) (xdr.TransactionEnvelope, protocol.Hash, error) {
	var env xdr.TransactionEnvelope
	if len(raw) > base64.StdEncoding.EncodedLen(MaxEnvelope) {
		return env, protocol.Hash{}, fmt.Errorf("more than %d bytes", MaxEnvelope)
	}
	b, err := base64.StdEncoding.Strict().DecodeString(raw)
	if err != nil || strings.ContainsAny(raw, "\r\n") {
		return env, protocol.Hash{}, errors.New("not base64")
	}
	if env, err = protocol.DecodeEnvelope(b); err != nil {
		return env, protocol.Hash{}, err
	}
	hash, err := s.cfg.Passphrase.TxHash(env)
	return env, hash, err
}

// submit answers POST /transactions: when the transaction was seen in a closed ledger, or when time is up.
//
//  1. If it was applied lately, that is the answer: asking twice changes nothing.
//  2. Wait for it from before it is handed over, so that it cannot slip by.
//  3. Hand it over. The node's refusal is final only if the transaction is not in a ledger after all: one whose sequence
//     number is used may have used it itself, in a ledger that this server, perhaps just started, has yet to read.
func (s *Server) submit(w http.ResponseWriter, r *http.Request) error {
	sub, err := s.readSubmission(r)
	if err != nil {
		return err
	}
	seen, cancel, err := s.follower.await(sub.hash)
	if err != nil {
		return err
	}
	defer cancel()
	if tx := s.follower.find(sub.hash); tx != nil {
		return s.outcome(w, sub, tx)
	}
	answer, err := s.network.Submit(r.Context(), sub.env)
	if err != nil {
		return fmt.Errorf("submit %s: %w", sub.hash, err)
	}
	switch answer.Status {
	case protocol.SubmissionPending, protocol.SubmissionDuplicate:
		return s.wait(w, r, sub, seen)
	case protocol.SubmissionTryAgainLater:
		return ErrBusy
	case protocol.SubmissionError:
		return s.refused(w, r, sub, seen, answer.Result)
	}
	return fmt.Errorf("horizon: the node answered %d to a submission", answer.Status)
}

// refused answers that the node refused a transaction, once every ledger is read in which it may have been applied.
func (s *Server) refused(w http.ResponseWriter, r *http.Request, sub submission, seen <-chan *applied, result *xdr.TransactionResult) error {
	status, err := s.network.Status(r.Context())
	if err != nil {
		return fmt.Errorf("submit %s: %w", sub.hash, err)
	}
	timer, tick := time.NewTimer(s.cfg.Wait), time.NewTicker(readPoll)
	defer timer.Stop()
	defer tick.Stop()
	for !s.follower.reached(status.Ledger) {
		select {
		case tx := <-seen:
			return s.outcome(w, sub, tx)
		case <-tick.C:
		case <-timer.C:
			return ErrBusy
		case <-r.Context().Done():
			return r.Context().Err()
		}
	}
	if tx := s.follower.find(sub.hash); tx != nil {
		return s.outcome(w, sub, tx)
	}
	return failed(sub.raw, result)
}

func (s *Server) wait(w http.ResponseWriter, r *http.Request, sub submission, seen <-chan *applied) error {
	timer := time.NewTimer(s.cfg.Wait)
	defer timer.Stop()
	select {
	case tx := <-seen:
		return s.outcome(w, sub, tx)
	case <-timer.C:
		return &problem{ErrSubmissionTimeout, map[string]any{"hash": sub.hash.String(), "envelope_xdr": sub.raw}}
	case <-r.Context().Done():
		if errors.Is(r.Context().Err(), context.Canceled) {
			return context.Canceled // nobody waits for the answer
		}
		return &problem{ErrSubmissionTimeout, map[string]any{"hash": sub.hash.String(), "envelope_xdr": sub.raw}}
	}
}

func (s *Server) outcome(w http.ResponseWriter, sub submission, tx *applied) error {
	if !tx.result.Result.Successful() {
		return failed(sub.raw, &tx.result.Result)
	}
	v, err := s.transactionOf(tx)
	if err != nil {
		return err
	}
	return hal(w, http.StatusOK, tx.ledger, v)
}

func failed(raw string, result *xdr.TransactionResult) error {
	if result == nil {
		return errors.New("horizon: the node refused a transaction without a result")
	}
	encoded, err := xdr.MarshalBase64(result)
	if err != nil {
		return fmt.Errorf("horizon: result: %w", err)
	}
	return &problem{ErrTransactionFailed, map[string]any{"envelope_xdr": raw, "result_xdr": encoded, "result_codes": resultCodes(*result)}}
}

// asyncStatus is the HTTP status of each immediate answer.
var asyncStatus = map[protocol.SubmissionStatus]int{protocol.SubmissionPending: http.StatusCreated,
	protocol.SubmissionDuplicate: http.StatusConflict, protocol.SubmissionError: http.StatusBadRequest,
	protocol.SubmissionTryAgainLater: http.StatusServiceUnavailable}

// submitAsync answers POST /transactions_async with what the node says at once.
func (s *Server) submitAsync(w http.ResponseWriter, r *http.Request) error {
	sub, err := s.readSubmission(r)
	if err != nil {
		return err
	}
	answer, err := s.network.Submit(r.Context(), sub.env)
	if err != nil {
		return fmt.Errorf("submit %s: %w", sub.hash, err)
	}
	status, ok := asyncStatus[answer.Status]
	if !ok {
		return fmt.Errorf("horizon: the node answered %d to a submission", answer.Status)
	}
	body := map[string]string{"tx_status": answer.Status.String(), "hash": sub.hash.String()}
	if answer.Result != nil {
		if body["error_result_xdr"], err = xdr.MarshalBase64(answer.Result); err != nil {
			return fmt.Errorf("horizon: result: %w", err)
		}
	}
	return hal(w, status, 0, body)
}

// transaction answers GET /transactions/{hash} for those that the follower remembers.
func (s *Server) transaction(w http.ResponseWriter, r *http.Request) error {
	hash, err := protocol.ParseHash(chi.URLParam(r, "hash"))
	if err != nil {
		return web.Malformed("hash", "need 64 hex digits")
	}
	tx := s.follower.find(hash)
	if tx == nil {
		return protocol.ErrNotFound
	}
	v, err := s.transactionOf(tx)
	if err != nil {
		return err
	}
	return hal(w, http.StatusOK, tx.ledger, v)
}
