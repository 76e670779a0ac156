package ceremony

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/diamante/gateway/keymgmt"
)

// Report is what a transcript shows, every line of which was verified when it was read.
type Report struct {
	Name      string       `json:"name"`
	Plan      string       `json:"plan_sha256"`
	Token     Token        `json:"token"`
	Opened    time.Time    `json:"opened"`
	Quorum    int          `json:"quorum"`
	Witnessed []string     `json:"witnessed"` // names, by the alphabet
	Steps     []StepReport `json:"steps"`
	Closed    bool         `json:"closed"`
	Attested  []string     `json:"attested"`
	Complete  bool         `json:"complete"`         // closed, and attested by enough witnesses
	Failed    string       `json:"failed,omitempty"` // the last failure that nothing followed
	Head      string       `json:"head_sha256"`      // of the last line: two transcripts that have it are the same
}

// StepReport is one step.
type StepReport struct {
	Step   string            `json:"step"`
	State  string            `json:"state"` // "to do", "interrupted", "done" or "refused"
	At     time.Time         `json:"at,omitzero"`
	Public keymgmt.PublicKey `json:"public,omitzero"`
	File   *FileProof        `json:"file,omitempty"`
	Found  bool              `json:"found,omitempty"` // it was so after an interruption
	Why    string            `json:"why,omitempty"`   // of refused
}

// Report says what the transcript shows.
func (t *Transcript) Report() Report {
	r := Report{Name: t.plan.Name, Plan: fmt.Sprintf("%x", t.plan.Hash()), Token: t.plan.Token, Opened: t.opened, Quorum: t.plan.Quorum,
		Witnessed: slices.Sorted(maps.Keys(t.witnessed)), Closed: t.closed, Attested: slices.Sorted(maps.Keys(t.attested)),
		Complete: t.closed && len(t.attested) >= t.plan.Quorum, Failed: t.lastFailed, Head: fmt.Sprintf("%x", t.head)}
	for _, s := range t.steps {
		step := StepReport{Step: s.String(), State: "to do", At: s.done.At, Public: s.public, File: s.done.File, Found: s.done.Found, Why: s.done.Error}
		switch {
		case s.over != "":
			step.State = string(s.over)
		case s.began:
			step.State = "interrupted"
		}
		if s.done.Proof != nil {
			step.Public = s.done.Proof.Public
		}
		r.Steps = append(r.Steps, step)
	}
	return r
}

// Words says the same for people.
func (r Report) Words() []string {
	words := []string{fmt.Sprintf("%s, plan %s", r.Name, r.Plan), fmt.Sprintf("token %q, serial %q", r.Token.Label, r.Token.Serial),
		fmt.Sprintf("opened %s; %d witnesses needed", r.Opened.Format(time.RFC3339), r.Quorum), fmt.Sprintf("read the plan: %v", r.Witnessed)}
	for _, s := range r.Steps {
		word := s.State + ": " + s.Step
		if !s.Public.IsZero() {
			word += " " + s.Public.String()
		}
		if s.File != nil {
			word += fmt.Sprintf(" %q sha256 %s", s.File.Path, s.File.SHA256)
		}
		if s.Found {
			word += " (found after an interruption)"
		}
		if s.Why != "" {
			word += fmt.Sprintf(" (%q)", s.Why)
		}
		words = append(words, word)
	}
	words = append(words, fmt.Sprintf("attest to it: %v", r.Attested))
	switch {
	case r.Complete:
		words = append(words, "COMPLETE, transcript "+r.Head)
	case r.Closed:
		words = append(words, "NOT COMPLETE: all steps are over, and witnesses have yet to sign what came of them")
	default:
		words = append(words, "NOT COMPLETE: steps are left")
	}
	if r.Failed != "" {
		words = append(words, fmt.Sprintf("the last try failed: %q", r.Failed))
	}
	return words
}
