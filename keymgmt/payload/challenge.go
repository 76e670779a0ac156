package payload

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/diamante/gateway/node/protocol"
)

// Names of the data entries of a SEP-10 challenge.
const (
	authSuffix     = " auth"
	webAuthName    = "web_auth_domain"
	clientName     = "client_domain"
	nonceBytes     = 48
	maxDomain      = 64 - len(authSuffix) // what fits a data name
	maxDomainValue = 64                   // what fits a data value
)

// Challenge is a SEP-10 challenge: a transaction with sequence number 0, which no ledger can ever apply.
type Challenge struct {
	Network       protocol.Hash
	Server        protocol.AccountID // the source, whose key signs
	Client        protocol.AccountID // who is to prove that he has his key
	HomeDomain    string
	WebAuthDomain string             // "" when the challenge names none
	ClientDomain  string             // "" when the challenge names none
	ClientSigner  protocol.AccountID // the client domain's key, zero without a client domain
	MinTime       time.Time
	MaxTime       time.Time
	Memo          protocol.Memo // none, or the client's sub-account id
}

func (m *Meaning) readChallenge(body []byte) error {
	network, tagged, err := decodeBase(body)
	if err != nil {
		return err
	}
	if tagged.Tx == nil {
		return malformed("a challenge is no fee bump")
	}
	tx := *tagged.Tx
	if tx.SeqNum != 0 {
		return malformed("sequence number %d: a challenge has 0, or else a ledger could apply it", tx.SeqNum)
	}
	t, err := header(network, tx)
	if err != nil {
		return err
	}
	if t.Memo.Kind() != protocol.MemoNone && t.Memo.Kind() != protocol.MemoID {
		return malformed("a challenge's memo is an id or nothing")
	}
	if t.MinTime.Unix() == 0 || t.Conditions != nil {
		return malformed("a challenge has both time bounds, and no other precondition")
	}
	c := &Challenge{Network: network, Server: t.Source, MinTime: t.MinTime, MaxTime: t.MaxTime, Memo: t.Memo}
	for i, x := range tx.Operations {
		if i == 0 && x.SourceAccount == nil {
			return malformed("operation 0: a challenge's first operation names the client as its source")
		}
		op, err := readOperation(t.Source, x)
		if err == nil {
			err = c.add(i, op)
		}
		if err != nil {
			return fmt.Errorf("operation %d: %w", i, err)
		}
	}
	hash := sha256.Sum256(body)
	m.Challenge, m.sign, m.words = c, ed25519Only(hash[:]), c.words()
	return nil
}

// add takes the i-th operation. SEP-10 reserves further operations for the future; what they would mean is not known
// here, so they are refused.
func (c *Challenge) add(i int, op Operation) error {
	data, ok := op.(ManageData)
	if !ok {
		return malformed("a challenge has manage data operations only")
	}
	switch {
	case i == 0:
		return c.addNonce(data)
	case data.Name == webAuthName && c.WebAuthDomain == "":
		if data.Source != c.Server || !domain(string(data.Value), maxDomainValue) {
			return malformed("%s %.64q by %s", webAuthName, data.Value, data.Source)
		}
		c.WebAuthDomain = string(data.Value)
	case data.Name == clientName && c.ClientDomain == "":
		if data.Source == c.Server || data.Source == c.Client || !domain(string(data.Value), maxDomainValue) {
			return malformed("%s %.64q by %s", clientName, data.Value, data.Source)
		}
		c.ClientDomain, c.ClientSigner = string(data.Value), data.Source
	default:
		return malformed("data %.64q is unknown in a challenge, or repeated", data.Name)
	}
	return nil
}

func (c *Challenge) addNonce(data ManageData) error {
	home, ok := strings.CutSuffix(data.Name, authSuffix)
	if !ok || !domain(home, maxDomain) {
		return malformed("first data name %.64q, need a domain and %q", data.Name, authSuffix)
	}
	if data.Source == c.Server {
		return malformed("the client is the server")
	}
	nonce, err := base64.StdEncoding.Strict().DecodeString(string(data.Value))
	if err != nil || len(nonce) != nonceBytes || strings.ContainsAny(string(data.Value), "\r\n") {
		return malformed("nonce of %d bytes, need base64 of %d random bytes", len(data.Value), nonceBytes)
	}
	c.Client, c.HomeDomain = data.Source, home
	return nil
}

// domain reports whether s looks like a host name in lower case, with a port or without.
func domain(s string, limit int) bool {
	if s == "" || len(s) > limit {
		return false
	}
	for _, r := range s {
		if !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == ':') {
			return false
		}
	}
	return true
}

func (c *Challenge) words() []string {
	w := []string{fmt.Sprintf("challenges %s to prove its key to %s, for %s", c.Client, c.Server, c.HomeDomain)}
	if c.WebAuthDomain != "" {
		w = append(w, "authentication server "+c.WebAuthDomain)
	}
	if c.ClientDomain != "" {
		w = append(w, "client domain "+c.ClientDomain+" with key "+c.ClientSigner.String())
	}
	if c.Memo.Kind() == protocol.MemoID {
		w = append(w, "sub-account "+c.Memo.String())
	}
	return append(w, fmt.Sprintf("valid from %s to %s", c.MinTime.Format(time.RFC3339), c.MaxTime.Format(time.RFC3339)),
		"on network "+c.Network.String())
}
