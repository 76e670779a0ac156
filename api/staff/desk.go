package staff

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/go-chi/chi/v5"

	"github.com/diamante/gateway/anchor"
	"github.com/diamante/gateway/api/trail"
	"github.com/diamante/gateway/api/web"
	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/node/protocol"
)

// maxNote bounds the reason of a decision, in bytes.
const maxNote = 500

// Desk is what staff decide: what waits for a person.
type Desk interface {
	// Quarantine and ResolveQuarantine are about what no partner keeps: name "".
	Quarantine(ctx context.Context, partner string, p anchor.Page) ([]anchor.Held, error)
	ResolveQuarantine(ctx context.Context, who audit.Actor, partner string, r anchor.Resolution) (anchor.Held, error)
	// ResolveParked decides about a payment that waits.
	ResolveParked(ctx context.Context, who audit.Actor, r anchor.ParkedResolution) (anchor.Parked, error)
	// SetStatus freezes or unfreezes a customer.
	SetStatus(ctx context.Context, who audit.Actor, c anchor.StatusChange) error
	// Jobs lists what is still to be done, oldest first, and what keeps it from being done.
	Jobs(ctx context.Context, p anchor.Page) ([]anchor.Job, error)
}

// parked answers GET /v1/parked: payments that matched nothing, and what became of each.
func (s *Server) parked(w http.ResponseWriter, r *http.Request) error {
	p, err := page(r)
	if err != nil {
		return err
	}
	found, err := s.cfg.Anchor.Parked(r.Context(), p)
	if err != nil {
		return err
	}
	if err := s.read(r.Context(), "parked", len(found)); err != nil {
		return err
	}
	items, next := make([]map[string]any, len(found)), ""
	for i, x := range found {
		items[i] = viewParked(x)
		next = x.ID
	}
	return list(w, items, next, p.Limit)
}

func viewParked(x anchor.Parked) map[string]any {
	return map[string]any{"ledger_tx": x.Hash, "operation": x.Op, "from": x.From, "amount": x.Amount, "state": x.State, "reason": x.Reason, "at": stamp(x.At)}
}

// resolveParked answers POST /v1/parked/{hash}/{op}/resolve.
func (s *Server) resolveParked(w http.ResponseWriter, r *http.Request) error {
	hash, err := protocol.ParseHash(chi.URLParam(r, "hash"))
	if err != nil {
		return web.Malformed("hash", "need the hash of a transaction")
	}
	op, err := strconv.ParseUint(chi.URLParam(r, "op"), 10, 16)
	if err != nil {
		return web.Malformed("op", "need the number of an operation")
	}
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
	done, err := s.cfg.Desk.ResolveParked(r.Context(), trail.Actor(r.Context()), anchor.ParkedResolution{Hash: hash, Op: int(op), Action: body.Action, Note: body.Note})
	if err != nil {
		return err
	}
	return web.WriteJSON(w, http.StatusOK, viewParked(done))
}

func checkNote(note string) error {
	if strings.TrimSpace(note) == "" || len(note) > maxNote {
		return web.Malformed("note", "need 1 to %d bytes that say why", maxNote)
	}
	return nil
}

// setStatus answers POST /v1/customers/{account}/status.
func (s *Server) setStatus(w http.ResponseWriter, r *http.Request) error {
	account, err := protocol.ParseAccountID(chi.URLParam(r, "account"))
	if err != nil {
		return web.Malformed("account", "need an account")
	}
	var body struct {
		Status string `json:"status"`
		Note   string `json:"note"`
	}
	if err := web.ReadJSON(r, &body); err != nil {
		return err
	}
	if body.Status != "frozen" && body.Status != "active" {
		return web.Malformed("status", "need frozen or active")
	}
	if err := checkNote(body.Note); err != nil {
		return err
	}
	change := anchor.StatusChange{Account: account, Frozen: body.Status == "frozen", Why: body.Note}
	if err := s.cfg.Desk.SetStatus(r.Context(), trail.Actor(r.Context()), change); err != nil {
		return err
	}
	return web.WriteJSON(w, http.StatusOK, map[string]any{"account": account, "status": body.Status})
}

// jobs answers GET /v1/jobs: the oldest that wait, and why.
func (s *Server) jobs(w http.ResponseWriter, r *http.Request) error {
	p, err := page(r)
	if err != nil {
		return err
	}
	found, err := s.cfg.Desk.Jobs(r.Context(), p)
	if err != nil {
		return err
	}
	if err := s.read(r.Context(), "jobs", len(found)); err != nil {
		return err
	}
	items := make([]map[string]any, len(found))
	for i, x := range found {
		items[i] = map[string]any{"kind": x.Kind, "ref": x.Ref, "created_at": stamp(x.Created), "failing": x.Failing}
	}
	return list(w, items, "", p.Limit)
}

// quarantine answers GET /v1/quarantine: what is no partner's to decide, such as a transaction on the ledger that somebody
// else made with our keys, or a statement that does not add up.
func (s *Server) quarantine(w http.ResponseWriter, r *http.Request) error {
	p, err := page(r)
	if err != nil {
		return err
	}
	found, err := s.cfg.Desk.Quarantine(r.Context(), "", p)
	if err != nil {
		return err
	}
	if err := s.read(r.Context(), "quarantine", len(found)); err != nil {
		return err
	}
	items, next := make([]map[string]any, len(found)), ""
	for i, x := range found {
		items[i] = viewHeld(x)
		next = x.ID
	}
	return list(w, items, next, p.Limit)
}

func viewHeld(x anchor.Held) map[string]any {
	return map[string]any{"id": x.ID, "source": x.Statement, "reason": x.Reason, "detail": x.Detail, "reference": x.Reference, "at": stamp(x.At), "resolution": x.Resolution}
}

// dismiss answers POST /v1/quarantine/{id}/dismiss.
func (s *Server) dismiss(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Note string `json:"note"`
	}
	if err := web.ReadJSON(r, &body); err != nil {
		return err
	}
	if err := checkNote(body.Note); err != nil {
		return err
	}
	done, err := s.cfg.Desk.ResolveQuarantine(r.Context(), trail.Actor(r.Context()), "", anchor.Resolution{ID: chi.URLParam(r, "id"), Action: "dismiss", Note: body.Note})
	if err != nil {
		return err
	}
	return web.WriteJSON(w, http.StatusOK, viewHeld(done))
}
