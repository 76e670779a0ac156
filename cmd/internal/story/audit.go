package story

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
)

// audit exports the log of the story's time, verifies the package as the auditor does, and shows that a package of
// which one byte was changed does not verify.
func (t *teller) audit(ctx context.Context, s *Step) error {
	s.subject, s.action = "", "export.requested"
	body, err := json.Marshal(map[string]string{"from": t.start.Format(time.RFC3339),
		"to": time.Now().UTC().Add(time.Minute).Format(time.RFC3339), "purpose": "the story"})
	if err != nil {
		return fmt.Errorf("story: %w", err)
	}
	var raw []byte
	r := request{Method: http.MethodPost, URL: t.Staff + "/v1/exports", Type: "application/json", Body: body,
		Key: "story-export-" + t.start.Format(time.RFC3339Nano)}
	if err := call(ctx, t.StaffClient, r, &raw); err != nil {
		return err
	}
	if err := os.WriteFile(t.Package, raw, 0o600); err != nil {
		return fmt.Errorf("story: %w", err)
	}
	if err := t.Verify(t.Package, t.LogKey); err != nil {
		return err
	}
	if err := t.refusesTampering(t.Package, t.LogKey); err != nil {
		return err
	}
	return t.findRecords(raw, s)
}

// evidence gets and verifies what proves the signature on the newest issuance.
func (t *teller) evidence(ctx context.Context, s *Step) error {
	raw, err := os.ReadFile(t.Package)
	if err != nil {
		return fmt.Errorf("story: %w", err)
	}
	e, err := readPackage(raw)
	if err != nil {
		return err
	}
	ref := ""
	for _, event := range e.events {
		if event.Action == "ledger-tx.built" && event.Data["kind"] == "issue" {
			ref = fmt.Sprintf("issue/%v/%v", event.Data["ref"], event.Data["attempt"])
		}
	}
	path, err := t.Evidence(ctx, "anchor/"+strings.ToLower(t.Asset)+"/issuing", ref)
	if err != nil {
		return err
	}
	if err := t.Verify(path, t.SignerLogKey); err != nil {
		return err
	}
	s.Detail = ref + " is in " + path
	return t.refusesTampering(path, t.SignerLogKey)
}

// refusesTampering makes sure that a file with a changed byte does not verify.
func (t *teller) refusesTampering(path, key string) error {
	broken, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("story: %w", err)
	}
	broken[len(broken)/2] ^= 1
	path += ".tampered"
	if err := os.WriteFile(path, broken, 0o600); err != nil {
		return fmt.Errorf("story: %w", err)
	}
	defer os.Remove(path)
	if t.Verify(path, key) == nil {
		return fmt.Errorf("%s with a changed byte verifies", path)
	}
	return nil
}

// exported is what the story reads of a package: its own reading, not the gateway's.
type exported struct {
	first  int64
	events []struct {
		Action  string         `json:"action"`
		Subject string         `json:"subject"`
		Data    map[string]any `json:"data"`
	}
}

func readPackage(raw []byte) (e exported, err error) {
	archive := tar.NewReader(bytes.NewReader(raw))
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return e, nil
		}
		if err != nil {
			return e, fmt.Errorf("story: package: %w", err)
		}
		switch header.Name {
		case "manifest.json":
			var m struct {
				First int64 `json:"first_index"`
			}
			if err := json.NewDecoder(archive).Decode(&m); err != nil {
				return e, fmt.Errorf("story: manifest: %w", err)
			}
			e.first = m.First
		case "events.jsonl":
			lines := bufio.NewScanner(archive)
			lines.Buffer(nil, 1<<20)
			for lines.Scan() {
				e.events = append(e.events, struct {
					Action  string         `json:"action"`
					Subject string         `json:"subject"`
					Data    map[string]any `json:"data"`
				}{})
				if err := json.Unmarshal(lines.Bytes(), &e.events[len(e.events)-1]); err != nil {
					return e, fmt.Errorf("story: event: %w", err)
				}
			}
			if err := lines.Err(); err != nil {
				return e, fmt.Errorf("story: events: %w", err)
			}
		}
	}
}

// findRecords gives each step told so far the index of its record in the log.
func (t *teller) findRecords(raw []byte, last *Step) error {
	e, err := readPackage(raw)
	if err != nil {
		return err
	}
	find := func(s *Step) {
		for i, event := range e.events {
			if s.action == "" || event.Action != s.action || s.subject != "" && event.Subject != s.subject {
				continue
			}
			index := e.first + int64(i)
			s.AuditIndex = &index
			if id, ok := event.Data["transfer"].(string); ok {
				s.Transfer = id
			}
		}
	}
	for i := range t.report.Steps {
		s := &t.report.Steps[i]
		find(s)
		if s.action != "" && s.AuditIndex == nil {
			return fmt.Errorf("no record %s of %s for the step %q", s.action, s.subject, s.Name)
		}
	}
	find(last)
	return nil
}

// Quarantined returns the reasons of the entries that wait for a person.
func (w *World) Quarantined(ctx context.Context) (reasons []string, err error) {
	var answer struct {
		Records []struct {
			Reason string `json:"reason"`
		} `json:"records"`
	}
	r := request{Method: http.MethodGet, URL: w.Partner + "/v1/quarantine?limit=100"}
	err = eventually(ctx, stepTimeout, func() (bool, error) { return answered(call(ctx, w.PartnerClient, r, &answer)) })
	for _, r := range answer.Records {
		reasons = append(reasons, r.Reason)
	}
	return reasons, err
}

// Payout is a payment file for the bank.
type Payout struct {
	ID   string
	File []byte
}

// Payouts downloads the payout files that came after the one given, at most a hundred; "" is before the first.
func (w *World) Payouts(ctx context.Context, after string) (payouts []Payout, err error) {
	var answer struct {
		Records []struct {
			ID string `json:"id"`
		} `json:"records"`
	}
	query := url.Values{"limit": {"100"}}
	if after != "" {
		query.Set("cursor", after)
	}
	get := func(path string, into any) error {
		r := request{Method: http.MethodGet, URL: w.Partner + path}
		return eventually(ctx, stepTimeout, func() (bool, error) { return answered(call(ctx, w.PartnerClient, r, into)) })
	}
	if err := get("/v1/payouts?"+query.Encode(), &answer); err != nil {
		return nil, err
	}
	for _, r := range answer.Records {
		p := Payout{ID: r.ID}
		if err := get("/v1/payouts/"+url.PathEscape(p.ID)+"/file", &p.File); err != nil {
			return nil, err
		}
		payouts = append(payouts, p)
	}
	return payouts, nil
}

// finish asks for the invariants.
func (t *teller) finish(ctx context.Context) (err error) {
	t.report.Invariants, err = t.Invariants(ctx)
	return err
}

// Invariants waits until every record is in the signed tree, and returns what the gateway says of its invariants.
func (w *World) Invariants(ctx context.Context) ([]Invariant, error) {
	var answer struct {
		Invariants []Invariant `json:"invariants"`
	}
	err := eventually(ctx, stepTimeout, func() (bool, error) {
		answer.Invariants = nil
		err := call(ctx, w.StaffClient, request{Method: http.MethodGet, URL: w.Staff + "/v1/invariants"}, &answer)
		if err != nil {
			return answered(err)
		}
		return !slices.ContainsFunc(answer.Invariants, func(i Invariant) bool { return !i.OK }), nil
	})
	if err != nil && len(answer.Invariants) > 0 {
		return answer.Invariants, nil // the report shows which did not hold
	}
	return answer.Invariants, err
}
