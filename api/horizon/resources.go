package horizon

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/stellar/go-stellar-sdk/toid"
	"github.com/stellar/go-stellar-sdk/xdr"

	"github.com/diamante/gateway/api/web"
	"github.com/diamante/gateway/node/protocol"
)

// Version is what the root resource calls this server.
const Version = "diamante-gateway"

type link struct {
	Href      string `json:"href"`
	Templated bool   `json:"templated,omitempty"`
}

func (s *Server) link(path string) link {
	return link{Href: s.cfg.Origin + path, Templated: strings.Contains(path, "{")}
}

// links are those of a resource at self. All of Horizon's are given, also to what is not served yet: the JavaScript SDK
// renames a member that has the name of a link ("data" becomes "data_attr"), and wallets are written for that.
func (s *Server) links(self string, below ...string) map[string]link {
	all := map[string]link{"self": s.link(self)}
	for _, path := range below {
		name, _, _ := strings.Cut(path, "/")
		all[name] = s.link(self + "/" + path)
	}
	return all
}

func (s *Server) root(w http.ResponseWriter, r *http.Request) error {
	status, err := s.network.Status(r.Context())
	if err != nil {
		return err
	}
	ledger := status.Ledger
	return hal(w, http.StatusOK, ledger, map[string]any{
		"_links": map[string]link{"self": s.link("/"), "account": s.link("/accounts/{account_id}"), "fee_stats": s.link("/fee_stats"),
			"transaction": s.link("/transactions/{hash}"), "transactions": s.link("/transactions")},
		"horizon_version": Version, "core_version": Version, "ingest_latest_ledger": ledger, "history_latest_ledger": ledger,
		"history_latest_ledger_closed_at": status.ClosedAt.UTC().Format(time.RFC3339), "history_elder_ledger": 1,
		"core_latest_ledger": ledger, "network_passphrase": status.Passphrase, "current_protocol_version": status.Protocol,
		"supported_protocol_version": status.Protocol, "core_supported_protocol_version": status.Protocol,
	})
}

type balance struct {
	Balance            string `json:"balance"`
	Limit              string `json:"limit,omitempty"`
	BuyingLiabilities  string `json:"buying_liabilities"`
	SellingLiabilities string `json:"selling_liabilities"`
	LastModified       uint32 `json:"last_modified_ledger,omitempty"`
	Authorized         *bool  `json:"is_authorized,omitempty"`
	Maintain           *bool  `json:"is_authorized_to_maintain_liabilities,omitempty"`
	Clawback           *bool  `json:"is_clawback_enabled,omitempty"`
	Type               string `json:"asset_type"`
	Code               string `json:"asset_code,omitempty"`
	Issuer             string `json:"asset_issuer,omitempty"`
}

type signer struct {
	Weight uint32 `json:"weight"`
	Key    string `json:"key"`
	Type   string `json:"type"`
}

func (s *Server) account(w http.ResponseWriter, r *http.Request) error {
	id, err := protocol.ParseAccountID(chi.URLParam(r, "id"))
	if err != nil {
		return web.Malformed("account_id", "need an account that starts with G")
	}
	a, err := s.network.Account(r.Context(), id)
	if err != nil {
		return err
	}
	self := "/accounts/" + id.String()
	data := map[string]string{}
	for _, d := range a.Data {
		data[d.Name] = base64.StdEncoding.EncodeToString(d.Value)
	}
	v := map[string]any{
		"_links": s.links(self, "transactions", "operations", "payments", "effects", "offers", "trades", "data/{key}"), "id": id, "account_id": id, "paging_token": id,
		"sequence": strconv.FormatInt(a.Sequence, 10), "subentry_count": a.SubEntries, "last_modified_ledger": a.Ledger, "last_modified_time": nil,
		"thresholds": map[string]uint8{"low_threshold": a.Thresholds[xdr.ThresholdIndexesThresholdLow], "med_threshold": a.Thresholds[xdr.ThresholdIndexesThresholdMed],
			"high_threshold": a.Thresholds[xdr.ThresholdIndexesThresholdHigh]},
		"flags": map[string]bool{"auth_required": a.Flags.IsAuthRequired(), "auth_revocable": a.Flags.IsAuthRevocable(),
			"auth_immutable": a.Flags.IsAuthImmutable(), "auth_clawback_enabled": a.Flags.IsAuthClawbackEnabled()},
		"balances": balances(a), "signers": signersOf(a), "data": data, "num_sponsoring": 0, "num_sponsored": 0,
	}
	if a.HomeDomain != "" {
		v["home_domain"] = a.HomeDomain
	}
	return hal(w, http.StatusOK, a.Ledger, v)
}

// balances lists the credits and, last, the native asset.
func balances(a protocol.Account) []balance {
	zero := protocol.Amount{}.String()
	all := make([]balance, 0, len(a.Trustlines)+1)
	for _, t := range a.Trustlines {
		authorized := t.Flags.IsAuthorized()
		maintain := authorized || t.Flags.IsAuthorizedToMaintainLiabilitiesFlag()
		b := balance{Balance: t.Balance.String(), Limit: t.Limit.String(), BuyingLiabilities: zero, SellingLiabilities: zero, LastModified: a.Ledger,
			Authorized: &authorized, Maintain: &maintain, Type: "credit_alphanum4", Code: t.Asset.Code(), Issuer: t.Asset.Issuer().String()}
		if len(b.Code) > 4 {
			b.Type = "credit_alphanum12"
		}
		if clawback := t.Flags.IsClawbackEnabledFlag(); clawback {
			b.Clawback = &clawback
		}
		all = append(all, b)
	}
	return append(all, balance{Balance: a.Balance.String(), BuyingLiabilities: zero, SellingLiabilities: zero, Type: "native"})
}

var signerTypes = map[xdr.SignerKeyType]string{
	xdr.SignerKeyTypeSignerKeyTypeEd25519: "ed25519_public_key", xdr.SignerKeyTypeSignerKeyTypePreAuthTx: "preauth_tx",
	xdr.SignerKeyTypeSignerKeyTypeHashX: "sha256_hash", xdr.SignerKeyTypeSignerKeyTypeEd25519SignedPayload: "ed25519_signed_payload"}

// signersOf lists the other signers and, last, the master key.
func signersOf(a protocol.Account) []signer {
	all := make([]signer, 0, len(a.Signers)+1)
	for _, x := range a.Signers {
		all = append(all, signer{Weight: uint32(x.Weight), Key: x.Key.Address(), Type: signerTypes[x.Key.Type]})
	}
	return append(all, signer{Weight: uint32(a.Thresholds[xdr.ThresholdIndexesThresholdMasterWeight]), Key: a.ID.String(), Type: "ed25519_public_key"})
}

// feeStats answers GET /fee_stats. Every transaction is charged the base fee here, so that is all there is to say.
func (s *Server) feeStats(w http.ResponseWriter, r *http.Request) error {
	status, err := s.network.Status(r.Context())
	if err != nil {
		return err
	}
	fee := strconv.FormatUint(uint64(status.BaseFee), 10)
	spread := map[string]string{}
	for _, name := range []string{"max", "min", "mode", "p10", "p20", "p30", "p40", "p50", "p60", "p70", "p80", "p90", "p95", "p99"} {
		spread[name] = fee
	}
	usage := s.follower.usage()
	return hal(w, http.StatusOK, status.Ledger, map[string]any{"last_ledger": fmt.Sprint(status.Ledger), "last_ledger_base_fee": fee,
		"ledger_capacity_usage": fmt.Sprintf("%d.%02d", usage/100, usage%100), "fee_charged": spread, "max_fee": spread})
}

// transactionOf renders an applied transaction.
func (s *Server) transactionOf(tx *applied) (map[string]any, error) {
	encoded := map[string]any{"envelope_xdr": tx.env, "result_xdr": &tx.result.Result, "result_meta_xdr": &tx.meta, "fee_meta_xdr": tx.feeMeta}
	v := map[string]any{}
	for name, x := range encoded {
		text, err := xdr.MarshalBase64(x)
		if err != nil {
			return nil, fmt.Errorf("horizon: %s of %s: %w", name, tx.hash, err)
		}
		v[name] = text
	}
	env := tx.env
	source := env.SourceAccount().ToAccountId()
	feeSource, maxFee := source, int64(env.Fee())
	signatures := env.Signatures()
	if env.IsFeeBump() {
		feeSource, maxFee, signatures = env.FeeBumpAccount().ToAccountId(), env.FeeBumpFee(), env.FeeBumpSignatures()
	}
	sigs := make([]string, len(signatures))
	for i, sig := range signatures {
		sigs[i] = base64.StdEncoding.EncodeToString(sig.Signature)
	}
	token := toid.New(int32(tx.ledger), tx.order, 0).String()
	self := "/transactions/" + tx.hash.String()
	links := s.links(self, "operations", "effects")
	links["account"], links["ledger"], links["transaction"] = s.link("/accounts/"+source.Address()), s.link(fmt.Sprintf("/ledgers/%d", tx.ledger)), s.link(self)
	links["precedes"], links["succeeds"] = s.link("/transactions?order=asc&cursor="+token), s.link("/transactions?order=desc&cursor="+token)
	for name, x := range map[string]any{
		"id": tx.hash, "hash": tx.hash, "paging_token": token, "successful": tx.result.Result.Successful(), "ledger": tx.ledger,
		"created_at": tx.closedAt.UTC().Format(time.RFC3339), "source_account": source.Address(),
		"source_account_sequence": strconv.FormatInt(env.SeqNum(), 10), "fee_account": feeSource.Address(),
		"fee_charged": strconv.FormatInt(int64(tx.result.Result.FeeCharged), 10), "max_fee": strconv.FormatInt(maxFee, 10),
		"operation_count": len(env.Operations()), "signatures": sigs,
		"_links": links,
	} {
		v[name] = x
	}
	return v, memo(v, env.Memo())
}

// memo adds the memo. A text memo may hold any bytes; JSON cannot.
func memo(v map[string]any, x xdr.Memo) error {
	m, err := protocol.MemoFromXDR(x)
	if err != nil {
		return err
	}
	v["memo_type"] = m.Kind().String()
	switch m.Kind() {
	case protocol.MemoNone:
	case protocol.MemoText:
		v["memo"], v["memo_bytes"] = strings.ToValidUTF8(m.String(), "\uFFFD"), base64.StdEncoding.EncodeToString([]byte(m.String()))
	case protocol.MemoHash, protocol.MemoReturn:
		var raw xdr.Hash
		if x.Hash != nil {
			raw = *x.Hash
		} else {
			raw = *x.RetHash
		}
		v["memo"] = base64.StdEncoding.EncodeToString(raw[:])
	default:
		v["memo"] = m.String()
	}
	return nil
}
