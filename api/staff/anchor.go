package staff

import (
	"context"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/diamante/gateway/anchor"
	"github.com/diamante/gateway/api/trail"
	"github.com/diamante/gateway/api/web"
	"github.com/diamante/gateway/compliance/audit"
)

// pages bounds every list.
var pages = web.Pages{Default: 50, Max: 200}

// Anchor is what staff ask of the anchor.
type Anchor interface {
	// RegisterAsset starts to make the ledger agree with the asset's configuration and returns; asked again, it looks again.
	RegisterAsset(ctx context.Context, who audit.Actor, code string) (anchor.Asset, error)
	Invariants(ctx context.Context) ([]anchor.Invariant, error)
	LedgerTransactions(ctx context.Context, p anchor.Page) ([]anchor.LedgerTx, error)
	Parked(ctx context.Context, p anchor.Page) ([]anchor.Parked, error)
}

// registerAsset answers POST /v1/assets/{code} with 202: the ledger takes its time, and the stellar.toml has the asset when
// it is ready.
func (s *Server) registerAsset(w http.ResponseWriter, r *http.Request) error {
	code := chi.URLParam(r, "code")
	if len(code) < 1 || len(code) > 12 {
		return web.Malformed("code", "need 1 to 12 characters")
	}
	a, err := s.cfg.Anchor.RegisterAsset(r.Context(), trail.Actor(r.Context()), code)
	if err != nil {
		return err
	}
	return web.WriteJSON(w, http.StatusAccepted, map[string]any{"code": a.Asset.Code(), "issuer": a.Asset.Issuer(), "distribution": a.Distribution})
}

// invariants answers GET /v1/invariants, each checked now.
func (s *Server) invariants(w http.ResponseWriter, r *http.Request) error {
	found, err := s.cfg.Anchor.Invariants(r.Context())
	if err != nil {
		return err
	}
	type view struct {
		Name   string `json:"name"`
		OK     bool   `json:"ok"`
		Detail string `json:"detail"`
	}
	views, all := make([]view, len(found)), true
	for i, x := range found {
		views[i] = view(x)
		all = all && x.OK
	}
	return web.WriteJSON(w, http.StatusOK, map[string]any{"ok": all, "invariants": views})
}

func page(r *http.Request) (anchor.Page, error) {
	q, err := web.StrictQuery(r, "cursor", "limit")
	if err != nil {
		return anchor.Page{}, err
	}
	p, err := pages.Page(q)
	return anchor.Page{After: p.Cursor, Limit: p.Limit}, err
}

// ledgerTransactions answers GET /v1/ledger-transactions: what the anchor does on the ledger, and how far it got.
func (s *Server) ledgerTransactions(w http.ResponseWriter, r *http.Request) error {
	p, err := page(r)
	if err != nil {
		return err
	}
	found, err := s.cfg.Anchor.LedgerTransactions(r.Context(), p)
	if err != nil {
		return err
	}
	if err := s.read(r.Context(), "ledger-transactions", len(found)); err != nil {
		return err
	}
	items, next := make([]map[string]any, len(found)), ""
	for i, x := range found {
		items[i] = map[string]any{"id": x.ID, "purpose": x.Purpose, "state": x.State, "hash": x.Hash, "attempt": x.Attempt, "created_at": stamp(x.Created)}
		next = x.ID
	}
	return list(w, items, next, p.Limit)
}

// read records that the caller is about to see n entries that concern customers.
func (s *Server) read(ctx context.Context, what string, n int) error {
	return trail.Read(ctx, s.cfg.DB, audit.Event{Action: what + ".read", Subject: "all", Data: map[string]any{"entries": n}})
}

// list answers with a page and the cursor of the next, "" at the end.
func list(w http.ResponseWriter, items []map[string]any, next string, limit int) error {
	if len(items) < limit {
		next = ""
	}
	return web.WriteJSON(w, http.StatusOK, map[string]any{"records": items, "next": next})
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
