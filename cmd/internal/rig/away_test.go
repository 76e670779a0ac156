package rig_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/diamante/gateway/api/web"
	"github.com/diamante/gateway/cmd/internal/story"
)

// away is a part that goes and comes back.
type away struct {
	name  string
	part  string // as readiness names it
	leave func() error
	back  func(ctx context.Context) error
	ask   string // URL of a request that needs the part
	want  string // problem that answers it
	begin bool   // whether a statement can be taken while the part is away
}

// TestPartsAway takes one part away at a time: whoever needs it is told which, readiness names it, and what was under way
// goes on by itself when it is back.
func TestPartsAway(t *testing.T) {
	s := newSystem(t, 1)
	wallet := s.pairs[0].payer
	challenge := s.Public + "/auth?account=" + wallet.Account()
	token, hidden := s.Path("token"), s.Path("token-away")
	for _, a := range []away{
		{"signer", "signer", s.Signer.Stop, s.Signer.Start, challenge, "signer-unavailable", true},
		{"token", "signer", func() error { return os.Rename(token, hidden) },
			func(context.Context) error { return os.Rename(hidden, token) }, challenge, "signer-unavailable", true},
		{"node", "node", s.Node.Stop, s.Node.Start, s.Public + "/accounts/" + wallet.Account(), "node-unavailable", true},
		{"database", "database", func() error { return s.Postgres().Stop() }, s.RestartPostgres, s.Partner + "/v1/payouts", "database-unavailable", false},
	} {
		if err := s.without(t.Context(), a); err != nil {
			t.Errorf("%s away: %v", a.name, err)
		}
	}
	s.balanced(t)
}

// without takes a part away while a deposit is under way, and brings it back.
func (s *system) without(ctx context.Context, a away) error {
	p := s.pairs[0]
	d, err := p.payer.Deposit(ctx, s.Asset, depositAmount)
	if err != nil {
		return err
	}
	received := story.BankEntry{Reference: "B-" + d.ID, Amount: depositAmount, Currency: s.Asset, Remittance: d.Reference,
		Party: p.payer.Name, PartyIBAN: story.CustomerIBAN}
	if !a.begin {
		if err := s.Upload(ctx, story.Camt02, received); err != nil {
			return err
		}
	}
	if err := a.leave(); err != nil {
		return err
	}
	missed := s.missed(ctx, a)
	if a.begin && missed == nil {
		missed = s.Upload(ctx, story.Camt02, received)
	}
	if err := errors.Join(missed, a.back(ctx)); err != nil {
		return err
	}
	if err := s.completes(ctx, p.payer, d.ID); err != nil {
		return err
	}
	if err := poll(ctx, func() (bool, error) { parts, err := s.notReady(ctx); return len(parts) == 0, err }); err != nil {
		return fmt.Errorf("is back, and the gateway is not ready: %w", err)
	}
	p.deposits++
	return nil
}

// missed checks that a part is missed: by who asks for what needs it, and by readiness.
func (s *system) missed(ctx context.Context, a away) error {
	var status int
	var kind, problem string
	client := s.Wallet
	if strings.HasPrefix(a.ask, s.Partner) {
		client = s.PartnerClient
	}
	err := poll(ctx, func() (ok bool, err error) {
		status, kind, problem, err = problemOf(ctx, client, a.ask)
		return status == http.StatusServiceUnavailable && kind == "application/problem+json" && problem == web.TypeBase+a.want, err
	})
	if err != nil {
		return fmt.Errorf("%s answers %d %s %s: %w", a.ask, status, kind, problem, err)
	}
	var parts []string
	err = poll(ctx, func() (bool, error) {
		parts, err = s.notReady(ctx)
		return slices.Contains(parts, a.part), err
	})
	if err != nil {
		return fmt.Errorf("readiness misses %v: %w", parts, err)
	}
	return nil
}

// stands takes so many validators away that no ledger closes, waits until readiness says so, and brings them back.
func (s *system) stands(ctx context.Context, a away) error {
	if err := a.leave(); err != nil {
		return err
	}
	var parts []string
	err := poll(ctx, func() (_ bool, err error) {
		parts, err = s.notReady(ctx)
		return slices.Contains(parts, a.part), err
	})
	if err != nil {
		return fmt.Errorf("readiness misses %v: %w", parts, err)
	}
	if err := a.back(ctx); err != nil {
		return err
	}
	return poll(ctx, func() (bool, error) { parts, err := s.notReady(ctx); return len(parts) == 0, err })
}

func problemOf(ctx context.Context, client *http.Client, url string) (status int, kind, problem string, err error) {
	resp, err := get(ctx, client, url)
	if err != nil {
		return 0, "", "", err
	}
	defer resp.Body.Close()
	var body struct {
		Type   string `json:"type"`
		Extras struct {
			Problem string `json:"problem"` // ours, where the type is Horizon's
		} `json:"extras"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		return 0, "", "", fmt.Errorf("%s answers %s: %w", url, resp.Status, err)
	}
	if body.Extras.Problem != "" {
		body.Type = body.Extras.Problem
	}
	return resp.StatusCode, resp.Header.Get("Content-Type"), body.Type, nil
}

// notReady returns the parts that readiness misses.
func (s *system) notReady(ctx context.Context) (parts []string, err error) {
	resp, err := get(ctx, s.StaffClient, s.Staff+"/readyz")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var body struct {
		Ready bool `json:"ready"`
		Parts []struct {
			Name string `json:"name"`
			OK   bool   `json:"ok"`
		} `json:"parts"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		return nil, fmt.Errorf("readiness: %w", err)
	}
	for _, p := range body.Parts {
		if !p.OK {
			parts = append(parts, p.Name)
		}
	}
	if body.Ready != (len(parts) == 0) || body.Ready != (resp.StatusCode == http.StatusOK) {
		return nil, fmt.Errorf("readiness: %s, %+v", resp.Status, body)
	}
	return parts, nil
}

func get(ctx context.Context, client *http.Client, url string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	return client.Do(req)
}
