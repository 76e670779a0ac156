package partner

import (
	"net/http"
	"time"

	"github.com/diamante/gateway/anchor"
	"github.com/diamante/gateway/api/trail"
	"github.com/diamante/gateway/api/web"
	"github.com/diamante/gateway/compliance/audit"
)

// importStatement answers POST /v1/statements with what became of the entries.
func (s *Server) importStatement(w http.ResponseWriter, r *http.Request) error {
	raw, err := web.ReadBody(r, "application/xml", "text/xml")
	if err != nil {
		return err
	}
	if len(raw) == 0 {
		return web.Malformed("body", "need a bank statement, camt.053")
	}
	done, err := s.cfg.Bank.ImportStatement(r.Context(), trail.Actor(r.Context()), web.CallerOf(r.Context()).Name, raw)
	if err != nil {
		return err
	}
	return web.WriteJSON(w, http.StatusOK, map[string]any{"statement": done.Statement, "entries": done.Entries, "booked": done.Booked,
		"matched": done.Matched, "quarantined": done.Quarantined, "imported_before": done.Again,
		"warning": done.Warning})
}

type payoutView struct {
	ID      string `json:"id"`
	State   string `json:"state"`
	Asset   string `json:"asset"`
	Amount  string `json:"amount"`
	Created string `json:"created_at"`
}

// payouts answers GET /v1/payouts.
func (s *Server) payouts(w http.ResponseWriter, r *http.Request) error {
	p, err := page(r)
	if err != nil {
		return err
	}
	found, err := s.cfg.Payouts.Payouts(r.Context(), web.CallerOf(r.Context()).Name, p)
	if err != nil {
		return err
	}
	if err := s.read(r.Context(), "payouts", "all", len(found)); err != nil {
		return err
	}
	views := make([]payoutView, len(found))
	for i, x := range found {
		views[i] = payoutView{x.ID, x.State, x.Asset.Code(), x.Amount.String(), stamp(x.Created)}
	}
	return list(w, views, p.Limit, func(v payoutView) string { return v.ID })
}

// payoutFile answers GET /v1/payouts/{id}/file with the pain.001 file. That it was fetched is recorded, since the bank
// pays what is in it.
func (s *Server) payoutFile(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(r)
	if err != nil {
		return err
	}
	file, err := s.cfg.Payouts.PayoutFile(r.Context(), web.CallerOf(r.Context()).Name, id)
	if err != nil {
		return err
	}
	err = trail.Read(r.Context(), s.cfg.DB, audit.Event{Action: "payout.downloaded", Subject: id, Data: map[string]any{"file": file.Name}})
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/xml")
	w.Header().Set("Content-Disposition", `attachment; filename="`+file.Name+`"`)
	_, _ = w.Write(file.Body) // the client is gone if this fails
	return nil
}

// refusePayout answers POST /v1/payouts/{id}/refuse.
func (s *Server) refusePayout(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(r)
	if err != nil {
		return err
	}
	var body struct {
		Reason string `json:"reason"`
	}
	if err := web.ReadJSON(r, &body); err != nil {
		return err
	}
	if body.Reason == "" || len(body.Reason) > maxNote {
		return web.Malformed("reason", "need 1 to %d bytes, such as the bank's code", maxNote)
	}
	err = s.cfg.Payouts.RefusePayout(r.Context(), trail.Actor(r.Context()), web.CallerOf(r.Context()).Name, anchor.PayoutRefusal{ID: id, Reason: body.Reason})
	if err != nil {
		return err
	}
	return web.WriteJSON(w, http.StatusOK, map[string]string{"id": id, "state": "refused"})
}

type heldView struct {
	ID         string `json:"id"`
	Statement  string `json:"statement"`
	Reason     string `json:"reason"`
	Detail     string `json:"detail"`
	Reference  string `json:"reference"`
	Amount     string `json:"amount"`
	Currency   string `json:"currency"`
	At         string `json:"at"`
	Resolution string `json:"resolution,omitempty"`
}

func viewHeld(h anchor.Held) heldView {
	return heldView{h.ID, h.Statement, h.Reason, h.Detail, h.Reference, h.Amount, h.Currency, stamp(h.At), h.Resolution}
}

// quarantine answers GET /v1/quarantine: what could not be placed, and why.
func (s *Server) quarantine(w http.ResponseWriter, r *http.Request) error {
	p, err := page(r)
	if err != nil {
		return err
	}
	found, err := s.cfg.Bank.Quarantine(r.Context(), web.CallerOf(r.Context()).Name, p)
	if err != nil {
		return err
	}
	if err := s.read(r.Context(), "quarantine", "all", len(found)); err != nil {
		return err
	}
	views := make([]heldView, len(found))
	for i, x := range found {
		views[i] = viewHeld(x)
	}
	return list(w, views, p.Limit, func(v heldView) string { return v.ID })
}

// resolve answers POST /v1/quarantine/{id}/resolve.
func (s *Server) resolve(w http.ResponseWriter, r *http.Request) error {
	id, err := pathID(r)
	if err != nil {
		return err
	}
	var body struct {
		Action      string `json:"action"`
		Transaction string `json:"transaction"`
		Amount      string `json:"amount"`
		Note        string `json:"note"`
	}
	if err := web.ReadJSON(r, &body); err != nil {
		return err
	}
	if body.Note == "" || len(body.Note) > maxNote {
		return web.Malformed("note", "need 1 to %d bytes that say why", maxNote)
	}
	if len(body.Transaction) > maxID {
		return web.Malformed("transaction", "longer than %d characters", maxID)
	}
	held, err := s.cfg.Bank.ResolveQuarantine(r.Context(), trail.Actor(r.Context()), web.CallerOf(r.Context()).Name,
		anchor.Resolution{ID: id, Action: body.Action, Transaction: body.Transaction, Amount: body.Amount, Note: body.Note})
	if err != nil {
		return err
	}
	return web.WriteJSON(w, http.StatusOK, viewHeld(held))
}

// stamp writes a time in UTC, "" for none.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
