package staff

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/diamante/gateway/api/web"
)

// partTimeout bounds the check of one part.
const partTimeout = 3 * time.Second

// Part is something the gateway cannot work without, or a lag that has a limit.
type Part struct {
	Name  string                          // "database", "signer", "node", "observer", "audit"
	Check func(ctx context.Context) error // nil: it is well; the error says what is wrong, to staff
}

type partView struct {
	Name  string `json:"name"`
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
}

// live answers GET /livez: the process runs, whatever else is down. Restarting it would not help those.
func (s *Server) live(w http.ResponseWriter, _ *http.Request) error {
	return web.WriteJSON(w, http.StatusOK, map[string]bool{"live": true})
}

// ready answers GET /readyz: 200 if all parts are well, else 503, and in either case each part by name.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) error {
	views := make([]partView, len(s.cfg.Parts))
	var wg sync.WaitGroup
	for i, part := range s.cfg.Parts {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(r.Context(), partTimeout)
			defer cancel()
			views[i] = partView{Name: part.Name, OK: true}
			if err := part.Check(ctx); err != nil {
				views[i] = partView{Name: part.Name, Error: err.Error()}
			}
		})
	}
	wg.Wait()
	status, ready := http.StatusOK, true
	for _, v := range views {
		if !v.OK {
			status, ready = http.StatusServiceUnavailable, false
		}
	}
	return web.WriteJSON(w, status, map[string]any{"ready": ready, "parts": views})
}
