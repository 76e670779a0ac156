package rig

import (
	"crypto/ed25519"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/deploy/schema"
	"github.com/diamante/gateway/node/protocol"
)

// The gateway's limits in development, per single movement.
const (
	minAmount   = "1"
	maxAmount   = "50000"
	limitAmount = "50000"
)

// writeLogKey writes a log's public key.
func (r *Rig) writeLogKey(path, origin string, id protocol.AccountID) error {
	key, err := audit.NewLogKey(origin, ed25519.PublicKey(id.Key()))
	if err != nil {
		return err
	}
	return r.write(path, []byte(key.String()+"\n"))
}

// writeGatewayConfig writes the gateway's configuration and the two logs' public keys.
func (r *Rig) writeGatewayConfig(keys map[string]protocol.AccountID) error {
	if err := r.writeLogKey(r.LogKeyFile(), r.logOrigin(), keys["audit/log"]); err != nil {
		return err
	}
	if err := r.writeLogKey(r.SignerLogKeyFile(), r.signerOrigin(), keys[signerLog]); err != nil {
		return err
	}
	material, err := r.programTLS(GatewayName)
	if err != nil {
		return err
	}
	listener, err := r.listenerTLS()
	if err != nil {
		return err
	}
	door := func(port int, names table) table {
		t := table{"listen": loopback(port), "tls": tlsTable(listener)}
		if names != nil {
			t["names"] = names
		}
		return t
	}
	limits := []table{}
	for _, kind := range []string{"deposit", "withdrawal", "payout", "refund"} {
		limits = append(limits, table{"kind": kind, "currency": AssetCode + "/7", "max": limitAmount})
	}
	return r.writeConfig("gateway", table{
		"network": string(Passphrase), "origin": r.PublicURL(), "home_domain": r.HomeDomain(),
		"organization": table{"name": "Example Bank", "url": r.PublicURL()},
		"tls":          tlsTable(material),
		"node":         table{"url": "https://" + loopback(r.ports.Node), "name": NodeName},
		"signer":       table{"url": "https://" + loopback(r.ports.Signer), "name": SignerName},
		"database":     table{"url_file": r.databaseURLFile(schema.Gateway), "max_connections": 24},
		"public":       door(r.ports.Public, nil),
		"partner":      door(r.ports.Partner, table{PartnerName: "paycircle"}),
		"staff":        door(r.ports.Staff, table{StaffName: "officer"}),
		"keys": table{"challenge": "anchor/sep10", "challenge_address": keys["anchor/sep10"].String(),
			"token": "anchor/jwt", "token_address": keys["anchor/jwt"].String()},
		"log": table{"key_file": r.LogKeyFile(), "key": "audit/log"},
		"asset": []table{{
			"code": AssetCode, "issuing_key": "anchor/usd/issuing", "issuing": keys["anchor/usd/issuing"].String(),
			"distribution_key": "anchor/usd/distribution", "distribution": keys["anchor/usd/distribution"].String(),
			"bank_name": "Example Bank", "bank_iban": BankIBAN, "bank_bic": BankBIC, "bank_partner": "paycircle",
			"min_deposit": minAmount, "max_deposit": maxAmount, "min_withdrawal": minAmount, "max_withdrawal": maxAmount,
		}},
		"funding": table{"root_key": "network/root", "root": keys["network/root"].String(), "anchor_balance": "5000", "customer_balance": "5"},
		"limit":   limits, "transactions": table{"fee_per_op": 200, "life": "60s"}, "max_lag": 30, "token_life": "1h", "challenge_life": "15m",
	})
}
