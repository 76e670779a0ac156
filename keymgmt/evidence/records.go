package evidence

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/diamante/gateway/compliance/audit"
	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/policy"
)

// Actions of records. Others about the same request may be there; what they say is in the log and needs no check.
const (
	actionAdopted  = "policy.adopted"
	actionApproved = "signature.approved"
	actionUsed     = "approval.used"
	actionMade     = "signature.made"
	actionRefused  = "signature.refused"
	actionFrozen   = "key.frozen"
	actionThawed   = "key.thawed"
	actionListed   = "list.adopted"
	actionAttested = "reserve.attested"
	actionReleased = "lien.discharged"
)

// rules are the versions by which something was decided.
type rules struct {
	Policy uint64            `json:"policy"`
	Lists  map[string]uint64 `json:"lists"`
}

// list is a list's version.
type list struct {
	name    string
	version uint64
}

// reserve names the attestation that an issuance rests on.
type reserve struct {
	Asset    string `json:"asset"`
	Ledger   int64  `json:"ledger"`
	Attestor string `json:"attestor"`
}

// The data of the records, as far as it matters here, and the record it is from. The signer may say more in a record, and
// what it says is proved, too.
type (
	adopted struct {
		record     audit.Body
		SHA256     string             `json:"sha256"`
		Signatures string             `json:"signatures_sha256"`
		Board      []policy.PublicKey `json:"board"`
		Quorum     int                `json:"quorum"`
		Lists      map[string]uint64  `json:"lists"`
	}
	listed struct {
		Version    uint64 `json:"version"`
		SHA256     string `json:"sha256"`
		Signatures string `json:"signatures_sha256"`
	}
	attested struct {
		Attestation keymgmt.Attestation `json:"attestation"`
	}
	approved struct {
		record audit.Body
		rules
		Ref       string            `json:"ref"`
		Kind      keymgmt.Kind      `json:"kind"`
		SHA256    string            `json:"sha256"`
		Words     []string          `json:"words"`
		Public    keymgmt.PublicKey `json:"public"`
		Initiator string            `json:"initiator"`
		Now       time.Time         `json:"now"` // when it was decided
		FirstSeen time.Time         `json:"first_seen"`
		Reserves  []struct {
			reserve
			Since string `json:"since"`
			Same  string `json:"same"`
		} `json:"reserves"`
	}
	used struct {
		record    audit.Body
		Initiator string            `json:"initiator"`
		Approvals []keymgmt.Consent `json:"approvals"`
	}
	released struct {
		Discharges []keymgmt.Discharge `json:"discharges"`
	}
	made struct {
		record    audit.Body
		SHA256    string `json:"sha256"`
		Signature string `json:"signature"` // hex
	}
	refused struct {
		record audit.Body
		rules
		Ref       string   `json:"ref"`
		Kind      string   `json:"kind"`
		Caller    string   `json:"caller"`
		Initiator string   `json:"initiator"`
		SHA256    string   `json:"sha256"`
		Words     []string `json:"words"`
		Rule      string   `json:"rule"`
		Reason    string   `json:"reason"`
	}
	ordered struct {
		record audit.Body
		rules
		Order keymgmt.Order `json:"order"`
	}
)

// data reads a record's data into v. Go would take "REF" for "ref", so names that are not in lower case are refused.
func data(raw json.RawMessage, into any) error {
	var names map[string]json.RawMessage
	if err := json.Unmarshal(raw, &names); err != nil {
		return err
	}
	for name := range names {
		if strings.ToLower(name) != name {
			return fmt.Errorf("its data has a member %.80q", name)
		}
	}
	return json.Unmarshal(raw, into)
}

// readRecords reads what the records say, and makes sure that they all are about one request, one order or one policy.
func (v *verifier) readRecords() error {
	for i, body := range v.bodies {
		if err := v.readRecord(body); err != nil {
			return fault(fmt.Sprintf("records[%d].record", i), "%s: %v", body.Action, err)
		}
	}
	return nil
}

func (v *verifier) readRecord(body audit.Body) error {
	switch body.Action {
	case actionAdopted:
		return v.readAdopted(body)
	case actionListed:
		l := new(listed)
		err := data(body.Data, l)
		return errors.Join(err, keep(v.listed, list{body.Subject, l.Version}, l))
	case actionAttested:
		a := new(attested)
		err := data(body.Data, a)
		return errors.Join(err, keep(v.attested, reserve{body.Subject, a.Attestation.Ledger, a.Attestation.Attestor}, a))
	case actionFrozen, actionThawed:
		if v.report.Key != "" {
			return errOther
		}
		return once(&v.order, ordered{record: body}, body.Data)
	}
	var about struct {
		Ref string `json:"ref"`
	}
	if err := data(body.Data, &about); err != nil {
		return err
	}
	if _, err := keymgmt.ParseKeyID(body.Subject); err != nil || about.Ref == "" {
		return errors.New("it is about no request")
	}
	if v.report.Key == "" {
		v.report.Key, v.report.Ref = body.Subject, about.Ref
	}
	if v.order != nil || v.report.Key != body.Subject || v.report.Ref != about.Ref {
		return errOther
	}
	switch body.Action {
	case actionApproved:
		return once(&v.approved, approved{record: body}, body.Data)
	case actionMade:
		return once(&v.made, made{record: body}, body.Data)
	case actionUsed:
		return also(&v.used, used{record: body}, body.Data)
	case actionReleased:
		return also(&v.released, released{}, body.Data)
	case actionRefused:
		return also(&v.refused, refused{record: body}, body.Data)
	}
	return nil
}

// errOther: a record does not belong to the others.
var errOther = errors.New("it is about something else than the records before it")

// once reads data of which there is one.
func once[T any](into **T, t T, raw json.RawMessage) error {
	if *into != nil {
		return errors.New("it is there twice")
	}
	*into = &t
	return data(raw, &t)
}

// also reads data of which there may be more.
func also[T any](list *[]T, t T, raw json.RawMessage) error {
	err := data(raw, &t)
	*list = append(*list, t)
	return err
}

// keep keeps what there is one of by some name.
func keep[K comparable, T any](in map[K]*T, name K, t *T) error {
	if in[name] != nil {
		return errors.New("it is there twice")
	}
	in[name] = t
	return nil
}

func (v *verifier) readAdopted(body audit.Body) error {
	a := adopted{record: body}
	version, err := strconv.ParseUint(body.Subject, 10, 64)
	if err != nil || strconv.FormatUint(version, 10) != body.Subject {
		return fmt.Errorf("version %.40q is none", body.Subject)
	}
	return errors.Join(data(body.Data, &a), keep(v.adopted, version, &a))
}
