package scp_test

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/stellar/go-stellar-sdk/xdr"
)

func (w *world) value(name string) (xdr.Value, error) {
	if v, ok := w.values[name]; ok {
		return v, nil
	}
	return nil, fmt.Errorf("unknown value %q", name)
}

func (w *world) only(args []string) (xdr.Value, error) {
	if len(args) != 1 {
		return nil, errors.New("want one value")
	}
	return w.value(args[0])
}

// parseQuorum reads "2 v0 v1 {1 v2 v3}".
func (w *world) parseQuorum(args []string) (xdr.ScpQuorumSet, error) {
	text := strings.NewReplacer("{", " { ", "}", " } ").Replace(strings.Join(args, " "))
	q, rest, err := w.quorumLevel(strings.Fields(text))
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("too much: %v", rest)
	}
	return q, err
}

func (w *world) quorumLevel(words []string) (q xdr.ScpQuorumSet, rest []string, err error) {
	if len(words) == 0 {
		return q, nil, errors.New("want a threshold")
	}
	threshold, err := strconv.ParseUint(words[0], 10, 32)
	if err != nil {
		return q, nil, err
	}
	q.Threshold = xdr.Uint32(threshold)
	words = words[1:]
	for len(words) > 0 && words[0] != "}" {
		if words[0] != "{" {
			q.Validators = append(q.Validators, w.node(words[0]).XDR())
			words = words[1:]
			continue
		}
		inner, rest, err := w.quorumLevel(words[1:])
		if err != nil {
			return q, nil, err
		}
		if len(rest) == 0 {
			return q, nil, errors.New("a { without }")
		}
		q.InnerSets = append(q.InnerSets, inner)
		words = rest[1:]
	}
	return q, words, nil
}

// statement reads a statement as if made by a node.
func (w *world) statement(node string, words []string) (st xdr.ScpStatement, err error) {
	_, hash, err := w.quorumOf(node)
	if err != nil {
		return st, err
	}
	if len(words) == 0 {
		return st, errors.New("want a statement")
	}
	allowed, ok := fieldsOf[words[0]]
	if !ok {
		return st, fmt.Errorf("unknown statement %q", words[0])
	}
	fields := map[string]string{}
	for _, word := range words[1:] {
		name, value, found := strings.Cut(word, "=")
		if _, twice := fields[name]; !found || twice || !strings.Contains(allowed, " "+name+" ") {
			return st, fmt.Errorf("%q is no field of %s", word, words[0])
		}
		fields[name] = value
	}
	st = xdr.ScpStatement{NodeId: w.node(node).XDR(), SlotIndex: slot}
	r := &reader{w: w, fields: fields}
	switch words[0] {
	case "nominate":
		st.Pledges = xdr.ScpStatementPledges{Type: xdr.ScpStatementTypeScpStNominate, Nominate: &xdr.ScpNomination{
			QuorumSetHash: hash, Votes: r.list("votes"), Accepted: r.list("accepted")}}
	case "prepare":
		st.Pledges = xdr.ScpStatementPledges{Type: xdr.ScpStatementTypeScpStPrepare, Prepare: &xdr.ScpStatementPrepare{
			QuorumSetHash: hash, Ballot: r.ballot("b"), Prepared: r.possible("p"), PreparedPrime: r.possible("pp"),
			NC: r.count("c"), NH: r.count("h")}}
	case "confirm":
		st.Pledges = xdr.ScpStatementPledges{Type: xdr.ScpStatementTypeScpStConfirm, Confirm: &xdr.ScpStatementConfirm{
			QuorumSetHash: hash, Ballot: r.ballot("b"), NPrepared: r.count("p"), NCommit: r.count("c"), NH: r.count("h")}}
	case "externalize":
		st.Pledges = xdr.ScpStatementPledges{Type: xdr.ScpStatementTypeScpStExternalize, Externalize: &xdr.ScpStatementExternalize{
			CommitQuorumSetHash: hash, Commit: r.ballot("c"), NH: r.count("h")}}
	}
	return st, r.err
}

var fieldsOf = map[string]string{
	"nominate": " votes accepted ", "prepare": " b p pp c h ", "confirm": " b p c h ", "externalize": " c h ",
}

// reader reads fields and keeps the first thing that is wrong with them.
type reader struct {
	w      *world
	fields map[string]string
	err    error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

func (r *reader) number(text string) xdr.Uint32 {
	if text == "inf" {
		return math.MaxUint32
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		r.fail(err)
	}
	return xdr.Uint32(n)
}

func (r *reader) count(field string) xdr.Uint32 {
	if text, ok := r.fields[field]; ok {
		return r.number(text)
	}
	return 0
}

func (r *reader) possible(field string) *xdr.ScpBallot {
	text, ok := r.fields[field]
	if !ok {
		return nil
	}
	n, name, found := strings.Cut(text, ":")
	v, err := r.w.value(name)
	if !found || err != nil {
		r.fail(fmt.Errorf("%s=%s is no counter:value: %v", field, text, err))
	}
	return &xdr.ScpBallot{Counter: r.number(n), Value: v}
}

func (r *reader) ballot(field string) xdr.ScpBallot {
	b := r.possible(field)
	if b == nil {
		r.fail(fmt.Errorf("%s is missing", field))
		return xdr.ScpBallot{}
	}
	return *b
}

func (r *reader) list(field string) (out []xdr.Value) {
	for _, name := range strings.FieldsFunc(r.fields[field], func(c rune) bool { return c == ',' }) {
		v, err := r.w.value(name)
		if err != nil {
			r.fail(err)
		}
		out = append(out, v)
	}
	return out
}
