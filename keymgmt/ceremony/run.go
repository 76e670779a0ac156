package ceremony

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/diamante/gateway/keymgmt"
)

// Config is what Run works with. Every field is required.
type Config struct {
	Device Device
	// Token is what the device says that it is.
	Token Token
	// Append makes a line of the transcript durable before it returns.
	Append func(line []byte) error
	// Read and Write are for files with wrapped keys. Write fails if the file exists, unless again is true: then it was
	// interrupted before.
	Read  func(path string) ([]byte, error)
	Write func(path string, content []byte, again bool) error
	Now   func() time.Time
}

// Run does what is left of a ceremony that has its witnesses, in the order of the plan, and closes the transcript. It stops
// at the first step that fails, with ErrStep: the transcript says why, and the next Run begins with that step. A key that
// was made before an interruption is not made again.
func Run(ctx context.Context, t *Transcript, cfg Config) error {
	if cfg.Token != t.plan.Token {
		return fmt.Errorf("%w: the device is token %q, serial %q, and the plan is for %q, serial %q", ErrPlan,
			cfg.Token.Label, cfg.Token.Serial, t.plan.Token.Label, t.plan.Token.Serial)
	}
	if n := t.Waiting(); n > 0 && !t.closed {
		return fmt.Errorf("%w: %d more", ErrWaiting, n)
	}
	r := runner{cfg, t}
	for s := t.next(); s != nil; s = t.next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := r.step(ctx, s); err != nil {
			return err
		}
	}
	if t.closed {
		return nil
	}
	return r.write(line{Event: eventClosed})
}

type runner struct {
	Config
	t *Transcript
}

func (r runner) write(l line) error {
	l.At = r.Now()
	raw, err := r.t.add(l)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrTranscript, err) // what the device did is not what the plan says
	}
	if err := r.Append(raw); err != nil {
		return fmt.Errorf("%w: %w", errAppend, err)
	}
	return nil
}

// errAppend: the file is behind the transcript in memory, which nothing may be added to any more.
var errAppend = errors.New("ceremony: the transcript could not be written")

// step does one step. Its failure is written down.
func (r runner) step(ctx context.Context, s *progress) error {
	again := s.began && !s.taken
	if err := r.fresh(ctx, s); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrStep, s.step, err)
	}
	if err := r.write(line{Event: eventBegan, Step: s.String()}); err != nil {
		return err
	}
	l, err := r.do(ctx, s, again)
	if err == nil {
		l.Step = s.String()
		err = r.write(l)
	}
	if err == nil || errors.Is(err, errAppend) {
		return err
	}
	failed := r.write(line{Event: eventFailed, Step: s.String(), Error: text(err), Found: errors.Is(err, ErrExists)})
	return errors.Join(fmt.Errorf("%w: %s: %w", ErrStep, s.step, err), failed)
}

// text is an error for the transcript.
func text(err error) string {
	s := err.Error()
	return strings.ToValidUTF8(s[:min(len(s), maxError)], "")
}

// fresh makes sure, before a step begins for the first time, that the device has no such key: one that is there later was
// then made by the step.
func (r runner) fresh(ctx context.Context, s *progress) error {
	if s.began || s.act != actGenerate && s.act != actRestore {
		return nil
	}
	_, err := r.Device.Prove(ctx, s.key, r.t.head)
	switch {
	case err == nil:
		return fmt.Errorf("%w: %s", ErrExists, s.key)
	case errors.Is(err, keymgmt.ErrUnknownKey):
		return nil
	}
	return err
}

// do does what a step is for and returns the line that says so.
func (r runner) do(ctx context.Context, s *progress, again bool) (line, error) {
	switch s.act {
	case actWrapping, actGenerate:
		return r.generate(ctx, s, again)
	case actRestore:
		return r.restore(ctx, s, again)
	case actBackup:
		return r.backup(ctx, s, again)
	default:
		return r.destroy(ctx, s, again)
	}
}

func (r runner) generate(ctx context.Context, s *progress, again bool) (line, error) {
	l := line{Event: eventDone}
	err := r.Device.Generate(ctx, New{Key: s.key, Algorithm: s.algorithm, Wrappable: s.wrappable})
	if again && errors.Is(err, ErrExists) {
		l.Found, err = true, nil
	}
	if err != nil || s.act == actWrapping {
		return l, err
	}
	return r.prove(ctx, s, l)
}

func (r runner) prove(ctx context.Context, s *progress, l line) (line, error) {
	proof, err := r.Device.Prove(ctx, s.key, s.challenge)
	l.Proof = &proof
	return l, err
}

func (r runner) restore(ctx context.Context, s *progress, again bool) (line, error) {
	wrapped, err := r.Read(s.file)
	if err != nil {
		return line{}, err
	}
	l := line{Event: eventDone, File: &FileProof{s.file, hash(wrapped)}}
	err = r.Device.Unwrap(ctx, s.key, wrapped)
	if again && errors.Is(err, ErrExists) {
		l.Found, err = true, nil
	}
	if err != nil {
		return l, err
	}
	return r.prove(ctx, s, l)
}

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// backup takes a key out. That the device refuses is an answer, which the transcript says, and no failure.
func (r runner) backup(ctx context.Context, s *progress, again bool) (line, error) {
	wrapped, err := r.Device.Wrap(ctx, s.key, s.wrapping)
	if errors.Is(err, ErrCannotWrap) {
		return line{Event: eventRefused, Error: text(err)}, nil
	}
	if err != nil {
		return line{}, err
	}
	return line{Event: eventDone, File: &FileProof{s.file, hash(wrapped)}}, r.Write(s.file, wrapped, again)
}

// destroy has the key prove that it is there, and then removes it. One that is gone after an interruption was proved before.
func (r runner) destroy(ctx context.Context, s *progress, again bool) (line, error) {
	l := line{Event: eventDone}
	proof, err := r.Device.Prove(ctx, s.key, s.challenge)
	switch {
	case err == nil:
		if err := r.write(line{Event: eventProved, Step: s.String(), Proof: &proof}); err != nil {
			return l, err
		}
		err = r.Device.Destroy(ctx, s.key)
	case again && errors.Is(err, keymgmt.ErrUnknownKey) && s.proof != nil:
		l.Found, err = true, nil
	}
	return l, err
}
