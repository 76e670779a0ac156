package sep

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/stellar/go-stellar-sdk/txnbuild"
	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/api/trail"
	"github.com/diamante/gateway/api/web"
	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/node/protocol"
)

// What this server supports of SEP-10 version 3.4.1: accounts that start with G, existing or not; one home domain.
// Refused with a clear word: muxed accounts and memos, because every customer here has an account of his own, so that a
// sub-account could only be a way of mixing customers up. Ignored, as the SEP wants it of a server that does not verify
// client domains: client_domain.
const (
	authSuffix    = " auth"
	webAuthName   = "web_auth_domain"
	nonceBytes    = 48
	maxData       = 64      // of a data entry's name and of its value
	maxEnvelope   = 4 << 10 // a challenge with the signatures of twenty signers has some 2 KB
	maxAuthBody   = 16 << 10
	maxSignatures = 21 // the server's and twenty signers'
)

// challenge answers GET /auth: a transaction that no ledger can apply, for the wallet to sign.
func (s *Server) challenge(w http.ResponseWriter, r *http.Request) error {
	client, err := s.challengeParams(r)
	if err != nil {
		return err
	}
	env, err := s.buildChallenge(client)
	if err != nil {
		return err
	}
	base, err := s.cfg.Passphrase.SignatureBase(env)
	if err != nil {
		return err
	}
	hash := sha256.Sum256(base)
	sig, err := s.Challenges.Sign(r.Context(), base, "challenge/"+hex.EncodeToString(hash[:]))
	if err != nil {
		return fmt.Errorf("challenge: %w", err)
	}
	if !ed25519.Verify(s.cfg.SigningKey.Key(), hash[:], sig) {
		return errors.New("challenge: the signature is not of the key that wallets are told of")
	}
	env.V1.Signatures = []xdr.DecoratedSignature{{Hint: s.cfg.SigningKey.Hint(), Signature: sig}}
	encoded, err := xdr.MarshalBase64(env)
	if err != nil {
		return fmt.Errorf("challenge: %w", err)
	}
	return web.WriteJSON(w, http.StatusOK, map[string]string{"transaction": encoded, "network_passphrase": string(s.cfg.Passphrase)})
}

func (s *Server) challengeParams(r *http.Request) (protocol.AccountID, error) {
	q, err := web.LooseQuery(r)
	if err != nil {
		return protocol.AccountID{}, err
	}
	var account, memo, home string
	for name, value := range map[string]*string{"account": &account, "memo": &memo, "home_domain": &home} {
		if *value, err = q.One(name); err != nil {
			return protocol.AccountID{}, err
		}
	}
	switch {
	case strings.HasPrefix(account, "M"):
		return protocol.AccountID{}, web.Malformed("account", "muxed accounts are not supported: use the account that starts with G")
	case memo != "":
		return protocol.AccountID{}, web.Malformed("memo", "shared accounts are not supported: every customer has an account of his own")
	case home != "" && home != s.cfg.HomeDomain:
		return protocol.AccountID{}, web.Malformed("home_domain", "this server is of %s only", s.cfg.HomeDomain)
	}
	client, err := protocol.ParseAccountID(account)
	if err != nil || client == s.cfg.SigningKey {
		return protocol.AccountID{}, web.Malformed("account", "need a customer's account that starts with G")
	}
	return client, nil
}

func (s *Server) buildChallenge(client protocol.AccountID) (xdr.TransactionEnvelope, error) {
	var nonce [nonceBytes]byte
	_, _ = rand.Read(nonce[:]) // never fails: crypto/rand ends the program instead
	now := s.Now().Unix()
	tx := xdr.Transaction{
		SourceAccount: s.cfg.SigningKey.Muxed(),
		Fee:           2 * txnbuild.MinBaseFee, // as everybody's challenges have; it is never charged
		SeqNum:        0,
		Cond: xdr.Preconditions{Type: xdr.PreconditionTypePrecondTime, TimeBounds: &xdr.TimeBounds{
			MinTime: xdr.TimePoint(now), MaxTime: xdr.TimePoint(now + int64(s.cfg.Challenge/time.Second))}},
		Memo: xdr.Memo{Type: xdr.MemoTypeMemoNone},
	}
	for _, data := range []struct {
		source      protocol.AccountID
		name, value string
	}{
		{client, s.cfg.HomeDomain + authSuffix, base64.StdEncoding.EncodeToString(nonce[:])},
		{s.cfg.SigningKey, webAuthName, s.host},
	} {
		value, source := xdr.DataValue(data.value), data.source.Muxed()
		body, err := xdr.NewOperationBody(xdr.OperationTypeManageData, xdr.ManageDataOp{DataName: xdr.String64(data.name), DataValue: &value})
		if err != nil {
			return xdr.TransactionEnvelope{}, fmt.Errorf("challenge: %w", err)
		}
		tx.Operations = append(tx.Operations, xdr.Operation{SourceAccount: &source, Body: body})
	}
	return xdr.TransactionEnvelope{Type: xdr.EnvelopeTypeEnvelopeTypeTx, V1: &xdr.TransactionV1Envelope{Tx: tx}}, nil
}

// token answers POST /auth: a signed challenge for a token.
//
//  1. Read it, strictly.
//  2. Check that we made it, and that who signed may move the account's money.
//  3. Use it up, with a record: from here on it is worth nothing.
//  4. Sign the token, whose id is the challenge's hash.
//
// If the signer fails in step 4 the wallet asks for another challenge, for which it needs the signer anyway. In the other
// order, a challenge would be good for as many tokens as can be asked for at once.
func (s *Server) token(w http.ResponseWriter, r *http.Request) error {
	encoded, err := readAnswer(r)
	if err != nil {
		return err
	}
	a, err := s.verify(r.Context(), encoded)
	if err != nil {
		return err
	}
	if err := s.useUp(r.Context(), a); err != nil {
		return err
	}
	token, err := s.issue(r.Context(), a)
	if err != nil {
		return err
	}
	return web.WriteJSON(w, http.StatusOK, map[string]string{"token": token})
}

func readAnswer(r *http.Request) (string, error) {
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		var body struct {
			Transaction string `json:"transaction"`
		}
		err := web.ReadJSON(r, &body)
		return body.Transaction, err
	}
	form, err := web.ReadForm(r)
	if err != nil {
		return "", err
	}
	return form.One("transaction")
}

// answer is a challenge that its account's signers signed.
type answer struct {
	account protocol.AccountID
	hash    protocol.Hash
	expires time.Time
}

func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrChallenge, fmt.Sprintf(format, args...))
}

// decodeEnvelope reads base64 of one version 1 envelope, in the one encoding that such a challenge has.
func decodeEnvelope(encoded string) (env xdr.TransactionEnvelope, err error) {
	if encoded == "" {
		return env, refuse("no transaction")
	}
	if len(encoded) > base64.StdEncoding.EncodedLen(maxEnvelope) {
		return env, refuse("the transaction is larger than %d bytes", maxEnvelope)
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil || strings.ContainsAny(encoded, "\r\n") {
		return env, refuse("the transaction is not base64")
	}
	if env, err = protocol.DecodeEnvelope(raw); err != nil || env.Type != xdr.EnvelopeTypeEnvelopeTypeTx {
		return env, refuse("the transaction is not XDR of a version 1 envelope")
	}
	return env, nil
}

func (s *Server) verify(ctx context.Context, encoded string) (answer, error) {
	env, err := decodeEnvelope(encoded)
	if err != nil {
		return answer{}, err
	}
	// What we make has exactly these; the library lets more pass.
	if len(env.V1.Tx.Operations) != 2 || len(env.V1.Signatures) > maxSignatures || env.V1.Tx.Cond.Type != xdr.PreconditionTypePrecondTime {
		return answer{}, refuse("it is not a challenge of this server")
	}
	server, network, homes := s.cfg.SigningKey.String(), string(s.cfg.Passphrase), []string{s.cfg.HomeDomain}
	tx, client, _, memo, err := txnbuild.ReadChallengeTx(encoded, server, network, s.host, homes)
	if err != nil {
		return answer{}, refuse("%v", err)
	}
	account, err := protocol.ParseAccountID(client)
	if err != nil || memo != nil {
		return answer{}, refuse("muxed and shared accounts are not supported")
	}
	hash, err := tx.Hash(network)
	if err != nil {
		return answer{}, fmt.Errorf("challenge: %w", err)
	}
	a := answer{account: account, hash: hash, expires: time.Unix(tx.Timebounds().MaxTime, 0).UTC()}

	held, err := s.Ledger.Account(ctx, account)
	switch {
	case errors.Is(err, protocol.ErrNotFound):
		// Nobody holds it yet: its master key is all there is.
		if _, err := txnbuild.VerifyChallengeTxSigners(encoded, server, network, s.host, homes, client); err != nil {
			return answer{}, refuse("%v", err)
		}
	case err != nil:
		return answer{}, fmt.Errorf("challenge: %w", err)
	default:
		// The medium threshold is what moving money out of the account takes, and a token can start that.
		medium := txnbuild.Threshold(held.Thresholds[xdr.ThresholdIndexesThresholdMed])
		if _, err := txnbuild.VerifyChallengeTxThreshold(encoded, server, network, s.host, homes, medium, signers(held)); err != nil {
			return answer{}, refuse("%v", err)
		}
	}
	return a, nil
}

// signers returns the keys that count. One of weight 0 does not, even for a threshold of 0.
func signers(a protocol.Account) txnbuild.SignerSummary {
	summary := txnbuild.SignerSummary{}
	if weight := a.Thresholds[xdr.ThresholdIndexesThresholdMasterWeight]; weight > 0 {
		summary[a.ID.String()] = int32(weight)
	}
	for _, signer := range a.Signers {
		if signer.Key.Type == xdr.SignerKeyTypeSignerKeyTypeEd25519 && signer.Weight > 0 {
			summary[signer.Key.Address()] = int32(min(signer.Weight, 255))
		}
	}
	return summary
}

// useUp makes the challenge worthless, or says that it is.
func (s *Server) useUp(ctx context.Context, a answer) error {
	err := audit.Do(ctx, s.DB, trail.ActorAs(ctx, "customer", a.account.String()),
		func(ctx context.Context, tx *audit.Tx) error {
			const insert = `INSERT INTO api.challenge (hash, account, expires) VALUES ($1, $2, $3) ON CONFLICT (hash) DO NOTHING`
			tag, err := tx.Exec(ctx, insert, a.hash, a.account, a.expires)
			if err != nil {
				return err
			}
			if tag.RowsAffected() == 0 {
				return refuse("it was answered before: ask for another")
			}
			_, err = tx.Record(ctx, audit.Event{Action: "session.opened", Subject: a.account.String(), Data: map[string]any{"challenge": a.hash.String()}})
			return err
		})
	if err != nil {
		return fmt.Errorf("challenge: %w", err)
	}
	return nil
}
