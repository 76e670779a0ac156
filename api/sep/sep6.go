package sep

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/diamante/gateway/anchor"
	"github.com/diamante/gateway/api/web"
	"github.com/diamante/gateway/node/protocol"
)

// What this server supports of SEP-6 version 4.3.0: deposits and withdrawals by bank transfer, for customers who have a
// token and whom a partner has enrolled; their own transactions, one and many. Refused with a clear word rather than
// half done: memos on deposits, refund memos (a refund carries the hash of the payment that it returns), other people's
// accounts. Ignored, as any parameter that is not known: callbacks, e-mail addresses, languages.
//
// SEP-6 lets a GET create a transaction, so a lost answer and a retry make two. That is harmless: a deposit is a
// reference waiting for money and a withdrawal a memo waiting for a payment, neither of which moves anything by itself.
// A wallet that wants one sends an Idempotency-Key, and the anchor makes one transaction for it.
const fundingMethod = "WIRE"

// pages bounds GET /sep6/transactions.
var pages = web.Pages{Default: 20, Max: 100}

// Anchor does what wallets ask for. Transactions that are not Lookup.Account's or Query.Account's do not exist for it.
type Anchor interface {
	Assets(ctx context.Context) ([]anchor.Asset, error)
	// Deposit and Withdraw make one transaction for a Key that is not "", however often they are called with it.
	Deposit(ctx context.Context, r anchor.DepositRequest) (anchor.Transaction, error)
	Withdraw(ctx context.Context, r anchor.WithdrawRequest) (anchor.Transaction, error)
	Transaction(ctx context.Context, l anchor.Lookup) (anchor.Transaction, error)
	Transactions(ctx context.Context, q anchor.Query) ([]anchor.Transaction, error)
}

// number is an amount as SEP-6 writes limits: a JSON number, all of whose digits count. Zero is left out: no limit.
func number(a protocol.Amount) json.Number {
	if a.IsZero() {
		return ""
	}
	return json.Number(strings.TrimSuffix(strings.TrimRight(a.String(), "0"), "."))
}

type infoAsset struct {
	Enabled bool                `json:"enabled"`
	Auth    bool                `json:"authentication_required"`
	Min     json.Number         `json:"min_amount,omitempty"`
	Max     json.Number         `json:"max_amount,omitempty"`
	Fee     int                 `json:"fee_fixed"`
	Percent int                 `json:"fee_percent"`
	Methods []string            `json:"funding_methods"`
	Types   map[string]infoType `json:"types,omitempty"`
}

type infoType struct {
	Fields map[string]infoField `json:"fields"`
}

type infoField struct {
	Description string `json:"description"`
	Optional    bool   `json:"optional"`
}

type infoEndpoint struct {
	Enabled bool `json:"enabled"`
	Auth    bool `json:"authentication_required,omitempty"`
}

// withdrawTypes says that the bank account is given in dest: nothing else of SEP-6 asks for one without SEP-12.
var withdrawTypes = map[string]infoType{"bank_account": {Fields: map[string]infoField{
	"dest":       {Description: "IBAN of the account to pay to"},
	"dest_extra": {Description: "Name of the account's holder"},
}}}

// info answers GET /sep6/info.
func (s *Server) info(w http.ResponseWriter, r *http.Request) error {
	assets, err := s.Anchor.Assets(r.Context())
	if err != nil {
		return err
	}
	deposit, withdraw := map[string]infoAsset{}, map[string]infoAsset{}
	for _, a := range assets {
		one := infoAsset{Enabled: true, Auth: true, Methods: []string{fundingMethod}}
		in, out := one, one
		in.Min, in.Max = number(a.MinDeposit), number(a.MaxDeposit)
		out.Min, out.Max, out.Types = number(a.MinWithdrawal), number(a.MaxWithdrawal), withdrawTypes
		deposit[a.Asset.Code()], withdraw[a.Asset.Code()] = in, out
	}
	return web.WriteJSON(w, http.StatusOK, map[string]any{
		"deposit": deposit, "withdraw": withdraw, "deposit-exchange": map[string]any{}, "withdraw-exchange": map[string]any{},
		"fee": infoEndpoint{}, "transactions": infoEndpoint{true, true}, "transaction": infoEndpoint{true, true},
		// Accounts are made when a partner enrols a customer, not when money arrives.
		"features": map[string]bool{"account_creation": false, "claimable_balances": false},
	})
}

// request is what deposits and withdrawals have in common.
type request struct {
	customer protocol.AccountID
	asset    string
	amount   protocol.Amount // zero: not said
	values   web.Values
}

// caller returns the account that the token proves.
func caller(ctx context.Context) (protocol.AccountID, error) {
	return protocol.ParseAccountID(web.CallerOf(ctx).Name)
}

func readRequest(r *http.Request, refused ...string) (request, error) {
	customer, err := caller(r.Context())
	if err != nil {
		return request{}, err
	}
	q, err := web.LooseQuery(r)
	if err != nil {
		return request{}, err
	}
	for _, name := range refused {
		if len(q[name]) > 0 {
			return request{}, web.Malformed(name, "not supported here")
		}
	}
	req := request{customer: customer, values: q}
	if req.asset, err = assetCode(q); err != nil {
		return request{}, err
	}
	if err := ownAccount(q, customer); err != nil {
		return request{}, err
	}
	for _, name := range []string{"funding_method", "type"} {
		method, err := q.One(name)
		if err != nil {
			return request{}, err
		}
		if method != "" && method != fundingMethod && !(name == "type" && method == "bank_account") {
			return request{}, web.Malformed(name, "need %s", fundingMethod)
		}
	}
	amount, err := q.One("amount")
	if err != nil || amount == "" {
		return req, err
	}
	if req.amount, err = protocol.ParseAmount(amount); err != nil || req.amount.IsZero() {
		return request{}, web.Malformed("amount", "need a positive amount with at most 7 decimals, such as 12.50")
	}
	return req, nil
}

func assetCode(q web.Values) (string, error) {
	code, err := q.One("asset_code")
	if err != nil {
		return "", err
	}
	if code == "" || len(code) > 12 {
		return "", web.Malformed("asset_code", "need the code of an asset in /info")
	}
	return code, nil
}

// ownAccount lets a wallet name its account where the SEP wants it to, and no other.
func ownAccount(q web.Values, customer protocol.AccountID) error {
	account, err := q.One("account")
	if err != nil {
		return err
	}
	if account != "" && account != customer.String() {
		return web.Malformed("account", "must be the account that the token is of")
	}
	return nil
}

// deposit answers GET /sep6/deposit: where to send the money, and the reference by which it is known again.
func (s *Server) deposit(w http.ResponseWriter, r *http.Request) error {
	req, err := readRequest(r, "memo", "memo_type")
	if err != nil {
		return err
	}
	tx, err := s.Anchor.Deposit(r.Context(), anchor.DepositRequest{Account: req.customer, Asset: req.asset, Amount: req.amount,
		Key: web.IdempotencyKey(r.Context())})
	if err != nil {
		return err
	}
	return web.WriteJSON(w, http.StatusOK, map[string]any{"id": tx.ID, "how": how(tx), "instructions": instructions(tx), "fee_fixed": 0, "fee_percent": 0,
		"extra_info": map[string]string{"message": "The reference must be in the transfer's remittance information, and nothing else is needed there."}})
}

func how(tx anchor.Transaction) string {
	return "Transfer " + tx.Asset.Code() + " to " + tx.Bank.Name + ", account " + tx.Bank.Account + ", bank " + tx.Bank.BIC + ", with the reference " + tx.Reference
}

type instruction struct {
	Value       string `json:"value"`
	Description string `json:"description"`
}

// instructions are the bank details in SEP-9's words.
func instructions(tx anchor.Transaction) map[string]instruction {
	return map[string]instruction{
		"organization.name":                {tx.Bank.Name, "Name of the account's holder"},
		"organization.bank_account_number": {tx.Bank.Account, "Account number or IBAN"},
		"organization.bank_number":         {tx.Bank.BIC, "BIC of the bank"},
		"external_transfer_memo":           {tx.Reference, "Reference to put into the remittance information"},
	}
}

// withdraw answers GET /sep6/withdraw: where to pay on the ledger, and with which memo.
func (s *Server) withdraw(w http.ResponseWriter, r *http.Request) error {
	req, err := readRequest(r, "memo", "memo_type", "refund_memo", "refund_memo_type")
	if err != nil {
		return err
	}
	dest, err := req.values.One("dest")
	if err != nil {
		return err
	}
	extra, err := req.values.One("dest_extra")
	if err != nil {
		return err
	}
	tx, err := s.Anchor.Withdraw(r.Context(), anchor.WithdrawRequest{Account: req.customer, Asset: req.asset, Amount: req.amount,
		Dest: dest, DestExtra: extra, Key: web.IdempotencyKey(r.Context())})
	if err != nil {
		return err
	}
	return web.WriteJSON(w, http.StatusOK, map[string]any{"id": tx.ID, "account_id": tx.Distribution, "memo_type": tx.Memo.Kind().String(),
		"memo": tx.Memo.String(), "fee_fixed": 0, "fee_percent": 0})
}

// transaction answers GET /sep6/transaction.
func (s *Server) transaction(w http.ResponseWriter, r *http.Request) error {
	customer, err := caller(r.Context())
	if err != nil {
		return err
	}
	q, err := web.LooseQuery(r)
	if err != nil {
		return err
	}
	l := anchor.Lookup{Account: customer}
	ledgerTx := ""
	for name, value := range map[string]*string{"id": &l.ID, "external_transaction_id": &l.ExternalTx, "stellar_transaction_id": &ledgerTx} {
		if *value, err = q.One(name); err != nil {
			return err
		}
		if len(*value) > 128 {
			return web.Malformed(name, "longer than 128 characters")
		}
	}
	if ledgerTx != "" {
		if l.LedgerTx, err = protocol.ParseHash(ledgerTx); err != nil {
			return web.Malformed("stellar_transaction_id", "need 64 hex digits")
		}
	}
	if l == (anchor.Lookup{Account: customer}) {
		return web.Malformed("id", "one of id, stellar_transaction_id and external_transaction_id is required")
	}
	tx, err := s.Anchor.Transaction(r.Context(), l)
	if err != nil {
		return err
	}
	return web.WriteJSON(w, http.StatusOK, map[string]any{"transaction": viewOf(tx)})
}

// transactions answers GET /sep6/transactions.
func (s *Server) transactions(w http.ResponseWriter, r *http.Request) error {
	query, err := readQuery(r)
	if err != nil {
		return err
	}
	var txs []anchor.Transaction
	if query.Kinds == nil || len(query.Kinds) > 0 {
		if txs, err = s.Anchor.Transactions(r.Context(), query); err != nil {
			return err
		}
	}
	views := make([]view, len(txs))
	for i, tx := range txs {
		views[i] = viewOf(tx)
	}
	return web.WriteJSON(w, http.StatusOK, map[string]any{"transactions": views})
}

func readQuery(r *http.Request) (anchor.Query, error) {
	customer, err := caller(r.Context())
	if err != nil {
		return anchor.Query{}, err
	}
	q, err := web.LooseQuery(r)
	if err != nil {
		return anchor.Query{}, err
	}
	query := anchor.Query{Account: customer}
	if query.Asset, err = assetCode(q); err != nil {
		return anchor.Query{}, err
	}
	if err := ownAccount(q, customer); err != nil {
		return anchor.Query{}, err
	}
	if query.Limit, err = pages.Limit(q); err != nil {
		return anchor.Query{}, err
	}
	if query.Before, err = q.One("paging_id"); err != nil || len(query.Before) > 128 {
		return anchor.Query{}, web.Malformed("paging_id", "need the id of a transaction")
	}
	since, err := q.One("no_older_than")
	if err != nil {
		return anchor.Query{}, err
	}
	if since != "" {
		if query.Since, err = time.Parse(time.RFC3339, since); err != nil {
			return anchor.Query{}, web.Malformed("no_older_than", "need a time such as 2026-01-31T15:04:05Z")
		}
	}
	query.Kinds, err = kinds(q["kind"])
	return query, err
}

// kinds reads the parameter kind, which may be repeated or hold a list. The SEP's exchanges are kinds too, of which there
// are none here: who asks for nothing else gets a list that is empty and not nil.
func kinds(values []string) ([]anchor.Kind, error) {
	var out []anchor.Kind
	for _, value := range values {
		if out == nil {
			out = []anchor.Kind{}
		}
		for _, name := range strings.Split(value, ",") {
			switch name {
			case anchor.Deposit.String():
				out = append(out, anchor.Deposit)
			case anchor.Withdrawal.String():
				out = append(out, anchor.Withdrawal)
			case "deposit-exchange", "withdrawal-exchange":
			default:
				return nil, web.Malformed("kind", "need deposit or withdrawal")
			}
		}
	}
	return out, nil
}

// view is a transaction as SEP-6 shows it.
type view struct {
	ID           string                 `json:"id"`
	Kind         string                 `json:"kind"`
	Status       string                 `json:"status"`
	AmountIn     string                 `json:"amount_in,omitempty"`
	AmountOut    string                 `json:"amount_out,omitempty"`
	AmountFee    string                 `json:"amount_fee,omitempty"`
	From         string                 `json:"from,omitempty"`
	To           string                 `json:"to,omitempty"`
	Anchor       string                 `json:"withdraw_anchor_account,omitempty"`
	Memo         string                 `json:"withdraw_memo,omitempty"`
	MemoType     string                 `json:"withdraw_memo_type,omitempty"`
	Started      string                 `json:"started_at"`
	Updated      string                 `json:"updated_at,omitempty"`
	Completed    string                 `json:"completed_at,omitempty"`
	LedgerTx     string                 `json:"stellar_transaction_id,omitempty"`
	ExternalTx   string                 `json:"external_transaction_id,omitempty"`
	Message      string                 `json:"message,omitempty"`
	Instructions map[string]instruction `json:"instructions,omitempty"`
}

func viewOf(tx anchor.Transaction) view {
	v := view{ID: tx.ID, Kind: tx.Kind.String(), Status: tx.Status, Started: stamp(tx.Started), Updated: stamp(tx.Updated),
		Completed: stamp(tx.Completed), ExternalTx: tx.ExternalTx, Message: tx.Message}
	if !tx.AmountIn.IsZero() {
		v.AmountIn = tx.AmountIn.String()
	}
	if !tx.AmountOut.IsZero() {
		v.AmountOut, v.AmountFee = tx.AmountOut.String(), tx.AmountFee.String()
	}
	if !tx.LedgerTx.IsZero() {
		v.LedgerTx = tx.LedgerTx.String()
	}
	switch tx.Kind {
	case anchor.Deposit:
		v.To, v.Instructions = tx.Account.String(), instructions(tx)
	case anchor.Withdrawal:
		v.From, v.Anchor, v.Memo, v.MemoType = tx.Account.String(), tx.Distribution.String(), tx.Memo.String(), tx.Memo.Kind().String()
	}
	return v
}

// stamp writes a time in UTC, "" for none.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05Z")
}
