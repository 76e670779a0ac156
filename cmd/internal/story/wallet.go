package story

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/stellar/go-stellar-sdk/keypair"
	"github.com/stellar/go-stellar-sdk/txnbuild"
)

// How long a transaction of a wallet may take to be closed, and what it bids per operation, in stroops.
const (
	walletTimeout = 120 // seconds
	walletFee     = 1000
)

// Wallet is a customer: a key that the gateway never sees, and what any wallet of the Stellar family can do with it. It
// is built on the public SDK and on HTTP, and knows of the gateway only its home domain's URL.
type Wallet struct {
	Name       string
	key        *keypair.Full
	home       string // base URL
	passphrase string
	http       *http.Client
	token      string
}

// NewWallet makes a wallet with a fresh key.
func NewWallet(name, home, passphrase string, client *http.Client) (*Wallet, error) {
	key, err := keypair.Random()
	if err != nil {
		return nil, fmt.Errorf("story: %w", err)
	}
	return &Wallet{Name: name, key: key, home: home, passphrase: passphrase, http: client}, nil
}

// Account returns the wallet's address.
func (w *Wallet) Account() string { return w.key.Address() }

// Authenticate obtains a token by SEP-10, checking the challenge as a careful wallet does.
func (w *Wallet) Authenticate(ctx context.Context, signingKey, homeDomain string) error {
	var challenge struct {
		Transaction       string `json:"transaction"`
		NetworkPassphrase string `json:"network_passphrase"`
	}
	if err := w.get(ctx, "/auth?"+url.Values{"account": {w.Account()}}.Encode(), &challenge); err != nil {
		return err
	}
	authDomain := strings.TrimPrefix(w.home, "https://")
	tx, account, _, _, err := txnbuild.ReadChallengeTx(challenge.Transaction, signingKey, w.passphrase, authDomain, []string{homeDomain})
	if err != nil {
		return fmt.Errorf("story: challenge: %w", err)
	}
	if account != w.Account() || challenge.NetworkPassphrase != w.passphrase {
		return fmt.Errorf("story: challenge is for %s on %q", account, challenge.NetworkPassphrase)
	}
	if tx, err = tx.Sign(w.passphrase, w.key); err != nil {
		return fmt.Errorf("story: %w", err)
	}
	signed, err := tx.Base64()
	if err != nil {
		return fmt.Errorf("story: %w", err)
	}
	body, err := json.Marshal(map[string]string{"transaction": signed})
	if err != nil {
		return fmt.Errorf("story: %w", err)
	}
	var answer struct {
		Token string `json:"token"`
	}
	err = call(ctx, w.http, request{Method: http.MethodPost, URL: w.home + "/auth", Type: "application/json", Body: body}, &answer)
	if err != nil {
		return err
	}
	w.token = answer.Token
	return nil
}

// Trust opens a trustline.
func (w *Wallet) Trust(ctx context.Context, code, issuer string) (hash string, err error) {
	line := txnbuild.CreditAsset{Code: code, Issuer: issuer}.MustToChangeTrustAsset()
	return w.submit(ctx, nil, &txnbuild.ChangeTrust{Line: line, Limit: "1000000"})
}

// Payment is what a wallet is told to pay.
type Payment struct {
	To, Amount, Code, Issuer string
	Memo                     txnbuild.Memo
}

// Pay sends credit and returns the transaction's hash.
func (w *Wallet) Pay(ctx context.Context, p Payment) (hash string, err error) {
	return w.submit(ctx, p.Memo, &txnbuild.Payment{Destination: p.To, Amount: p.Amount,
		Asset: txnbuild.CreditAsset{Code: p.Code, Issuer: p.Issuer}})
}

// Balance returns what the wallet holds of the credit, and whether the issuer has authorised it to.
func (w *Wallet) Balance(ctx context.Context, code, issuer string) (balance string, authorised bool, err error) {
	account, err := w.load(ctx)
	if err != nil {
		return "", false, err
	}
	for _, b := range account.Balances {
		if b.Code == code && b.Issuer == issuer {
			return b.Balance, b.Authorised, nil
		}
	}
	return "", false, nil
}

type accountJSON struct {
	Sequence int64 `json:"sequence,string"`
	Balances []struct {
		Balance    string `json:"balance"`
		Code       string `json:"asset_code"`
		Issuer     string `json:"asset_issuer"`
		Authorised bool   `json:"is_authorized"`
	} `json:"balances"`
}

func (w *Wallet) load(ctx context.Context) (a accountJSON, err error) {
	err = w.get(ctx, "/accounts/"+w.Account(), &a)
	return a, err
}

// submit signs and submits one transaction. When the answer is lost it asks again with the very same transaction: a
// wallet that built a new one could pay twice.
func (w *Wallet) submit(ctx context.Context, memo txnbuild.Memo, ops ...txnbuild.Operation) (string, error) {
	var account accountJSON
	err := eventually(ctx, walletTimeout*time.Second, func() (ok bool, err error) {
		account, err = w.load(ctx)
		return answered(err)
	})
	if err != nil {
		return "", err
	}
	tx, err := txnbuild.NewTransaction(txnbuild.TransactionParams{
		SourceAccount:        &txnbuild.SimpleAccount{AccountID: w.Account(), Sequence: account.Sequence},
		IncrementSequenceNum: true, Operations: ops, BaseFee: walletFee, Memo: memo,
		Preconditions: txnbuild.Preconditions{TimeBounds: txnbuild.NewTimeout(walletTimeout)},
	})
	if err != nil {
		return "", fmt.Errorf("story: %w", err)
	}
	if tx, err = tx.Sign(w.passphrase, w.key); err != nil {
		return "", fmt.Errorf("story: %w", err)
	}
	encoded, err := tx.Base64()
	if err != nil {
		return "", fmt.Errorf("story: %w", err)
	}
	form := []byte(url.Values{"tx": {encoded}}.Encode())
	var answer struct {
		Hash       string `json:"hash"`
		Successful bool   `json:"successful"`
	}
	err = eventually(ctx, walletTimeout*time.Second, func() (bool, error) {
		r := request{Method: http.MethodPost, URL: w.home + "/transactions", Type: "application/x-www-form-urlencoded", Body: form}
		return answered(call(ctx, w.http, r, &answer))
	})
	if err == nil && !answer.Successful {
		err = fmt.Errorf("story: transaction %s was not successful", answer.Hash)
	}
	return answer.Hash, err
}

func (w *Wallet) get(ctx context.Context, path string, into any) error {
	return call(ctx, w.http, request{Method: http.MethodGet, URL: w.home + path, Token: w.token}, into)
}
