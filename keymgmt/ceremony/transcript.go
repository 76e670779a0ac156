package ceremony

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/diamante/gateway/keymgmt"
	"github.com/diamante/gateway/keymgmt/signature"
)

// Bounds of a transcript and of one of its lines, in bytes.
const (
	MaxTranscript = 4 << 20
	maxLine       = 2*MaxPlan + 4<<10
	maxError      = 512 // of the text of an error
)

// event says what a line is about. Zero is invalid.
type event string

const (
	eventOpened    event = "opened"    // the plan, and a nonce
	eventWitnessed event = "witnessed" // a witness has read the plan
	eventBegan     event = "began"     // a step is about to be done, perhaps once more
	eventProved    event = "proved"    // a key that is about to be destroyed is there
	eventDone      event = "done"      // the step is done
	eventRefused   event = "refused"   // the step is over, since the device does not do it
	eventFailed    event = "failed"    // the step is to be tried again
	eventClosed    event = "closed"    // all steps are over
	eventAttested  event = "attested"  // a witness has seen how it went
)

// line is one line of a transcript.
type line struct {
	Number int       `json:"n"`
	Before string    `json:"before"` // SHA-256 of the line before, "" for the first
	At     time.Time `json:"at"`     // by the clock of the machine that wrote it
	Event  event     `json:"event"`

	Plan      string     `json:"plan,omitempty"`      // opened: the file
	Nonce     string     `json:"nonce,omitempty"`     // opened, witnessed: 64 hexadecimal digits
	Witness   string     `json:"witness,omitempty"`   // witnessed, attested: his name
	Signature []byte     `json:"signature,omitempty"` // witnessed, attested: of said
	Step      string     `json:"step,omitempty"`      // began to failed
	Proof     *Proof     `json:"proof,omitempty"`     // proved, done: of the challenge of the step's last began
	File      *FileProof `json:"file,omitempty"`      // done: what was written or read
	Found     bool       `json:"found,omitempty"`     // done: it was so before an interruption; failed: something has its name
	Error     string     `json:"error,omitempty"`     // refused, failed
}

// FileProof is a file with a wrapped key.
type FileProof struct {
	Path   string `json:"path"`
	SHA256 string `json:"sha256"`
}

// said is the text that a witness signs: the transcript up to his line, and what he says to it.
func said(head [sha256.Size]byte, e event, name, nonce string) []byte {
	what := map[event]string{eventWitnessed: "has read the plan and agrees to it", eventAttested: "has seen that it went as written"}[e]
	return fmt.Appendf(nil, "diamante key ceremony 1\ntranscript %x\nwitness %s %s\nnonce %s\n", head, name, what, nonce)
}

// progress is how far a step got.
type progress struct {
	step
	began     bool
	challenge [sha256.Size]byte // the hash of its last began
	taken     bool              // a try failed since something has its name: no key of that name is ours
	proof     *Proof            // of a key that is about to be destroyed
	over      event             // done or refused; "" before
	done      line              // the line that says so
}

// Transcript is a ceremony as far as it got. It is not safe for concurrent use.
type Transcript struct {
	plan       Plan
	head       [sha256.Size]byte
	lines      int
	opened     time.Time
	witnessed  map[string]bool
	attested   map[string]bool
	steps      []progress
	closed     bool
	lastFailed string
}

// Begin makes a transcript, and returns its first line.
func Begin(p Plan, now time.Time) (*Transcript, []byte, error) {
	t := &Transcript{}
	raw, err := t.add(line{At: now, Event: eventOpened, Plan: string(p.raw), Nonce: newNonce()})
	return t, raw, err
}

// Parse reads a transcript, and how many of its bytes are whole lines: what follows them was being written when the machine
// stopped, and says nothing.
func Parse(raw []byte) (*Transcript, int, error) {
	if len(raw) > MaxTranscript {
		return nil, 0, fmt.Errorf("%w: more than %d bytes", ErrTranscript, MaxTranscript)
	}
	whole := bytes.LastIndexByte(raw, '\n') + 1
	t := &Transcript{}
	for text := range bytes.Lines(raw[:whole]) {
		if err := t.read(text); err != nil {
			return nil, 0, fmt.Errorf("%w: line %d: %w", ErrTranscript, t.lines+1, err)
		}
	}
	if t.lines == 0 {
		return nil, 0, fmt.Errorf("%w: it is empty", ErrTranscript)
	}
	return t, whole, nil
}

func newNonce() string {
	nonce := make([]byte, sha256.Size)
	_, _ = rand.Read(nonce) // never fails
	return hex.EncodeToString(nonce)
}

func isNonce(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == sha256.Size && hex.EncodeToString(b) == s
}

// read takes a line as it is in the file, which is exactly as encode would write it.
func (t *Transcript) read(text []byte) error {
	if len(text) > maxLine {
		return errors.New("too long")
	}
	var l line
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one value")
	}
	if again, err := encode(l); err != nil || !bytes.Equal(again, text) {
		return errors.New("not in the form in which it is written")
	}
	return t.take(l, text)
}

func encode(l line) ([]byte, error) {
	raw, err := json.Marshal(l)
	return append(raw, '\n'), err
}

// add completes a line, takes it, and returns it for the file.
func (t *Transcript) add(l line) ([]byte, error) {
	l.Number, l.At = t.lines+1, l.At.UTC().Truncate(time.Second)
	if t.lines > 0 {
		l.Before = hex.EncodeToString(t.head[:])
	}
	text, err := encode(l)
	if err != nil {
		return nil, err
	}
	return text, t.take(l, text)
}

// take makes sure that a line follows from those before.
func (t *Transcript) take(l line, text []byte) error {
	before := ""
	if t.lines > 0 {
		before = hex.EncodeToString(t.head[:])
	}
	if l.Number != t.lines+1 || l.Before != before {
		return errors.New("it does not follow the line before")
	}
	if (l.Event == eventOpened) != (t.lines == 0) {
		return fmt.Errorf("event %q", l.Event)
	}
	hash := sha256.Sum256(text)
	if err := t.apply(l, hash); err != nil {
		return err
	}
	t.head, t.lines = hash, t.lines+1
	return nil
}

func (t *Transcript) apply(l line, hash [sha256.Size]byte) error {
	switch l.Event {
	case eventOpened:
		return t.open(l)
	case eventWitnessed, eventAttested:
		return t.hear(l)
	case eventClosed:
		if t.closed || t.next() != nil {
			return errors.New("closed before its end")
		}
		t.closed = true
		return nil
	}
	s := t.next()
	if s == nil || l.Step != s.String() || len(t.witnessed) < t.plan.Quorum {
		return fmt.Errorf("it is not the turn of step %.100q", l.Step)
	}
	if l.Event == eventBegan {
		s.began, s.challenge = true, hash
		return nil
	}
	if !s.began {
		return fmt.Errorf("%s did not begin", s.step)
	}
	return t.advance(s, l)
}

func (t *Transcript) open(l line) (err error) {
	if t.plan, err = ParsePlan([]byte(l.Plan)); err != nil {
		return err
	}
	if !isNonce(l.Nonce) {
		return errors.New("no nonce")
	}
	t.opened, t.witnessed, t.attested = l.At, map[string]bool{}, map[string]bool{}
	for _, s := range t.plan.steps() {
		t.steps = append(t.steps, progress{step: s})
	}
	return nil
}

// hear takes what a witness said: to the plan before anything is done, to the whole after all of it is.
func (t *Transcript) hear(l line) error {
	heard, nonce := t.witnessed, isNonce(l.Nonce)
	if l.Event == eventAttested {
		heard, nonce = t.attested, l.Nonce == ""
	}
	switch {
	case !nonce:
		return errors.New("nonce")
	case l.Event == eventWitnessed && t.steps[0].began, l.Event == eventAttested && !t.closed:
		return errors.New("it is not the time to witness it")
	case heard[l.Witness]:
		return fmt.Errorf("%w: %.64q has signed", ErrWitness, l.Witness)
	}
	public, known := t.plan.witness(l.Witness)
	if !known || !ed25519.Verify(public, said(t.head, l.Event, l.Witness, l.Nonce), l.Signature) {
		return fmt.Errorf("%w: not a signature of witness %.64q", ErrWitness, l.Witness)
	}
	heard[l.Witness] = true
	return nil
}

// advance takes a line about a step that began.
func (t *Transcript) advance(s *progress, l line) error {
	switch l.Event {
	case eventFailed:
		t.lastFailed, s.taken = l.Step+": "+l.Error, s.taken || l.Found
		return nil
	case eventRefused:
		if s.act != actBackup || l.Error == "" {
			return errors.New("only a backup can be refused, with a reason")
		}
	case eventProved:
		if s.act != actDestroy {
			return errors.New("only what is destroyed is proved before")
		}
		s.proof = l.Proof
		return s.proven(l.Proof)
	case eventDone:
		if err := s.finished(l); err != nil {
			return err
		}
	default:
		return fmt.Errorf("event %q", l.Event)
	}
	s.over, s.done, t.lastFailed = l.Event, l, ""
	return nil
}

// finished holds what a step came to against what it was to be.
func (s *progress) finished(l line) error {
	if l.Found && s.taken {
		return errors.New("it was there before")
	}
	if written := l.File != nil; written != (s.act == actBackup || s.act == actRestore) || written && (l.File.Path != s.file || !isNonce(l.File.SHA256)) {
		return errors.New("the file is not that of the plan")
	}
	switch s.act {
	case actWrapping, actBackup:
		if l.Proof != nil {
			return errors.New("a proof of what has none")
		}
		return nil
	case actDestroy:
		if s.proof == nil || l.Proof != nil {
			return errors.New("destroyed without a proof that it was there")
		}
		return nil
	}
	return s.proven(l.Proof)
}

// proven verifies that a key was in the device after the step began, that it is the one of the plan, and that the device
// says of it what the plan demands.
func (s *progress) proven(p *Proof) error {
	if p == nil || p.Public.IsZero() {
		return errors.New("no proof of possession")
	}
	if !s.public.IsZero() && p.Public != s.public || s.act == actGenerate && p.Public.Algorithm() != s.algorithm {
		return fmt.Errorf("public key %s is not what the plan says", p.Public)
	}
	possession := keymgmt.Possession{Key: s.key, Public: p.Public, Challenge: s.challenge}
	if !signature.Verify(p.Public, possession.Message(), p.Signature) {
		return errors.New("the proof of possession does not verify")
	}
	t := p.Traits
	if !t.Sensitive {
		return errors.New("the device would show the key")
	}
	if s.act == actGenerate && (!t.AlwaysSensitive || !t.Local || t.Extractable != s.wrappable || t.NeverExtractable == s.wrappable) {
		return fmt.Errorf("the device says of the key %+v", t)
	}
	return nil
}

// next is the step whose turn it is, nil when all are over.
func (t *Transcript) next() *progress {
	for i := range t.steps {
		if t.steps[i].over == "" {
			return &t.steps[i]
		}
	}
	return nil
}

// Witness adds what a witness says to what he has read so far: before the first step to the plan, after the last to all of
// it. He answers for having read it: Report has the words.
func (t *Transcript) Witness(name string, key ed25519.PrivateKey, now time.Time) ([]byte, error) {
	l := line{At: now, Event: eventWitnessed, Witness: name, Nonce: newNonce()}
	if t.closed {
		l.Event, l.Nonce = eventAttested, ""
	}
	l.Signature = ed25519.Sign(key, said(t.head, l.Event, name, l.Nonce))
	return t.add(l)
}

// Plan returns what is done.
func (t *Transcript) Plan() Plan { return t.plan }

// Waiting returns how many witnesses have yet to sign before the steps, or after them.
func (t *Transcript) Waiting() int {
	if t.closed {
		return max(0, t.plan.Quorum-len(t.attested))
	}
	return max(0, t.plan.Quorum-len(t.witnessed))
}

// Closed reports whether all steps are over.
func (t *Transcript) Closed() bool { return t.closed }
