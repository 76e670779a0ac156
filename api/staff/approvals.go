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

// Approvals is what waits for officers, and what they say to it. Nothing here decides: the signer does.
type Approvals interface {
	// Approvals lists what waits, with all also what does not any more; Approval returns one of them.
	Approvals(ctx context.Context, all bool, p anchor.Page) ([]anchor.ApprovalRequest, error)
	Approval(ctx context.Context, id string) (anchor.ApprovalRequest, error)
	// Approve takes an officer's approval, whoever hands it in.
	Approve(ctx context.Context, who audit.Actor, id string, c anchor.Consent) error
	// Decline ends the wait.
	Decline(ctx context.Context, who audit.Actor, id, note string) error
}

// approvals answers GET /v1/approvals, with state=all also of what was granted or closed.
func (s *Server) approvals(w http.ResponseWriter, r *http.Request) error {
	q, err := web.StrictQuery(r, "cursor", "limit", "state")
	if err != nil {
		return err
	}
	state, err := q.One("state")
	if err != nil {
		return err
	}
	if state != "" && state != "open" && state != "all" {
		return web.Malformed("state", "need open or all")
	}
	p, err := pages.Page(q)
	if err != nil {
		return err
	}
	found, err := s.cfg.People.Approvals(r.Context(), state == "all", anchor.Page{After: p.Cursor, Limit: p.Limit})
	if err != nil {
		return err
	}
	if err := s.read(r.Context(), "approvals", len(found)); err != nil {
		return err
	}
	items, next := make([]map[string]any, len(found)), ""
	for i, x := range found {
		items[i] = viewApproval(x)
		next = x.ID
	}
	return list(w, items, next, p.Limit)
}

// viewApproval shows a request. key, kind, body, ref and initiator are what an officer's own program needs to read it for
// himself; the words of it are deliberately not here.
func viewApproval(x anchor.ApprovalRequest) map[string]any {
	given := make([]map[string]any, len(x.Given))
	for i, g := range x.Given {
		given[i] = map[string]any{"officer": g.Officer, "nonce": g.Nonce, "expires": stamp(g.Expires), "handed_in_by": g.By, "at": stamp(g.At), "state": g.State, "reason": g.Reason}
	}
	return map[string]any{"id": x.ID, "request": map[string]any{"key": x.Key, "kind": x.Kind, "body": x.Body, "ref": x.Ref, "initiator": x.Initiator},
		"sha256": x.SHA256, "why": x.Why, "state": x.State, "outcome": x.Outcome, "at": stamp(x.At), "until": stamp(x.Until), "approvals": given}
}

// approval answers GET /v1/approvals/{id}.
func (s *Server) approval(w http.ResponseWriter, r *http.Request) error {
	x, err := s.cfg.People.Approval(r.Context(), chi.URLParam(r, "id"))
	if err != nil {
		return err
	}
	if err := s.read(r.Context(), "approvals", 1); err != nil {
		return err
	}
	return web.WriteJSON(w, http.StatusOK, viewApproval(x))
}

// approve answers POST /v1/approvals/{id}/consents with 202: what the signer thinks of it is seen in the request.
func (s *Server) approve(w http.ResponseWriter, r *http.Request) error {
	var c anchor.Consent
	if err := web.ReadJSON(r, &c); err != nil {
		return err
	}
	if err := s.cfg.People.Approve(r.Context(), trail.Actor(r.Context()), chi.URLParam(r, "id"), c); err != nil {
		return err
	}
	return web.WriteJSON(w, http.StatusAccepted, map[string]any{"id": chi.URLParam(r, "id"), "officer": c.Officer, "nonce": c.Nonce})
}

// decline answers POST /v1/approvals/{id}/decline.
func (s *Server) decline(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Note string `json:"note"`
	}
	if err := web.ReadJSON(r, &body); err != nil {
		return err
	}
	if err := checkNote(body.Note); err != nil {
		return err
	}
	if err := s.cfg.People.Decline(r.Context(), trail.Actor(r.Context()), chi.URLParam(r, "id"), body.Note); err != nil {
		return err
	}
	return web.WriteJSON(w, http.StatusOK, map[string]any{"id": chi.URLParam(r, "id"), "state": "closed"})
}
