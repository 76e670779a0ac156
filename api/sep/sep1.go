package sep

import (
	"fmt"
	"net/http"

	"github.com/pelletier/go-toml/v2"
)

// maxTOML is the size past which wallets stop reading.
const maxTOML = 100 << 10

// stellarTOML is the document, in the order in which it is written. Values that are empty are left out.
type stellarTOML struct {
	Version       string        `toml:"VERSION"`
	Passphrase    string        `toml:"NETWORK_PASSPHRASE"`
	WebAuth       string        `toml:"WEB_AUTH_ENDPOINT"`
	SigningKey    string        `toml:"SIGNING_KEY"`
	Transfer      string        `toml:"TRANSFER_SERVER"`
	Horizon       string        `toml:"HORIZON_URL"`
	Accounts      []string      `toml:"ACCOUNTS"`
	Documentation documentation `toml:"DOCUMENTATION"`
	Currencies    []currency    `toml:"CURRENCIES"`
}

type documentation struct {
	Name        string `toml:"ORG_NAME"`
	DBA         string `toml:"ORG_DBA,omitempty"`
	URL         string `toml:"ORG_URL,omitempty"`
	Description string `toml:"ORG_DESCRIPTION,omitempty"`
	Email       string `toml:"ORG_OFFICIAL_EMAIL,omitempty"`
}

type currency struct {
	Code       string `toml:"code"`
	Issuer     string `toml:"issuer"`
	Status     string `toml:"status"`
	Decimals   int    `toml:"display_decimals"`
	Name       string `toml:"name"`
	Desc       string `toml:"desc"`
	Anchored   bool   `toml:"is_asset_anchored"`
	AnchorType string `toml:"anchor_asset_type"`
	Anchor     string `toml:"anchor_asset"`
	Redemption string `toml:"redemption_instructions"`
}

// toml answers GET /.well-known/stellar.toml.
func (s *Server) toml(w http.ResponseWriter, r *http.Request) error {
	assets, err := s.Anchor.Assets(r.Context())
	if err != nil {
		return err
	}
	doc := stellarTOML{
		Version: "2.7.0", Passphrase: string(s.cfg.Passphrase), WebAuth: s.cfg.Origin + authPath, SigningKey: s.cfg.SigningKey.String(),
		Transfer: s.cfg.Origin + transferPath, Horizon: s.cfg.Origin, Accounts: []string{},
		Documentation: documentation{Name: s.cfg.Name, DBA: s.cfg.DBA, URL: s.cfg.URL, Description: s.cfg.Description, Email: s.cfg.Email},
	}
	for _, a := range assets {
		code := a.Asset.Code()
		doc.Accounts = append(doc.Accounts, a.Asset.Issuer().String(), a.Distribution.String())
		doc.Currencies = append(doc.Currencies, currency{Code: code, Issuer: a.Asset.Issuer().String(), Status: "live", Decimals: 2,
			Name: code + " by " + s.cfg.Name, Desc: "One " + code + " is a claim on one " + code + " held at the anchor's bank.",
			Anchored: true, AnchorType: "fiat", Anchor: code, Redemption: "Withdraw through this anchor by SEP-6."})
	}
	body, err := toml.Marshal(doc)
	if err != nil {
		return fmt.Errorf("stellar.toml: %w", err)
	}
	if len(body) > maxTOML {
		return fmt.Errorf("stellar.toml of %d bytes is more than wallets read", len(body))
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write(body) // the client is gone if this fails
	return nil
}
