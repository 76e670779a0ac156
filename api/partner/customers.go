package partner

import (
	"net/http"

	"github.com/go-chi/chi/v5"

	"github.com/diamante/gateway/anchor"
	"github.com/diamante/gateway/api/trail"
	"github.com/diamante/gateway/api/web"
	"github.com/diamante/gateway/node/protocol"
)

type customerView struct {
	Account string `json:"account"`
	Ref     string `json:"ref"`
	Status  string `json:"status"`
	Created string `json:"created_at"`
}

func viewCustomer(c anchor.Customer) customerView {
	return customerView{c.Account.String(), c.Ref, c.Status, stamp(c.Created)}
}

// enrol answers POST /v1/customers.
func (s *Server) enrol(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Account string `json:"account"`
		Ref     string `json:"ref"`
	}
	if err := web.ReadJSON(r, &body); err != nil {
		return err
	}
	account, err := protocol.ParseAccountID(body.Account)
	if err != nil {
		return web.Malformed("account", "need an account that starts with G")
	}
	if body.Ref == "" || len(body.Ref) > maxID {
		return web.Malformed("ref", "need 1 to %d characters", maxID)
	}
	c, err := s.cfg.Customers.Enrol(r.Context(), trail.Actor(r.Context()),
		anchor.Enrolment{Account: account, Partner: web.CallerOf(r.Context()).Name, Ref: body.Ref})
	if err != nil {
		return err
	}
	return web.WriteJSON(w, http.StatusOK, viewCustomer(c))
}

// customer answers GET /v1/customers/{account}.
func (s *Server) customer(w http.ResponseWriter, r *http.Request) error {
	account, err := protocol.ParseAccountID(chi.URLParam(r, "account"))
	if err != nil {
		return web.Malformed("account", "need an account that starts with G")
	}
	c, err := s.cfg.Customers.Customer(r.Context(), web.CallerOf(r.Context()).Name, account)
	if err != nil {
		return err
	}
	if err := s.read(r.Context(), "customer", account.String(), 1); err != nil {
		return err
	}
	return web.WriteJSON(w, http.StatusOK, viewCustomer(c))
}

type transactionView struct {
	ID        string `json:"id"`
	Kind      string `json:"kind"`
	Status    string `json:"status"`
	Account   string `json:"account"`
	Asset     string `json:"asset"`
	AmountIn  string `json:"amount_in"`
	AmountOut string `json:"amount_out"`
	Reference string `json:"reference,omitempty"`
	Message   string `json:"message,omitempty"`
	LedgerTx  string `json:"ledger_tx,omitempty"`
	Started   string `json:"started_at"`
	Completed string `json:"completed_at,omitempty"`
}

// transactions answers GET /v1/transactions: those of the partner's customers.
func (s *Server) transactions(w http.ResponseWriter, r *http.Request) error {
	p, err := page(r)
	if err != nil {
		return err
	}
	partner := web.CallerOf(r.Context()).Name
	found, err := s.cfg.Customers.PartnerTransactions(r.Context(), partner, p)
	if err != nil {
		return err
	}
	if err := s.read(r.Context(), "transactions", partner, len(found)); err != nil {
		return err
	}
	views := make([]transactionView, len(found))
	for i, x := range found {
		views[i] = transactionView{ID: x.ID, Kind: x.Kind.String(), Status: x.Status, Account: x.Account.String(), Asset: x.Asset.Code(),
			AmountIn: x.AmountIn.String(), AmountOut: x.AmountOut.String(), Reference: x.Reference, Message: x.Message,
			Started: stamp(x.Started), Completed: stamp(x.Completed)}
		if !x.LedgerTx.IsZero() {
			views[i].LedgerTx = x.LedgerTx.String()
		}
	}
	return list(w, views, p.Limit, func(v transactionView) string { return v.ID })
}
