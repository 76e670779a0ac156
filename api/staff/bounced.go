package staff

import (
	"context"
	"net/http"

	"github.com/go-chi/chi/v5"

	"github.com/diamante/gateway/anchor"
	"github.com/diamante/gateway/api/trail"
	"github.com/diamante/gateway/api/web"
	"github.com/diamante/gateway/compliance/audit"
)

// Stuck is money that cannot go where it was meant to go.
type Stuck interface {
	// Bounced lists withdrawals that the bank did not pay; ResolveBounced decides about one.
	Bounced(ctx context.Context, p anchor.Page) ([]anchor.Transaction, error)
	ResolveBounced(ctx context.Context, who audit.Actor, r anchor.BouncedResolution) (anchor.Transaction, error)
	// GiveUpDeposit ends the wait for a customer who opens no line to his credit.
	GiveUpDeposit(ctx context.Context, who audit.Actor, id, note string) (anchor.Transaction, error)
}

// bounced answers GET /v1/withdrawals/bounced: what the bank did not pay, or gave back.
func (s *Server) bounced(w http.ResponseWriter, r *http.Request) error {
	p, err := page(r)
	if err != nil {
		return err
	}
	found, err := s.cfg.Stuck.Bounced(r.Context(), p)
	if err != nil {
		return err
	}
	if err := s.read(r.Context(), "bounced", len(found)); err != nil {
		return err
	}
	items, next := make([]map[string]any, len(found)), ""
	for i, x := range found {
		items[i] = viewTransaction(x)
		next = x.ID
	}
	return list(w, items, next, p.Limit)
}

func viewTransaction(x anchor.Transaction) map[string]any {
	return map[string]any{"id": x.ID, "status": x.Status, "account": x.Account, "asset": x.Asset.Code(), "amount": x.AmountIn.String(), "message": x.Message, "at": stamp(x.Started)}
}

// resolveBounced answers POST /v1/withdrawals/{id}/resolve.
func (s *Server) resolveBounced(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Action string `json:"action"`
		Note   string `json:"note"`
	}
	if err := web.ReadJSON(r, &body); err != nil {
		return err
	}
	if err := checkNote(body.Note); err != nil {
		return err
	}
	done, err := s.cfg.Stuck.ResolveBounced(r.Context(), trail.Actor(r.Context()), anchor.BouncedResolution{ID: chi.URLParam(r, "id"), Action: body.Action, Note: body.Note})
	if err != nil {
		return err
	}
	return web.WriteJSON(w, http.StatusOK, viewTransaction(done))
}

// giveUp answers POST /v1/deposits/{id}/give-up.
func (s *Server) giveUp(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Note string `json:"note"`
	}
	if err := web.ReadJSON(r, &body); err != nil {
		return err
	}
	if err := checkNote(body.Note); err != nil {
		return err
	}
	done, err := s.cfg.Stuck.GiveUpDeposit(r.Context(), trail.Actor(r.Context()), chi.URLParam(r, "id"), body.Note)
	if err != nil {
		return err
	}
	return web.WriteJSON(w, http.StatusOK, viewTransaction(done))
}
