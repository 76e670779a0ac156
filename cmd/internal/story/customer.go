package story

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/stellar/go-stellar-sdk/txnbuild"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/node/protocol"
)

// NewCustomer makes a wallet that the partner enrols, and waits until its account exists on the ledger.
func (w *World) NewCustomer(ctx context.Context, name string) (*Wallet, error) {
	wallet, err := NewWallet(name, w.Public, w.Passphrase, w.Wallet)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(map[string]string{"account": wallet.Account(), "ref": name + "-" + wallet.Account()[:8]})
	if err != nil {
		return nil, fmt.Errorf("story: %w", err)
	}
	r := request{Method: http.MethodPost, URL: w.Partner + "/v1/customers", Type: "application/json", Key: "enrol-" + wallet.Account(), Body: body}
	if err := eventually(ctx, stepTimeout, func() (bool, error) { return answered(call(ctx, w.PartnerClient, r, nil)) }); err != nil {
		return nil, err
	}
	return wallet, eventually(ctx, stepTimeout, func() (bool, error) {
		_, err := wallet.load(ctx)
		return err == nil, nil // not found until the ledger has it
	})
}

// Anchor is what a wallet reads of an anchor before it trusts it.
type Anchor struct{ Issuer, SigningKey string }

// SetUpAsset has the bank register its asset, and waits until the ledger and the anchor's doors show it.
func (w *World) SetUpAsset(ctx context.Context) (a Anchor, err error) {
	r := request{Method: http.MethodPost, URL: w.Staff + "/v1/assets/" + w.Asset, Key: "story-asset-" + w.Asset}
	if err := call(ctx, w.StaffClient, r, nil); err != nil {
		return a, err
	}
	err = eventually(ctx, stepTimeout, func() (bool, error) {
		toml, err := readToml(ctx, w.Wallet, w.Public)
		if err != nil {
			return answered(err)
		}
		a.SigningKey = toml.SigningKey
		for _, c := range toml.Currencies {
			if c.Code == w.Asset {
				a.Issuer = c.Issuer
			}
		}
		return a.Issuer != "" && w.assetReady(ctx, a.Issuer), nil
	})
	return a, err
}

// assetReady asks the ledger whether the issuer has the flags that the story relies on.
func (w *World) assetReady(ctx context.Context, issuer string) bool {
	var a struct {
		Flags struct {
			Required bool `json:"auth_required"`
			Clawback bool `json:"auth_clawback_enabled"`
		} `json:"flags"`
		HomeDomain string `json:"home_domain"`
	}
	err := call(ctx, w.Wallet, request{Method: http.MethodGet, URL: w.Public + "/accounts/" + issuer}, &a)
	if err != nil || !a.Flags.Required || !a.Flags.Clawback || a.HomeDomain != w.HomeDomain {
		return false
	}
	var info struct {
		Deposit map[string]struct {
			Enabled bool `json:"enabled"`
		} `json:"deposit"`
	}
	err = call(ctx, w.Wallet, request{Method: http.MethodGet, URL: w.Public + "/sep6/info"}, &info)
	return err == nil && info.Deposit[w.Asset].Enabled
}

// OpenTrustline opens the wallet's line to the asset and waits until the issuer has authorised it.
func (w *World) OpenTrustline(ctx context.Context, wallet *Wallet, issuer string) (hash string, err error) {
	if hash, err = wallet.Trust(ctx, w.Asset, issuer); err != nil {
		return "", err
	}
	return hash, eventually(ctx, stepTimeout, func() (bool, error) {
		_, authorised, err := wallet.Balance(ctx, w.Asset, issuer)
		if err != nil {
			return answered(err)
		}
		return authorised, nil
	})
}

// centStroops is how many of the ledger's units a cent has.
const centStroops = 100_000

// Tell has the bank's treasury tell the signer what the account holds, if it has not since the last statement.
func (w *World) Tell(ctx context.Context) error {
	cents, serial, ok := w.Bank.unattested()
	if w.Attest == nil || !ok {
		return nil
	}
	if err := w.Attest(ctx, new(big.Int).Mul(big.NewInt(cents), big.NewInt(centStroops))); err != nil {
		return err
	}
	w.Bank.attested(serial)
	return nil
}

// told is Tell until the signer has it: it knows a word on this very ledger perhaps. When somebody is away the word has to
// come later, and what needs it waits.
func (w *World) told(ctx context.Context) error {
	return eventually(ctx, stepTimeout, func() (bool, error) {
		err := w.Tell(ctx)
		return err == nil || errors.Is(err, keymgmt.ErrUnavailable) || errors.Is(err, protocol.ErrUnavailable), nil
	})
}

// Upload hands the bank's statement with these entries to the gateway, until it is taken, once the treasury has told of it.
func (w *World) Upload(ctx context.Context, version string, entries ...BankEntry) error {
	file, err := w.Bank.Statement(version, entries...)
	if err != nil {
		return err
	}
	if err := w.told(ctx); err != nil {
		return err
	}
	r := request{Method: http.MethodPost, URL: w.Partner + "/v1/statements", Type: "application/xml", Body: file,
		Key: fmt.Sprintf("statement-%x", sha256.Sum256(file))}
	return eventually(ctx, stepTimeout, func() (bool, error) { return answered(call(ctx, w.PartnerClient, r, nil)) })
}

// Instructions say how a customer pays a deposit to the bank.
type Instructions struct{ ID, IBAN, Reference string }

// Deposit asks for a deposit by SEP-6.
func (w *Wallet) Deposit(ctx context.Context, asset, amount string) (Instructions, error) {
	query := url.Values{"asset_code": {asset}, "account": {w.Account()}, "amount": {amount}, "type": {"bank_account"}}
	var answer struct {
		ID           string `json:"id"`
		Instructions map[string]struct {
			Value string `json:"value"`
		} `json:"instructions"`
	}
	err := eventually(ctx, stepTimeout, func() (bool, error) { return answered(w.get(ctx, "/sep6/deposit?"+query.Encode(), &answer)) })
	d := Instructions{ID: answer.ID}
	for name, field := range answer.Instructions {
		switch {
		case strings.Contains(name, "reference") || strings.Contains(name, "memo"):
			d.Reference = field.Value
		case strings.Contains(name, "iban") || strings.HasSuffix(name, "bank_account_number"):
			d.IBAN = field.Value
		}
	}
	if err == nil && (d.ID == "" || d.IBAN == "" || d.Reference == "") {
		err = fmt.Errorf("story: deposit instructions lack something: %+v", answer)
	}
	return d, err
}

// Redemption says how a customer pays a withdrawal to the anchor.
type Redemption struct {
	ID, Account string
	Memo        txnbuild.Memo
}

// Withdraw asks for a withdrawal by SEP-6.
func (w *Wallet) Withdraw(ctx context.Context, asset, iban string) (Redemption, error) {
	query := url.Values{"asset_code": {asset}, "account": {w.Account()}, "type": {"bank_account"}, "dest": {iban}, "dest_extra": {w.Name}}
	var answer struct {
		ID       string `json:"id"`
		Account  string `json:"account_id"`
		MemoType string `json:"memo_type"`
		Memo     string `json:"memo"`
	}
	err := eventually(ctx, stepTimeout, func() (bool, error) { return answered(w.get(ctx, "/sep6/withdraw?"+query.Encode(), &answer)) })
	if err != nil {
		return Redemption{}, err
	}
	r := Redemption{ID: answer.ID, Account: answer.Account, Memo: txnbuild.MemoText(answer.Memo)}
	if answer.MemoType == "id" {
		var id txnbuild.MemoID
		if _, err := fmt.Sscan(answer.Memo, &id); err != nil {
			return Redemption{}, fmt.Errorf("story: memo %q: %w", answer.Memo, err)
		}
		r.Memo = id
	}
	return r, nil
}

// Transfer is a SEP-6 transaction.
type Transfer struct {
	ID        string `json:"id"`
	Status    string `json:"status"`
	AmountIn  string `json:"amount_in"`
	AmountOut string `json:"amount_out"`
	LedgerTx  string `json:"stellar_transaction_id"`
	Message   string `json:"message"`
}

// Transaction asks for one of the wallet's own transactions.
func (w *Wallet) Transaction(ctx context.Context, id string) (Transfer, error) {
	var answer struct {
		Transaction Transfer `json:"transaction"`
	}
	err := w.get(ctx, "/sep6/transaction?"+url.Values{"id": {id}}.Encode(), &answer)
	return answer.Transaction, err
}

// Completed waits until the transaction is completed.
func (w *Wallet) Completed(ctx context.Context, id string) (t Transfer, err error) {
	waited := eventually(ctx, stepTimeout, func() (bool, error) {
		if t, err = w.Transaction(ctx, id); err != nil {
			return answered(err)
		}
		return t.Status == "completed", nil
	})
	if waited != nil {
		waited = fmt.Errorf("%w: transaction %s is %s %s", waited, id, t.Status, t.Message)
	}
	return t, waited
}

// anchorToml is what the story reads of a stellar.toml.
type anchorToml struct {
	SigningKey string `toml:"SIGNING_KEY"`
	Currencies []struct {
		Code   string `toml:"code"`
		Issuer string `toml:"issuer"`
	} `toml:"CURRENCIES"`
}

func readToml(ctx context.Context, client *http.Client, home string) (t anchorToml, err error) {
	var raw []byte
	if err := call(ctx, client, request{Method: http.MethodGet, URL: home + "/.well-known/stellar.toml"}, &raw); err != nil {
		return t, err
	}
	if err := toml.Unmarshal(raw, &t); err != nil {
		return t, fmt.Errorf("story: stellar.toml: %w", err)
	}
	return t, nil
}
