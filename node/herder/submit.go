package herder

import (
	"fmt"

	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/node/protocol"
)

// Submit checks a transaction and puts it into the queue. An envelope that is no transaction of this network's kind at
// all is an error that wraps protocol.ErrInvalid; every other answer is a Submission. It is safe for concurrent use.
func (h *Herder) Submit(env xdr.TransactionEnvelope) (protocol.Submission, error) {
	p, err := h.read(env)
	if err != nil {
		return protocol.Submission{}, err
	}
	answer := protocol.Submission{Hash: p.hash}
	// The queue is asked first: it is cheap, and a signature check is not.
	h.mu.Lock()
	said := h.queue.room(p)
	h.mu.Unlock()
	if said != accepted {
		answer.Status = said.status()
		return answer, nil
	}
	header, _ := h.cfg.Ledger.Header()
	result := h.cfg.Ledger.CheckValid(p.env)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.checked != uint32(header.LedgerSeq) {
		// A ledger closed meanwhile, and the queue was checked against it without this transaction.
		result = h.cfg.Ledger.CheckValid(p.env)
	}
	if succeeded(result) && !h.affords(p) {
		result = xdr.TransactionResult{FeeCharged: result.FeeCharged,
			Result: xdr.TransactionResultResult{Code: xdr.TransactionResultCodeTxInsufficientBalance}}
	}
	if !succeeded(result) {
		answer.Status, answer.Result = protocol.SubmissionError, &result
		return answer, nil
	}
	answer.Status = h.queue.add(p).status()
	return answer, nil
}

// affords reports whether p's payer can pay for p besides everything else that it bids for. Each transaction alone was
// checked already; without this, one account could fill the queue with fee bumps and pay for the first. The caller
// holds h.mu.
func (h *Herder) affords(p *pending) bool {
	owes := h.queue.owes(p)
	if owes == 0 {
		return true
	}
	a, err := h.cfg.Ledger.Account(p.payer)
	if err != nil {
		return false
	}
	header, _ := h.cfg.Ledger.Header()
	reserve := (baseEntries + int64(a.SubEntries)) * int64(header.BaseReserve)
	return a.Balance.Stroops()-reserve-owes >= p.fee
}

// valid reports whether a waiting transaction can still be applied. The caller holds h.mu.
func (h *Herder) valid(p *pending) bool {
	return succeeded(h.cfg.Ledger.CheckValid(p.env)) && h.affords(p)
}

// baseEntries is how many reserves an account keeps before it has any entries.
const baseEntries = 2

// Queued returns how many transactions wait.
func (h *Herder) Queued() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.queue.Len()
}

// read makes what the queue keeps of an envelope. It is a copy: the caller may go on using its own.
func (h *Herder) read(env xdr.TransactionEnvelope) (*pending, error) {
	b, err := protocol.EncodeEnvelope(env)
	if err != nil {
		return nil, err
	}
	p := new(pending)
	if p.env, err = protocol.DecodeEnvelope(b); err != nil {
		return nil, err
	}
	if p.hash, err = h.cfg.Passphrase.TxHash(p.env); err != nil {
		return nil, err
	}
	if p.source, err = protocol.AccountIDFromXDR(sourceID(p.env)); err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	payer := p.env.FeeAccount()
	if p.payer, err = protocol.AccountIDFromXDR(payer.ToAccountId()); err != nil {
		return nil, fmt.Errorf("fee source: %w", err)
	}
	p.seq, p.fee, p.ops = p.env.SeqNum(), int64(p.env.Fee()), len(p.env.Operations())
	if p.env.IsFeeBump() {
		p.bump, p.fee, p.ops = true, p.env.FeeBumpFee(), p.ops+1
	}
	if p.ops == 0 || p.fee < 0 {
		// Not comparable with other bids; the ledger says what is wrong with it.
		p.ops, p.fee = max(p.ops, 1), max(p.fee, 0)
	}
	return p, nil
}

func sourceID(env xdr.TransactionEnvelope) xdr.AccountId {
	source := env.SourceAccount()
	return source.ToAccountId()
}

// succeeded reports whether a check of validity found nothing wrong.
func succeeded(r xdr.TransactionResult) bool {
	return r.Result.Code == xdr.TransactionResultCodeTxSuccess || r.Result.Code == xdr.TransactionResultCodeTxFeeBumpInnerSuccess
}

// status is the verdict as the node's door says it.
func (v verdict) status() protocol.SubmissionStatus {
	switch v {
	case accepted:
		return protocol.SubmissionPending
	case duplicate:
		return protocol.SubmissionDuplicate
	case busy:
		return protocol.SubmissionTryAgainLater
	}
	panic(fmt.Sprintf("herder: verdict %d", v))
}
