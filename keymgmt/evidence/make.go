package evidence

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/keymgmt"
)

// Of says what evidence is asked for: a request by its Key and Ref, an order by its nonce, or a policy by its version.
type Of struct {
	Key    keymgmt.KeyID
	Ref    string
	Order  string
	Policy uint64
}

func (of Of) validate() error {
	asked := 0
	for _, named := range []bool{!of.Key.IsZero() || of.Ref != "", of.Order != "", of.Policy != 0} {
		if named {
			asked++
		}
	}
	if asked != 1 || of.Key.IsZero() != (of.Ref == "") {
		return errors.New("evidence: name a key and a ref, or an order, or a policy")
	}
	return nil
}

// Make reads the evidence from the signer's database and returns the file. WithoutPolicy leaves the policy out: for an
// auditor who may not know the limits, and who then cannot check who approved. What it returns is what is stored: Verify says
// whether that holds, by how this program reads bodies and policies.
//
// Errors: ErrNothing, ErrNotSigned, audit.ErrUnavailable, audit.ErrCorrupt.
func Make(ctx context.Context, r audit.Reader, key audit.LogKey, of Of, withoutPolicy bool) ([]byte, error) {
	if err := of.validate(); err != nil {
		return nil, err
	}
	c := &collector{reader: r}
	if err := c.collect(ctx, of); err != nil {
		if audit.Unavailable(err) {
			err = fmt.Errorf("%w: %w", audit.ErrUnavailable, err)
		}
		return nil, err
	}
	if withoutPolicy {
		c.bundle.Policy = nil
	}
	if err := c.prove(ctx, key); err != nil {
		return nil, err
	}
	return c.bundle.Encode()
}

// collector is a bundle while it is being made.
type collector struct {
	reader audit.Reader
	bundle Bundle
	found  []stored
}

// stored is a record as the database has it.
type stored struct {
	id    string
	text  []byte
	index *int64 // nil while it has none
}

// collect reads what there is. Everything only grows, so several queries see nothing that contradicts itself.
func (c *collector) collect(ctx context.Context, of Of) error {
	if err := c.readSubject(ctx, of); err != nil {
		return err
	}
	if len(c.found) == 0 {
		return ErrNothing
	}
	if err := c.sort(); err != nil {
		return err
	}
	v := newVerifier(Bundle{})
	for _, s := range c.found {
		body, err := audit.ReadBody(s.text)
		if err == nil {
			err = v.readRecord(body)
		}
		if err != nil {
			return fmt.Errorf("evidence: record %s: %w", s.id, err)
		}
	}
	decided, named := v.inForce()
	if err := c.readNamed(ctx, of, v.backing(), named); err != nil {
		return err
	}
	return errors.Join(c.sort(), c.readPolicy(ctx, decided))
}

// readNamed adds the records of the policies, the lists and the attestations that the others name.
func (c *collector) readNamed(ctx context.Context, of Of, reserves []reserve, named []rules) error {
	policies, lists := map[uint64]bool{of.Policy: true}, map[list]bool{} // a policy's own adoption is there
	for _, r := range named {
		if !policies[r.Policy] {
			if err := c.readAdoption(ctx, r.Policy); err != nil {
				return err
			}
		}
		policies[r.Policy] = true
		for name, version := range r.Lists {
			lists[list{name, version}] = true
		}
	}
	for l := range lists {
		err := c.readRecords(ctx, func(b audit.Body) bool {
			var adopted listed
			return b.Action == actionListed && b.Subject == l.name && data(b.Data, &adopted) == nil && adopted.Version == l.version
		}, `SELECT xid FROM signer.list WHERE name = $1 AND version = $2`, l.name, int64(l.version))
		if err != nil {
			return err
		}
	}
	for _, r := range reserves {
		err := c.readRecords(ctx, func(b audit.Body) bool {
			var a attested
			return b.Action == actionAttested && data(b.Data, &a) == nil && reserve{b.Subject, a.Attestation.Ledger, a.Attestation.Attestor} == r
		}, `SELECT xid FROM signer.attestation WHERE asset = $1 AND ledger = $2`, r.Asset, r.Ledger)
		if err != nil {
			return err
		}
	}
	return nil
}

// sort brings the records into the order of the log. One that has no place there yet is ErrNotSigned.
func (c *collector) sort() error {
	for _, s := range c.found {
		if s.index == nil {
			return ErrNotSigned
		}
	}
	slices.SortFunc(c.found, func(a, b stored) int { return cmp.Compare(*a.index, *b.index) })
	return nil
}

// readSubject reads the records that are about the subject, and of a request also its body and signature.
func (c *collector) readSubject(ctx context.Context, of Of) error {
	switch {
	case of.Order != "":
		const transactions = `SELECT xid FROM signer.orders WHERE nonce = $1`
		return c.readRecords(ctx, func(b audit.Body) bool {
			var o ordered
			return data(b.Data, &o) == nil && o.Order.Nonce == of.Order
		}, transactions, of.Order)
	case of.Policy != 0:
		return c.readAdoption(ctx, of.Policy)
	}
	const request = `SELECT r.body, s.signature FROM signer.request r LEFT JOIN signer.signature s USING (key, ref) WHERE r.key = $1 AND r.ref = $2`
	err := c.reader.QueryRow(ctx, request, of.Key.String(), of.Ref).Scan(&c.bundle.Body, &c.bundle.Signature)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("evidence: request: %w", err)
	}
	const transactions = `SELECT xid FROM signer.request WHERE key = $1 AND ref = $2 UNION SELECT xid FROM signer.signature WHERE key = $1 AND ref = $2
		UNION SELECT xid FROM signer.consent WHERE key = $1 AND ref = $2
		UNION (SELECT xid FROM signer.seen WHERE key = $1 AND ref = $2 ORDER BY at DESC LIMIT $3)
		UNION (SELECT xid FROM signer.refusal WHERE key = $1 AND ref = $2 ORDER BY n DESC LIMIT $3)`
	return c.readRecords(ctx, func(b audit.Body) bool {
		var about struct {
			Ref string `json:"ref"`
		}
		return b.Subject == of.Key.String() && data(b.Data, &about) == nil && about.Ref == of.Ref
	}, transactions, of.Key.String(), of.Ref, maxRefusals)
}

func (c *collector) readAdoption(ctx context.Context, version uint64) error {
	return c.readRecords(ctx, func(b audit.Body) bool {
		return b.Action == actionAdopted && b.Subject == strconv.FormatUint(version, 10)
	}, `SELECT xid FROM signer.policy WHERE version = $1`, int64(version))
}

// readRecords adds those records of some transactions that are meant: a transaction of the journal serves many requests.
func (c *collector) readRecords(ctx context.Context, meant func(audit.Body) bool, transactions string, args ...any) error {
	query := `SELECT r.id, r.body, l.idx FROM audit.record r LEFT JOIN audit.leaf l ON l.record = r.id WHERE r.xid IN (` + transactions + `)`
	rows, err := c.reader.Query(ctx, query, args...)
	if err != nil {
		return fmt.Errorf("evidence: records: %w", err)
	}
	var s stored
	_, err = pgx.ForEachRow(rows, []any{&s.id, &s.text, &s.index}, func() error {
		if body, err := audit.ReadBody(s.text); err == nil && meant(body) {
			c.found = append(c.found, s)
		}
		s = stored{}
		return nil
	})
	if err != nil {
		return fmt.Errorf("evidence: records: %w", err)
	}
	return nil
}

// readPolicy adds the policy and the lists in force.
func (c *collector) readPolicy(ctx context.Context, decided rules) error {
	var file, signatures []byte
	err := c.reader.QueryRow(ctx, `SELECT file, signatures FROM signer.policy WHERE version = $1`, int64(decided.Policy)).Scan(&file, &signatures)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && file == nil {
		return nil // from before policies were kept: a bundle without it says so
	}
	if err != nil {
		return fmt.Errorf("evidence: policy: %w", err)
	}
	c.bundle.Policy = &Policy{File: string(file), Signatures: string(signatures)}
	for _, name := range slices.Sorted(maps.Keys(decided.Lists)) {
		const query = `SELECT file, signatures FROM signer.list WHERE name = $1 AND version = $2`
		if err := c.reader.QueryRow(ctx, query, name, int64(decided.Lists[name])).Scan(&file, &signatures); err != nil {
			return fmt.Errorf("evidence: list %s: %w", name, err)
		}
		c.bundle.Policy.Lists = append(c.bundle.Policy.Lists, List{File: string(file), Signatures: string(signatures)})
	}
	return nil
}

// prove adds the newest checkpoint, and to each record the proof that it is in there.
func (c *collector) prove(ctx context.Context, key audit.LogKey) error {
	last, err := audit.LatestCheckpoint(ctx, c.reader)
	if errors.Is(err, audit.ErrNoCheckpoint) {
		return ErrNotSigned
	}
	if err == nil {
		last, err = key.OpenStored(last)
	}
	if err != nil {
		return fmt.Errorf("evidence: %w", err)
	}
	c.bundle.Format, c.bundle.Checkpoint = Format, last.Note
	for _, s := range c.found {
		if *s.index >= last.Size {
			return ErrNotSigned
		}
		proof, err := audit.Inclusion(ctx, c.reader, *s.index, last.Size)
		if err != nil {
			return fmt.Errorf("evidence: %w", err)
		}
		c.bundle.Records = append(c.bundle.Records, Record{Index: *s.index, Proof: append([]tlog.Hash{}, proof...), Record: s.text})
	}
	return nil
}
