package story

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
)

// Step is one thing that happened, with where to find the proof of it.
type Step struct {
	Name       string `json:"name"`
	OK         bool   `json:"ok"`
	Detail     string `json:"detail,omitempty"`
	LedgerTx   string `json:"ledger_tx,omitempty"`     // hash of the transaction on the ledger
	Transfer   string `json:"book_transfer,omitempty"` // id of the transfer in the book
	AuditIndex *int64 `json:"audit_index,omitempty"`   // index of the record in the log

	subject, action string // how the record is found once the log is exported
}

// Invariant is something that must hold at the end.
type Invariant struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
}

// Report is what the story leaves behind, also as story.json.
type Report struct {
	Steps        []Step            `json:"steps"`
	Invariants   []Invariant       `json:"invariants"`
	AuditPackage string            `json:"audit_package"`
	LogPublicKey string            `json:"log_public_key"`
	URLs         map[string]string `json:"urls"`
}

// OK reports whether every step and every invariant held.
func (r *Report) OK() bool {
	for _, s := range r.Steps {
		if !s.OK {
			return false
		}
	}
	for _, i := range r.Invariants {
		if !i.OK {
			return false
		}
	}
	return len(r.Steps) > 0 && len(r.Invariants) > 0
}

// Write puts the report into a file, whole or not at all.
func (r *Report) Write(path string) error {
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("story: %w", err)
	}
	if err := os.WriteFile(path+".new", append(raw, '\n'), 0o600); err != nil {
		return fmt.Errorf("story: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("story: %w", err)
	}
	return nil
}

// Print shows the report to a person.
func (r *Report) Print(w io.Writer) error {
	var out strings.Builder
	tw := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "\nSTEP\tOK\tRECORD\tLEDGER TRANSACTION\tBOOK TRANSFER")
	for _, s := range r.Steps {
		index := "-"
		if s.AuditIndex != nil {
			index = strconv.FormatInt(*s.AuditIndex, 10)
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\n", s.Name, yes(s.OK), index, dash(s.LedgerTx), dash(s.Transfer))
	}
	fmt.Fprintln(tw, "\nINVARIANT\tOK\tFIGURES")
	for _, i := range r.Invariants {
		fmt.Fprintf(tw, "%s\t%s\t%s\n", i.Name, yes(i.OK), i.Detail)
	}
	fmt.Fprintf(tw, "\nThe auditor's package:\t%s\n", r.AuditPackage)
	fmt.Fprintf(tw, "The log's public key:\t%s\n", r.LogPublicKey)
	if err := tw.Flush(); err != nil {
		return fmt.Errorf("story: %w", err)
	}
	for _, s := range r.Steps {
		if s.Detail != "" {
			fmt.Fprintf(&out, "\n%s: %s\n", s.Name, s.Detail)
		}
	}
	if _, err := io.WriteString(w, out.String()); err != nil {
		return fmt.Errorf("story: %w", err)
	}
	return nil
}

func yes(ok bool) string {
	if ok {
		return "yes"
	}
	return "NO"
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
